import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { ed25519Pkcs8, ed25519Spki } from '../../src/crypto/asn1/key-der.js';
import { parsePrivateKey, serialisePrivateKey } from '../../src/crypto/formats/index.js';
import { generateKeyPair } from '../../src/crypto/generate.js';
import { PrivateKey, PublicKey } from '../../src/crypto/keys.js';
import { localSigner } from '../../src/crypto/signer.js';
import { failure, native, portable, rsaKey, utf8 } from './support.js';

const { subtle } = globalThis.crypto;

/** WebCrypto without the algorithms that `refuses` names: it throws what browsers throw. */
function lacking(refuses: (algorithm: string, keyLength: number) => boolean): void {
  const importKey = subtle.importKey.bind(subtle) as (...args: readonly unknown[]) => Promise<CryptoKey>;
  vi.spyOn(subtle, 'importKey').mockImplementation(async (...args: readonly unknown[]) => {
    const [, data, algorithm] = args as readonly [string, Uint8Array, string | { readonly name: string }];
    const name = typeof algorithm === 'string' ? algorithm : algorithm.name;
    if (refuses(name, data.byteLength)) throw new DOMException('Unrecognized algorithm', 'NotSupportedError');
    return importKey(...args);
  });
}

type CryptoKey = Awaited<ReturnType<typeof subtle.importKey>>;

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const seed = new Uint8Array(32).fill(9);
const message = utf8('1576074319000\nabc\n');

describe('the portable engine', () => {
  test('signs with Ed25519 by WebCrypto where the platform has it, and the same without', async () => {
    const sign = vi.spyOn(subtle, 'sign');
    const publicKey = await portable.ed25519PublicKey(seed);
    const key = new PrivateKey(new PublicKey('ed25519', null, ed25519Spki(publicKey)), ed25519Pkcs8(seed));
    const signature = await portable.signer(key)(message);
    expect(sign).toHaveBeenCalledTimes(1);
    lacking((name) => name === 'Ed25519');
    expect(await portable.ed25519PublicKey(seed)).toEqual(publicKey);
    expect(await portable.signer(key)(message)).toEqual(signature);
    expect(sign).toHaveBeenCalledTimes(1);
    expect(await native.ed25519PublicKey(seed)).toEqual(publicKey);
    expect(await native.signer(key)(message)).toEqual(signature);
  });

  test('signs with RSA by WebCrypto, and by node-forge where the platform does not take the key', async () => {
    const key = await rsaKey();
    const sign = vi.spyOn(subtle, 'sign');
    const signature = await localSigner(key, portable).sign(message);
    expect(sign).toHaveBeenCalledTimes(1);
    lacking((name) => name === 'RSASSA-PKCS1-v1_5');
    expect(await localSigner(key, portable).sign(message)).toEqual(signature);
    expect(sign).toHaveBeenCalledTimes(1);
    expect(await native.verify(key.publicKey, message, signature)).toBe(true);
  });

  test('encrypts with AES-192, which Chromium does not have, by node-forge', async () => {
    const [key, iv, data] = [
      new Uint8Array(24).fill(1),
      new Uint8Array(16).fill(2),
      utf8('some data of 27 characters.'),
    ];
    lacking((name, length) => name.startsWith('AES') && length === 24);
    const encrypted = await portable.aesCbcEncrypt(key, iv, data);
    expect(encrypted).toEqual(await native.aesCbcEncrypt(key, iv, data));
    expect(await portable.aesCbcDecrypt(key, iv, encrypted)).toEqual(data);
    expect(await portable.aesCbcDecryptBlocks(key, iv, encrypted)).toEqual(
      await native.aesCbcDecryptBlocks(key, iv, encrypted),
    );
    expect(await portable.aesCtr(key, iv, data)).toEqual(await native.aesCtr(key, iv, data));
    expect(await portable.aesCbcDecrypt(key, iv, new Uint8Array(32))).toBeNull();
  });

  test('names a page without a secure context, whatever is done', async () => {
    const key = await generateKeyPair({}, native);
    const text = await serialisePrivateKey(key, { format: 'pkcs8', passphrase: 'p', engine: native });
    vi.stubGlobal('crypto', { getRandomValues: globalThis.crypto.getRandomValues.bind(globalThis.crypto) });
    for (const run of [
      () => generateKeyPair({}, portable),
      () => generateKeyPair({ type: 'rsa', bits: 2048 }, portable),
      () => localSigner(key, portable).sign(message),
      () => parsePrivateKey(text, { passphrase: 'p', engine: portable }),
      () => portable.sha256(message),
      () => portable.hmacSha256(seed, message),
      () => portable.aesCtr(seed, new Uint8Array(16), message),
      () => portable.verify(key.publicKey, message, new Uint8Array(64)),
    ]) {
      const error = await failure('ERR_USAGE', run);
      expect(error.message).toMatch(/crypto\.subtle.*not a secure context/);
      expect(error.hint).toMatch(/https:/);
    }
  });

  test('names a platform that refuses so many iterations of PBKDF2', async () => {
    const key = await generateKeyPair({}, native);
    const passphrase = randomUUID();
    const text = await serialisePrivateKey(key, { format: 'pkcs8', passphrase, engine: native });
    vi.spyOn(subtle, 'deriveBits').mockRejectedValue(
      new DOMException('Pbkdf2 failed: iteration counts above 100000 are not supported', 'NotSupportedError'),
    );
    const error = await failure('ERR_KEY_UNSUPPORTED', () => parsePrivateKey(text, { passphrase, engine: portable }));
    expect(error.message).toBe('PBKDF2 of 600000 iterations is refused by the WebCrypto of this platform');
    expect(error.hint).toContain('Workers');
  });
});
