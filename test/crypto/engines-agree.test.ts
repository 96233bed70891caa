import { etc, Point, verifyAsync } from '@noble/ed25519';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { privateKeyFromEd25519Seed, publicKeyFromEd25519, publicKeyFromRsa } from '../../src/crypto/build-keys.js';
import { concatBytes } from '../../src/crypto/bytes.js';
import type { PbkdfHash } from '../../src/crypto/engine/engine.js';
import type { PublicKey } from '../../src/crypto/keys.js';
import { localSigner } from '../../src/crypto/signer.js';
import { propertyRuns } from '../support/properties.js';
import { hex, native, portable, rsaKey, utf8 } from './support.js';

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const message = fc.uint8Array({ maxLength: 300 });

describe('what one engine signs, the other verifies', () => {
  test('for Ed25519, with the same signature from both', async () => {
    await fc.assert(
      fc.asyncProperty(bytes(32), message, async (seed, data) => {
        const key = await privateKeyFromEd25519Seed(seed, undefined, portable);
        expect((await privateKeyFromEd25519Seed(seed, undefined, native)).publicKey.equals(key.publicKey)).toBe(true);
        const signature = await localSigner(key, native).sign(data);
        expect(await localSigner(key, portable).sign(data)).toEqual(signature);
        expect(await portable.verify(key.publicKey, data, signature)).toBe(true);
        expect(await native.verify(key.publicKey, data, signature)).toBe(true);
        expect(publicKeyFromEd25519(key.publicKey.spki.slice(-32)).equals(key.publicKey)).toBe(true);
      }),
      { numRuns: propertyRuns(25) },
    );
  });

  test.each([2048, 3072, 4096] as const)('for RSA of %i bits, with the same signature from both', async (bits) => {
    const key = await rsaKey(bits);
    const [ours, theirs] = [localSigner(key, native), localSigner(key, portable)];
    await fc.assert(
      fc.asyncProperty(message, async (data) => {
        const signature = await ours.sign(data);
        expect(signature.length).toBe(bits / 8);
        expect(await theirs.sign(data)).toEqual(signature);
        expect(await portable.verify(key.publicKey, data, signature)).toBe(true);
        expect(await native.verify(key.publicKey, data, signature)).toBe(true);
      }),
      { numRuns: propertyRuns(bits === 2048 ? 8 : 2) },
    );
  });
});

describe('a signature that was changed is refused by both engines', () => {
  test.each(['ed25519', 'rsa'] as const)('for %s', async (type) => {
    const key = type === 'rsa' ? await rsaKey() : await privateKeyFromEd25519Seed(new Uint8Array(32).fill(7));
    const data = utf8('1576074319000\nnonce\n');
    const signature = await localSigner(key).sign(data);
    await fc.assert(
      fc.asyncProperty(fc.nat(signature.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const changed = signature.map((byte, i) => (i === at ? byte ^ flip : byte));
        expect(await native.verify(key.publicKey, data, changed)).toBe(false);
        expect(await portable.verify(key.publicKey, data, changed)).toBe(false);
      }),
      { numRuns: propertyRuns(30) },
    );
    for (const wrongLength of [new Uint8Array(), signature.slice(1), concatBytes(Uint8Array.of(0), signature)]) {
      expect(await native.verify(key.publicKey, data, wrongLength)).toBe(false);
      expect(await portable.verify(key.publicKey, data, wrongLength)).toBe(false);
    }
  });

  test('for an RSA signature that is not below the modulus', async () => {
    const publicKey = keyOfNobody();
    const tooLarge = new Uint8Array(256).fill(0xff);
    expect(await native.verify(publicKey, utf8(''), tooLarge)).toBe(false);
    expect(await portable.verify(publicKey, utf8(''), tooLarge)).toBe(false);
  });

  test('for an Ed25519 signature that only the equation with the cofactor accepts', async () => {
    const seed = new Uint8Array(32).fill(9);
    const key = await privateKeyFromEd25519Seed(seed);
    const data = utf8('torsion');
    const raw = key.publicKey.spki.slice(-32);
    const signature = await cofactoredSignature(raw, await secretScalar(seed), data);
    expect(await verifyAsync(signature, data, raw, { zip215: false })).toBe(true);
    expect(await native.verify(key.publicKey, data, signature)).toBe(false);
    expect(await portable.verify(key.publicKey, data, signature)).toBe(false);
  });
});

/** A signature whose R has a part of order 8 added: valid under [8][S]B = [8]R + [8][k]A, not without the eights. */
async function cofactoredSignature(publicKey: Uint8Array, secret: bigint, data: Uint8Array): Promise<Uint8Array> {
  const order8 = Point.fromHex('c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a', true);
  const nonce = 123_456_789n;
  const { n: order } = Point.CURVE();
  const r = Point.BASE.multiply(nonce).add(order8).toBytes();
  const k = littleEndian(await sha512(concatBytes(r, publicKey, data))) % order;
  const s = (nonce + k * secret) % order;
  return concatBytes(
    r,
    Uint8Array.from({ length: 32 }, (_, i) => Number((s >> BigInt(8 * i)) & 255n)),
  );
}

async function secretScalar(seed: Uint8Array): Promise<bigint> {
  const half = (await sha512(seed)).slice(0, 32);
  half[0] = (half[0] ?? 0) & 248;
  half[31] = ((half[31] ?? 0) & 63) | 64;
  return littleEndian(half) % Point.CURVE().n;
}

async function sha512(data: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-512', new Uint8Array(data)));
}

function littleEndian(data: Uint8Array): bigint {
  return BigInt(`0x${etc.bytesToHex(data.slice().reverse())}`);
}

function keyOfNobody(): PublicKey {
  // Any odd number without small factors serves as a modulus that nobody can sign for.
  let n = (1n << 2047n) + 1n;
  for (;;) {
    try {
      return publicKeyFromRsa({ n, e: 3n });
    } catch {
      n += 2n;
    }
  }
}

describe('key derivation is the same on both engines', () => {
  const hashes: readonly PbkdfHash[] = ['sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'sha512-224', 'sha512-256'];

  test.each(hashes)('PBKDF2 with %s', async (hash) => {
    const run = (engine: typeof native) =>
      engine.pbkdf2(utf8('pässword'), { hash, salt: hex('0011223344556677'), iterations: 1000, length: 40 });
    expect(await run(portable)).toEqual(await run(native));
  });

  test('scrypt', async () => {
    const cost = { cost: 2048, blockSize: 8, parallelization: 2 };
    const run = (engine: typeof native) => engine.scrypt(utf8('secret'), { ...cost, salt: hex('00aa'), length: 48 });
    expect(await run(portable)).toEqual(await run(native));
  });
});

describe('ciphers are the same on both engines', () => {
  const key = fc.oneof(bytes(16), bytes(24), bytes(32));

  test('AES-CBC decrypts what either encrypted, and both tell a wrong key by the padding', async () => {
    await fc.assert(
      fc.asyncProperty(key, bytes(16), fc.uint8Array({ maxLength: 200 }), fc.nat(31), async (secret, iv, data, at) => {
        const encrypted = await native.aesCbcEncrypt(secret, iv, data);
        expect(await portable.aesCbcEncrypt(secret, iv, data)).toEqual(encrypted);
        const wrong = secret.map((byte, i) => (i === at % secret.length ? byte ^ 1 : byte));
        for (const decrypt of ['aesCbcDecrypt', 'aesCbcDecryptBlocks'] as const) {
          expect(await portable[decrypt](wrong, iv, encrypted)).toEqual(await native[decrypt](wrong, iv, encrypted));
        }
        for (const engine of [native, portable]) {
          expect(await engine.aesCbcDecrypt(secret, iv, encrypted)).toEqual(data);
          expect((await engine.aesCbcDecryptBlocks(secret, iv, encrypted))?.slice(0, data.length)).toEqual(data);
        }
      }),
    );
  });

  test('AES-CTR encrypts and decrypts the same, also with a counter that overflows', async () => {
    await fc.assert(
      fc.asyncProperty(
        key,
        fc.oneof(bytes(16), fc.constant(new Uint8Array(16).fill(0xff))),
        message,
        async (secret, iv, data) => {
          const encrypted = await native.aesCtr(secret, iv, data);
          expect(await portable.aesCtr(secret, iv, data)).toEqual(encrypted);
          expect(await native.aesCtr(secret, iv, encrypted)).toEqual(data);
          expect(await portable.aesCtr(secret, iv, encrypted)).toEqual(data);
        },
      ),
    );
  });

  test('triple DES decrypts any data the same', async () => {
    await fc.assert(
      fc.asyncProperty(bytes(24), bytes(8), fc.integer({ min: 1, max: 20 }), async (secret, iv, blocks) => {
        const data = native.randomBytes(8 * blocks);
        const expected = await native.tripleDesCbcDecrypt(secret, iv, data);
        expect(await portable.tripleDesCbcDecrypt(secret, iv, data)).toEqual(expected);
      }),
    );
  });

  test('triple DES decrypts what openssl encrypted', async () => {
    // openssl enc -des-ede3-cbc -K 0123456789abcdeffedcba98765432101122334455667788 -iv 0001020304050607, of "deribit"
    const secret = hex('0123456789abcdeffedcba98765432101122334455667788');
    for (const engine of [native, portable]) {
      const plain = await engine.tripleDesCbcDecrypt(secret, hex('0001020304050607'), hex(TRIPLE_DES));
      expect(plain).toEqual(utf8('deribit'));
    }
  });

  test.each([native, portable])(
    'data that is not made of complete blocks is null on the $name engine',
    async (engine) => {
      for (const data of [new Uint8Array(), new Uint8Array(15), new Uint8Array(17)]) {
        expect(await engine.aesCbcDecrypt(new Uint8Array(16), new Uint8Array(16), data)).toBeNull();
        expect(await engine.aesCbcDecryptBlocks(new Uint8Array(16), new Uint8Array(16), data)).toBeNull();
        expect(await engine.tripleDesCbcDecrypt(new Uint8Array(24), new Uint8Array(8), data)).toBeNull();
      }
    },
  );
});

const TRIPLE_DES = 'db7ece2ecc466639';
