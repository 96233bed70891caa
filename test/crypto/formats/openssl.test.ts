import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { fingerprint } from '../../../src/crypto/fingerprint.js';
import {
  inspectKey,
  parsePrivateKey,
  parsePublicKey,
  serialisePrivateKey,
  serialisePublicKey,
} from '../../../src/crypto/formats/index.js';
import {
  ENGINES,
  expectRefusal,
  hasOpenssl,
  md5Fingerprint,
  native,
  opensslFingerprint,
  portable,
  run,
  temporaryFolder,
  writeSecret,
} from './support.js';

const PASSPHRASE = 'pässword with spaces 🔑';
const pass = ['-passin', `pass:${PASSPHRASE}`];
const openssl = (args: readonly string[], input?: string | Uint8Array) => run('openssl', args, input);
const python = spawnSync('python3', ['-c', 'import cryptography']).status === 0;
if (!python) process.stderr.write("Python's cryptography is not installed: its test is skipped\n");

describe.skipIf(!hasOpenssl)('openssl', () => {
  const keys = hasOpenssl
    ? {
        Ed25519: openssl(['genpkey', '-algorithm', 'ed25519']).toString(),
        'RSA-2048': openssl(['genpkey', '-algorithm', 'rsa', '-pkeyopt', 'rsa_keygen_bits:2048']).toString(),
      }
    : { Ed25519: '', 'RSA-2048': '' };
  const entries = Object.entries(keys);

  const encrypted = new Map<string, string>();
  /** PKCS#8 that openssl encrypted by a scheme: one file, which both engines read. */
  function encrypt(pem: string, scheme: readonly string[]): string {
    const question = [pem, ...scheme].join(' ');
    const answer =
      encrypted.get(question) ??
      openssl(['pkcs8', '-topk8', ...scheme, '-passout', `pass:${PASSPHRASE}`], pem).toString();
    encrypted.set(question, answer);
    return answer;
  }

  describe.each(ENGINES)('its keys are read by the $name engine', (engine) => {
    test.each(entries)('%s from PKCS#8, PEM and DER', async (_, pem) => {
      const expected = opensslFingerprint(pem);
      const der = openssl(['pkcs8', '-topk8', '-nocrypt', '-outform', 'DER'], pem);
      for (const input of [
        pem,
        Buffer.from(pem),
        der,
        pem.replaceAll('\n', '\r\n'),
        btoa(pem),
        der.toString('base64'),
      ]) {
        expect(fingerprint(await parsePrivateKey(input, { engine }))).toBe(expected);
        expect(fingerprint(await parsePublicKey(input, { engine }))).toBe(expected);
        expect(await inspectKey(input)).toEqual({ kind: 'private', format: 'pkcs8', encrypted: false });
      }
    });

    const prfs = ['SHA1', 'SHA224', 'SHA256', 'SHA384', 'SHA512', 'SHA512-224', 'SHA512-256'].map(
      (hash) => `hmacWith${hash}`,
    );
    const ciphers = ['aes-128-cbc', 'aes-192-cbc', 'aes-256-cbc', 'des-ede3-cbc'];
    const schemes = [
      ...prfs.map((prf) => ['-v2', 'aes-256-cbc', '-v2prf', prf]),
      ...ciphers.map((cipher) => ['-v2', cipher, '-iter', '3000']),
      ...ciphers.map((cipher) => ['-v2', cipher, '-scrypt', '-scrypt_N', '1024']),
      ['-v1', 'PBE-SHA1-3DES'],
      ['-v1', 'PBE-SHA1-3DES', '-iter', '1'],
      ['-v1', 'PBE-SHA1-3DES', '-iter', '12000'],
    ];
    test.each(schemes.map((scheme) => [scheme.join(' '), scheme]))(
      'from PKCS#8 encrypted with %s',
      async (_, scheme) => {
        for (const [, pem] of entries) {
          const text = encrypt(pem, scheme);
          const key = await parsePrivateKey(text, { passphrase: PASSPHRASE, engine });
          expect(fingerprint(key)).toBe(opensslFingerprint(pem));
          expect(await inspectKey(text)).toEqual({ kind: 'private', format: 'pkcs8', encrypted: true });
          await expectRefusal(
            parsePrivateKey(text, { passphrase: 'another', engine }),
            'ERR_PASSPHRASE_WRONG',
            /^wrong passphrase or damaged file$/,
          );
          await expectRefusal(
            parsePrivateKey(text, { engine }),
            'ERR_PASSPHRASE_REQUIRED',
            /encrypted, and no passphrase was given/,
          );
        }
      },
    );

    test.each(['aes128', 'aes192', 'aes256', 'des3'])(
      'from PKCS#1 encrypted in the old way with %s',
      async (cipher) => {
        const pem = keys['RSA-2048'];
        const encrypted = openssl(
          ['rsa', '-traditional', `-${cipher}`, '-passout', `pass:${PASSPHRASE}`],
          pem,
        ).toString();
        for (const input of [encrypted, encrypted.replaceAll('\n', '\\n'), encrypted.replaceAll('\n', '\r\n')]) {
          expect(fingerprint(await parsePrivateKey(input, { passphrase: PASSPHRASE, engine }))).toBe(
            opensslFingerprint(pem),
          );
          expect(await inspectKey(input)).toEqual({ kind: 'private', format: 'pkcs1', encrypted: true });
        }
        await expectRefusal(
          parsePrivateKey(encrypted, { passphrase: 'another', engine }),
          'ERR_PASSPHRASE_WRONG',
          /^wrong passphrase/,
        );
        await expectRefusal(
          parsePrivateKey(encrypted, { passphrase: '', engine }),
          'ERR_PASSPHRASE_REQUIRED',
          /passphrase is empty/,
        );
      },
    );
  });

  test('its PKCS#1 keys are read, private and public, PEM and DER', async () => {
    const pem = keys['RSA-2048'];
    for (const format of ['PEM', 'DER']) {
      const input = openssl(['rsa', '-traditional', '-outform', format], pem);
      expect(fingerprint(await parsePrivateKey(input))).toBe(opensslFingerprint(pem));
      expect(await inspectKey(input)).toEqual({ kind: 'private', format: 'pkcs1', encrypted: false });
      const publicKey = openssl(['rsa', '-RSAPublicKey_out', '-outform', format], pem);
      expect(fingerprint(await parsePublicKey(publicKey))).toBe(opensslFingerprint(pem));
      expect(await inspectKey(publicKey)).toEqual({ kind: 'public', format: 'pkcs1', encrypted: false });
    }
  });

  test.each(entries)('its %s public keys and certificates are read, and its requests refused', async (_, pem) => {
    const keyFile = writeSecret(temporaryFolder(), 'key.pem', pem);
    for (const format of ['PEM', 'DER']) {
      const spki = openssl(['pkey', '-pubout', '-outform', format], pem);
      expect(fingerprint(await parsePublicKey(spki))).toBe(opensslFingerprint(pem));
      expect(await inspectKey(spki)).toEqual({ kind: 'public', format: 'spki', encrypted: false });
      const request = ['req', '-new', '-key', keyFile, '-subj', '/CN=bot', '-outform', format];
      const certificate = openssl([...request, '-x509'], pem);
      expect(fingerprint(await parsePublicKey(certificate))).toBe(opensslFingerprint(pem));
      expect(await inspectKey(certificate)).toEqual({ kind: 'certificate', format: 'x509', encrypted: false });
      await expectRefusal(
        parsePrivateKey(certificate),
        'ERR_KEY_UNSUPPORTED',
        /^this is a certificate; a private key is needed$/,
      );
      await expectRefusal(
        parsePublicKey(openssl(request, pem)),
        'ERR_KEY_UNSUPPORTED',
        /^this is a certificate request$/,
      );
    }
  });

  describe.each(ENGINES)('it reads what the $name engine writes', (engine) => {
    test.each(entries)('%s as PKCS#8, plain and encrypted, DER and SPKI', async (name, pem) => {
      const key = await parsePrivateKey(pem);
      const expected = opensslFingerprint(pem);
      expect(opensslFingerprint(await serialisePrivateKey(key, { format: 'pkcs8', engine }))).toBe(expected);
      expect(opensslFingerprint(await serialisePrivateKey(key, { format: 'der', engine }), '-inform', 'DER')).toBe(
        expected,
      );
      const encrypted = await serialisePrivateKey(key, { format: 'pkcs8', passphrase: PASSPHRASE, engine });
      expect(opensslFingerprint(encrypted, ...pass)).toBe(expected);
      const shown = openssl(['asn1parse'], encrypted).toString();
      for (const part of ['PBES2', 'PBKDF2', 'hmacWithSHA256', 'aes-256-cbc', ':0927C0']) expect(shown).toContain(part);
      for (const format of ['spki', 'der'] as const) {
        const spki = await serialisePublicKey(key.publicKey, { format });
        const form = format === 'der' ? ['-inform', 'DER'] : [];
        expect(md5Fingerprint(openssl(['pkey', '-pubin', '-pubout', '-outform', 'DER', ...form], spki))).toBe(expected);
      }
      if (name === 'Ed25519') return;
      expect(opensslFingerprint(await serialisePrivateKey(key, { format: 'pkcs1', engine }))).toBe(expected);
      const pkcs1 = await serialisePublicKey(key.publicKey, { format: 'pkcs1' });
      expect(md5Fingerprint(openssl(['rsa', '-RSAPublicKey_in', '-pubout', '-outform', 'DER'], pkcs1))).toBe(expected);
    });
  });

  test.skipIf(!python)("Python's cryptography opens what is written encrypted", async () => {
    const script = [
      'import sys, hashlib, json',
      'from cryptography.hazmat.primitives import serialization as s',
      'for pem in json.load(sys.stdin):',
      "  key = s.load_pem_private_key(pem.encode('ascii'), sys.argv[1].encode('utf-8'))",
      '  der = key.public_key().public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)',
      '  print(hashlib.md5(der).hexdigest())',
    ].join('\n');
    const written: string[] = [];
    const expected: string[] = [];
    for (const [, pem] of entries) {
      for (const engine of [native, portable]) {
        const key = await parsePrivateKey(pem);
        written.push(await serialisePrivateKey(key, { format: 'pkcs8', passphrase: PASSPHRASE, engine }));
        expected.push(opensslFingerprint(pem).replaceAll(':', ''));
      }
    }
    const shown = run('python3', ['-c', script, PASSPHRASE], JSON.stringify(written)).toString();
    expect(shown.trim().split('\n')).toEqual(expected);
  });
});
