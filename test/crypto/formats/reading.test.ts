import { describe, expect, test } from 'vitest';
import { privateKeyFromEd25519Seed } from '../../../src/crypto/build-keys.js';
import {
  inspectKey,
  parsePrivateKey,
  parsePublicKey,
  serialisePrivateKey,
  serialisePublicKey,
} from '../../../src/crypto/formats/index.js';
import { toSecret } from '../../../src/crypto/secret.js';
import { rsaKey } from '../support.js';
import { expectRefusal } from './support.js';

const key = await privateKeyFromEd25519Seed(new Uint8Array(32).fill(0xa9));
const other = await privateKeyFromEd25519Seed(new Uint8Array(32).fill(10));
const rsa = await rsaKey();
const pem = await serialisePrivateKey(key, { format: 'pkcs8' });
const publicPem = await serialisePublicKey(key.publicKey, { format: 'spki' });
const otherPem = await serialisePrivateKey(other, { format: 'pkcs8' });
const otherPublicPem = await serialisePublicKey(other.publicKey, { format: 'spki' });
const CERTIFICATE_OF_ANOTHER = `-----BEGIN CERTIFICATE-----
MIIBLDCB36ADAgECAghWAUdKKo3DMDAFBgMrZXAwGTEXMBUGA1UEAwwOSUVURiBUZX
N0IERlbW8wHhcNMTYwODAxMTIxOTI0WhcNNDAxMjMxMjM1OTU5WjAZMRcwFQYDVQQD
DA5JRVRGIFRlc3QgRGVtbzAqMAUGAytlbgMhAIUg8AmJMKdUdIt93LQ+91oNvzoNJj
ga9OukqY6qm05qo0UwQzAPBgNVHRMBAf8EBTADAQEAMA4GA1UdDwEBAAQEAwIDCDAg
BgNVHQ4BAQAEFgQUmx9e7e0EM4Xk97xiPFl1uQvIuzswBQYDK2VwA0EAryMB/t3J5v
/BzKc9dNZIpDmAgs3babFOTQbs+BolzlDUwsPrdGxO3YNGhW7Ibz3OGhhlxXrCe1Cg
w1AH9efZBw==
-----END CERTIFICATE-----
`;

const jwkText = await serialisePrivateKey(key, { format: 'jwk' });
const openssh = await serialisePrivateKey(key, { format: 'openssh' });

const taken = async (input: string | Uint8Array) => (await parsePrivateKey(input)).publicKey.equals(key.publicKey);

describe('a key is read from text that was changed on its way', () => {
  const utf16 = (text: string, bigEndian: boolean) => {
    const buffer = Buffer.from(`\uFEFF${text}`, 'utf16le');
    return bigEndian ? buffer.swap16() : buffer;
  };
  const base64 = Buffer.from(pem).toString('base64');
  const mangled: readonly (readonly [string, string | Uint8Array])[] = [
    ['a byte order mark', `\uFEFF${pem}`],
    ['CRLF', pem.replaceAll('\n', '\r\n')],
    ['literal \\n', pem.replaceAll('\n', '\\n')],
    ['newlines that became spaces', pem.replaceAll('\n', ' ')],
    ['newlines that vanished', pem.replaceAll('\n', '')],
    ['quotes', JSON.stringify(pem)],
    ['text around it', `Bag Attributes\n    friendlyName: bot\n${pem}\nthe end`],
    ['a JSON file around it', JSON.stringify({ type: 'service_account', private_key: pem })],
    ['UTF-16, little end first', utf16(pem, false)],
    ['UTF-16, big end first', utf16(pem, true)],
    ['base64 of the PEM', base64],
    ['folded base64', base64.replace(/.{40}/g, '$&\r\n')],
    ['base64 with literal \\n', base64.replace(/.{40}/g, '$&\\n')],
    ['base64 in quotes', `'${base64}'`],
    ['base64url without padding', base64.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')],
    ['base64 of the DER', Buffer.from(key.exposePkcs8()).toString('base64')],
    ['base64 of a JWK', btoa(jwkText)],
    ['an OpenSSH key as bytes', Buffer.from(openssh.replace(/-----[^-]+-----/g, ''), 'base64')],
  ];
  test.each(mangled)('%s', async (_, input) => {
    expect(await taken(input)).toBe(true);
  });

  test('but not from more than three layers of base64', async () => {
    expect(await taken(btoa(btoa(base64)))).toBe(true);
    await expectRefusal(parsePrivateKey(btoa(btoa(btoa(base64)))), 'ERR_KEY_UNREADABLE', /^not recognised/);
  });
});

describe('of several blocks in one input', () => {
  test('one may be a private key, with its public key and any certificates beside it', async () => {
    for (const input of [
      pem + publicPem,
      publicPem + pem,
      CERTIFICATE_OF_ANOTHER + pem,
      `-----BEGIN DH PARAMETERS-----\nMAYCARcCAQI=\n-----END DH PARAMETERS-----\n${pem}`,
    ]) {
      expect(await taken(input)).toBe(true);
      expect((await parsePublicKey(input)).equals(key.publicKey)).toBe(true);
      expect(await inspectKey(input)).toEqual({ kind: 'private', format: 'pkcs8', encrypted: false });
    }
  });

  test('a public key beside a private key must be its own', async () => {
    for (const parse of [parsePrivateKey, parsePublicKey]) {
      await expectRefusal(parse(pem + otherPublicPem), 'ERR_KEY_MISMATCH', /does not belong to the private key/);
      const line = await serialisePublicKey(other.publicKey, { format: 'ssh' });
      await expectRefusal(parse(pem + line), 'ERR_KEY_MISMATCH', /does not belong to the private key/);
    }
    expect(await taken(pem + (await serialisePublicKey(key.publicKey, { format: 'ssh' })))).toBe(true);
  });

  test('two private keys are refused, even twice the same', async () => {
    for (const input of [pem + otherPem, pem + pem]) {
      for (const parse of [parsePrivateKey, parsePublicKey, inspectKey]) {
        await expectRefusal(parse(input), 'ERR_KEY_UNSUPPORTED', /^2 private keys in one input/);
      }
    }
  });

  test('public keys must all be the same', async () => {
    expect((await parsePublicKey(publicPem + publicPem)).equals(key.publicKey)).toBe(true);
    await expectRefusal(
      parsePublicKey(publicPem + otherPublicPem),
      'ERR_KEY_UNSUPPORTED',
      /^several different public keys/,
    );
    const [line, otherLine] = [key, other].map((each) => serialisePublicKey(each.publicKey, { format: 'ssh' }));
    expect((await parsePublicKey(`${await line}${await line}`)).equals(key.publicKey)).toBe(true);
    await expectRefusal(parsePublicKey(`${await line}${await otherLine}`), 'ERR_KEY_UNSUPPORTED', /^several different/);
  });
});

describe('a raw Ed25519 seed', () => {
  const seed = new Uint8Array(32).fill(0xa9);
  const hex = Buffer.from(seed).toString('hex');
  const inputs = [
    seed,
    hex,
    hex.toUpperCase(),
    `${hex}\n`,
    Buffer.from(`${hex}\n`),
    Buffer.from(seed).toString('base64'),
    Buffer.from(seed).toString('base64url'),
  ];

  test('is read where it is asked for, as bytes, hexadecimal or base64', async () => {
    for (const input of inputs) {
      expect((await parsePrivateKey(input, { format: 'raw-seed' })).publicKey.equals(key.publicKey)).toBe(true);
      expect((await parsePublicKey(input, { format: 'raw-seed' })).equals(key.publicKey)).toBe(true);
      const { warning = '', ...description } = await inspectKey(input, { format: 'raw-seed' });
      expect(description).toEqual({ kind: 'private', format: 'raw-seed', encrypted: false });
      // the last of them happens to be base58 too
      expect(warning).toMatch(input === inputs.at(-1) ? /could also be base58/ : /^$/);
    }
  });

  test('is refused where it is not', async () => {
    for (const input of inputs) await expectRefusal(parsePrivateKey(input), 'ERR_KEY_UNREADABLE', /^not recognised/);
  });

  test.each([
    ['too short', hex.slice(2)],
    ['too long', `${hex}00`],
    ['48 bytes', new Uint8Array(48)],
    ['a PEM', pem],
    ['empty', ''],
  ])('that is %s is refused', async (_, input) => {
    await expectRefusal(
      parsePrivateKey(input, { format: 'raw-seed' }),
      'ERR_KEY_UNREADABLE',
      /^an Ed25519 seed is 32 bytes/,
    );
  });
});

describe('a JWK', () => {
  const parts = async (which = key) =>
    JSON.parse(await serialisePrivateKey(which, { format: 'jwk' })) as Readonly<
      Record<'kty' | 'n' | 'e' | 'd' | 'x' | 'p' | 'q' | 'dp' | 'dq' | 'qi', string>
    >;
  const parse = (jwk: unknown) => parsePrivateKey(JSON.stringify(jwk));

  test('agrees with what node:crypto reads and writes', async () => {
    const { createPrivateKey } = await import('node:crypto');
    for (const each of [key, rsa]) {
      const node = createPrivateKey({ key: Buffer.from(each.exposePkcs8()), format: 'der', type: 'pkcs8' });
      expect(await parts(each)).toEqual(node.export({ format: 'jwk' }));
      expect((await parse(node.export({ format: 'jwk' }))).publicKey.equals(each.publicKey)).toBe(true);
    }
  });

  test('whose x is not the public half of d is refused', async () => {
    const mixed = { ...(await parts()), x: (await parts(other)).x };
    await expectRefusal(parse(mixed), 'ERR_KEY_INVALID', /does not belong to it/);
    await expectRefusal(parsePublicKey(JSON.stringify(mixed)), 'ERR_KEY_INVALID', /does not belong to it/);
  });

  test('whose numbers do not belong together is refused', async () => {
    const jwk = await parts(rsa);
    for (const name of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'n', 'e']) {
      const wrong = name === 'e' ? 'Aw' : jwk[name === 'p' ? 'q' : 'p'];
      await expectRefusal(
        parse({ ...jwk, [name]: wrong }),
        name === 'n' ? 'ERR_KEY_UNSUPPORTED' : 'ERR_KEY_INVALID',
        /belong together|at least/,
      );
    }
  });

  test.each([
    ['padding in the middle', (text: string) => `${text.slice(0, 4)}=${text.slice(4)}`, /canonical/],
    ['a letter that base64 does not have', (text: string) => `*${text.slice(1)}`, /canonical/],
    ['bits left over', (text: string) => text.replace(/.$/, '_'), /canonical/],
    ['white space', (text: string) => ` ${text}`, /canonical/],
    ['a member cut short', (text: string) => text.slice(0, -2), /canonical|32 bytes are needed/],
    ['a number in place of a string', () => 7, /a string is needed, it is number/],
    ['a member that is missing', () => undefined, /a string is needed, it is missing/],
  ])('with %s is refused', async (_, spoil, message) => {
    const jwk = await parts();
    await expectRefusal(parse({ ...jwk, x: spoil(jwk.x ?? '') }), 'ERR_KEY_UNREADABLE', message);
  });

  test('with padding, the alphabet of plain base64, or names in another case is read', async () => {
    const jwk = await parts();
    for (const spell of [(text = '') => `${text}=`, (text = '') => text.replaceAll('-', '+').replaceAll('_', '/')]) {
      expect(await taken(JSON.stringify({ ...jwk, x: spell(jwk.x), d: spell(jwk.d) }))).toBe(true);
    }
    expect(await taken(JSON.stringify({ ...jwk, crv: 'ed25519', kty: 'okp' }))).toBe(true);
    expect(await taken(JSON.stringify([jwk]))).toBe(true);
  });

  test('with a number that has a zero byte in front is read', async () => {
    const jwk = await parts(rsa);
    const n = Buffer.concat([Buffer.alloc(1), Buffer.from(jwk.n ?? '', 'base64url')]).toString('base64url');
    expect((await parse({ ...jwk, e: 'AAEAAQ', n })).publicKey.equals(rsa.publicKey)).toBe(true);
    await expectRefusal(parse({ ...jwk, e: '' }), 'ERR_KEY_UNREADABLE', /the number is empty/);
  });

  test('whose d holds the public key behind the seed is read where both are the same', async () => {
    const jwk = await parts();
    const pair = (a = '', b = '') =>
      Buffer.concat([a, b].map((each) => Buffer.from(each, 'base64url'))).toString('base64url');
    expect(await taken(JSON.stringify({ ...jwk, d: pair(jwk.d, jwk.x) }))).toBe(true);
    await expectRefusal(parse({ ...jwk, d: pair(jwk.d, jwk.d) }), 'ERR_KEY_INVALID', /belong together/);
  });

  test('of RSA without primes, or with more than two, is refused by that', async () => {
    const { n, e, d, kty, ...rest } = await parts(rsa);
    await expectRefusal(parse({ kty, n, e, d }), 'ERR_KEY_UNSUPPORTED', /without its primes/);
    await expectRefusal(parse({ kty, n, e, d, ...rest, oth: [] }), 'ERR_KEY_UNSUPPORTED', /more than two primes/);
  });

  test('beside other keys of a document follows the same rules as PEM blocks of one input', async () => {
    const [own, foreign] = [await parts(), await parts(other)];
    const half = ({ d: _, ...rest }: typeof own) => rest;
    const input = (document: object) => JSON.stringify(document);
    for (const document of [
      { publicKey: half(own), privateKey: own },
      { privateKey: own, publicKey: half(own) },
      { jwk: own, pem: publicPem },
      { wallets: [{ jwk: own }, { jwk: { kty: 'EC', crv: 'P-256', d: 'AA' } }] },
    ]) {
      expect(await taken(input(document))).toBe(true);
      expect((await parsePublicKey(input(document))).equals(key.publicKey)).toBe(true);
    }
    for (const document of [
      { old: foreign, new: own },
      { jwk: own, pem: otherPem },
      { wallets: [{ a: own }, { b: foreign }] },
    ]) {
      await expectRefusal(parsePrivateKey(input(document)), 'ERR_KEY_UNSUPPORTED', /^2 private keys in one input/);
    }
    for (const document of [
      { publicKey: half(foreign), privateKey: own },
      { jwk: own, pem: otherPublicPem },
    ]) {
      await expectRefusal(parsePrivateKey(input(document)), 'ERR_KEY_MISMATCH', /does not belong to the private key/);
    }
  });

  test('set is read as its one usable key', async () => {
    const ec = { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA', d: 'AA' };
    const set = (...keys: unknown[]) => JSON.stringify({ keys });
    expect(await taken(set(await parts()))).toBe(true);
    expect(await taken(set(ec, await parts(), { kty: 'oct', k: 'AA' }))).toBe(true);
    expect((await parsePublicKey(set(ec, await parts()))).equals(key.publicKey)).toBe(true);
    expect(await inspectKey(set(ec))).toEqual({ kind: 'private', format: 'jwk', encrypted: false });
    await expectRefusal(parsePrivateKey(set(ec)), 'ERR_KEY_UNSUPPORTED', /^EC key \(P-256\)/);
    await expectRefusal(
      parsePrivateKey(set(ec, ec, ec, ec, ec)),
      'ERR_KEY_UNSUPPORTED',
      /^JWK set without a usable key \(EC key/,
    );
    await expectRefusal(
      parsePrivateKey(set(await parts(), await parts(other))),
      'ERR_KEY_UNSUPPORTED',
      /more than one usable key/,
    );
    const { d: _, ...half } = await parts();
    await expectRefusal(parsePrivateKey(set(half)), 'ERR_KEY_UNSUPPORTED', /^this is a public key/);
    await expectRefusal(
      parsePrivateKey(set(half, ec)),
      'ERR_KEY_UNSUPPORTED',
      /this is a public key \(JWK without d\).*; EC key/,
    );
    expect((await parsePublicKey(set(half))).equals(key.publicKey)).toBe(true);
  });

  test('with members from a prototype is not taken in by them', async () => {
    await expectRefusal(parsePrivateKey('{"__proto__":{"kty":"OKP"}}'), 'ERR_KEY_UNREADABLE', /neither kty nor keys/);
    await expectRefusal(
      parsePrivateKey(`${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`),
      'ERR_KEY_UNREADABLE',
      /JSON/,
    );
  });
});

describe('a passphrase', () => {
  test('may be wrapped, and is ignored where nothing is encrypted', async () => {
    const encrypted = await serialisePrivateKey(key, { format: 'pkcs8', passphrase: toSecret('s') });
    expect((await parsePrivateKey(encrypted, { passphrase: toSecret('s') })).publicKey.equals(key.publicKey)).toBe(
      true,
    );
    expect((await parsePrivateKey(pem, { passphrase: '' })).publicKey.equals(key.publicKey)).toBe(true);
  });
});
