import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { privateKeyFromEd25519Seed } from '../../../src/crypto/build-keys.js';
import { concatBytes } from '../../../src/crypto/bytes.js';
import type { Engine } from '../../../src/crypto/engine/engine.js';
import { encryptPkcs8 } from '../../../src/crypto/formats/encrypted-pkcs8.js';
import {
  parsePrivateKey,
  parsePublicKey,
  serialisePrivateKey,
  serialisePublicKey,
} from '../../../src/crypto/formats/index.js';
import { PrivateKey, PublicKey } from '../../../src/crypto/keys.js';
import { encodePem } from '../../../src/crypto/pem.js';
import { DeribitKeysError } from '../../../src/errors.js';
import { propertyRuns } from '../../support/properties.js';
import { rsaKey } from '../support.js';
import { ENGINES, hasOpenssl, hasSshKeygen, native, readText, run, temporaryFolder } from './support.js';

const seeds = fc.uint8Array({ minLength: 32, maxLength: 32 });
const passphrases = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 });
const comments = fc.string({ maxLength: 60 }).map((text) => text.replace(/\p{Cc}/gu, '').trim());

describe.each(ENGINES)('parse(serialise(x)) = x, by the $name engine', (engine) => {
  test('for every format of a private key', async () => {
    await fc.assert(
      fc.asyncProperty(seeds, comments, async (seed, comment) => {
        const key = await privateKeyFromEd25519Seed(seed, undefined, engine);
        for (const options of [
          { format: 'pkcs8' },
          { format: 'der' },
          { format: 'jwk' },
          { format: 'openssh', comment },
        ] as const) {
          const again = await parsePrivateKey(await serialisePrivateKey(key, { ...options, engine }), { engine });
          expect(again.exposePkcs8()).toEqual(key.exposePkcs8());
        }
      }),
      { numRuns: propertyRuns(20) },
    );
    const rsa = await rsaKey();
    for (const format of ['pkcs8', 'der', 'jwk', 'openssh', 'pkcs1'] as const) {
      const again = await parsePrivateKey(await serialisePrivateKey(rsa, { format, engine }), { engine });
      expect(again.exposePkcs8()).toEqual(rsa.exposePkcs8());
    }
  });

  test('for every format of a public key', async () => {
    const rsa = await rsaKey();
    await fc.assert(
      fc.asyncProperty(seeds, comments, async (seed, comment) => {
        const key = await privateKeyFromEd25519Seed(seed, undefined, engine);
        for (const { publicKey } of [key, rsa]) {
          for (const options of [
            { format: 'spki' },
            { format: 'der' },
            { format: 'jwk' },
            { format: 'ssh', comment },
          ] as const) {
            const again = await parsePublicKey(await serialisePublicKey(publicKey, options), { engine });
            expect(again.spki).toEqual(publicKey.spki);
          }
        }
      }),
      { numRuns: propertyRuns(20) },
    );
    const again = await parsePublicKey(await serialisePublicKey(rsa.publicKey, { format: 'pkcs1' }));
    expect(again.equals(rsa.publicKey)).toBe(true);
  });

  test.each<readonly [format: string, runs: number, encrypt: (key: PrivateKey, passphrase: string) => Promise<string>]>(
    [
      [
        'pkcs8',
        10,
        async (key, passphrase) =>
          encodePem(
            'ENCRYPTED PRIVATE KEY',
            await encryptPkcs8(key.exposePkcs8(), { passphrase, iterations: 1_000 }, engine),
          ),
      ],
      // each takes many rounds of bcrypt
      [
        'openssh',
        1,
        async (key, passphrase) => String(await serialisePrivateKey(key, { format: 'openssh', passphrase, engine })),
      ],
    ],
  )('for an encrypted %s file, under any passphrase', async (_format, runs, encrypt) => {
    await fc.assert(
      fc.asyncProperty(seeds, passphrases, async (seed, passphrase) => {
        const key = await privateKeyFromEd25519Seed(seed, undefined, engine);
        const again = await parsePrivateKey(await encrypt(key, passphrase), { passphrase, engine });
        expect(again.exposePkcs8()).toEqual(key.exposePkcs8());
      }),
      { numRuns: propertyRuns(runs) },
    );
  });
});

type Mutation = (bytes: Uint8Array, others: readonly Uint8Array[]) => Uint8Array;

/** Flips a bit, cuts, inserts, doubles a stretch, overwrites it, or puts the front of one file before the end of another. */
const mutations: fc.Arbitrary<Mutation> = fc
  .tuple(
    fc.nat(5),
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.uint8Array({ minLength: 1, maxLength: 8 }),
  )
  .map(([kind, a, b, noise]) => (bytes, others) => {
    const at = Math.min(Math.floor(a * bytes.length), bytes.length - 1);
    const to = at + Math.floor(b * (bytes.length - at));
    const head = bytes.slice(0, at);
    switch (kind) {
      case 0: {
        const flipped = bytes.slice();
        flipped[at] = (flipped[at] ?? 0) ^ (1 << ((noise[0] ?? 0) & 7));
        return flipped;
      }
      case 1:
        return concatBytes(head, bytes.slice(to));
      case 2:
        return concatBytes(head, noise, bytes.slice(at));
      case 3:
        return concatBytes(bytes.slice(0, to), bytes.slice(at));
      case 4:
        return concatBytes(head, noise, bytes.slice(at + noise.length));
      default: {
        const other = others[(noise[0] ?? 0) % others.length] ?? bytes;
        return concatBytes(head, other.slice(Math.floor(b * other.length)));
      }
    }
  });

describe('any mutation of any file is refused with a reason or read as a valid key', async () => {
  const key = await privateKeyFromEd25519Seed(new Uint8Array(32).fill(5));
  const rsa = await rsaKey();
  const utf8 = (content: string | Uint8Array) =>
    typeof content === 'string' ? new TextEncoder().encode(content) : content;
  const files: [name: string, bytes: Uint8Array][] = [];
  for (const [name, each] of [
    ['Ed25519', key],
    ['RSA', rsa],
  ] as const) {
    for (const format of ['pkcs8', 'der', 'jwk', 'openssh', ...(each === rsa ? (['pkcs1'] as const) : [])] as const) {
      files.push([`${name} ${format}`, utf8(await serialisePrivateKey(each, { format }))]);
    }
    for (const format of ['spki', 'der', 'ssh', 'jwk'] as const) {
      files.push([`${name} public ${format}`, utf8(await serialisePublicKey(each.publicKey, { format }))]);
    }
    files.push([
      `${name} encrypted DER`,
      await encryptPkcs8(each.exposePkcs8(), { passphrase: 'p', iterations: 1_000 }, native),
    ]);
    files.push([
      `${name} encrypted PEM`,
      utf8(
        encodePem(
          'ENCRYPTED PRIVATE KEY',
          await encryptPkcs8(each.exposePkcs8(), { passphrase: 'p', iterations: 1_000 }, native),
        ),
      ),
    ]);
    if (!hasOpenssl) continue;
    const pem = await serialisePrivateKey(each, { format: 'pkcs8' });
    files.push([
      `${name} PBES1`,
      run('openssl', ['pkcs8', '-topk8', '-v1', 'PBE-SHA1-3DES', '-passout', 'pass:p', '-outform', 'DER'], pem),
    ]);
    files.push([
      `${name} scrypt`,
      run('openssl', ['pkcs8', '-topk8', '-scrypt', '-scrypt_N', '16', '-passout', 'pass:p', '-outform', 'DER'], pem),
    ]);
    if (each === rsa)
      files.push(['RSA DEK-Info', run('openssl', ['rsa', '-traditional', '-aes128', '-passout', 'pass:p'], pem)]);
  }
  if (hasSshKeygen) {
    const folder = temporaryFolder();
    run('ssh-keygen', ['-q', '-t', 'ed25519', '-a', '1', '-N', 'p', '-f', `${folder}/key`]);
    files.push(['Ed25519 encrypted openssh', utf8(readText(folder, 'key'))]);
  }
  const all = files.map(([, bytes]) => bytes);

  // What a mutated file asks of a derivation is bounded by the caps; the derivation itself is not what is tested here.
  const cheap: Engine = {
    ...native,
    pbkdf2: (password, parameters) =>
      native.pbkdf2(password, { ...parameters, iterations: Math.min(parameters.iterations, 1_000) }),
    scrypt: (password, parameters) =>
      native.scrypt(password, { ...parameters, cost: parameters.cost > 1024 ? 16 : parameters.cost }),
    bcryptPbkdf: (password, parameters) =>
      native.bcryptPbkdf(password, { ...parameters, rounds: Math.min(parameters.rounds, 2) }),
  };

  test.each(files)('%s', async (_, bytes) => {
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(mutations, { minLength: 1, maxLength: 3 }), async (steps) => {
        const mutated = steps.reduce((current, step) => (current.length > 0 ? step(current, all) : current), bytes);
        for (const parse of [parsePrivateKey, parsePublicKey]) {
          const outcome: unknown = await parse(mutated, { passphrase: 'p', engine: cheap }).catch(
            (error: unknown) => error,
          );
          if (outcome instanceof DeribitKeysError) {
            refused++;
            expect(outcome.hint).toMatch(/\S/);
          } else {
            expect(outcome instanceof PrivateKey || outcome instanceof PublicKey, String(outcome)).toBe(true);
          }
        }
      }),
      { numRuns: propertyRuns(25) },
    );
    expect(refused).toBeGreaterThan(0);
  });
});
