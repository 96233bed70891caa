import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  bitString,
  constructed,
  type DerNode,
  integer,
  nullNode,
  octetString,
  oid,
  primitive,
  readDer,
  sequence,
  TAG,
  writeDer,
} from '../../src/crypto/asn1/der.js';
import { decodeRsaPrivateKey, encodeRsaPublicKey } from '../../src/crypto/asn1/key-der.js';
import { decodePkcs8, decodeSpki } from '../../src/crypto/asn1/spki-pkcs8.js';
import { privateKeyFromEd25519Seed, publicKeyFromEd25519 } from '../../src/crypto/build-keys.js';
import { concatBytes } from '../../src/crypto/bytes.js';
import { encodePem, loadPkcs8Pem } from '../../src/crypto/pem.js';
import { ENGINES, failure, hex, rsaKey } from './support.js';

// RFC 8410 §10.3: the same key without and with its public half and an attribute.
const RFC_8410_V1 = 'MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC';
const RFC_8410_V2 =
  'MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhCoB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=';

const ED25519 = oid('1.3.101.112');
const RSA = oid('1.2.840.113549.1.1.1');
const SEED = new Uint8Array(32).fill(5);

function bytesOf(base64: string): Uint8Array {
  return new Uint8Array(Buffer.from(base64, 'base64'));
}

function pkcs8(algorithm: DerNode, key: DerNode, version = 0n, ...rest: readonly DerNode[]): Uint8Array {
  return writeDer(sequence(integer(version), algorithm, key, ...rest));
}

const seedNode = octetString(writeDer(octetString(SEED)));
const publicHalf = (raw: Uint8Array) => primitive(1, concatBytes(Uint8Array.of(0), raw), 'context');

describe.each(ENGINES)('on the $name engine', (engine) => {
  test('both forms of the key in RFC 8410 are the same key', async () => {
    const short = await decodePkcs8(bytesOf(RFC_8410_V1), engine);
    const long = await decodePkcs8(bytesOf(RFC_8410_V2), engine);
    expect(long.publicKey.equals(short.publicKey)).toBe(true);
    expect(long.exposePkcs8()).toEqual(bytesOf(RFC_8410_V1));
    expect(decodeSpki(long.publicKey.spki).equals(short.publicKey)).toBe(true);
  });

  test('the quick way in takes nothing that this package would not write', async () => {
    const load = (der: Uint8Array) => loadPkcs8Pem(encodePem('PRIVATE KEY', der), engine);
    expect((await load(bytesOf(RFC_8410_V2))).exposePkcs8()).toEqual(bytesOf(RFC_8410_V1));
    const other = (await privateKeyFromEd25519Seed(new Uint8Array(32).fill(6))).publicKey.spki.slice(-32);
    await failure('ERR_KEY_INVALID', () => load(pkcs8(sequence(ED25519), seedNode, 1n, publicHalf(other))));
    for (const der of [bytesOf(RFC_8410_V1), (await rsaKey()).exposePkcs8()]) {
      await failure('ERR_KEY_UNREADABLE', () => load(concatBytes(der, Uint8Array.of(0))));
    }
  });

  test('a public half that belongs to another key is refused, for either algorithm', async () => {
    const other = (await privateKeyFromEd25519Seed(new Uint8Array(32).fill(6))).publicKey.spki.slice(-32);
    const ed25519 = pkcs8(sequence(ED25519), seedNode, 1n, publicHalf(other));
    const { message } = await failure('ERR_KEY_INVALID', () => decodePkcs8(ed25519, engine));
    expect(message).toContain('does not belong');
    const key = await rsaKey();
    const parts = readDer(key.exposePkcs8()).children ?? [];
    const inner = parts[2]?.contents ?? new Uint8Array();
    const { n, e } = decodeRsaPrivateKey(inner);
    const rsa = (modulus: bigint) =>
      pkcs8(sequence(RSA, nullNode()), octetString(inner), 1n, publicHalf(encodeRsaPublicKey({ n: modulus, e })));
    expect((await decodePkcs8(rsa(n), engine)).publicKey.equals(key.publicKey)).toBe(true);
    await failure('ERR_KEY_INVALID', () => decodePkcs8(rsa(n + 2n), engine));
  });
});

describe('a deviation that leaves no doubt about the key is read', () => {
  const raw = async () => (await privateKeyFromEd25519Seed(SEED)).publicKey.spki.slice(-32);

  test('a public half under an explicit tag, as ring wrote it before 0.17', async () => {
    const half = constructed(1, [bitString(await raw())], 'context');
    const key = await decodePkcs8(pkcs8(sequence(ED25519), seedNode, 1n, half));
    expect(key.publicKey.spki.slice(-32)).toEqual(await raw());
    const another = constructed(1, [bitString(SEED)], 'context');
    await failure('ERR_KEY_INVALID', () => decodePkcs8(pkcs8(sequence(ED25519), seedNode, 1n, another)));
    const empty = constructed(1, [], 'context');
    await failure('ERR_KEY_UNREADABLE', () => decodePkcs8(pkcs8(sequence(ED25519), seedNode, 1n, empty)));
  });

  test('64 bytes of a seed and its public key, where they belong together', async () => {
    const of = (secret: Uint8Array, ...rest: readonly DerNode[]) =>
      decodePkcs8(pkcs8(sequence(ED25519), octetString(writeDer(octetString(secret))), 1n, ...rest));
    const pair = concatBytes(SEED, await raw());
    expect((await of(pair)).publicKey.spki.slice(-32)).toEqual(await raw());
    expect((await of(pair, publicHalf(await raw()))).exposePkcs8()).toEqual((await of(pair)).exposePkcs8());
    await failure('ERR_KEY_INVALID', () => of(concatBytes(SEED, SEED)));
    await failure('ERR_KEY_INVALID', () => of(pair, publicHalf(SEED)));
  });

  test('an RSA AlgorithmIdentifier without NULL', async () => {
    const key = await rsaKey();
    const parts = readDer(key.exposePkcs8()).children ?? [];
    const inner = parts[2] ?? nullNode();
    expect((await decodePkcs8(pkcs8(sequence(RSA), inner))).exposePkcs8()).toEqual(key.exposePkcs8());
    const bits = readDer(key.publicKey.spki).children?.[1] ?? nullNode();
    expect(decodeSpki(writeDer(sequence(sequence(RSA), bits))).equals(key.publicKey)).toBe(true);
  });
});

describe('a structure that is not quite PKCS#8 is refused', () => {
  test.each([
    ['an unknown version', pkcs8(sequence(ED25519), seedNode, 2n)],
    ['a public half under version 1', pkcs8(sequence(ED25519), seedNode, 0n, publicHalf(new Uint8Array(32)))],
    ['parts that nobody knows', pkcs8(sequence(ED25519), seedNode, 1n, constructed(2, [], 'context'))],
    ['two public halves', pkcs8(sequence(ED25519), seedNode, 1n, publicHalf(SEED), publicHalf(SEED))],
    ['Ed25519 with NULL parameters', pkcs8(sequence(ED25519, nullNode()), seedNode)],
    ['RSA with other parameters than NULL', pkcs8(sequence(RSA, sequence()), seedNode)],
    ['an algorithm of three parts', pkcs8(sequence(RSA, nullNode(), nullNode()), seedNode)],
    ['a seed that is wrapped once', pkcs8(sequence(ED25519), octetString(SEED))],
    ['an RSA key inside that is none', pkcs8(sequence(RSA, nullNode()), seedNode)],
    [
      'an RSA key of an unknown version',
      pkcs8(sequence(RSA, nullNode()), octetString(writeDer(sequence(integer(7n))))),
    ],
    [
      'an RSA key of too few numbers',
      pkcs8(sequence(RSA, nullNode()), octetString(writeDer(sequence(integer(0n), integer(1n))))),
    ],
    ['a SEQUENCE of nothing', writeDer(sequence())],
    ['another type', writeDer(integer(1n))],
    ['data behind it', concatBytes(bytesOf(RFC_8410_V1), Uint8Array.of(0))],
  ])('with %s', async (_, der) => {
    await failure('ERR_KEY_UNREADABLE', () => decodePkcs8(der));
  });

  test('with a seed of another length', async () => {
    for (const length of [0, 31, 33, 63, 65]) {
      const der = pkcs8(sequence(ED25519), octetString(writeDer(octetString(new Uint8Array(length)))));
      const { message } = await failure('ERR_KEY_INVALID', () => decodePkcs8(der));
      expect(message).toBe(`an Ed25519 private key has 32 bytes, this one ${length}`);
    }
  });

  test('with an RSA key of more than two primes', async () => {
    const der = pkcs8(sequence(RSA, nullNode()), octetString(writeDer(sequence(integer(1n)))));
    const { message } = await failure('ERR_KEY_UNSUPPORTED', () => decodePkcs8(der));
    expect(message).toContain('two primes');
  });
});

describe('a structure that is not quite SPKI is refused', () => {
  const point = bitString(hex('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a'));

  test.each([
    ['parts behind the key', writeDer(sequence(sequence(ED25519), point, nullNode()))],
    ['Ed25519 with NULL parameters', writeDer(sequence(sequence(ED25519, nullNode()), point))],
    ['RSA with constructed parameters', writeDer(sequence(sequence(RSA, sequence()), point))],
    [
      'an RSA key of three numbers',
      writeDer(
        sequence(sequence(RSA, nullNode()), bitString(writeDer(sequence(integer(1n), integer(1n), integer(1n))))),
      ),
    ],
    ['unused bits in the key', writeDer(sequence(sequence(ED25519), primitive(TAG.bitString, hex('0180'))))],
    ['no key', writeDer(sequence(sequence(ED25519)))],
  ])('with %s', async (_, der) => {
    await failure('ERR_KEY_UNREADABLE', () => decodeSpki(der));
  });

  test.each([
    ['31 bytes', 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f70751', '32 bytes'],
    ['33 bytes', `d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a00`, '32 bytes'],
    ['no point of the curve', `02${'00'.repeat(31)}`, 'not a point'],
    ['a y that is not reduced', `f0${'ff'.repeat(30)}7f`, 'not a point'],
    ['the neutral element', `01${'00'.repeat(31)}`, 'no private key'],
    ['a point of order 4', '00'.repeat(32), 'no private key'],
    ['a point of order 8', 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a', 'no private key'],
  ])('with an Ed25519 key of %s', async (_, raw, part) => {
    const { message } = await failure('ERR_KEY_INVALID', () => publicKeyFromEd25519(hex(raw)));
    expect(message).toContain(part);
  });
});

const made = (type: string, options: object = {}) => {
  const { publicKey, privateKey } = generateKeyPairSync(
    type as 'ec',
    {
      ...options,
      publicKeyEncoding: { format: 'der', type: 'spki' },
      privateKeyEncoding: { format: 'der', type: 'pkcs8' },
    } as never,
  ) as unknown as { readonly publicKey: Uint8Array; readonly privateKey: Uint8Array };
  return { publicKey: new Uint8Array(publicKey), privateKey: new Uint8Array(privateKey) };
};

describe('a key of another algorithm is refused by its name', () => {
  test.each([
    ['EC key (P-256)', 'ec', { namedCurve: 'P-256' }],
    ['EC key (P-384)', 'ec', { namedCurve: 'P-384' }],
    ['EC key (P-521)', 'ec', { namedCurve: 'P-521' }],
    ['EC key (secp256k1)', 'ec', { namedCurve: 'secp256k1' }],
    ['EC key', 'ec', { namedCurve: 'P-256', paramEncoding: 'explicit' }],
    ['Ed448 key', 'ed448', {}],
    ['X25519 key', 'x25519', {}],
    ['X448 key', 'x448', {}],
    ['DSA key', 'dsa', { modulusLength: 1024, divisorLength: 160 }],
    ['DH key', 'dh', { group: 'modp14' }],
    ['RSA-PSS key', 'rsa-pss', { modulusLength: 2048 }],
  ])('%s', async (name, type, options) => {
    const { publicKey, privateKey } = made(type, options);
    const expected = `${name}: Deribit accepts Ed25519 or RSA`;
    expect((await failure('ERR_KEY_UNSUPPORTED', () => decodeSpki(publicKey))).message).toBe(expected);
    expect((await failure('ERR_KEY_UNSUPPORTED', () => decodePkcs8(privateKey))).message).toBe(expected);
  });

  test.each([
    ['RSA-OAEP key', '1.2.840.113549.1.1.7'],
    ['ML-DSA key', '2.16.840.1.101.3.4.3.18'],
    ['algorithm 1.2.3.4 key', '1.2.3.4'],
  ])('%s', async (name, dotted) => {
    const der = writeDer(sequence(sequence(oid(dotted)), bitString(new Uint8Array(3))));
    const { message } = await failure('ERR_KEY_UNSUPPORTED', () => decodeSpki(der));
    expect(message).toBe(`${name}: Deribit accepts Ed25519 or RSA`);
  });

  test('an EC key on a curve without a common name, by its OID', async () => {
    const der = writeDer(sequence(sequence(oid('1.2.840.10045.2.1'), oid('1.2.3')), bitString(new Uint8Array(3))));
    const { message } = await failure('ERR_KEY_UNSUPPORTED', () => decodeSpki(der));
    expect(message).toBe('EC key (1.2.3): Deribit accepts Ed25519 or RSA');
  });

  test('an RSA key of 1024 bits, by its length', async () => {
    const { publicKey, privateKey } = made('rsa', { modulusLength: 1024 });
    for (const run of [() => decodeSpki(publicKey), () => decodePkcs8(privateKey)]) {
      expect((await failure('ERR_KEY_UNSUPPORTED', run)).message).toBe('RSA 1024 bits: at least 2048');
    }
  });
});
