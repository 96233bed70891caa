import { describe, expect, test } from 'vitest';
import { privateKeyFromEd25519Seed, privateNumbers } from '../../../src/crypto/build-keys.js';
import { concatBytes, uint32Bytes } from '../../../src/crypto/bytes.js';
import { parsePrivateKey, parsePublicKey } from '../../../src/crypto/formats/index.js';
import { wireMpint, wireString } from '../../../src/crypto/formats/ssh-public.js';
import { rsaKey } from '../support.js';
import { expectRefusal } from './support.js';

const key = await privateKeyFromEd25519Seed(new Uint8Array(32).fill(1));
const other = await privateKeyFromEd25519Seed(new Uint8Array(32).fill(2));
const rsa = await rsaKey();

describe('an OpenSSH key', () => {
  const raw = (of: typeof key) => of.publicKey.spki.slice(-32);
  const seed = (of: typeof key) => of.exposePkcs8().slice(-32);
  const blob = (of: typeof key) => concatBytes(wireString('ssh-ed25519'), wireString(raw(of)));
  interface Parts {
    readonly cipher?: string;
    readonly kdf?: string;
    readonly kdfOptions?: Uint8Array;
    readonly count?: number;
    readonly publicBlob?: Uint8Array;
    readonly checks?: readonly [number, number];
    readonly numbers?: Uint8Array;
    readonly padding?: readonly number[];
    readonly trailing?: Uint8Array;
  }
  const numbersOf = (of: typeof key, publicHalf = raw(of), innerHalf = publicHalf) =>
    concatBytes(wireString('ssh-ed25519'), wireString(publicHalf), wireString(concatBytes(seed(of), innerHalf)));
  const build = (parts: Parts): Uint8Array => {
    const [a, b] = parts.checks ?? [7, 7];
    const content = concatBytes(uint32Bytes(a), uint32Bytes(b), parts.numbers ?? numbersOf(key), wireString(''));
    const padding = parts.padding ?? Array.from({ length: -content.length & 7 }, (_, i) => i + 1);
    return concatBytes(
      new TextEncoder().encode('openssh-key-v1\0'),
      wireString(parts.cipher ?? 'none'),
      wireString(parts.kdf ?? 'none'),
      wireString(parts.kdfOptions ?? ''),
      uint32Bytes(parts.count ?? 1),
      wireString(parts.publicBlob ?? blob(key)),
      wireString(concatBytes(content, Uint8Array.from(padding))),
      parts.trailing ?? new Uint8Array(),
    );
  };

  test('as built here is read', async () => {
    expect((await parsePrivateKey(build({}))).publicKey.equals(key.publicKey)).toBe(true);
    const pem = `-----BEGIN OPENSSH PRIVATE KEY-----\n${Buffer.from(build({})).toString('base64')}\n-----END OPENSSH PRIVATE KEY-----`;
    expect((await parsePrivateKey(pem)).publicKey.equals(key.publicKey)).toBe(true);
  });

  const { n, e, d, p, q, qi } = (() => {
    const numbers = privateNumbers(rsa);
    if (numbers.algorithm !== 'rsa') throw new Error('not an RSA key');
    return numbers;
  })();
  const rsaBlob = concatBytes(wireString('ssh-rsa'), wireMpint(e), wireMpint(n));
  const rsaNumbers = (...values: readonly bigint[]) => concatBytes(wireString('ssh-rsa'), ...values.map(wireMpint));

  test.each<readonly [string, Parts, 'ERR_KEY_UNREADABLE' | 'ERR_KEY_INVALID' | 'ERR_KEY_UNSUPPORTED', RegExp]>([
    ['two keys', { count: 2 }, 'ERR_KEY_UNSUPPORTED', /^OpenSSH file of 2 keys/],
    ['no keys', { count: 0 }, 'ERR_KEY_UNSUPPORTED', /^OpenSSH file of 0 keys/],
    ['different check numbers', { checks: [1, 2] }, 'ERR_KEY_UNREADABLE', /check numbers differ/],
    ['a wrong padding', { padding: [0, 0, 0, 0, 0] }, 'ERR_KEY_UNREADABLE', /padding is wrong/],
    [
      'too much padding',
      { padding: Array.from({ length: 5 + 16 }, (_, i) => i + 1) },
      'ERR_KEY_UNREADABLE',
      /padding is wrong/,
    ],
    ['data behind it', { trailing: Uint8Array.of(0) }, 'ERR_KEY_UNREADABLE', /bytes follow/],
    ['a derivation without a cipher', { kdf: 'bcrypt' }, 'ERR_KEY_UNSUPPORTED', /encrypted by none with bcrypt/],
    ['options without a derivation', { kdfOptions: Uint8Array.of(1) }, 'ERR_KEY_UNREADABLE', /bytes follow/],
    ['the public key of another', { publicBlob: blob(other) }, 'ERR_KEY_INVALID', /do not belong together/],
    ['the public half of another', { numbers: numbersOf(key, raw(other)) }, 'ERR_KEY_INVALID', /belong/],
    [
      'two public halves',
      { numbers: numbersOf(key, raw(key), raw(other)) },
      'ERR_KEY_INVALID',
      /do not belong together/,
    ],
    [
      'a short public key',
      { publicBlob: concatBytes(wireString('ssh-ed25519'), wireString(new Uint8Array(31))) },
      'ERR_KEY_UNREADABLE',
      /32 bytes, this one 31/,
    ],
    [
      'a short private key',
      { numbers: concatBytes(wireString('ssh-ed25519'), wireString(raw(key)), wireString(seed(key))) },
      'ERR_KEY_UNREADABLE',
      /wrong length/,
    ],
    [
      'data in the public key',
      { publicBlob: concatBytes(blob(key), Uint8Array.of(0)) },
      'ERR_KEY_UNREADABLE',
      /bytes follow/,
    ],
    ['another type inside', { numbers: concatBytes(wireString('ssh-dss')) }, 'ERR_KEY_UNSUPPORTED', /^DSA key/],
    [
      'RSA of wrong d',
      { publicBlob: rsaBlob, numbers: rsaNumbers(n, e, d - 2n, qi, p, q) },
      'ERR_KEY_INVALID',
      /do not belong together/,
    ],
    [
      'RSA of wrong primes',
      { publicBlob: rsaBlob, numbers: rsaNumbers(n, e, d, qi, 1n, q) },
      'ERR_KEY_INVALID',
      /do not belong together/,
    ],
    [
      'RSA of swapped primes',
      { publicBlob: rsaBlob, numbers: rsaNumbers(n, e, d, qi, q, p) },
      'ERR_KEY_INVALID',
      /do not belong together/,
    ],
  ])('with %s is refused', async (_, parts, code, message) => {
    await expectRefusal(parsePrivateKey(build(parts)), code, message);
  });

  test('with numbers that are negative, or longer than needed, is refused', async () => {
    for (const bytes of [Uint8Array.of(), Uint8Array.of(0x80), Uint8Array.of(0), Uint8Array.of(0, 1)]) {
      const line = concatBytes(wireString('ssh-rsa'), wireString(bytes), wireMpint(n));
      await expectRefusal(
        parsePublicKey(`ssh-rsa ${Buffer.from(line).toString('base64')}`),
        'ERR_KEY_UNREADABLE',
        /shortest form/,
      );
    }
  });

  test('whose private part is not a multiple of the block size is refused', async () => {
    await expectRefusal(parsePrivateKey(build({ padding: [] })), 'ERR_KEY_UNREADABLE', /block size/);
    const pem = (bytes: Uint8Array) =>
      `-----BEGIN OPENSSH PRIVATE KEY-----\n${Buffer.from(bytes).toString('base64')}\n-----END OPENSSH PRIVATE KEY-----`;
    await expectRefusal(
      parsePrivateKey(pem(Uint8Array.of(1, 2, 3))),
      'ERR_KEY_UNREADABLE',
      /does not begin with openssh-key-v1/,
    );
  });
});
