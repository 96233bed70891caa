import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { digestPairs } from '../core/signature.js';
import type { FaultName, Struck } from './faults.js';

const otherScope = 'account:read';
const anotherScope = 'trade:read';
const mask = '***';

type Fields = Readonly<Record<string, unknown>>;

interface Alteration {
  readonly name: FaultName;
  readonly arg: string | null;
  readonly caller: string | null;
}

/** SPKI PEM of a key that nobody asked for; another one at each call. */
export function unexpectedKey(): string {
  return generateKeyPairSync('ed25519').publicKey.export({ format: 'pem', type: 'spki' }).toString();
}

/**
 * An answer with API keys, or with a granted scope, as the faults have it.
 * @param caller the client id that asks; null where nobody is logged in
 */
export function falsify(result: unknown, struck: Struck, caller: string | null): unknown {
  if (struck.size === 0) return result;
  if (Array.isArray(result)) return result.map((item) => falsify(item, struck, caller));
  if (typeof result !== 'object' || result === null) return result;
  let answer: Fields = { ...result };
  for (const [name, arg] of struck) answer = alter(answer, { name, arg, caller });
  return answer;
}

function alter(answer: Fields, { name, arg, caller }: Alteration): Fields {
  switch (name) {
    case 'wrong-fingerprint':
      return withFingerprint(answer, (fingerprint) => digestPairs('md5', fingerprint));
    case 'fingerprint-form':
      return withFingerprint(answer, (fingerprint) => inForm(fingerprint, arg));
    case 'fingerprint-digest':
      return withFingerprint(answer, (fingerprint) => digestOf(answer.public_key, arg) ?? fingerprint);
    case 'wrong-public-key':
      return 'public_key' in answer ? { ...answer, public_key: unexpectedKey().trim().replaceAll('\n', ' ') } : answer;
    case 'hide-secret':
      return hide(answer, ['client_secret'], { arg, caller });
    case 'hide-public-key':
      return hide(answer, ['public_key'], { arg, caller });
    case 'hide-key':
      return hide(answer, ['client_secret', 'public_key'], { arg, caller });
    case 'hide-enabled':
      return hide(answer, ['enabled'], { arg: 'absent', caller });
    case 'other-scope': {
      const field = 'max_scope' in answer ? 'max_scope' : 'scope';
      const { [field]: scope } = answer;
      if (typeof scope !== 'string') return answer;
      return { ...answer, [field]: arg ?? (scope === otherScope ? anotherScope : otherScope) };
    }
    default:
      return answer;
  }
}

/** The fields that are there, hidden as the fault's argument says: `…-others` spares the caller's own key. */
function hide(answer: Fields, fields: readonly string[], { arg, caller }: Omit<Alteration, 'name'>): Fields {
  const [way, others] = (arg ?? 'absent').split('-');
  if (others !== undefined && answer.client_id === caller) return answer;
  const shown = Object.entries(answer).flatMap(([name, value]): [string, unknown][] => {
    if (!fields.includes(name)) return [[name, value]];
    return way === 'absent' ? [] : [[name, way === 'empty' ? '' : mask]];
  });
  return Object.fromEntries(shown);
}

function withFingerprint(answer: Fields, change: (fingerprint: string) => string): Fields {
  const { client_secret: secret } = answer;
  const isFingerprint = typeof secret === 'string' && /^[0-9a-f]{2}(:[0-9a-f]{2}){15}$/.test(secret);
  return isFingerprint ? { ...answer, client_secret: change(secret) } : answer;
}

function inForm(fingerprint: string, form: string | null): string {
  if (form === 'bare') return fingerprint.replaceAll(':', '');
  return form === 'spaced' ? ` ${fingerprint.replaceAll(':', ' ')}\n` : fingerprint.toUpperCase();
}

function digestOf(publicKey: unknown, digest: string | null): string | null {
  if (typeof publicKey !== 'string') return null;
  if (digest === 'pem') return digestPairs('md5', publicKey);
  const pem = publicKey.replace(/(?<=-----) | (?=-----)/g, '\n');
  return digestPairs('sha256', createPublicKey(pem).export({ format: 'der', type: 'spki' }));
}
