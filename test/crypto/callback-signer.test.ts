import { createPrivateKey, sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  type CryptoKey,
  callbackSigner,
  cryptoKeySigner,
  encodePublicKeyPem,
  generateKeyPair,
  parsePublicKey,
} from '../../src/crypto/index.js';
import { encodePrivateKeyPem } from '../../src/crypto/pem.js';
import { DeribitKeysError } from '../../src/errors.js';

import { bytes, opensslVerifies } from '../signers/support.js';

async function pair(type: 'ed25519' | 'rsa') {
  const key = await generateKeyPair(type === 'rsa' ? { type, bits: 2048 } : { type });
  const native = createPrivateKey(encodePrivateKeyPem(key));
  return {
    publicKey: key.publicKey,
    signRaw: (message: Uint8Array) => new Uint8Array(sign(type === 'rsa' ? 'sha256' : null, message, native)),
  };
}

describe('callbackSigner', () => {
  it.each(['ed25519', 'rsa'] as const)('is a signer of %s, whose signatures openssl verifies', async (type) => {
    const { publicKey, signRaw } = await pair(type);
    for (const given of [publicKey, encodePublicKeyPem(publicKey), publicKey.spki]) {
      const signer = await callbackSigner({ publicKey: given, sign: async (message) => signRaw(message) });
      expect(signer.algorithm).toBe(type);
      expect(signer.publicKey.equals(publicKey)).toBe(true);
      const signature = await signer.sign(bytes('message'));
      expect(opensslVerifies(publicKey, bytes('message'), signature)).toBe(true);
    }
  });

  it('proves itself once, and hands over each message as it is', async () => {
    const { publicKey, signRaw } = await pair('ed25519');
    const seen: string[] = [];
    const sign = (message: Uint8Array) => {
      seen.push(Buffer.from(message).toString());
      const signature = signRaw(message);
      message.fill(0);
      return signature;
    };
    const signer = await callbackSigner({ publicKey, sign });
    expect(seen).toEqual([expect.stringMatching(/^deribit-keys proof of possession [0-9a-f]{48}$/)]);
    const message = bytes('1\n2\n3');
    await signer.sign(message);
    expect(seen[1]).toBe('1\n2\n3');
    expect(Buffer.from(message).toString()).toBe('1\n2\n3');
  });

  it('refuses a callback that signs with another key', async () => {
    const [one, two] = [await pair('ed25519'), await pair('ed25519')];
    await expect(callbackSigner({ publicKey: one.publicKey, sign: two.signRaw })).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringMatching(/its public key does not verify/),
      hint: expect.stringMatching(/pure Ed25519/),
    });
  });

  it('refuses RSA with another padding', async () => {
    const key = await generateKeyPair({ type: 'rsa', bits: 2048 });
    const native = { key: encodePrivateKeyPem(key), padding: 6, saltLength: 32 };
    const promise = callbackSigner({ publicKey: key.publicKey, sign: (message) => sign('sha256', message, native) });
    await expect(promise).rejects.toMatchObject({ code: 'ERR_SIGNER', hint: expect.stringMatching(/PKCS1-v1_5/) });
  });

  it.each([
    ['text', () => 'c2ln', /signature of type string/],
    ['nothing', () => undefined, /signature of type undefined/],
    ['too few bytes', () => new Uint8Array(63), /63 bytes; those of this key have 64/],
  ])('refuses %s for a signature', async (_what, sign, message) => {
    const { publicKey } = await pair('ed25519');
    await expect(callbackSigner({ publicKey, sign: sign as unknown as () => Uint8Array })).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringMatching(message),
      hint: expect.any(String),
    });
  });

  it('keeps the cause of a failure, and lets an error of ours through', async () => {
    const { publicKey } = await pair('ed25519');
    const cause = new TypeError('fetch failed');
    await expect(callbackSigner({ publicKey, sign: () => Promise.reject(cause) })).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      cause,
    });
    const ours = new DeribitKeysError('ERR_NETWORK', 'the service cannot be reached');
    await expect(callbackSigner({ publicKey, sign: () => Promise.reject(ours) })).rejects.toBe(ours);
  });

  it('refuses what is no function and what is no public key', async () => {
    const { publicKey, signRaw } = await pair('ed25519');
    await expect(callbackSigner({ publicKey, sign: null as unknown as typeof signRaw })).rejects.toMatchObject({
      code: 'ERR_USAGE',
    });
    await expect(callbackSigner({ publicKey: 'hello', sign: signRaw })).rejects.toMatchObject({
      code: 'ERR_KEY_UNREADABLE',
    });
  });
});

describe('cryptoKeySigner', () => {
  const { subtle } = globalThis.crypto;
  const RSA = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  const make = async (algorithm: object | string, extractable = false) =>
    (await subtle.generateKey(algorithm as 'Ed25519', extractable, ['sign', 'verify'])) as CryptoKeyPair;
  const rsaOptions = { ...RSA, modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1) };

  it.each([
    ['ed25519', 'Ed25519'],
    ['rsa', rsaOptions],
  ] as const)('is a signer of %s, whose signatures openssl verifies', async (type, algorithm) => {
    const { privateKey, publicKey } = await make(algorithm);
    const spki = new Uint8Array(await subtle.exportKey('spki', publicKey));
    for (const given of [publicKey, spki, await parsePublicKey(spki)]) {
      const signer = await cryptoKeySigner({ privateKey, publicKey: given });
      expect(signer.algorithm).toBe(type);
      expect(opensslVerifies(signer.publicKey, bytes('message'), await signer.sign(bytes('message')))).toBe(true);
    }
  });

  it('refuses a key of another algorithm, hash or use, and a public key of another', async () => {
    const { privateKey, publicKey } = await make('Ed25519');
    const other = await make('Ed25519');
    const ec = await make({ name: 'ECDSA', namedCurve: 'P-256' });
    const sha1 = await make({ ...rsaOptions, hash: 'SHA-1' });
    for (const wrong of [publicKey, ec.privateKey, sha1.privateKey]) {
      await expect(cryptoKeySigner({ privateKey: wrong, publicKey })).rejects.toMatchObject({ code: 'ERR_USAGE' });
    }
    const mixed = cryptoKeySigner({ privateKey, publicKey: other.publicKey });
    await expect(mixed).rejects.toMatchObject({ code: 'ERR_SIGNER' });
  });
});

type CryptoKeyPair = Readonly<Record<'privateKey' | 'publicKey', CryptoKey>>;
