import { generateKeyPairSync } from 'node:crypto';
import { inspect } from 'node:util';
import { describe, expect, test, vi } from 'vitest';
import { bigIntToBytes, bitLength, bytesToBigInt, modPow } from '../../src/crypto/bytes.js';
import {
  fingerprint,
  generateKeyPair,
  inspectKey,
  localSigner,
  PrivateKey,
  parsePrivateKey,
  parsePublicKey,
  randomNonce,
  serialisePrivateKey,
  serialisePublicKey,
  toSecret,
} from '../../src/crypto/index.js';
import { encodePem, encodePrivateKeyPem, loadPkcs8Pem } from '../../src/crypto/pem.js';
import { passesMillerRabin } from '../../src/crypto/rsa-checks.js';
import { ENGINES, failure, native, REAL_ENGINES, rsaKey, utf8 } from './support.js';

// RFC 8410 §10.3
const RFC_8410_V1 = 'MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC';
const RFC_8410_V2 =
  'MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhCoB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=';

test.each(REAL_ENGINES)('random bytes of the $name engine are as many as asked for, and differ', (engine) => {
  for (const length of [0, 1, 12, 64, 65, 5000]) expect(engine.randomBytes(length).length).toBe(length);
  const seen = new Set(Array.from({ length: 2000 }, () => engine.randomBytes(16).join()));
  expect(seen.size).toBe(2000);
});

describe.each(ENGINES)('on the $name engine', (engine) => {
  test('a generated key is Ed25519 unless another is asked for, and each is a new one', async () => {
    const [first, second] = await Promise.all([generateKeyPair({}, engine), generateKeyPair({}, engine)]);
    expect(first).toMatchObject({ algorithm: 'ed25519', bits: null });
    expect(first.publicKey.equals(second.publicKey)).toBe(false);
    expect(fingerprint(first)).toMatch(/^([0-9a-f]{2}:){15}[0-9a-f]{2}$/);
  });

  test('a generated RSA key has 3072 bits unless others are asked for, and generating it does not block', async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    expect((await generateKeyPair({ type: 'rsa' }, engine)).bits).toBe(3072);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(0);
    expect((await generateKeyPair({ type: 'rsa', bits: 2048 }, engine)).bits).toBe(2048);
  });

  test.each([
    { type: 'ed25519', bits: 2048 },
    { type: 'rsa', bits: 1024 },
    { type: 'rsa', bits: 2049 },
    { type: 'ec' },
  ])('%j is refused as a way to generate a key', async (options) => {
    await failure('ERR_USAGE', () => generateKeyPair(options as never, engine));
  });

  test('a PEM that is not one unencrypted PKCS#8 key is not loaded quickly', async () => {
    const pem = encodePrivateKeyPem(await generateKeyPair({}, engine));
    for (const text of [
      '',
      pem + pem,
      pem.replaceAll('PRIVATE', 'PUBLIC'),
      pem.replaceAll('PRIVATE', 'ENCRYPTED PRIVATE'),
      pem.replace('-----\n', '-----\nDEK-Info: x\n\n'),
      encodePem('PRIVATE KEY', utf8('hello')),
    ]) {
      await failure('ERR_KEY_UNREADABLE', () => loadPkcs8Pem(text, engine));
    }
  });

  test('a PKCS#8 PEM of another form or algorithm is loaded the long way, and refused by name', async () => {
    const withPublicHalf = `-----BEGIN PRIVATE KEY-----\n${RFC_8410_V2}\n-----END PRIVATE KEY-----\n`;
    const key = await loadPkcs8Pem(withPublicHalf, engine);
    expect(Buffer.from(key.exposePkcs8()).toString('base64')).toBe(RFC_8410_V1);
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const pem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
    const { message } = await failure('ERR_KEY_UNSUPPORTED', () => loadPkcs8Pem(pem, engine));
    expect(message).toContain('EC key (P-256)');
  });

  test('a cost that scrypt does not have is an error', async () => {
    const cost = { cost: 1000, blockSize: 8, parallelization: 1 };
    await expect(engine.scrypt(utf8(''), { ...cost, salt: utf8(''), length: 32 })).rejects.toThrow();
  });

  test('a signer can be used many times at once', async () => {
    const signer = localSigner(await rsaKey(), engine);
    const signatures = await Promise.all(Array.from({ length: 8 }, () => signer.sign(utf8('same'))));
    expect(new Set(signatures.map(String)).size).toBe(1);
  });
});

test('numbers that pass for primes are prime', async () => {
  // A Mersenne prime, a Carmichael number (Chernick), and a strong pseudoprime to the bases 2 to 37 (Jaeschke).
  const prime = (1n << 521n) - 1n;
  const chernick = 1729n * 294_409n;
  for (const { isProbablePrime } of ENGINES) {
    expect(await isProbablePrime(prime)).toBe(true);
    expect(await isProbablePrime(prime - 2n)).toBe(false);
    expect(await isProbablePrime(chernick)).toBe(false);
  }
  const pause = vi.fn(async () => {});
  const options = { randomBytes: native.randomBytes, pause };
  expect(await passesMillerRabin(3_317_044_064_679_887_385_961_981n, { ...options, rounds: 20 })).toBe(false);
  pause.mockClear();
  expect(await passesMillerRabin((1n << 2203n) - 1n, { ...options, rounds: 2 })).toBe(true);
  expect(pause).toHaveBeenCalledTimes(2);
});

test('bytes and numbers turn into each other', () => {
  expect(bytesToBigInt(new Uint8Array())).toBe(0n);
  expect(bigIntToBytes(0n)).toEqual(Uint8Array.of(0));
  expect(bigIntToBytes(0n, 2)).toEqual(Uint8Array.of(0, 0));
  expect(bigIntToBytes(0x1ffn)).toEqual(Uint8Array.of(1, 255));
  expect(bigIntToBytes(0x1ffn, 4)).toEqual(Uint8Array.of(0, 0, 1, 255));
  expect(() => bigIntToBytes(0x1ffn, 1)).toThrow(RangeError);
  expect(() => bigIntToBytes(-1n)).toThrow(RangeError);
  for (const bits of [0, 1, 2, 3, 4, 5, 8, 9, 2048]) expect(bitLength((1n << BigInt(bits)) - 1n)).toBe(bits);
  expect(modPow(5n, 117n, 19n)).toBe(1n);
});

test('a private key shows nothing of itself', async () => {
  for (const key of [await generateKeyPair(), await rsaKey()]) {
    const secret = key.exposePkcs8();
    const canaries = [
      Buffer.from(secret).toString('base64').slice(24, 60),
      Buffer.from(secret).toString('hex').slice(40, 80),
      secret.slice(-20).join(', '),
    ];
    const signer = localSigner(key);
    const shown = [
      ...[key, signer, { key }].flatMap((value) => [
        inspect(value, { depth: 9, showHidden: true }),
        JSON.stringify(value),
        String(value),
      ]),
      JSON.stringify({ ...key }),
    ].join('\n');
    for (const canary of canaries) expect(shown).not.toContain(canary);
    expect(String(key)).toBe(`[PrivateKey ${key.algorithm}]`);
    expect(key).toBeInstanceOf(PrivateKey);
  }
});

test('a nonce is 24 hexadecimal digits, each a new one', () => {
  const nonces = new Set(Array.from({ length: 2000 }, () => randomNonce()));
  expect(nonces.size).toBe(2000);
  for (const nonce of nonces) expect(nonce).toMatch(/^[0-9a-f]{24}$/);
});

test('only reveal shows a wrapped secret', () => {
  const secret = toSecret('hunter2-canary');
  expect(toSecret(secret)).toBe(secret);
  expect(secret.reveal()).toBe('hunter2-canary');
  const shown = [inspect({ secret }, { showHidden: true }), JSON.stringify({ secret }), `${secret}`, { ...secret }];
  expect(JSON.stringify(shown)).not.toContain('canary');
  expect(`${secret}`).toBe('[secret]');
});

test('the readers and writers of other formats are within reach', async () => {
  const key = await generateKeyPair();
  const jwk = await serialisePrivateKey(key, { format: 'jwk' });
  expect((await parsePrivateKey(jwk)).publicKey.equals(key.publicKey)).toBe(true);
  const line = await serialisePublicKey(key.publicKey, { format: 'ssh' });
  expect((await parsePublicKey(line)).equals(key.publicKey)).toBe(true);
  expect(await inspectKey(line)).toEqual({ kind: 'public', format: 'ssh', encrypted: false });
});

test('changing what was given out does not change the key', async () => {
  const key = await generateKeyPair();
  const before = fingerprint(key);
  key.publicKey.spki.fill(0);
  key.exposePkcs8().fill(0);
  expect(fingerprint(key)).toBe(before);
  expect((await loadPkcs8Pem(encodePrivateKeyPem(key))).publicKey.equals(key.publicKey)).toBe(true);
});
