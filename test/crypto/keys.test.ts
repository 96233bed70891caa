import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { fingerprint, generateKeyPair, localSigner, PrivateKey, randomNonce } from '../../src/crypto/index.js';
import { encodePrivateKeyPem, loadPkcs8Pem } from '../../src/crypto/key-pem.js';
import { bigIntToBytes, bitLength, bytesToBigInt, modPow } from '../../src/crypto/numbers.js';
import { encodePem } from '../../src/crypto/pem.js';
import { passesMillerRabin } from '../../src/crypto/primes.js';
import { ENGINES, failure, native, rsaKey, utf8 } from './support.js';

describe.each(ENGINES)('on the $name engine', (engine) => {
  test('a generated key is Ed25519 unless another is asked for, and each is a new one', async () => {
    const [first, second] = await Promise.all([generateKeyPair({}, engine), generateKeyPair({}, engine)]);
    expect(first).toMatchObject({ algorithm: 'ed25519', bits: null });
    expect(first.publicKey.equals(second.publicKey)).toBe(false);
    expect(fingerprint(first)).toMatch(/^([0-9a-f]{2}:){15}[0-9a-f]{2}$/);
  });

  test('a generated RSA key has 3072 bits unless others are asked for', async () => {
    expect((await generateKeyPair({ type: 'rsa' }, engine)).bits).toBe(3072);
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

  test('generating an RSA key does not block', async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await generateKeyPair({ type: 'rsa', bits: 4096 }, engine);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(0);
  });

  test('random bytes are as many as asked for, and differ', () => {
    for (const length of [0, 1, 12, 64, 65, 5000]) expect(engine.randomBytes(length).length).toBe(length);
    const seen = new Set(Array.from({ length: 2000 }, () => engine.randomBytes(16).join()));
    expect(seen.size).toBe(2000);
  });

  test('a nonce is 24 hexadecimal digits, each a new one', () => {
    const nonces = new Set(Array.from({ length: 2000 }, () => randomNonce(engine)));
    expect(nonces.size).toBe(2000);
    for (const nonce of nonces) expect(nonce).toMatch(/^[0-9a-f]{24}$/);
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
  expect(passesMillerRabin(3_317_044_064_679_887_385_961_981n, 20, native.randomBytes)).toBe(false);
  expect(passesMillerRabin((1n << 2203n) - 1n, 2, native.randomBytes)).toBe(true);
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

test('changing what was given out does not change the key', async () => {
  const key = await generateKeyPair();
  const before = fingerprint(key);
  key.publicKey.spki.fill(0);
  key.exposePkcs8().fill(0);
  expect(fingerprint(key)).toBe(before);
  expect((await loadPkcs8Pem(encodePrivateKeyPem(key))).publicKey.equals(key.publicKey)).toBe(true);
});
