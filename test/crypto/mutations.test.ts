import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodePkcs8, decodeSpki } from '../../src/crypto/asn1/spki-pkcs8.js';
import { generateKeyPair } from '../../src/crypto/generate.js';
import type { PrivateKey } from '../../src/crypto/keys.js';
import { decodePem, encodePrivateKeyPem, encodePublicKeyPem, loadPkcs8Pem } from '../../src/crypto/pem.js';
import { localSigner } from '../../src/crypto/signer.js';
import { isDeribitKeysError } from '../../src/errors.js';
import { propertyRuns } from '../support/properties.js';
import { ENGINES, rsaKey, utf8 } from './support.js';

type Mutation = (data: Uint8Array) => Uint8Array;

const position = fc.nat(100_000);
const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.tuple(position, fc.integer({ min: 1, max: 255 })).map(
    ([at, flip]): Mutation =>
      (data) =>
        data.map((byte, i) => (i === at % data.length ? byte ^ flip : byte)),
  ),
  position.map(
    (at): Mutation =>
      (data) =>
        data.slice(0, at % data.length),
  ),
  position.map(
    (at): Mutation =>
      (data) =>
        Uint8Array.from([...data].filter((_, i) => i !== at % data.length)),
  ),
  fc.tuple(position, fc.nat(255)).map(
    ([at, byte]): Mutation =>
      (data) =>
        Uint8Array.from([...data].toSpliced(at % (data.length + 1), 0, byte)),
  ),
  fc.tuple(position, position).map(
    ([from, to]): Mutation =>
      (data) =>
        Uint8Array.from([...data, ...data.slice(from % data.length, to % data.length)]),
  ),
);

const REFUSALS = ['ERR_KEY_UNREADABLE', 'ERR_KEY_UNSUPPORTED', 'ERR_KEY_INVALID'] as const;

/** What `read` returns, or null where it refuses with an error of ours; any other error fails the test. */
async function readOrRefused<T>(read: () => T | Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (isDeribitKeysError(error, ...REFUSALS)) return null;
    throw error;
  }
}

const KEYS: readonly (readonly [string, () => Promise<PrivateKey>])[] = [
  ['Ed25519', () => generateKeyPair()],
  ['RSA', () => rsaKey()],
];

describe.each(ENGINES)('on the $name engine', (engine) => {
  test.each(KEYS)(
    'a changed %s private key is refused, or is a key that signs for its public half',
    async (_, make) => {
      const original = await make();
      const der = original.exposePkcs8();
      const message = utf8('message');
      let refused = 0;
      await fc.assert(
        fc.asyncProperty(mutation, async (mutate) => {
          const key = await readOrRefused(() => decodePkcs8(mutate(der), engine));
          if (key === null) {
            refused++;
            return;
          }
          const signature = await localSigner(key, engine).sign(message);
          expect(await engine.verify(key.publicKey, message, signature)).toBe(true);
        }),
        { numRuns: propertyRuns(75) },
      );
      expect(refused).toBeGreaterThan(10);
    },
  );

  test.each(KEYS)(
    'a changed %s PEM is loaded quickly exactly where it is read slowly, as the same key',
    async (_, make) => {
      const pem = utf8(encodePrivateKeyPem(await make()));
      await fc.assert(
        fc.asyncProperty(mutation, async (mutate) => {
          const text = new TextDecoder().decode(mutate(pem));
          const quick = await readOrRefused(() => loadPkcs8Pem(text, engine));
          const slow = await readOrRefused(async () => {
            const blocks = decodePem(text);
            const [block] = blocks;
            const plain = blocks.length === 1 && block?.label === 'PRIVATE KEY' && block.headers.size === 0;
            return plain ? decodePkcs8(block.bytes, engine) : null;
          });
          expect(quick === null).toBe(slow === null);
          if (quick !== null && slow !== null) expect(quick.exposePkcs8()).toEqual(slow.exposePkcs8());
        }),
        { numRuns: propertyRuns(75) },
      );
    },
  );
});

test.each(KEYS)('a changed %s public key is refused, or is written as it was read', async (_, make) => {
  const { spki } = (await make()).publicKey;
  await fc.assert(
    fc.asyncProperty(mutation, async (mutate) => {
      const changed = mutate(spki);
      const key = await readOrRefused(() => decodeSpki(changed));
      if (key !== null) expect(key.spki).toEqual(changed);
    }),
    { numRuns: propertyRuns(200) },
  );
});

test.each(KEYS)('a changed public %s PEM is refused or read', async (_, make) => {
  const pem = utf8(encodePublicKeyPem((await make()).publicKey));
  await fc.assert(
    fc.asyncProperty(mutation, async (mutate) => {
      await readOrRefused(() => decodePem(new TextDecoder().decode(mutate(pem))).map(({ bytes }) => decodeSpki(bytes)));
    }),
    { numRuns: propertyRuns(200) },
  );
});
