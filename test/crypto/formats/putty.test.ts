import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { inspectKey, parsePrivateKey, parsePublicKey } from '../../../src/crypto/formats/index.js';
import { DeribitKeysError } from '../../../src/errors.js';
import { propertyRuns } from '../../support/properties.js';
import { ENGINES, expectRefusal, hasProgram, readText, run, temporaryFolder } from './support.js';

// By PuTTYgen 0.78, with its default comment.
const PPK = `PuTTY-User-Key-File-3: ssh-ed25519
Encryption: none
Comment: ed25519-key-20261125
Public-Lines: 2
AAAAC3NzaC1lZDI1NTE5AAAAID5WdhXX6MOLg/DXrkKR2tUCOyRiqsBxOYMomuiL
+T4P
Private-Lines: 1
AAAAIByzMIhcqIYYrIqhUTOgTTdvuN+dF3LB4IDcTPoFr/VB
Private-MAC: 2c7439a0de9b333e28d92eb9f1864a829b31c6de3921d858283a862b7e7ecf3c
`;
const SSH_LINE = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID5WdhXX6MOLg/DXrkKR2tUCOyRiqsBxOYMomuiL+T4P';

const hasPuttygen = hasProgram('puttygen', '--version');
const folder = temporaryFolder();
writeFileSync(join(folder, 'empty'), '');
writeFileSync(join(folder, 'passphrase'), 'corr\u00E9ct horse');

function puttygen(...args: readonly string[]): void {
  run(
    'puttygen',
    args.map((arg) => arg.replace('@', `${folder}/`)),
  );
}

describe('a PuTTY key', () => {
  test('is read, and its kind and encryption are told', async () => {
    const expected = await parsePublicKey(SSH_LINE);
    expect((await parsePrivateKey(PPK)).publicKey.equals(expected)).toBe(true);
    expect((await parsePublicKey(PPK.replaceAll('\n', '\r\n'))).equals(expected)).toBe(true);
    expect((await parsePrivateKey(Buffer.from(`\uFEFF${PPK}`, 'utf16le'))).publicKey.equals(expected)).toBe(true);
    expect(await inspectKey(PPK)).toEqual({ kind: 'private', format: 'putty', encrypted: false });
  });

  test('is read whatever a variable or a document did to its lines, and two of them are refused', async () => {
    const expected = await parsePublicKey(SSH_LINE);
    const escaped = PPK.replaceAll('\n', '\\n');
    for (const text of [
      escaped,
      `"${PPK}"`,
      `export KEY="${escaped}"`,
      `key: |\n${PPK.replace(/^/gm, '  ')}`,
      PPK.replace(/^/gm, '\t'),
      JSON.stringify({ key: PPK }),
    ]) {
      expect((await parsePrivateKey(text)).publicKey.equals(expected)).toBe(true);
    }
    for (const text of [`${PPK}${PPK}`, ` ${PPK}\n${PPK}`, JSON.stringify([PPK, `${PPK}\n`])]) {
      await expectRefusal(parsePrivateKey(text), 'ERR_KEY_UNSUPPORTED', /^2 private keys in one input/);
    }
  });

  test('is read as it stands, with a public part that ends in =', async () => {
    const text = PPK.replace('Comment: ed25519-key-20261125', 'Comment: x=');
    await expectRefusal(parsePrivateKey(text), 'ERR_KEY_UNREADABLE', /MAC does not match/);
    const padded = PPK.replace('+T4P\n', '+T4PAA==\n');
    await expectRefusal(parsePrivateKey(padded), 'ERR_KEY_UNREADABLE', /bytes follow|MAC does not match/);
  });

  test.each([
    ['a changed comment', PPK.replace('20261125', '20261126'), 'ERR_KEY_UNREADABLE', /MAC does not match/],
    ['another MAC', PPK.replace('2c7439', '2c7438'), 'ERR_KEY_UNREADABLE', /MAC does not match/],
    ['a MAC cut short', PPK.replace('ecf3c', ''), 'ERR_KEY_UNREADABLE', /Private-MAC/],
    ['lines left out', PPK.replace('+T4P\n', ''), 'ERR_KEY_UNREADABLE', /./],
    ['its end left out', PPK.slice(0, 250), 'ERR_KEY_UNREADABLE', /./],
    [
      'a header that is there twice',
      PPK.replace('Comment: x', '').replace('Comment', 'Encryption: none\nComment'),
      'ERR_KEY_UNREADABLE',
      /twice/,
    ],
    [
      'another cipher',
      PPK.replace('Encryption: none', 'Encryption: twofish'),
      'ERR_KEY_UNSUPPORTED',
      /a cipher other than aes256-cbc/,
    ],
    ['an EC key', PPK.replace('ssh-ed25519', 'ecdsa-sha2-nistp256'), 'ERR_KEY_UNSUPPORTED', /^EC key \(P-256\)/],
    ['a version to come', PPK.replace('File-3', 'File-4'), 'ERR_KEY_UNSUPPORTED', /^PuTTY key of version 4/],
  ] as const)('with %s is refused', async (_, text, code, message) => {
    await expectRefusal(parsePrivateKey(text), code, message);
  });

  test.each([
    ['Argon2-Memory: 1048576', /KiB of memory 1048576, at most 262144/],
    ['Argon2-Passes: 100000', /in all passes/],
    ['Argon2-Parallelism: 17', /lanes 17, at most 16/],
  ])('that asks for %s is refused before anything is derived', async (line, message) => {
    const header = `Encryption: aes256-cbc
Comment: c
Public-Lines: 2
AAAAC3NzaC1lZDI1NTE5AAAAID5WdhXX6MOLg/DXrkKR2tUCOyRiqsBxOYMomuiL
+T4P
Key-Derivation: Argon2id
Argon2-Memory: 8192
Argon2-Passes: 13
Argon2-Parallelism: 1
Argon2-Salt: 00112233445566778899aabbccddeeff
Private-Lines: 1
AAAAAAAAAAAAAAAAAAAAAA==
Private-MAC: ${'00'.repeat(32)}
`;
    const name = line.split(':')[0] ?? '';
    const text = `PuTTY-User-Key-File-3: ssh-ed25519\n${header.replace(new RegExp(`^${name}: .*$`, 'm'), line)}`;
    await expectRefusal(parsePrivateKey(text, { passphrase: 'p' }), 'ERR_KEY_UNSUPPORTED', message);
  });

  test('that is changed anywhere is refused with a code, or is the same key', async () => {
    const expected = await parsePublicKey(SSH_LINE);
    await fc.assert(
      fc.asyncProperty(fc.nat(PPK.length - 1), fc.integer({ min: 0, max: 255 }), async (at, byte) => {
        const bytes = new TextEncoder().encode(PPK);
        bytes[at] = byte;
        try {
          expect((await parsePrivateKey(bytes)).publicKey.equals(expected)).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(DeribitKeysError);
        }
      }),
      { numRuns: propertyRuns(200) },
    );
  });
});

describe.runIf(hasPuttygen)('puttygen', () => {
  const kinds = [
    ['ed25519', ['-t', 'ed25519']],
    ['rsa', ['-t', 'rsa', '-b', '2048']],
  ] as const;

  test.each(kinds)(
    'its %s keys of versions only 2 and 3 are supported, encrypted or not, by either engine',
    async (name, args) => {
      puttygen(...args, '-o', `@${name}.ppk`, '--new-passphrase', '@empty', '-q');
      puttygen(`@${name}.ppk`, '-O', 'public-openssh', '-o', `@${name}.pub`);
      const expected = await parsePublicKey(readText(folder, `${name}.pub`));
      // puttygen's own choice of passes is slow to derive: one kind of key proves it
      const params = [
        'version=2',
        name === 'ed25519' ? 'version=3' : 'version=3,passes=2',
        'kdf=argon2i,passes=2',
        'kdf=argon2d,passes=2,memory=1024,parallelism=2',
      ];
      for (const param of params) {
        const file = `${name}-${param}.ppk`;
        const write = [`@${name}.ppk`, '-O', 'private', '--ppk-param', param, '-o', `@${file}`, '--reencrypt'];
        puttygen(...write, '--old-passphrase', '@empty', '--new-passphrase', '@empty');
        expect((await parsePrivateKey(readText(folder, file))).publicKey.equals(expected)).toBe(true);
        puttygen(
          `@${name}.ppk`,
          '-P',
          '-O',
          'private',
          '--ppk-param',
          param,
          '-o',
          `@${file}`,
          '--old-passphrase',
          '@empty',
          '--new-passphrase',
          '@passphrase',
        );
        const text = readText(folder, file);
        expect(await inspectKey(text)).toEqual({ kind: 'private', format: 'putty', encrypted: true });
        await expectRefusal(parsePrivateKey(text), 'ERR_PASSPHRASE_REQUIRED', /encrypted/);
        await expectRefusal(
          parsePrivateKey(text, { passphrase: 'wrong' }),
          'ERR_PASSPHRASE_WRONG',
          /^wrong passphrase/,
        );
        for (const engine of ENGINES) {
          const key = await parsePrivateKey(text, { passphrase: 'corr\u00E9ct horse', engine });
          expect(key.publicKey.equals(expected)).toBe(true);
        }
      }
    },
  );

  test.each(kinds)('its OpenSSH exports of %s are read with a comment of any length', async (name, args) => {
    puttygen(...args, '-o', `@pad-${name}.ppk`, '--new-passphrase', '@empty', '-q');
    puttygen(`@pad-${name}.ppk`, '-O', 'public-openssh', '-o', `@pad-${name}.pub`);
    const expected = await parsePublicKey(readText(folder, `pad-${name}.pub`));
    for (const length of name === 'rsa' ? [3, 9] : [0, 2, 3, 5, 7, 8, 11, 14]) {
      puttygen(`@pad-${name}.ppk`, '-C', 'c'.repeat(length), '-O', 'private-openssh-new', '-o', `@pad-${name}.key`);
      const key = await parsePrivateKey(readText(folder, `pad-${name}.key`));
      expect(key.publicKey.equals(expected)).toBe(true);
    }
  });

  test('its keys of other algorithms are refused by name', async () => {
    for (const [type, message] of [
      ['ecdsa', /^EC key \(P-/],
      ['ed448', /^Ed448 key/],
    ] as const) {
      puttygen('-t', type, '-o', `@${type}.ppk`, '--new-passphrase', '@empty', '-q');
      await expectRefusal(parsePrivateKey(readText(folder, `${type}.ppk`)), 'ERR_KEY_UNSUPPORTED', message);
    }
  });
});
