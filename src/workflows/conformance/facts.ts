import { createHash } from 'node:crypto';
import { fingerprint } from '../../crypto/fingerprint.js';
import { generateKeyPair } from '../../crypto/generate.js';
import { encodePublicKeyPem } from '../../crypto/pem.js';
import { isRecord } from '../../util/checks.js';
import { type Attempt, ENCODINGS, type Encoding, LAB_SCOPE, type Lab, type LabKey, refusalCode } from './lab.js';

/** The throw-away keys that the probes share. */
type LabKeys = Readonly<Record<'ed25519' | 'rsa', LabKey>>;

/** A question to the exchange, and the answer that this package and its sandbox assume. */
interface Probe {
  readonly fact: string;
  readonly expected: string;
  /** Resolves to null where the exchange does not show enough to tell. */
  readonly observe: (lab: Lab, keys: LabKeys) => Promise<string | null>;
}

const refused = (code: number) => `refused with ${code}`;
const verdict = (answer: unknown) => (typeof answer === 'number' ? refused(answer) : 'accepted');

/** Whether and how a text field of a key is shown. */
function shown(value: unknown): string {
  if (value === undefined || value === null) return 'absent';
  if (value === '') return 'empty';
  return typeof value === 'string' && /^[*x•.]+$/.test(value) ? 'masked' : 'shown';
}

const visibility = (key: Readonly<Record<string, unknown>>, ...names: readonly string[]) =>
  names.map((name) => `${name} ${shown(key[name])}`).join(', ');

/** How the exchange derives a fingerprint: the first rule that leads to `value`; null where it shows none. */
function fingerprintRule(value: unknown, { key }: LabKey): string | null {
  if (shown(value) !== 'shown' || typeof value !== 'string') return null;
  const bare = value.toLowerCase().replace(/[\s:]/g, '');
  const { publicKey } = key;
  const pem = encodePublicKeyPem(publicKey);
  const hash = (algorithm: 'md5' | 'sha256', data: Uint8Array | string) =>
    createHash(algorithm).update(data).digest('hex');
  const rules: readonly (readonly [string, string])[] = [
    ['MD5 of the SPKI DER', fingerprint(publicKey).replaceAll(':', '')],
    ['SHA-256 of the SPKI DER', hash('sha256', publicKey.spki)],
    ['MD5 of the PEM text', hash('md5', pem)],
    ['MD5 of the trimmed PEM text', hash('md5', pem.trim())],
  ];
  return rules.find(([, expected]) => expected === bare)?.[0] ?? 'another rule';
}

/** Makes a key with `overrides`, removes it again, and says what came of it. */
async function tryToCreate(lab: Lab, overrides: Readonly<Record<string, unknown>>, like?: LabKey): Promise<string> {
  const key = like?.key ?? (await generateKeyPair());
  try {
    await lab.remove(await lab.create(key, overrides));
    return 'accepted';
  } catch (error) {
    return refused(refusalCode(error));
  }
}

function listed(answer: unknown, { keyId }: LabKey): string | null {
  const key = Array.isArray(answer) ? answer.find((item) => isRecord(item) && item.id === keyId) : undefined;
  return isRecord(key) ? visibility(key, 'client_secret', 'public_key') : null;
}

/** How far ahead a timestamp is tried, in seconds. */
const AHEAD_S = [1, 10, 30, 55, 65, 90, 300] as const;

const login =
  (attempt: Attempt): Probe['observe'] =>
  async (lab, { ed25519 }) =>
    verdict(await lab.login(ed25519, attempt));

/** All facts that the documentation leaves open, or states without an example. */
export const PROBES: readonly Probe[] = [
  {
    fact: 'fingerprint returned as client_secret',
    expected: 'MD5 of the SPKI DER',
    observe: async (_lab, { ed25519, rsa }) => {
      const rules = [ed25519, rsa].map((made) => fingerprintRule(made.answer.client_secret, made));
      return rules.includes(null) ? null : [...new Set(rules)].join(' and ');
    },
  },
  {
    fact: 'fields in the answer to private/create_api_key',
    expected: 'client_secret shown, public_key shown',
    observe: async (_lab, { ed25519 }) => visibility(ed25519.answer, 'client_secret', 'public_key'),
  },
  {
    fact: 'enabled in the answer to private/create_api_key',
    expected: 'true',
    observe: async (_lab, { ed25519 }) => String(ed25519.answer.enabled ?? 'absent'),
  },
  {
    fact: 'fields of other keys in private/list_api_keys, for account:read_write',
    expected: 'client_secret shown, public_key shown',
    observe: async (lab, { ed25519 }) => listed(await lab.ask('private/list_api_keys'), ed25519),
  },
  {
    fact: 'encoding of signatures in public/auth',
    expected: 'base64url',
    observe: async (lab, { ed25519 }) => {
      const accepted: Encoding[] = [];
      for (const encoding of Object.keys(ENCODINGS) as Encoding[]) {
        if (typeof (await lab.login(ed25519, { encoding })) !== 'number') accepted.push(encoding);
      }
      const [first] = accepted;
      if (first !== undefined) lab.encoding = first;
      return accepted.length === 0 ? 'none of base64url, padded base64 and hex' : accepted.join(', ');
    },
  },
  {
    fact: 'login with an RSA key (RSASSA-PKCS1-v1_5, SHA-256)',
    expected: 'accepted',
    observe: async (lab, { rsa }) => verdict(await lab.login(rsa)),
  },
  {
    fact: 'lifetime of an access token under connection scope',
    expected: '900 s',
    observe: async (lab, { ed25519 }) => {
      const answer = await lab.login(ed25519);
      return typeof answer === 'number' ? null : `${String(answer.expires_in)} s`;
    },
  },
  {
    fact: "scope that exceeds the key's max_scope",
    expected: `narrowed to ${LAB_SCOPE}`,
    observe: async (lab, { ed25519 }) => {
      const answer = await lab.login(ed25519, { scope: 'account:read_write trade:read_write' });
      if (typeof answer === 'number') return refused(answer);
      const words = String(answer.scope).split(' ');
      return `narrowed to ${words.filter((word) => /:(read|read_write)$/.test(word)).join(' ') || 'nothing'}`;
    },
  },
  {
    fact: 'nonce used again with another timestamp',
    expected: 'accepted',
    observe: async (lab, { ed25519 }) => {
      const nonce = 'abcd';
      const first = await lab.login(ed25519, { nonce, aheadMs: -2_000 });
      return typeof first === 'number' ? null : verdict(await lab.login(ed25519, { nonce, aheadMs: -1_000 }));
    },
  },
  {
    fact: 'the same signed login sent twice',
    expected: 'refused with 13004',
    observe: async (lab, { ed25519 }) => {
      const now = await lab.anonymous('public/get_time', {});
      if (typeof now === 'number') return null;
      const same = { nonce: lab.prefix, timestampMs: Math.round(Number(now.result)) };
      const first = await lab.login(ed25519, same);
      return typeof first === 'number' ? null : verdict(await lab.login(ed25519, same));
    },
  },
  { fact: 'login without a nonce', expected: 'accepted', observe: login({ nonce: null }) },
  { fact: 'nonce that is a number', expected: 'refused with -32602', observe: login({ nonce: 12345678 }) },
  { fact: 'timestamp of 90 s ago', expected: 'refused with 13004', observe: login({ aheadMs: -90_000 }) },
  {
    fact: 'timestamp in the future',
    expected: 'accepted up to 55 s, refused from 65 s',
    observe: async (lab, { ed25519 }) => {
      let accepted = 0;
      for (const aheadS of AHEAD_S) {
        if (typeof (await lab.login(ed25519, { aheadMs: aheadS * 1_000 })) === 'number') {
          return accepted === 0 ? `refused from ${aheadS} s` : `accepted up to ${accepted} s, refused from ${aheadS} s`;
        }
        accepted = aheadS;
      }
      return `accepted up to ${accepted} s`;
    },
  },
  {
    fact: 'signature that is wrong',
    expected: 'refused with 13004',
    observe: login({ signature: new Uint8Array(64).fill(7) }),
  },
  { fact: 'client_id that does not exist', expected: 'refused with 13004', observe: login({ clientId: 'zzzzzzzz' }) },
  {
    fact: 'login with a disabled key',
    expected: 'refused with 13004',
    observe: async (lab, { rsa }) => {
      await lab.ask('private/disable_api_key', { id: rsa.keyId });
      const answer = await lab.login(rsa);
      await lab.ask('private/enable_api_key', { id: rsa.keyId });
      return verdict(answer);
    },
  },
  {
    fact: 'access token that is not valid',
    expected: 'refused with 13009',
    observe: async (lab) =>
      verdict(await lab.anonymous('private/get_account_summary', { currency: 'BTC', access_token: 'not.a.token' })),
  },
  {
    fact: 'public key that the account has already',
    expected: 'accepted',
    observe: (lab, { ed25519 }) => tryToCreate(lab, {}, ed25519),
  },
  {
    fact: 'name of 17 characters',
    expected: 'refused with -32602',
    observe: (lab) => tryToCreate(lab, { name: lab.prefix.padEnd(17, 'x') }),
  },
  {
    fact: 'name with a hyphen',
    expected: 'refused with -32602',
    observe: (lab) => tryToCreate(lab, { name: `${lab.prefix}-x` }),
  },
  {
    fact: 'max_scope as an array of words',
    expected: 'accepted',
    observe: (lab) => tryToCreate(lab, { max_scope: [LAB_SCOPE] }),
  },
  {
    fact: 'private/reset_api_key on an asymmetric key',
    expected: 'refused with -32602',
    observe: async (lab, { rsa }) => {
      try {
        await lab.ask('private/reset_api_key', { id: rsa.keyId });
      } catch (error) {
        return refused(refusalCode(error));
      }
      return typeof (await lab.login(rsa)) === 'number'
        ? 'accepted, and the key no longer logs in'
        : 'accepted, and the key still logs in';
    },
  },
];
