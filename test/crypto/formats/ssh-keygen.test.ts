import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  inspectKey,
  parsePrivateKey,
  parsePublicKey,
  serialisePrivateKey,
  serialisePublicKey,
} from '../../../src/crypto/formats/index.js';
import { ENGINES, expectRefusal, hasSshKeygen, readText, run, temporaryFolder, writeSecret } from './support.js';

const PASSPHRASE = 'correct horse';
const TYPES = [
  ['Ed25519', ['-t', 'ed25519']],
  ['RSA-2048', ['-t', 'rsa', '-b', '2048']],
] as const;
type TypeName = (typeof TYPES)[number][0];

describe.skipIf(!hasSshKeygen)('ssh-keygen', () => {
  const folder = temporaryFolder();
  const make = (name: string, ...args: readonly string[]) => {
    run('ssh-keygen', ['-q', '-C', 'the comment', '-f', join(folder, name), ...args]);
    return { key: readText(folder, name), line: readText(folder, `${name}.pub`) };
  };
  if (hasSshKeygen) for (const [name, type] of TYPES) make(`pair-${name}`, ...type, '-N', '');
  /** The key pair of a type that the tests share, written again by ssh-keygen with these options. */
  const rewrite = (name: TypeName, ...args: readonly string[]) => {
    const path = writeSecret(folder, 'rewritten', readText(folder, `pair-${name}`));
    if (args.length > 0) run('ssh-keygen', ['-q', '-p', '-P', '', '-f', path, ...args]);
    return { key: readText(folder, 'rewritten'), line: readText(folder, `pair-${name}.pub`) };
  };
  const wordsOf = (line: string) => line.split(' ').slice(0, 2).join(' ').trim();

  test.each(TYPES)('its %s keys are read, private and public', async (name) => {
    const { key, line } = rewrite(name);
    const privateKey = await parsePrivateKey(key);
    expect(await inspectKey(key)).toEqual({ kind: 'private', format: 'openssh', encrypted: false });
    expect((await parsePublicKey(line)).equals(privateKey.publicKey)).toBe(true);
    expect(await inspectKey(line)).toEqual({ kind: 'public', format: 'ssh', encrypted: false });
    expect(await serialisePublicKey(privateKey.publicKey, { format: 'ssh', comment: 'the comment' })).toBe(line);
    for (const text of [
      `# a note\n\n${line}`,
      `command="x \\" ssh-rsa AAAA",no-pty ${line}`,
      `[host]:22 ${wordsOf(line)}`,
    ]) {
      expect((await parsePublicKey(text)).equals(privateKey.publicKey)).toBe(true);
    }
    await expectRefusal(
      parsePrivateKey(line),
      'ERR_KEY_UNSUPPORTED',
      /^this is a public key; a private key is needed$/,
    );
  });

  describe.each(ENGINES)('its encrypted keys are opened by the $name engine', (engine) => {
    const ciphers = ['aes256-ctr', 'aes192-ctr', 'aes128-ctr', 'aes256-cbc', 'aes192-cbc', 'aes128-cbc'];
    test.each(ciphers)('under %s', async (cipher) => {
      // more than one round once: they are slow, and the same under any cipher
      const rounds = cipher === 'aes256-ctr' ? '2' : '1';
      for (const [name] of TYPES) {
        const { key, line } = rewrite(name, '-N', PASSPHRASE, '-a', rounds, '-Z', cipher);
        const privateKey = await parsePrivateKey(key, { passphrase: PASSPHRASE, engine });
        expect(privateKey.publicKey.equals(await parsePublicKey(line))).toBe(true);
        expect(await inspectKey(key)).toEqual({ kind: 'private', format: 'openssh', encrypted: true });
        await expectRefusal(
          parsePrivateKey(key, { passphrase: 'another', engine }),
          'ERR_PASSPHRASE_WRONG',
          /^wrong passphrase or damaged file$/,
        );
        await expectRefusal(parsePrivateKey(key, { engine }), 'ERR_PASSPHRASE_REQUIRED', /no passphrase was given/);
      }
    });
  });

  test.each(['aes256-gcm@openssh.com', 'chacha20-poly1305@openssh.com', '3des-cbc'])(
    'its keys under %s are refused by name',
    async (cipher) => {
      const { key } = make(`refused-${cipher}`, '-t', 'ed25519', '-N', PASSPHRASE, '-a', '1', '-Z', cipher);
      await expectRefusal(parsePrivateKey(key, { passphrase: PASSPHRASE }), 'ERR_KEY_UNSUPPORTED', cipher);
    },
  );

  test.each([
    ['ecdsa', '256', 'EC key (P-256)'],
    ['ecdsa', '521', 'EC key (P-521)'],
    ['dsa', '1024', 'DSA key'],
    ['rsa', '1024', 'RSA 1024 bits: at least 2048'],
  ])('its %s keys of %s bits are refused by name', async (type, bits, reason) => {
    const { key, line } = make(`other-${type}-${bits}`, '-t', type, '-b', bits, '-N', PASSPHRASE, '-a', '1');
    for (const parsed of [parsePrivateKey(key), parsePublicKey(key), parsePublicKey(line)]) {
      await expectRefusal(parsed, 'ERR_KEY_UNSUPPORTED', reason);
    }
  });

  test.each(TYPES)('its PEM and PKCS#8 files of %s are read', async (name) => {
    for (const format of name === 'Ed25519' ? ['PKCS8'] : ['PEM', 'PKCS8']) {
      const { key, line } = rewrite(name, '-N', PASSPHRASE, '-m', format);
      expect(
        (await parsePrivateKey(key, { passphrase: PASSPHRASE })).publicKey.equals(await parsePublicKey(line)),
      ).toBe(true);
    }
  });

  test.each(TYPES)('its certificates of %s give their key', async (name) => {
    make('ca', '-t', 'ed25519', '-N', '');
    const { line } = rewrite(name);
    run('ssh-keygen', ['-q', '-s', join(folder, 'ca'), '-I', 'id', '-n', 'a,b', join(folder, `pair-${name}.pub`)]);
    const certificate = readText(folder, `pair-${name}-cert.pub`);
    expect(await inspectKey(certificate)).toEqual({ kind: 'certificate', format: 'ssh', encrypted: false });
    expect((await parsePublicKey(certificate)).equals(await parsePublicKey(line))).toBe(true);
    run('rm', [join(folder, 'ca'), join(folder, 'ca.pub')]);
  });

  describe.each(ENGINES)('it reads what the $name engine writes', (engine) => {
    test.each(TYPES)('%s, plain and encrypted, with the comment', async (name) => {
      const { key, line } = rewrite(name);
      const privateKey = await parsePrivateKey(key);
      for (const passphrase of [undefined, PASSPHRASE]) {
        const text = await serialisePrivateKey(privateKey, {
          format: 'openssh',
          comment: 'the comment',
          passphrase,
          engine,
        });
        const path = writeSecret(folder, `written-${engine.name}-${name}-${passphrase === undefined}`, text);
        const shown = run('ssh-keygen', ['-y', '-P', passphrase ?? '', '-f', path]).toString();
        expect(shown).toBe(line);
        if (passphrase === undefined) continue;
        expect(() => run('ssh-keygen', ['-y', '-P', 'another', '-f', path])).toThrow();
      }
    });
  });

  test('an SSH2 export is refused with the command that converts it', async () => {
    make('rfc4716', '-t', 'ed25519', '-N', '');
    const exported = run('ssh-keygen', ['-e', '-f', join(folder, 'rfc4716.pub')]).toString();
    await expectRefusal(parsePublicKey(exported), 'ERR_KEY_UNSUPPORTED', /SSH2 public key \(RFC 4716\)/);
    expect(readFileSync(join(folder, 'rfc4716'), 'utf8')).toContain('OPENSSH PRIVATE KEY');
  });
});
