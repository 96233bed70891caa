import { randomUUID } from 'node:crypto';
import { describe, expect, test, vi } from 'vitest';
import { privateKeyFromEd25519Seed } from '../../../src/crypto/build-keys.js';
import { encryptPkcs8 } from '../../../src/crypto/formats/encrypted-pkcs8.js';
import {
  type PrivateFormat,
  parsePrivateKey,
  serialisePrivateKey,
  serialisePublicKey,
} from '../../../src/crypto/formats/index.js';
import { encodePem } from '../../../src/crypto/pem.js';
import { rsaKey } from '../support.js';
import { ENGINES, expectRefusal, native, REAL_ENGINES } from './support.js';

const key = await privateKeyFromEd25519Seed(new Uint8Array(32).fill(3));
const rsa = await rsaKey();

describe('serialisePrivateKey', () => {
  test.each(['pkcs1', 'jwk', 'der'] as const)(
    'refuses a passphrase for %s, which cannot be encrypted',
    async (format) => {
      await expectRefusal(
        serialisePrivateKey(rsa, { format, passphrase: 'p' }),
        'ERR_USAGE',
        `the format ${format} cannot be encrypted`,
      );
    },
  );

  test.each(['pkcs8', 'openssh', 'jwk'] as const)('refuses an empty passphrase for %s', async (format) => {
    await expectRefusal(serialisePrivateKey(rsa, { format, passphrase: '' }), 'ERR_USAGE', /^the passphrase is empty$/);
  });

  test.each([599_999, 10_000_001, 600_000.5, Number.NaN, -1])('refuses %d iterations', async (iterations) => {
    const options = { format: 'pkcs8', passphrase: 'p', iterations } as const;
    await expectRefusal(serialisePrivateKey(key, options), 'ERR_USAGE', /iterations of PBKDF2/);
  });

  test('refuses iterations where nothing is derived by PBKDF2', async () => {
    for (const options of [{ format: 'pkcs8' }, { format: 'openssh', passphrase: 'p' }] as const) {
      await expectRefusal(
        serialisePrivateKey(key, { ...options, iterations: 700_000 }),
        'ERR_USAGE',
        /not encrypted PKCS#8/,
      );
    }
  });

  test('refuses comments that would break the file, or that the format has no place for', async () => {
    for (const comment of ['two\nlines', 'a\0b', ' padded', 'x'.repeat(1_025)]) {
      await expectRefusal(
        serialisePrivateKey(key, { format: 'openssh', comment }),
        'ERR_USAGE',
        /cannot be written to this key file/,
      );
      await expectRefusal(
        serialisePublicKey(key.publicKey, { format: 'ssh', comment }),
        'ERR_USAGE',
        /cannot be written/,
      );
    }
    await expectRefusal(serialisePrivateKey(key, { format: 'jwk', comment: 'c' }), 'ERR_USAGE', /has no comment/);
    await expectRefusal(
      serialisePublicKey(key.publicKey, { format: 'spki', comment: 'c' }),
      'ERR_USAGE',
      /has no comment/,
    );
  });

  test('refuses PKCS#1 for an Ed25519 key, and formats that there are not', async () => {
    await expectRefusal(serialisePrivateKey(key, { format: 'pkcs1' }), 'ERR_USAGE', /^PKCS#1 holds RSA keys only/);
    await expectRefusal(
      serialisePublicKey(key.publicKey, { format: 'pkcs1' }),
      'ERR_USAGE',
      /^PKCS#1 holds RSA keys only/,
    );
    const unknown = 'ppk' as PrivateFormat;
    await expectRefusal(serialisePrivateKey(key, { format: unknown }), 'ERR_USAGE', /^unknown key format ppk$/);
    await expectRefusal(
      serialisePublicKey(key.publicKey, { format: unknown as 'der' }),
      'ERR_USAGE',
      /^unknown key format ppk$/,
    );
  });

  test('writes DER as bytes and all else as text that ends with a newline', async () => {
    for (const format of ['pkcs8', 'openssh', 'jwk', 'pkcs1'] as const) {
      expect(await serialisePrivateKey(rsa, { format })).toMatch(/[^\n]\n$/);
    }
    for (const format of ['spki', 'ssh', 'jwk', 'pkcs1'] as const) {
      expect(await serialisePublicKey(rsa.publicKey, { format })).toMatch(/[^\n]\n$/);
    }
    expect(await serialisePrivateKey(rsa, { format: 'der' })).toEqual(rsa.exposePkcs8());
    expect(await serialisePublicKey(rsa.publicKey, { format: 'der' })).toEqual(rsa.publicKey.spki);
  });

  test.each(REAL_ENGINES)('takes a fresh salt and vector each time, by the $name engine', async (engine) => {
    const derive = vi.spyOn(engine, 'pbkdf2').mockImplementation(async () => new Uint8Array(32));
    const vectors = vi.spyOn(engine, 'aesCbcEncrypt');
    for (let time = 0; time < 2; time++) await serialisePrivateKey(key, { format: 'pkcs8', passphrase: 'p', engine });
    const drawn = [...derive.mock.calls.map(([, { salt }]) => salt), ...vectors.mock.calls.map(([, iv]) => iv)];
    vi.restoreAllMocks();
    expect(new Set(drawn.map((bytes) => Buffer.from(bytes).toString('hex')))).toHaveLength(4);
  });

  test.each(ENGINES)('derives without blocking the event loop, by the $name engine', async (engine) => {
    for (const format of ['pkcs8', 'openssh'] as const) {
      let turns = 0;
      const timer = setInterval(() => turns++, 1);
      await serialisePrivateKey(key, { format, passphrase: randomUUID(), engine });
      clearInterval(timer);
      expect(turns).toBeGreaterThan(10);
    }
  });
});

describe('parsePrivateKey, of an encrypted PKCS#8 key', () => {
  test.each(ENGINES)('opens what the package wrote, by the $name engine', async (engine) => {
    for (const [each, iterations] of [
      [key, 1_000_000],
      [rsa, 600_000],
    ] as const) {
      const text = await serialisePrivateKey(each, { format: 'pkcs8', passphrase: 'p', iterations, engine });
      expect((await parsePrivateKey(text, { passphrase: 'p', engine })).exposePkcs8()).toEqual(each.exposePkcs8());
      await expectRefusal(
        parsePrivateKey(text, { passphrase: 'another', engine }),
        'ERR_PASSPHRASE_WRONG',
        /^wrong passphrase/,
      );
      await expectRefusal(parsePrivateKey(text, { engine }), 'ERR_PASSPHRASE_REQUIRED', /no passphrase/);
    }
  });

  test('checks the key inside as it checks an unencrypted one', async () => {
    const open = async (inside: Uint8Array) =>
      parsePrivateKey(
        encodePem(
          'ENCRYPTED PRIVATE KEY',
          await encryptPkcs8(inside, { passphrase: 'p', iterations: 100_000 }, native),
        ),
        {
          passphrase: 'p',
        },
      );
    await expectRefusal(open(new Uint8Array(48)), 'ERR_PASSPHRASE_WRONG', /^wrong passphrase/);
    const wrong = rsa.exposePkcs8();
    wrong[wrong.length - 1] = (wrong.at(-1) ?? 0) ^ 1;
    await expectRefusal(open(wrong), 'ERR_KEY_INVALID', /do not belong together/);
  });
});
