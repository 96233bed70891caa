import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { privateKeyFromEd25519Seed } from '../../../src/crypto/build-keys.js';
import { base58ToBytes, concatBytes } from '../../../src/crypto/bytes.js';
import { inspectKey, parsePrivateKey, parsePublicKey } from '../../../src/crypto/formats/index.js';
import { encodePem } from '../../../src/crypto/pem.js';
import { errorOf } from '../../support/outcomes.js';
import { ENGINES, expectRefusal } from './support.js';

const seed = Uint8Array.from({ length: 32 }, (_, i) => i + 1);
const key = await privateKeyFromEd25519Seed(seed);
const raw = key.publicKey.spki.slice(-32);
const pair = concatBytes(seed, raw);
const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const base64Of = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const asSeed = { format: 'raw-seed' } as const;

describe('a seed with its public key behind it', () => {
  // Solana's form of the 64 bytes.
  const base58 = '2Ana1pUpv2ZbMVkwF5FXapYeBEjdxDatLn7nvJkhgTSdZd8hbDHTd21as7EAsg7ypityqfsw2pMQKJcVDVcAEsd';
  const forms: readonly (readonly [string, string | Uint8Array])[] = [
    ['bytes', pair],
    ['hexadecimal', hexOf(pair)],
    ['hexadecimal with 0x', `0x${hexOf(pair)}\n`],
    ['base64', base64Of(pair)],
    ['base64url', Buffer.from(pair).toString('base64url')],
    ['base58, as Solana keeps it', base58],
    ['base58 behind its name, as NEAR keeps it', `ed25519:${base58}`],
    ['a JSON array, as Solana keeps it', JSON.stringify([...pair])],
    ["Coinbase's JSON", JSON.stringify({ id: 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee', privateKey: base64Of(pair) })],
    ['bytes under a PEM label', encodePem('PRIVATE KEY', pair)],
    ['bytes under the label of Nebula', encodePem('NEBULA ED25519 PRIVATE KEY', pair)],
    ['hexadecimal in quotes', `"${hexOf(pair)}"`],
    ['base64 in an env file', `SIGNING_KEY=${base64Of(pair)}`],
    ['bytes with CRLF behind them', concatBytes(pair, Uint8Array.of(0x0d, 0x0a))],
    ['numbers without brackets', [...pair].join(', ')],
    ['hexadecimal numbers', [...pair].map((byte) => `0x${byte.toString(16)}`).join(', ')],
    ['a Uint8Array as Node.js prints it', `Uint8Array(64) [\n  ${[...pair].join(', ')}\n]`],
    ['a Buffer as Node.js writes it in JSON', JSON.stringify(Buffer.from(pair))],
    ['a Uint8Array in JSON', JSON.stringify({ ...pair })],
    ['an array in a document: JSON', JSON.stringify({ wallet: { privateKey: [...pair] } })],
  ];

  test.each(forms)('is read from %s, also where it is called a seed', async (name, input) => {
    for (const engine of ENGINES) {
      expect((await parsePrivateKey(input, { engine })).exposePkcs8()).toEqual(key.exposePkcs8());
    }
    expect((await parsePublicKey(input)).equals(key.publicKey)).toBe(true);
    expect(await inspectKey(input)).toEqual({ kind: 'private', format: 'raw-pair', encrypted: false });
    if (!/JSON$|PEM|Nebula|env/.test(name)) {
      expect((await parsePrivateKey(input, asSeed)).exposePkcs8()).toEqual(key.exposePkcs8());
    }
  });

  test('is refused where the second half is not the public key of the first', async () => {
    for (const wrong of [concatBytes(seed, seed), concatBytes(raw, seed), new Uint8Array(64)]) {
      for (const input of [wrong, hexOf(wrong), base64Of(wrong)]) {
        await expectRefusal(parsePrivateKey(input), 'ERR_KEY_UNREADABLE', /64 bytes that are not an Ed25519 seed/);
        await expectRefusal(parsePrivateKey(input, asSeed), 'ERR_KEY_UNREADABLE', /64 bytes that are not/);
      }
    }
  });
});

describe('a seed that is said to be one', () => {
  const forms: readonly (readonly [string, string | Uint8Array])[] = [
    ['bytes', seed],
    ['bytes with a newline behind them', concatBytes(seed, Uint8Array.of(0x0a))],
    ['bytes with CRLF behind them', concatBytes(seed, Uint8Array.of(0x0d, 0x0a))],
    ['hexadecimal with 0x', `0x${hexOf(seed)}`],
    ['hexadecimal with colons', hexOf(seed).replace(/..(?=.)/g, '$&:')],
    ['hexadecimal in UTF-16, as Windows PowerShell writes it', Buffer.from(`\uFEFF${hexOf(seed)}\r\n`, 'utf16le')],
    ['hexadecimal behind a byte order mark', Buffer.from(`\uFEFF${hexOf(seed)}\r\n`)],
    ['the form of Aptos', `ed25519-priv-0x${hexOf(seed)}`],
    ['base64 in quotes', `'${base64Of(seed)}'`],
    ['base64 without padding', base64Of(seed).replace('=', '')],
    ['a JSON array', JSON.stringify([...seed])],
    ['hexadecimal in an env file', `export SEED="${hexOf(seed)}"`],
    ['base64 in YAML', `seed: ${base64Of(seed)}`],
    ['base64 of base64', base64Of(Buffer.from(base64Of(seed)))],
    ['base64 of hexadecimal', base64Of(Buffer.from(hexOf(seed)))],
    ['a list of a program', `{ ${[...seed].map((byte) => `0x${byte.toString(16).padStart(2, '0')}`).join(', ')} }`],
    ['a Buffer as Node.js writes it in JSON', JSON.stringify(Buffer.from(seed))],
  ];

  test.each(forms)('is read from %s', async (_, input) => {
    expect((await parsePrivateKey(input, asSeed)).exposePkcs8()).toEqual(key.exposePkcs8());
    expect(await inspectKey(input, asSeed)).toEqual({ kind: 'private', format: 'raw-seed', encrypted: false });
  });

  test('is measured in bytes where its text is of another length', async () => {
    const { message } = await errorOf(parsePrivateKey(base64Of(new Uint8Array(48).fill(9)), asSeed));
    expect(message).toContain('this is 64 characters (48 bytes, decoded)');
    await expectRefusal(
      parsePrivateKey('0123456789abcdef0123456789abcdef', asSeed),
      'ERR_KEY_UNREADABLE',
      /\(16 bytes/,
    );
    const text = new TextEncoder().encode('a passphrase of 32 characters...');
    await expectRefusal(parsePrivateKey(text, asSeed), 'ERR_KEY_UNREADABLE', /this is 32 bytes/);
  });

  test('comes with a warning where it looks like an X25519 key or a public key', async () => {
    const wireGuard = 'sIVN2Fdt3YBlxX78fVvcqTNe50UbScC02Gj8LEe1030=';
    expect((await inspectKey(wireGuard, asSeed)).warning).toMatch(/looks like an X25519 key \(WireGuard\)/);
    expect((await inspectKey(base64Of(raw), asSeed)).warning).toMatch(/could also be an Ed25519 public key/);
    expect((await parsePrivateKey(wireGuard, asSeed)).algorithm).toBe('ed25519');
    const base58 = `${'7'.repeat(42)}A`;
    expect((await inspectKey(base58, asSeed)).warning).toMatch(/could also be base58/);
    expect((await inspectKey(`${base58}=`, asSeed)).warning ?? '').not.toMatch(/base58/);
  });
});

describe('32 bytes of which nothing is said', () => {
  test('are read as a public key where they can be one, as Vault shows it', async () => {
    for (const input of [
      raw,
      hexOf(raw),
      base64Of(raw),
      JSON.stringify({ data: { keys: { 1: { public_key: base64Of(raw) } } } }),
    ]) {
      expect((await parsePublicKey(input)).equals(key.publicKey)).toBe(true);
      await expectRefusal(
        parsePrivateKey(input),
        'ERR_KEY_UNREADABLE',
        /32 bytes that are an Ed25519 public key, or a seed/,
      );
    }
  });

  test('are refused with the hint of raw-seed only where they can be a seed', async () => {
    const { hint } = await errorOf(parsePrivateKey(hexOf(seed)));
    expect(hint).toContain('--format raw-seed');
    for (const input of [
      'sIVN2Fdt3YBlxX78fVvcqTNe50UbScC02Gj8LEe1030=',
      base64Of(new Uint8Array(40)),
      'no key',
      base64Of(pair.slice(1)),
    ]) {
      const error = await errorOf(parsePrivateKey(input));
      expect(error.code).toBe('ERR_KEY_UNREADABLE');
      expect(error.hint).not.toContain('raw-seed');
    }
  });

  test('under a PEM label are refused with the hint that they may be a seed', async () => {
    const { message, hint } = await errorOf(parsePrivateKey(encodePem('PRIVATE KEY', seed)));
    expect(message).toMatch(/32 bare bytes, not DER/);
    expect(hint).toContain('--format raw-seed');
    expect((await errorOf(parsePrivateKey(encodePem('ED25519 PRIVATE KEY', seed)))).message).toBe(
      message.replace('PRIVATE KEY', 'ED25519 PRIVATE KEY'),
    );
    expect((await parsePublicKey(encodePem('PUBLIC KEY', raw))).equals(key.publicKey)).toBe(true);
  });
});

test('base58ToBytes reads back any bytes', () => {
  const alphabet = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';
  const encode = (bytes: Uint8Array) => {
    let value = bytes.length === 0 ? 0n : BigInt(`0x${hexOf(bytes)}`);
    let text = '';
    for (; value > 0n; value /= 58n) text = `${alphabet[Number(value % 58n)]}${text}`;
    const first = bytes.findIndex((byte) => byte !== 0);
    return '1'.repeat(first === -1 ? bytes.length : first) + text;
  };
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 64 }), (bytes) => {
      expect(base58ToBytes(encode(bytes), bytes.length)).toEqual(bytes);
      expect(base58ToBytes(encode(bytes), bytes.length + 1)).toBeNull();
    }),
  );
});
