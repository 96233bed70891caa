import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { decodeSpki } from '../../src/crypto/asn1/spki-pkcs8.js';
import { ENGINES, failure, hex } from './support.js';

interface Vector {
  readonly tcId: number;
  readonly comment: string;
  readonly msg: string;
  readonly sig: string;
  readonly result: string;
  readonly flags: readonly string[];
}

interface Group {
  readonly keyDer: string;
  readonly keysize?: number;
  readonly sha?: string;
  readonly tests: readonly Vector[];
}

interface VectorFile {
  readonly numberOfTests: number;
  readonly testGroups: readonly Group[];
}

function load(name: string): VectorFile {
  return JSON.parse(readFileSync(new URL(`../vectors/wycheproof/${name}`, import.meta.url), 'utf8'));
}

/** What a verifier that is as strict as ours must say. */
function verdict({ result, flags, tcId }: Vector): boolean {
  if (result === 'valid') return true;
  if (result === 'invalid') return false;
  // Signatures over a DigestInfo without NULL are not what RFC 8017 §9.2 encodes; the rest are small keys or exponents.
  if (result === 'acceptable') return !flags.includes('MissingNull');
  throw new Error(`vector ${tcId} has the unknown verdict ${result}`);
}

const FILES = [
  'eddsa_test.json',
  'rsa_signature_2048_sha256_test.json',
  'rsa_signature_3072_sha256_test.json',
  'rsa_signature_test.json',
];

describe.each(ENGINES)('on the $name engine', (engine) => {
  test.each(FILES)('every signature of Wycheproof %s gets its published verdict', async (name) => {
    const { numberOfTests, testGroups } = load(name);
    const wrong: string[] = [];
    let tried = 0;
    for (const group of testGroups) {
      tried += group.tests.length;
      if (group.sha !== undefined && group.sha !== 'SHA-256') continue;
      if (group.keysize !== undefined && group.keysize < 2048) {
        const { message } = await failure('ERR_KEY_UNSUPPORTED', () => decodeSpki(hex(group.keyDer)));
        expect(message).toContain(`RSA ${group.keysize} bits`);
        continue;
      }
      const key = decodeSpki(hex(group.keyDer));
      for (const vector of group.tests) {
        const valid = await engine.verify(key, hex(vector.msg), hex(vector.sig));
        if (valid !== verdict(vector)) wrong.push(`${vector.tcId} ${vector.comment}: ${vector.result}, got ${valid}`);
      }
    }
    expect(wrong).toEqual([]);
    expect(tried).toBe(numberOfTests);
    expect(tried).toBeGreaterThan(100);
  });
});
