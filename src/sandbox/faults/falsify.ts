import { createHash, generateKeyPairSync } from 'node:crypto';
import type { FaultName, Struck } from './faults.js';

const otherScope = 'account:read';
const anotherScope = 'trade:read';

/** SPKI PEM of a key that nobody asked for; another one at each call. */
export function strangersKey(): string {
  return generateKeyPairSync('ed25519').publicKey.export({ format: 'pem', type: 'spki' }).toString();
}

/** An answer with API keys, or with a granted scope, as the faults have it. */
export function falsify(result: unknown, struck: Struck): unknown {
  if (struck.size === 0) return result;
  if (Array.isArray(result)) return result.map((item) => falsify(item, struck));
  if (typeof result !== 'object' || result === null) return result;
  let answer: Record<string, unknown> = { ...result };
  for (const [name, arg] of struck) answer = alter(answer, name, arg);
  return answer;
}

function alter(answer: Record<string, unknown>, name: FaultName, arg: string | null): Record<string, unknown> {
  switch (name) {
    case 'wrong-fingerprint': {
      const { client_secret: secret } = answer;
      return isFingerprint(secret) ? { ...answer, client_secret: otherFingerprint(secret) } : answer;
    }
    case 'wrong-public-key':
      return 'public_key' in answer ? { ...answer, public_key: strangersKey().trim().replaceAll('\n', ' ') } : answer;
    case 'hide-public-key': {
      const { public_key: _hidden, ...rest } = answer;
      return rest;
    }
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

function isFingerprint(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{2}(:[0-9a-f]{2}){15}$/.test(value);
}

function otherFingerprint(fingerprint: string): string {
  return (createHash('md5').update(fingerprint).digest('hex').match(/../g) ?? []).join(':');
}
