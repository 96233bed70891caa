import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Secret } from '../../src/crypto/secret.js';
import { rpcError } from '../../src/deribit/json-rpc.js';
import { type SecondFactorChallenge, withSecondFactor } from '../../src/deribit/second-factor.js';
import {
  promptSecondFactor,
  singleCodeSecondFactor,
  totpSecondFactor,
} from '../../src/deribit/second-factor-providers.js';
import { DeribitKeysError } from '../../src/errors.js';
import { failure, fakeTransport, shown } from './servers.js';

/** RFC 6238, appendix B: the seed is the ASCII text 12345678901234567890. */
const SEED = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';
const METHOD = 'private/create_api_key';
type Params = Readonly<Record<string, unknown>>;

const refused = (reason: string) =>
  rpcError(METHOD, { code: 13668, message: 'security_key_authorization_error', data: { reason } });

/** An exchange that challenges, and judges codes by `judge`: null takes the code, a text is the reason against it. */
function exchange(
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

const accountOn = (transport: ReturnType<typeof fakeTransport>['transport']) => ({
  transport,
  accessToken: new Secret('token'),
});

/** A clock that stands still but for sleeping. */
function clock(startMs: number) {
  let now = startMs;
  const slept: number[] = [];
  const sleep = async (ms: number) => {
    slept.push(ms);
    now += ms;
  };
  return { nowMs: () => now, sleep, slept, advance: (ms: number) => (now += ms) };
}

const challengeWith = (fields: Partial<SecondFactorChallenge> = {}): SecondFactorChallenge => ({
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
const again = (reason: string, attempt = 2) => challengeWith({ reason, attempt, refusal: refused(reason) });

describe('a protected call', () => {
  it('is one request where no second factor is wanted', async () => {
    const { transport, asked } = fakeTransport(() => ({ id: 1 }));
    expect(await withSecondFactor(accountOn(transport), METHOD, { a: 1 })).toEqual({ id: 1 });
    expect(asked).toEqual([{ method: METHOD, params: { a: 1 }, options: { accessToken: 'token' } }]);
  });

  it('is the same request again with the code and the challenge', async () => {
    const { transport, asked } = exchange((code) => (code === '123456' ? null : 'tfa_code_not_matched'));
    const seen: SecondFactorChallenge[] = [];
    const secondFactor = async (challenge: SecondFactorChallenge) => {
      seen.push(challenge);
      return '123456';
    };
    const result = await withSecondFactor(accountOn(transport), METHOD, { a: 1 }, { secondFactor, timeoutMs: 5 });
    expect(result).toBe('done');
    expect(asked.map(({ params }) => params)).toEqual([
      { a: 1 },
      { a: 1, authorization_data: '123456', challenge: 'challenge-1' },
    ]);
    expect(asked[1]?.options).toEqual({ accessToken: 'token', timeoutMs: 5 });
    expect(seen[0]).toMatchObject({
      method: METHOD,
      attempt: 1,
      reason: null,
      refusal: null,
      retryable: true,
      securityKeys: ['tfa'],
    });
  });

  it('starts over with a new challenge after each refusal, and says why', async () => {
    const reasons = ['tfa_code_not_matched', 'used_tfa_code', 'challenge_timeout'];
    const { transport, asked } = exchange((_code, attempt) => reasons[attempt - 1] ?? null);
    const seen: unknown[] = [];
    const secondFactor = async ({ attempt, reason, refusal, retryable }: SecondFactorChallenge) => {
      seen.push([attempt, reason, refusal?.rpc?.code ?? null, retryable]);
      return '000000';
    };
    expect(await withSecondFactor(accountOn(transport), METHOD, {}, { secondFactor })).toBe('done');
    expect(seen).toEqual([
      [1, null, null, true],
      [2, 'tfa_code_not_matched', 13668, true],
      [3, 'used_tfa_code', 13668, true],
      [4, 'challenge_timeout', 13668, false],
    ]);
    const challenges = asked.map(({ params }) => params.challenge);
    expect(challenges).toEqual([
      undefined,
      'challenge-1',
      undefined,
      'challenge-2',
      undefined,
      'challenge-3',
      undefined,
      'challenge-4',
    ]);
  });

  it('ends after four refusals with the last of them', async () => {
    const { transport, asked } = exchange(() => 'tfa_code_not_matched');
    const work = withSecondFactor(accountOn(transport), METHOD, {}, { secondFactor: async () => '000000' });
    const error = await failure(work, 'ERR_SECOND_FACTOR_REFUSED');
    expect(error.rpc).toMatchObject({ code: 13668, data: { reason: 'tfa_code_not_matched' } });
    expect(asked).toHaveLength(8);
  });

  it('ends where each code is answered with another challenge', async () => {
    const { transport, asked } = fakeTransport(() => ({ security_key_authorization_required: true, challenge: 'c' }));
    const work = withSecondFactor(accountOn(transport), METHOD, {}, { secondFactor: async () => '000000' });
    await failure(work, 'ERR_SECOND_FACTOR_REFUSED');
    expect(asked).toHaveLength(5);
  });

  it.each([12998, 13904, 13021])('ends at once with the refusal %d', async (code) => {
    const { transport, asked } = fakeTransport((_method, params) => {
      if (params.challenge === undefined)
        return { security_key_authorization_required: true, challenge: 'c', security_keys: [{ type: 'tfa' }] };
      throw rpcError(METHOD, { code, message: 'm', data: { wait: 30 } });
    });
    const work = withSecondFactor(accountOn(transport), METHOD, {}, { secondFactor: async () => '000000' });
    const error = await failure(work, code === 13021 ? 'ERR_RPC' : 'ERR_SECOND_FACTOR_REFUSED');
    expect(error.rpc?.code).toBe(code);
    if (code === 12998) expect(error.hint).toContain('30 s');
    expect(asked).toHaveLength(2);
  });

  it('says clearly that there is no way to give a code, and that nothing was done', async () => {
    const none = await failure(
      withSecondFactor(accountOn(exchange(() => null).transport), METHOD),
      'ERR_SECOND_FACTOR_REQUIRED',
    );
    expect(none.maybeSent).toBe(false);
    const hardware = exchange(() => null, [{ type: 'webauthn', name: 'key' }]);
    const secondFactor = async () => '123456';
    const error = await failure(
      withSecondFactor(accountOn(hardware.transport), METHOD, {}, { secondFactor }),
      'ERR_SECOND_FACTOR_REQUIRED',
    );
    expect(error).toMatchObject({ maybeSent: false, message: expect.stringContaining('hardware') });
    const both = exchange(() => null, [{ type: 'webauthn' }, { type: 'tfa' }]);
    expect(await withSecondFactor(accountOn(both.transport), METHOD, {}, { secondFactor })).toBe('done');
  });

  it('keeps to the truth about what may have arrived', async () => {
    const lost = new DeribitKeysError('ERR_CONNECTION_CLOSED', 'cut', { maybeSent: true });
    const { transport } = fakeTransport((_method, params) => {
      if (params.challenge === undefined) return { security_key_authorization_required: true, challenge: 'c' };
      throw lost;
    });
    const work = withSecondFactor(accountOn(transport), METHOD, {}, { secondFactor: async () => '000000' });
    expect(await failure(work, 'ERR_CONNECTION_CLOSED')).toBe(lost);
  });

  it('sends no code after it was interrupted, and hands on what the provider throws', async () => {
    const { transport, asked } = exchange(() => null);
    const controller = new AbortController();
    const secondFactor = async () => {
      controller.abort();
      return '000000';
    };
    const options = { secondFactor, signal: controller.signal };
    const error = await failure(withSecondFactor(accountOn(transport), METHOD, {}, options), 'ERR_INTERRUPTED');
    expect(error.maybeSent).toBe(false);
    expect(asked).toHaveLength(1);
    const broken = { secondFactor: () => Promise.reject(new TypeError('mine')) };
    await expect(withSecondFactor(accountOn(transport), METHOD, {}, broken)).rejects.toThrow('mine');
  });

  it.each([
    [{ security_keys: 'canary', challenge: 'c' }, 'security_keys'],
    [{ security_keys: [{ name: 'canary' }], challenge: 'c' }, 'security_keys[0].type'],
    [{ security_keys: ['canary'], challenge: 'c' }, 'security_keys[0]'],
    [{ security_keys: [{ type: 'tfa' }], challenge: { a: 'canary' } }, 'challenge'],
  ])('refuses a challenge like %j', async (fields, name) => {
    const { transport } = fakeTransport(() => ({ security_key_authorization_required: true, ...fields }));
    const work = withSecondFactor(accountOn(transport), METHOD, {}, { secondFactor: async () => '000000' });
    const error = await failure(work, 'ERR_PROTOCOL');
    expect(error.message).toContain(`${name} is`);
    expect(shown(error)).not.toContain('canary');
  });
});

describe('codes from a seed', () => {
  it.each([
    [59, '287082'],
    [1111111109, '081804'],
    [1111111111, '050471'],
    [1234567890, '005924'],
    [2000000000, '279037'],
    [20000000000, '353130'],
  ])('are those of RFC 6238 at %d s', async (seconds, code) => {
    const { nowMs, sleep } = clock(seconds * 1000);
    expect(await totpSecondFactor(SEED, { nowMs, sleep })(challengeWith())).toBe(code);
  });

  it('are the same however the seed is written', async () => {
    const writings = [
      SEED.toLowerCase(),
      SEED.replace(/(.{4})/g, '$1 '),
      ` ${SEED}==\n`,
      SEED.replace(/(.{4})/g, '$1-'),
    ];
    for (const seed of [...writings, new Secret(SEED)]) {
      expect(await totpSecondFactor(seed, clock(59_000))(challengeWith())).toBe('287082');
    }
  });

  it('are those of an independent computation in Python, for any seed (needs python3)', async (context) => {
    const program = [
      'import sys,base64,hmac,struct',
      'for line in sys.stdin:',
      ' s,t=line.split(); k=base64.b32decode(s+"="*(-len(s)%8)); d=hmac.new(k,struct.pack(">Q",int(t)//30000),"sha1").digest()',
      ' o=d[-1]&15; print("%06d"%((struct.unpack(">I",d[o:o+4])[0]&0x7fffffff)%10**6))',
    ].join('\n');
    const byte = fc.uint8Array({ minLength: 1, maxLength: 40 });
    const samples = fc.sample(fc.tuple(byte, fc.integer({ min: 0, max: 4e12 })), 60);
    const lines = samples.map(([bytes, timeMs]) => [base32(bytes), timeMs] as const);
    let codes: string[];
    try {
      const input = lines.map((line) => line.join(' ')).join('\n');
      codes = execFileSync('python3', ['-c', program], { input }).toString().trim().split('\n');
    } catch {
      return context.skip('there is no python3');
    }
    const ours = await Promise.all(
      lines.map(([seed, timeMs]) => totpSecondFactor(seed, clock(timeMs))(challengeWith())),
    );
    expect(ours).toEqual(codes);
  });

  it('wait for the next step where the code was used, with a note', async () => {
    const time = clock(59_000);
    const notes: string[] = [];
    const note = (text: string) => notes.push(text);
    const provider = totpSecondFactor(SEED, time);
    expect(await provider({ ...challengeWith(), note })).toBe('287082');
    const next = await totpSecondFactor(SEED, clock(60_000))(challengeWith());
    expect(await provider({ ...again('used_tfa_code'), note })).toBe(next);
    expect(time.slept).toEqual([1000]);
    expect(notes).toEqual(['the current code was used already: waiting 1 s for the next one']);
  });

  it('are never given twice by the same provider, even at once', async () => {
    const time = clock(30_000);
    const provider = totpSecondFactor(SEED, time);
    const codes = [
      await provider(challengeWith()),
      ...(await Promise.all([provider(challengeWith()), provider(challengeWith())])),
    ];
    expect(new Set(codes).size).toBe(3);
  });

  it('are not tried again within the step where they do not match, but in the next', async () => {
    const time = clock(59_999);
    const provider = totpSecondFactor(SEED, time);
    await provider(challengeWith());
    await failure(provider(again('tfa_code_not_matched')), 'ERR_SECOND_FACTOR_REFUSED');
    time.advance(1);
    expect(await provider(again('tfa_code_not_matched'))).toMatch(/^\d{6}$/);
  });

  it('come after a real wait that a signal can end', async () => {
    const nowMs = () => 29_950;
    const provider = totpSecondFactor(SEED, { nowMs });
    const first = await provider(challengeWith());
    expect(await provider(again('used_tfa_code'))).not.toBe(first);
    const controller = new AbortController();
    controller.abort();
    const ended = provider({ ...again('used_tfa_code'), signal: controller.signal });
    expect((await failure(ended, 'ERR_INTERRUPTED')).maybeSent).toBe(false);
  });

  it('carry a whole call over a used code', async () => {
    const time = clock(1_000_000_000);
    const spent = new Set([await totpSecondFactor(SEED, clock(time.nowMs()))(challengeWith())]);
    const judge = (code: string) => {
      if (spent.has(code)) return 'used_tfa_code';
      spent.add(code);
      return null;
    };
    const { transport } = exchange(judge);
    const notes: string[] = [];
    const options = { secondFactor: totpSecondFactor(SEED, time), onNote: (text: string) => notes.push(text) };
    for (let call = 0; call < 3; call += 1)
      expect(await withSecondFactor(accountOn(transport), METHOD, {}, options)).toBe('done');
    expect(notes).toHaveLength(3);
    expect(time.slept.every((ms) => ms > 0 && ms <= 30_000)).toBe(true);
  });

  it.each(['', '   ', 'canary1', 'ABC', 'ABCDEFGHIJK0', 'A', '=', 'ÄÖÜ'])(
    'need a seed that is base32, not %j',
    async (seed) => {
      const error = await failure(() => totpSecondFactor(seed), 'ERR_USAGE');
      if (seed.length > 3) expect(shown(error)).not.toContain(seed.trim() || 'nothing to find');
    },
  );

  it('come from every seed of whole bytes, and any other text is refused without being shown', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 64 }), async (bytes) => {
        expect(await totpSecondFactor(base32(bytes), clock(0))(challengeWith())).toMatch(/^\d{6}$/);
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary', minLength: 12 }), async (text) => {
        try {
          expect(await totpSecondFactor(text, clock(0))(challengeWith())).toMatch(/^\d{6}$/);
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_USAGE' });
          expect((error as Error).message).not.toContain(text);
        }
      }),
    );
  });
});

describe('a single code', () => {
  it('answers the first challenge alone', async () => {
    const provider = singleCodeSecondFactor(' 123 456 ');
    expect(await provider(challengeWith())).toBe('123456');
    const error = await failure(provider(challengeWith()), 'ERR_SECOND_FACTOR_REQUIRED');
    expect(error).toMatchObject({ maybeSent: false, hint: expect.stringContaining('seed') });
  });

  it('is not tried again where it is refused', async () => {
    const { transport, asked } = exchange(() => 'tfa_code_not_matched');
    const work = withSecondFactor(accountOn(transport), METHOD, {}, { secondFactor: singleCodeSecondFactor('123456') });
    expect((await failure(work, 'ERR_SECOND_FACTOR_REFUSED')).rpc?.code).toBe(13668);
    expect(asked.filter(({ params }) => params.challenge !== undefined)).toHaveLength(1);
  });

  it.each(['', '12345', '1234567', 'canary', '１２３４５６', SEED])('is refused where it is %j', async (code) => {
    const error = await failure(() => singleCodeSecondFactor(code), 'ERR_USAGE');
    if (code.length > 0) expect(shown(error)).not.toContain(code);
  });
});

describe('codes from a prompt', () => {
  it('may be wrong three times, each with a question that says why', async () => {
    const typed = ['111111', '222222', ' 333 333 ', '444444'];
    const questions: string[] = [];
    const reasons = ['tfa_code_not_matched', 'used_tfa_code', 'challenge_timeout'];
    const { transport } = exchange((code, attempt) => (code === '444444' ? null : (reasons[attempt - 1] ?? null)));
    const secondFactor = promptSecondFactor(async (question) => {
      questions.push(question);
      return typed[questions.length - 1] ?? '';
    });
    expect(await withSecondFactor(accountOn(transport), METHOD, {}, { secondFactor })).toBe('done');
    expect(questions).toHaveLength(4);
    expect(new Set(questions).size).toBe(4);
  });

  it('are asked for again where they are not six digits, but not for ever', async () => {
    const typed = ['', 'abc', '12345', '123456'];
    let asked = 0;
    expect(await promptSecondFactor(async () => typed[asked++] ?? '')(challengeWith())).toBe('123456');
    await failure(promptSecondFactor(async () => '')(challengeWith()), 'ERR_SECOND_FACTOR_REQUIRED');
    expect(asked).toBe(4);
  });
});

/** RFC 4648 §6, without padding; our own, to have something to compare with. */
function base32(bytes: Uint8Array): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const groups = bits.match(/.{1,5}/g) ?? [];
  return groups.map((group) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[Number.parseInt(group.padEnd(5, '0'), 2)]).join('');
}
