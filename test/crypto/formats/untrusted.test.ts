import { createCipheriv, createHash, generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { type DerNode, integer, nullNode, octetString, oid, sequence, writeDer } from '../../../src/crypto/asn1/der.js';
import { encodeRsaPrivateKey } from '../../../src/crypto/asn1/key-der.js';
import { privateKeyFromEd25519Seed, privateNumbers } from '../../../src/crypto/build-keys.js';
import { concatBytes, uint32Bytes } from '../../../src/crypto/bytes.js';
import { parsePrivateKey, parsePublicKey, serialisePrivateKey } from '../../../src/crypto/formats/index.js';
import { WireReader } from '../../../src/crypto/formats/ssh-public.js';
import { decodePem } from '../../../src/crypto/pem.js';
import { rsaKey } from '../support.js';
import { ENGINES, expectRefusal } from './support.js';

const key = await privateKeyFromEd25519Seed(new Uint8Array(32).fill(1));
const rsa = await rsaKey();

const PBES2 = '1.2.840.113549.1.5.13';
const PBKDF2 = '1.2.840.113549.1.5.12';
const SCRYPT = '1.3.6.1.4.1.11591.4.11';
const AES_256_CBC = '2.16.840.1.101.3.4.1.42';
const HMAC_SHA256 = '1.2.840.113549.2.9';
const SALT = octetString(new Uint8Array(16));
const IV = octetString(new Uint8Array(16));

const algorithm = (id: string, ...parameters: readonly DerNode[]) => sequence(oid(id), ...parameters);
const encrypted = (scheme: DerNode, ...more: readonly DerNode[]) =>
  writeDer(sequence(scheme, octetString(new Uint8Array(64)), ...more));
const pbes2 = (kdf: DerNode, cipher = algorithm(AES_256_CBC, IV), ...more: readonly DerNode[]) =>
  encrypted(algorithm(PBES2, sequence(kdf, cipher, ...more)));
const pbkdf2 = (...fields: readonly DerNode[]) => pbes2(algorithm(PBKDF2, sequence(...fields)));
const scrypt = (n: bigint, r: bigint, p: bigint, ...more: readonly DerNode[]) =>
  pbes2(algorithm(SCRYPT, sequence(SALT, ...[n, r, p].map(integer), ...more)));
const pkcs12 = (id: string, iterations: bigint, ...more: readonly DerNode[]) =>
  encrypted(algorithm(`1.2.840.113549.1.12.1.${id}`, sequence(SALT, integer(iterations), ...more)));

describe('an encrypted key whose derivation costs too much is refused before anything is derived', () => {
  test.each([
    ['PBKDF2 of 10,000,001 rounds', pbkdf2(SALT, integer(10_000_001n)), /PBKDF2 iterations 10000001, at most 10000000/],
    ['PBKDF2 of 2^200 rounds', pbkdf2(SALT, integer(2n ** 200n)), /PBKDF2 iterations of 61 digits/],
    ['scrypt of 2^40', scrypt(2n ** 40n, 8n, 1n), /scrypt N 1099511627776/],
    ['scrypt of 512 MiB', scrypt(2n ** 19n, 8n, 1n), /scrypt bytes of memory 536870912/],
    ['scrypt of wide blocks', scrypt(2n, 1025n, 1n), /scrypt r 1025, at most 1024/],
    ['scrypt of 256 MiB three times over', scrypt(2n ** 18n, 8n, 3n), /scrypt bytes in all 805306368/],
    ['scrypt of 17 lanes', scrypt(1024n, 8n, 17n), /scrypt p 17/],
    ['PKCS#12 of 1,000,001 rounds', pkcs12('3', 1_000_001n), /PKCS#12 iterations 1000001/],
  ])('%s', async (_, input, message) => {
    await expectRefusal(parsePrivateKey(input, { passphrase: 'p' }), 'ERR_KEY_UNSUPPORTED', message);
    await expectRefusal(parsePrivateKey(input), 'ERR_KEY_UNSUPPORTED', message);
  });

  test('OpenSSH of 257 rounds', async () => {
    const text = await serialisePrivateKey(key, { format: 'openssh', passphrase: 'p' });
    const bytes = decodePem(text)[0]?.bytes ?? new Uint8Array();
    const at = 15 + 4 + 10 + 4 + 6 + 4 + 4 + 16;
    expect(new WireReader(bytes.slice(at)).uint32('rounds')).toBe(24);
    bytes.set(uint32Bytes(257), at);
    await expectRefusal(
      parsePrivateKey(bytes, { passphrase: 'p' }),
      'ERR_KEY_UNSUPPORTED',
      /bcrypt rounds 257, at most 256/,
    );
    bytes.set(uint32Bytes(0), at);
    await expectRefusal(parsePrivateKey(bytes, { passphrase: 'p' }), 'ERR_KEY_UNREADABLE', /lacks rounds or a salt/);
  });
});

describe('an encryption that is not read is refused by its name', () => {
  test.each([
    ['RC2', pkcs12('6', 1n), /pbeWithSHA1And40BitRC2-CBC/],
    ['MD5 and DES', encrypted(algorithm('1.2.840.113549.1.5.3', sequence(SALT, integer(1n)))), /pbeWithMD5AndDES-CBC/],
    [
      'AES-256-GCM',
      pbes2(algorithm(PBKDF2, sequence(SALT, integer(1n))), algorithm('2.16.840.1.101.3.4.1.46', IV)),
      /AES-256-GCM/,
    ],
    [
      'an unknown derivation',
      pbes2(algorithm('1.2.3', sequence(SALT))),
      /key derivation an unknown algorithm \(1\.2\.3\)/,
    ],
    ['an unknown hash', pbkdf2(SALT, integer(1n), algorithm('1.2.3')), /PBKDF2 hash an unknown algorithm \(1\.2\.3\)/],
  ])('%s', async (_, input, message) => {
    await expectRefusal(parsePrivateKey(input), 'ERR_KEY_UNSUPPORTED', message);
  });
});

describe('broken parameters of an encryption are refused', () => {
  const one = integer(1n);
  const prf = algorithm(HMAC_SHA256, nullNode());
  test.each([
    ['no rounds', pbkdf2(SALT, integer(0n)), /PBKDF2 iterations is 0/],
    ['no salt', pbkdf2(octetString(new Uint8Array()), one), /salt is empty/],
    ['another key length', pbkdf2(SALT, one, integer(16n), prf), /length is not the cipher's/],
    ['a second hash', pbkdf2(SALT, one, integer(32n), prf, prf), /too many fields/],
    ['a hash with parameters', pbkdf2(SALT, one, algorithm(HMAC_SHA256, one)), /too many fields/],
    ['an N that is no power of two', scrypt(1000n, 8n, 1n), /not a power of two/],
    ['an N of 1', scrypt(1n, 8n, 1n), /not a power of two/],
    ['an N beyond what r allows', scrypt(65_536n, 1n, 1n), /too large for its r/],
    ['a field after those of scrypt', scrypt(1024n, 8n, 1n, integer(32n), one), /too many fields/],
    [
      'a short vector',
      pbes2(algorithm(PBKDF2, sequence(SALT, one)), algorithm(AES_256_CBC, octetString(new Uint8Array(8)))),
      /vector has a wrong length/,
    ],
    [
      'a third part of PBES2',
      pbes2(algorithm(PBKDF2, sequence(SALT, one)), algorithm(AES_256_CBC, IV), one),
      /PBES2 parameters have more/,
    ],
    ['a third part of PBES1', pkcs12('3', 1n, one), /PBE parameters have more/],
    ['an algorithm of three parts', encrypted(algorithm(PBES2, one, one)), /more than two fields/],
  ])('%s', async (_, input, message) => {
    await expectRefusal(parsePrivateKey(input, { passphrase: 'p' }), 'ERR_KEY_UNREADABLE', message);
  });
});

describe('an encrypted key holds a private key, is named for what it is, or the passphrase counts as wrong', () => {
  test.each(ENGINES)('by the $name engine', async (engine) => {
    const { encryptPkcs8 } = await import('../../../src/crypto/formats/encrypted-pkcs8.js');
    const encrypt = (inside: Uint8Array) => encryptPkcs8(inside, { passphrase: 'p', iterations: 1_000 }, engine);
    const sec1 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'sec1', format: 'der' });
    const others: readonly (readonly [Uint8Array, RegExp])[] = [
      [key.publicKey.spki, /^what is encrypted is a public key, not a private key$/],
      [await encrypt(key.exposePkcs8()), /^what is encrypted is another encrypted key, not a private key$/],
      [sec1, /^EC key \(P-256\)/],
    ];
    for (const [inside, message] of others) {
      const input = await encrypt(inside);
      await expectRefusal(parsePrivateKey(input, { passphrase: 'p', engine }), 'ERR_KEY_UNSUPPORTED', message);
      await expectRefusal(
        parsePrivateKey(input, { passphrase: 'q', engine }),
        'ERR_PASSPHRASE_WRONG',
        /^wrong passphrase or damaged file$/,
      );
    }
    const pkcs1 = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({
      type: 'pkcs1',
      format: 'der',
    });
    const opened = await parsePrivateKey(await encrypt(pkcs1), { passphrase: 'p', engine });
    expect(opened.publicKey.equals((await parsePrivateKey(pkcs1)).publicKey)).toBe(true);
    for (const inside of [new Uint8Array(48), new Uint8Array()]) {
      const input = await encryptPkcs8(inside, { passphrase: 'p', iterations: 1_000 }, engine);
      await expectRefusal(
        parsePrivateKey(input, { passphrase: 'p', engine }),
        'ERR_PASSPHRASE_WRONG',
        /^wrong passphrase or damaged file$/,
      );
    }
  });
});

describe('the headers of an old encrypted PEM', () => {
  const body = Buffer.alloc(64).toString('base64');
  const block = (...headers: readonly string[]) =>
    `-----BEGIN RSA PRIVATE KEY-----\n${headers.join('\n')}\n\n${body}\n-----END RSA PRIVATE KEY-----\n`;
  const type = 'Proc-Type: 4,ENCRYPTED';
  test.each([
    ['of DES', block(type, 'DEK-Info: DES-CBC,0011223344556677'), 'ERR_KEY_UNSUPPORTED', /^key encrypted by DES-CBC/],
    ['without DEK-Info', block(type), 'ERR_KEY_UNREADABLE', /headers of the encryption are broken/],
    [
      'without Proc-Type',
      block('DEK-Info: AES-128-CBC,00'),
      'ERR_KEY_UNREADABLE',
      /headers of the encryption are broken/,
    ],
    [
      'with a short vector',
      block(type, 'DEK-Info: AES-128-CBC,0011223344556677'),
      'ERR_KEY_UNREADABLE',
      /wrong length/,
    ],
    [
      'with noise inside',
      block(type, `DEK-Info: AES-256-CBC,${'00'.repeat(16)}`),
      'ERR_PASSPHRASE_WRONG',
      /^wrong passphrase/,
    ],
  ] as const)('%s are refused', async (_, input, code, message) => {
    await expectRefusal(parsePrivateKey(input, { passphrase: 'p' }), code, message);
  });

  test('are those that openssl writes, and what is inside must be a private key', async () => {
    const iv = Buffer.alloc(16, 7);
    const encrypt = (inside: Uint8Array) => {
      const aesKey = createHash('md5').update('p').update(iv.subarray(0, 8)).digest();
      const cipher = createCipheriv('aes-128-cbc', aesKey, iv);
      const secret = Buffer.concat([cipher.update(inside), cipher.final()]).toString('base64');
      return block(type, `DEK-Info: AES-128-CBC,${iv.toString('hex')}`)
        .replace(body, secret)
        .replaceAll('RSA ', '');
    };
    expect(
      (await parsePrivateKey(encrypt(key.exposePkcs8()), { passphrase: 'p' })).publicKey.equals(key.publicKey),
    ).toBe(true);
    await expectRefusal(
      parsePrivateKey(encrypt(new Uint8Array(16)), { passphrase: 'p' }),
      'ERR_PASSPHRASE_WRONG',
      /^wrong passphrase/,
    );
    await expectRefusal(
      parsePrivateKey(encrypt(key.publicKey.spki), { passphrase: 'p' }),
      'ERR_KEY_UNSUPPORTED',
      /^what is encrypted is a public key/,
    );
  });

  test('of an EC or DSA key are refused by the kind of key, without a passphrase', async () => {
    const ec = block(type, `DEK-Info: AES-256-CBC,${'00'.repeat(16)}`).replaceAll('RSA', 'EC');
    await expectRefusal(parsePrivateKey(ec), 'ERR_KEY_UNSUPPORTED', /^EC key: Deribit accepts/);
  });
});

describe('a PKCS#1 key', () => {
  test('whose numbers do not belong together is refused', async () => {
    const numbers = privateNumbers(rsa);
    if (numbers.algorithm !== 'rsa') throw new Error('not an RSA key');
    for (const name of ['d', 'p', 'q', 'dp', 'dq', 'qi'] as const) {
      const der = encodeRsaPrivateKey({ ...numbers, [name]: numbers[name] + 2n });
      await expectRefusal(parsePrivateKey(der), 'ERR_KEY_INVALID', /do not belong together/);
    }
    for (const e of [0n, 1n, 2n, numbers.e + 1n]) {
      await expectRefusal(
        parsePrivateKey(encodeRsaPrivateKey({ ...numbers, e })),
        'ERR_KEY_INVALID',
        /public exponent/,
      );
    }
    await expectRefusal(
      parsePrivateKey(encodeRsaPrivateKey({ ...numbers, n: numbers.n - 1n })),
      'ERR_KEY_INVALID',
      /even/,
    );
  });
});

describe('a certificate', () => {
  const name = sequence();
  const spki = sequence(sequence(oid('1.3.101.112')), {
    class: 'universal',
    tag: 3,
    children: null,
    contents: concatBytes(Uint8Array.of(0), key.publicKey.spki.slice(-32)),
  } as const);
  const signature: DerNode = { class: 'universal', tag: 3, children: null, contents: Uint8Array.of(0, 1) };
  const certificate = (...fields: readonly DerNode[]) => writeDer(sequence(sequence(...fields), name, signature));

  test('of version 1 is read', async () => {
    expect((await parsePublicKey(certificate(integer(1n), name, name, name, name, spki))).equals(key.publicKey)).toBe(
      true,
    );
  });

  test('without serial number or key is refused', async () => {
    await expectRefusal(
      parsePublicKey(certificate(name, name, name, name, spki)),
      'ERR_KEY_UNREADABLE',
      /no serial number/,
    );
    await expectRefusal(
      parsePublicKey(certificate(integer(1n), name, name, name, name)),
      'ERR_KEY_UNREADABLE',
      /three parts/,
    );
  });
});
