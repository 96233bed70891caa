import { Secret } from '../../src/crypto/secret.js';
import { rpcError } from '../../src/deribit/json-rpc.js';
import type { SecondFactorChallenge } from '../../src/deribit/second-factor.js';
import { fakeTransport } from './servers.js';

/** RFC 6238, appendix B: the seed is the ASCII text 12345678901234567890. */
export const SEED = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';
export const METHOD = 'private/create_api_key';
type Params = Readonly<Record<string, unknown>>;

export const refused = (reason: string) =>
  rpcError(METHOD, { code: 13668, message: 'security_key_authorization_error', data: { reason } });

/** An exchange that challenges, and judges codes by `judge`: null takes the code, a text is the reason against it. */
export function exchange(
  judge: (code: string, attempt: number) => string | null,
  securityKeys: unknown = [{ type: 'tfa', name: 'tfa' }],
) {
  let challenges = 0;
  let attempts = 0;
  return fakeTransport((_method: string, params: Params) => {
    if (params.challenge === undefined) {
      challenges += 1;
      return {
        security_key_authorization_required: true,
        security_keys: securityKeys,
        rp_id: 'test.deribit.com',
        challenge: `challenge-${challenges}`,
      };
    }
    attempts += 1;
    const reason =
      params.challenge === `challenge-${challenges}`
        ? judge(String(params.authorization_data), attempts)
        : 'challenge_timeout';
    if (reason !== null) throw refused(reason);
    return 'done';
  });
}

export const accountOn = (transport: ReturnType<typeof fakeTransport>['transport']) => ({
  transport,
  accessToken: new Secret('token'),
});

/** A clock that stands still but for sleeping. */
export function clock(startMs: number) {
  let now = startMs;
  const slept: number[] = [];
  const sleep = async (ms: number) => {
    slept.push(ms);
    now += ms;
  };
  return { nowMs: () => now, sleep, slept, advance: (ms: number) => (now += ms) };
}

export const challengeWith = (fields: Partial<SecondFactorChallenge> = {}): SecondFactorChallenge => ({
  method: METHOD,
  attempt: 1,
  reason: null,
  refusal: null,
  retryable: true,
  securityKeys: ['tfa'],
  note: () => {},
  signal: undefined,
  ...fields,
});
export const again = (reason: string, attempt = 2) => challengeWith({ reason, attempt, refusal: refused(reason) });
