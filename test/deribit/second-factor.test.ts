import { describe, expect, it } from 'vitest';
import { Secret } from '../../src/crypto/secret.js';
import { rpcError } from '../../src/deribit/json-rpc.js';
import { type SecondFactorChallenge, withSecondFactor } from '../../src/deribit/second-factor.js';
import { DeribitKeysError } from '../../src/errors.js';
import { accountOn, exchange, METHOD } from './challenges.js';
import { failure, fakeTransport, shown } from './servers.js';

describe('a protected call', () => {
  it('is one request where no second factor is wanted', async () => {
    const { transport, asked } = fakeTransport(() => ({ id: 1 }));
    expect(await withSecondFactor(accountOn(transport), { method: METHOD, params: { a: 1 } })).toEqual({ id: 1 });
    expect(asked).toEqual([{ method: METHOD, params: { a: 1 }, options: { accessToken: new Secret('token') } }]);
  });

  it('is the same request again with the code and the challenge', async () => {
    const { transport, asked } = exchange((code) => (code === '123456' ? null : 'tfa_code_not_matched'));
    const seen: SecondFactorChallenge[] = [];
    const secondFactor = async (challenge: SecondFactorChallenge) => {
      seen.push(challenge);
      return '123456';
    };
    const result = await withSecondFactor(accountOn(transport), {
      method: METHOD,
      params: { a: 1 },
      secondFactor,
      timeoutMs: 5,
    });
    expect(result).toBe('done');
    expect(asked.map(({ params }) => params)).toEqual([
      { a: 1 },
      { a: 1, authorization_data: '123456', challenge: 'challenge-1' },
    ]);
    expect(asked[1]?.options).toEqual({ accessToken: new Secret('token'), timeoutMs: 5 });
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
    expect(await withSecondFactor(accountOn(transport), { method: METHOD, secondFactor })).toBe('done');
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
    const work = withSecondFactor(accountOn(transport), { method: METHOD, secondFactor: async () => '000000' });
    const error = await failure(work, 'ERR_SECOND_FACTOR_REFUSED');
    expect(error.rpc).toMatchObject({ code: 13668, data: { reason: 'tfa_code_not_matched' } });
    expect(asked).toHaveLength(8);
  });

  it('ends where each code is answered with another challenge', async () => {
    const { transport, asked } = fakeTransport(() => ({ security_key_authorization_required: true, challenge: 'c' }));
    const work = withSecondFactor(accountOn(transport), { method: METHOD, secondFactor: async () => '000000' });
    await failure(work, 'ERR_SECOND_FACTOR_REFUSED');
    expect(asked).toHaveLength(5);
  });

  it.each([12998, 13904, 13021])('ends at once with the refusal %d', async (code) => {
    const { transport, asked } = fakeTransport((_method, params) => {
      if (params.challenge === undefined)
        return { security_key_authorization_required: true, challenge: 'c', security_keys: [{ type: 'tfa' }] };
      throw rpcError(METHOD, { code, message: 'm', data: { wait: 30 } });
    });
    const work = withSecondFactor(accountOn(transport), { method: METHOD, secondFactor: async () => '000000' });
    const error = await failure(work, code === 13021 ? 'ERR_RPC' : 'ERR_SECOND_FACTOR_REFUSED');
    expect(error.rpc?.code).toBe(code);
    if (code === 12998) expect(error.hint).toContain('30 s');
    expect(asked).toHaveLength(2);
  });

  it('says clearly that there is no way to give a code, and that nothing was done', async () => {
    const none = await failure(
      withSecondFactor(accountOn(exchange(() => null).transport), { method: METHOD }),
      'ERR_SECOND_FACTOR_REQUIRED',
    );
    expect(none.maybeSent).toBe(false);
    const hardware = exchange(() => null, [{ type: 'webauthn', name: 'key' }]);
    const secondFactor = async () => '123456';
    const error = await failure(
      withSecondFactor(accountOn(hardware.transport), { method: METHOD, secondFactor }),
      'ERR_SECOND_FACTOR_REQUIRED',
    );
    expect(error).toMatchObject({ maybeSent: false, message: expect.stringContaining('hardware') });
    const both = exchange(() => null, [{ type: 'webauthn' }, { type: 'tfa' }]);
    expect(await withSecondFactor(accountOn(both.transport), { method: METHOD, secondFactor })).toBe('done');
  });

  it('keeps to the truth about what may have arrived', async () => {
    const lost = new DeribitKeysError('ERR_CONNECTION_CLOSED', 'cut', { maybeSent: true });
    const { transport } = fakeTransport((_method, params) => {
      if (params.challenge === undefined) return { security_key_authorization_required: true, challenge: 'c' };
      throw lost;
    });
    const work = withSecondFactor(accountOn(transport), { method: METHOD, secondFactor: async () => '000000' });
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
    const error = await failure(
      withSecondFactor(accountOn(transport), { method: METHOD, ...options }),
      'ERR_INTERRUPTED',
    );
    expect(error.maybeSent).toBe(false);
    expect(asked).toHaveLength(1);
    const broken = { secondFactor: () => Promise.reject(new TypeError('mine')) };
    await expect(withSecondFactor(accountOn(transport), { method: METHOD, ...broken })).rejects.toThrow('mine');
  });

  it.each([
    [{ security_keys: 'canary', challenge: 'c' }, 'security_keys'],
    [{ security_keys: [{ name: 'canary' }], challenge: 'c' }, 'security_keys[0].type'],
    [{ security_keys: ['canary'], challenge: 'c' }, 'security_keys[0]'],
    [{ security_keys: [{ type: 'tfa' }], challenge: { a: 'canary' } }, 'challenge'],
  ])('refuses a challenge like %j', async (fields, name) => {
    const { transport } = fakeTransport(() => ({ security_key_authorization_required: true, ...fields }));
    const work = withSecondFactor(accountOn(transport), { method: METHOD, secondFactor: async () => '000000' });
    const error = await failure(work, 'ERR_PROTOCOL');
    expect(error.message).toContain(`${name} is`);
    expect(shown(error)).not.toContain('canary');
  });
});
