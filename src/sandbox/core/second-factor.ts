import { createHash, createHmac } from 'node:crypto';
import { errorOf, type RpcError } from './errors.js';
import { secondFactorLockS, wrongCodesUntilLock } from './guesses.js';
import type { Params } from './params.js';
import { randomText } from './signature.js';

/** `tfa`: codes of an authenticator; `hardware`: a security key only; `missing`: demanded, but never set up. */
export type SecondFactorKind = 'tfa' | 'hardware' | 'missing';

const challengeLifeMs = 60_000;
const mostChallenges = 10_000;
/** The methods that demand a second factor. */
const protectedMethods = new Set([
  'private/create_api_key',
  'private/list_api_keys',
  'private/edit_api_key',
  'private/disable_api_key',
  'private/change_scope_in_api_key',
]);
const ownParams = new Set(['authorization_data', 'challenge', 'access_token']);

interface Challenge {
  readonly request: string;
  readonly expiresMs: number;
}

interface ProtectedRequest {
  readonly method: string;
  readonly clientId: string;
  readonly params: Params;
}

/** The challenge flow of protected methods: a challenge is bound to its request, a code is good once. */
export class SecondFactor {
  readonly #kind: SecondFactorKind;
  readonly #secret: Uint8Array;
  readonly #relyingParty: string;
  readonly #challenges = new Map<string, Challenge>();
  readonly #usedSteps = new Set<number>();
  #wrongCodes = 0;
  #lockedUntilMs = 0;

  /** @param relyingParty the host that a challenge names */
  constructor(kind: SecondFactorKind, secret: Uint8Array, relyingParty: string) {
    this.#kind = kind;
    this.#relyingParty = relyingParty;
    this.#secret = secret;
  }

  /** Null where the request may go on, else the challenge to answer with. @throws RpcError 13668, 12998 and 13904 */
  check({ method, clientId, params }: ProtectedRequest, nowMs: number): Readonly<Record<string, unknown>> | null {
    if (!protectedMethods.has(method)) return null;
    if (this.#kind === 'missing') throw errorOf(13_904);
    if (nowMs < this.#lockedUntilMs) {
      const waitS = Math.ceil((this.#lockedUntilMs - nowMs) / 1000);
      throw errorOf(12_998, { wait: waitS });
    }
    const request = digest({ method, clientId, params });
    const code = params.optionalString('authorization_data');
    const name = params.optionalString('challenge');
    if (code === null && name === null) return this.#challenge(request, nowMs);
    if (code === null) throw refused('tfa_code_is_required');
    const challenge = name === null ? undefined : this.#challenges.get(name);
    if (name !== null) this.#challenges.delete(name);
    if (challenge === undefined || challenge.request !== request || challenge.expiresMs <= nowMs) {
      throw refused('challenge_timeout');
    }
    this.#useCode(code, nowMs);
    return null;
  }

  #challenge(request: string, nowMs: number): Readonly<Record<string, unknown>> {
    for (const [name, { expiresMs }] of this.#challenges) {
      if (expiresMs > nowMs && this.#challenges.size < mostChallenges) break;
      this.#challenges.delete(name);
    }
    const challenge = Buffer.from(randomText(32), 'base64url').toString('base64');
    this.#challenges.set(challenge, { request, expiresMs: nowMs + challengeLifeMs });
    const key = this.#kind === 'tfa' ? { type: 'tfa', name: 'tfa' } : { type: 'u2f', name: 'hardware key' };
    return { security_key_authorization_required: true, security_keys: [key], rp_id: this.#relyingParty, challenge };
  }

  #useCode(code: string, nowMs: number): void {
    const now = totpStep(nowMs);
    for (const used of this.#usedSteps) if (used < now - 1) this.#usedSteps.delete(used);
    const steps = this.#kind === 'tfa' ? [now - 1, now, now + 1] : [];
    const matching = steps.filter((step) => totpCode(this.#secret, step) === code);
    const fresh = matching.find((step) => !this.#usedSteps.has(step));
    if (fresh !== undefined) {
      this.#usedSteps.add(fresh);
      this.#wrongCodes = 0;
      return;
    }
    if (matching.length > 0) throw refused('used_tfa_code');
    this.#wrongCodes += 1;
    if (this.#wrongCodes >= wrongCodesUntilLock) {
      this.#wrongCodes = 0;
      this.#lockedUntilMs = nowMs + secondFactorLockS * 1000;
    }
    throw refused('tfa_code_not_matched');
  }
}

function refused(reason: string): RpcError {
  return errorOf(13_668, { reason });
}

/** What a challenge is bound to: who asks for what, whatever the order of the parameters. */
function digest({ method, clientId, params }: ProtectedRequest): string {
  const bound = Object.entries(params.values).filter(([name]) => !ownParams.has(name));
  bound.sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256')
    .update(JSON.stringify([method, clientId, bound]))
    .digest('base64');
}

const stepMs = 30_000;

/** The time step (RFC 6238 §4.2) of `timeMs`. */
export function totpStep(timeMs: number): number {
  return Math.floor(timeMs / stepMs);
}

/** Six digits for a time step: HOTP with SHA-1 (RFC 4226 §5.3). */
export function totpCode(secret: Uint8Array, step: number): string {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const mac = createHmac('sha1', secret).update(counter).digest();
  const offset = mac.readUInt8(mac.length - 1) & 0xf;
  const number = (mac.readUInt32BE(offset) & 0x7fff_ffff) % 1_000_000;
  return String(number).padStart(6, '0');
}
