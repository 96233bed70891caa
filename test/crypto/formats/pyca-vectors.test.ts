import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fingerprint } from '../../../src/crypto/fingerprint.js';
import { parsePrivateKey, parsePublicKey } from '../../../src/crypto/formats/index.js';
import type { PrivateKey, PublicKey } from '../../../src/crypto/keys.js';
import { isDeribitKeysError } from '../../../src/errors.js';
import { VERDICTS } from './pyca-verdicts.js';
import { hasOpenssl, md5Fingerprint, run } from './support.js';

const ROOT = '/usr/lib/python3/dist-packages/cryptography_vectors';
const found = existsSync(ROOT);
if (!found) process.stderr.write('python3-cryptography-vectors is not installed: its tests are skipped\n');

/** Files of numbers and of documentation, which hold no key in any format. */
const NO_KEY_FILE = /\.(?:txt|rsp|fax|input|sh)$/i;

function filesBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes('__pycache__'))
    .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length + folder.length + 2))
    .sort();
}

/** The fingerprint, or the message of the which must be one of ours with a hint. */
async function verdict(key: Promise<PrivateKey | PublicKey>): Promise<string> {
  try {
    return fingerprint(await key);
  } catch (error) {
    if (!isDeribitKeysError(error)) throw error;
    expect(error.hint).toMatch(/\S/);
    return error.message;
  }
}

describe.skipIf(!found)("pyca/cryptography's key files", () => {
  test('are all in the table of verdicts', () => {
    const keyFiles = filesBelow('asymmetric').filter((path) => !NO_KEY_FILE.test(path));
    expect(keyFiles).toEqual(VERDICTS.map(([path]) => path).sort());
  });

  const rows = VERDICTS.map(([path, asPrivate, asPublic, passphrase]) => ({ path, asPrivate, asPublic, passphrase }));
  test.each(rows)('$path has its verdict', async ({ path, asPrivate, asPublic, passphrase }) => {
    const bytes = readFileSync(join(ROOT, 'asymmetric', path));
    expect(await verdict(parsePrivateKey(bytes, { passphrase }))).toBe(asPrivate);
    expect(await verdict(parsePublicKey(bytes, { passphrase }))).toBe(asPublic ?? asPrivate);
    if (passphrase === undefined) return;
    expect(await verdict(parsePrivateKey(bytes))).toBe('the key is encrypted, and no passphrase was given');
    expect(await verdict(parsePrivateKey(bytes, { passphrase: 'another' }))).toBe('wrong passphrase or damaged file');
  });

  test('and the files without a key are refused', async () => {
    const others = filesBelow('asymmetric').filter((path) => NO_KEY_FILE.test(path));
    expect(others.length).toBeGreaterThan(50);
    for (const path of others) {
      const bytes = readFileSync(join(ROOT, 'asymmetric', path));
      expect(await verdict(parsePublicKey(bytes))).toMatch(/^not recognised as a key|too large for a key/);
    }
  });

  test.skipIf(!hasOpenssl)('and certificates give the fingerprint that openssl computes', async () => {
    const certificates = ['', 'custom', 'ed25519'].flatMap((folder) =>
      readdirSync(join(ROOT, 'x509', folder))
        .filter((name) => /\.(?:pem|der|crt)$/.test(name) && !/crl|chain/.test(name))
        .map((name) => join(ROOT, 'x509', folder, name)),
    );
    let taken = 0;
    for (const path of certificates) {
      const key = await parsePublicKey(readFileSync(path)).catch((error: unknown) => error);
      if (isDeribitKeysError(key)) continue;
      if (path.endsWith('invalid_utf8_common_name.pem')) continue; // openssl does not read it
      const pem = run('openssl', ['x509', '-in', path, '-noout', '-pubkey']).toString();
      const spki = Buffer.from(pem.replace(/-----.*-----/g, ''), 'base64');
      expect(fingerprint(key as PublicKey), path).toBe(md5Fingerprint(spki));
      taken++;
    }
    expect(taken).toBeGreaterThan(60);
  });

  test('and certificate requests and revocation lists are refused as what they are', async () => {
    const requests = filesBelow('x509/requests');
    const lists = readdirSync(join(ROOT, 'x509/custom')).filter((name) => /^crl_(?!almost).*\.(?:pem|der)$/.test(name));
    expect(requests.length + lists.length).toBeGreaterThan(40);
    for (const name of requests) {
      const bytes = readFileSync(join(ROOT, 'x509/requests', name));
      expect(await verdict(parsePrivateKey(bytes)), name).toBe('this is a certificate request');
    }
    for (const name of lists) {
      const bytes = readFileSync(join(ROOT, 'x509/custom', name));
      expect(await verdict(parsePublicKey(bytes)), name).toBe('this is a certificate revocation list');
    }
  });
});
