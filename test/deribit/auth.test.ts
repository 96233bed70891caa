import { execFileSync } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { generateKeyPair } from '../../src/crypto/generate.js';
import { Secret } from '../../src/crypto/secret.js';
import { localSigner, type Signer } from '../../src/crypto/signer.js';
import {
  accountOf,
  buildAuthParams,
  call,
  exchangeToken,
  forkToken,
  login,
  loginWithClientSecret,
  logout,
  refreshLogin,
} from '../../src/deribit/auth.js';
import { getTime, getVersion } from '../../src/deribit/clock.js';
import { connect } from '../../src/deribit/connect.js';
import { failure, fakeTransport, shown, webSocketServer } from './servers.js';

const answer = {
  access_token: '1700000000000.abcdefgh.canary-access',
  refresh_token: '1700000000000.abcdefgh.canary-refresh',
  expires_in: 900,
  scope: 'account:read connection mainaccount',
  token_type: 'bearer',
};
const symmetric = { clientId: 'AMANDA', clientSecret: new Secret('AMANDASECRECT') };
const python = (() => {
  try {
    return execFileSync('python3', ['-c', 'import hmac']).length === 0;
  } catch {
    return false;
  }
})();

describe('signed auth parameters', () => {
  it('of a symmetric key are those of the known answer', async () => {
    const params = await buildAuthParams(symmetric, { timestampMs: 1576074319000, nonce: '1iqt2wls' });
    expect(params).toEqual({
      grant_type: 'client_signature',
      client_id: 'AMANDA',
      timestamp: 1576074319000,
      nonce: '1iqt2wls',
      data: '',
      signature: '56590594f97921b09b18f166befe0d1319b198bbcdad7ca73382de2f88fe9aa1',
    });
    expect(Object.keys(params)).toEqual(['grant_type', 'client_id', 'timestamp', 'nonce', 'data', 'signature']);
  });

  it.skipIf(!python)('of a symmetric key are what Python computes, also beyond ASCII (needs python3)', async () => {
    const program =
      'import hmac,sys;a=[bytes.fromhex(x) for x in sys.argv[1:]];print(hmac.new(a[0],b"\\n".join(a[1:]),"sha256").hexdigest())';
    for (const [secret, nonce, data] of [
      ['s', 'n', ''],
      ['schlüssel', 'nonce ☂', 'zwei\nZeilen 𝄞'],
    ] as const) {
      const credentials = { clientId: 'x', clientSecret: new Secret(secret) };
      const { signature } = await buildAuthParams(credentials, { timestampMs: 5, nonce, data });
      const hex = [secret, '5', nonce, data].map((text) => Buffer.from(text).toString('hex'));
      expect(signature).toBe(
        execFileSync('python3', ['-c', program, ...hex])
          .toString()
          .trim(),
      );
    }
  });

  it.each([
    { type: 'ed25519', hash: null, bytes: 64 },
    { type: 'rsa', bits: 2048, hash: 'sha256', bytes: 256 },
  ] as const)('of an $type key are verified by node:crypto', async ({ hash, bytes, ...options }) => {
    const key = await generateKeyPair(options);
    const publicKey = createPublicKey({ key: Buffer.from(key.publicKey.spki), format: 'der', type: 'spki' });
    const credentials = { clientId: 'abcdefgh', signer: localSigner(key) };
    const before = Date.now();
    const params = await buildAuthParams(credentials, { data: 'dätä', scope: 'trade:read', state: 's' });
    expect(Object.keys(params).slice(-2)).toEqual(['scope', 'state']);
    expect(params).toMatchObject({ scope: 'trade:read', state: 's', data: 'dätä' });
    expect(params.timestamp).toBeGreaterThanOrEqual(before);
    expect(params.signature).toMatch(/^[A-Za-z0-9_-]+$/);
    const signature = Buffer.from(params.signature, 'base64url');
    expect(signature).toHaveLength(bytes);
    const message = (nonce: string) => Buffer.from(`${params.timestamp}\n${nonce}\ndätä`);
    expect(verify(hash, message(params.nonce), publicKey, signature)).toBe(true);
    expect(verify(hash, message('other'), publicKey, signature)).toBe(false);
  });

  it('have another nonce each time', async () => {
    const many = await Promise.all(Array.from({ length: 500 }, () => buildAuthParams(symmetric)));
    expect(new Set(many.map(({ nonce }) => nonce)).size).toBe(500);
  });

  it.each([
    [{ timestampMs: 1.5 }, 'timestamp'],
    [{ timestampMs: Number.NaN }, 'timestamp'],
    [{ timestampMs: -1 }, 'timestamp'],
    [{ nonce: 'a\nb' }, 'nonce'],
    [{ nonce: 'a\rb' }, 'nonce'],
    [{ nonce: '' }, 'nonce'],
  ])('are refused for %j', async (options, word) => {
    expect((await failure(buildAuthParams(symmetric, options), 'ERR_USAGE')).message).toContain(word);
  });

  it('are refused without a client id', async () => {
    await failure(buildAuthParams({ ...symmetric, clientId: '' }), 'ERR_USAGE');
  });

  it('are refused where the signer returns anything but a bare signature', async () => {
    const real = localSigner(await generateKeyPair());
    const wrong: Signer = { ...real, sign: async () => new Uint8Array(72) };
    const error = await failure(buildAuthParams({ clientId: 'x', signer: wrong }), 'ERR_SIGNER');
    expect(error.message).toContain('72 bytes instead of 64');
  });

  it('sign a view into a larger buffer as what it shows', async () => {
    const real = localSigner(await generateKeyPair());
    const sign = async (message: Uint8Array) => {
      const larger = new Uint8Array(100);
      larger.set(await real.sign(message), 20);
      return larger.subarray(20, 84);
    };
    const options = { timestampMs: 1, nonce: 'n' };
    expect(await buildAuthParams({ clientId: 'x', signer: { ...real, sign } }, options)).toEqual(
      await buildAuthParams({ clientId: 'x', signer: real }, options),
    );
  });
});

describe('a login', () => {
  it('is asked for by signature, and the secret is not sent', async () => {
    const { transport, asked } = fakeTransport(() => answer);
    const signal = new AbortController().signal;
    const made = await login(transport, symmetric, {
      scope: 'account:read',
      state: 'st',
      nowMs: () => 77,
      signal,
      timeoutMs: 9,
    });
    expect(made).toMatchObject({ expiresInS: 900, scope: answer.scope, tokenType: 'bearer' });
    expect(made).toMatchObject({ sid: null, state: null, enabledFeatures: [], mandatoryTfaStatus: null });
    expect([made.accessToken.reveal(), made.refreshToken.reveal()]).toEqual([
      answer.access_token,
      answer.refresh_token,
    ]);
    expect(asked[0]).toMatchObject({
      method: 'public/auth',
      params: {
        grant_type: 'client_signature',
        client_id: 'AMANDA',
        timestamp: 77,
        scope: 'account:read',
        state: 'st',
      },
      options: { signal, timeoutMs: 9 },
    });
    expect(JSON.stringify(asked)).not.toContain('AMANDASECRECT');
  });

  it('signs the timestamp that is given', async () => {
    const { transport, asked } = fakeTransport(() => answer);
    await login(transport, symmetric, { timestampMs: 5, nowMs: () => 77 });
    expect(asked[0]?.params.timestamp).toBe(5);
    expect(asked[0]?.options).toEqual({});
  });

  it('shows neither of its tokens', async () => {
    const made = await login(fakeTransport(() => answer).transport, symmetric);
    expect(shown(made)).not.toContain('canary');
    expect(shown({ ...made })).not.toContain('canary');
  });

  it('keeps what only some answers have, and does not mind what is new', async () => {
    const more = { sid: 'A', state: 'st', enabled_features: ['f'], mandatory_tfa_status: 'disabled', brand_new: {} };
    const made = await login(fakeTransport(() => ({ ...answer, ...more, token_type: null })).transport, symmetric);
    expect(made).toMatchObject({
      sid: 'A',
      state: 'st',
      enabledFeatures: ['f'],
      mandatoryTfaStatus: 'disabled',
      tokenType: 'bearer',
    });
  });

  it.each([
    [{ access_token: undefined }, 'access_token'],
    [{ access_token: '' }, 'access_token'],
    [{ access_token: 'canary\r\nheader: x' }, 'access_token'],
    [{ refresh_token: ['canary'] }, 'refresh_token'],
    [{ expires_in: '900' }, 'expires_in is a string, not a number'],
    [{ expires_in: Number.POSITIVE_INFINITY }, 'expires_in is out of range, not a number'],
    [{ expires_in: 0 }, 'expired already'],
    [{ expires_in: -1 }, 'expired already'],
    [{ scope: null }, 'scope'],
    [{ enabled_features: 'canary' }, 'enabled_features'],
    [{ sid: 5 }, 'sid'],
  ])('is refused where the answer has %j, naming the field alone', async (fields, name) => {
    const error = await failure(
      login(fakeTransport(() => ({ ...answer, ...fields })).transport, symmetric),
      'ERR_PROTOCOL',
    );
    expect(error.message).toContain('public/auth');
    expect(error.message).toContain(name);
    expect(shown(error)).not.toContain('canary');
  });

  it('is refused where the answer is no object, whatever it is', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        const error = await failure(login(fakeTransport(() => value).transport, symmetric), 'ERR_PROTOCOL');
        expect(error.message).toContain('public/auth');
      }),
    );
  });

  it('comes by the secret itself, a refresh, an exchange and a fork', async () => {
    const { transport, asked } = fakeTransport(() => answer);
    const token = new Secret('canary-token');
    const all = [
      await loginWithClientSecret(transport, symmetric, { scope: 'x' }),
      await refreshLogin(transport, token, { timeoutMs: 5 }),
      await exchangeToken(transport, { refreshToken: token, subjectId: 12, scope: 'y' }),
      await forkToken(transport, { refreshToken: token, sessionName: 'bot' }),
    ];
    expect(asked.map(({ method, params }) => [method, params])).toEqual([
      [
        'public/auth',
        { grant_type: 'client_credentials', client_id: 'AMANDA', client_secret: 'AMANDASECRECT', scope: 'x' },
      ],
      ['public/auth', { grant_type: 'refresh_token', refresh_token: 'canary-token' }],
      ['public/exchange_token', { refresh_token: 'canary-token', subject_id: 12, scope: 'y' }],
      ['public/fork_token', { refresh_token: 'canary-token', session_name: 'bot' }],
    ]);
    expect(asked[1]?.options).toEqual({ timeoutMs: 5 });
    for (const made of all) expect(shown(made)).not.toContain('canary');
  });
});

it('a token whose life no date can hold counts as one of a hundred years', async () => {
  const made = await login(fakeTransport(() => ({ ...answer, expires_in: 1e13 })).transport, symmetric);
  expect(new Date(Date.now() + made.expiresInS * 1_000).getUTCFullYear()).toBeGreaterThan(2_100);
});

describe('an account', () => {
  it('sends its token over HTTP, and none over a connection that has logged in', async () => {
    const http = fakeTransport(() => 1);
    const made = await login(fakeTransport(() => answer).transport, symmetric);
    const signal = new AbortController().signal;
    await call(accountOf(http.transport, made), { method: 'private/x', params: { a: 1 }, signal, timeoutMs: 3 });
    expect(http.asked[0]).toEqual({
      method: 'private/x',
      params: { a: 1 },
      options: { signal, timeoutMs: 3, accessToken: made.accessToken },
    });
    expect(made.accessToken.reveal()).toBe(answer.access_token);
    const ws = fakeTransport(() => 1, 'websocket');
    await call(accountOf(ws.transport, made), { method: 'private/x' });
    expect(ws.asked[0]).toEqual({ method: 'private/x', params: {}, options: {} });
    expect(shown(accountOf(http.transport, made).accessToken)).not.toContain('canary');
  });

  it('logs out of a WebSocket by the close that answers it', async () => {
    const asked: unknown[] = [];
    const { endpoint } = await webSocketServer(({ method, params }, socket) => {
      asked.push([method, params]);
      socket.close(1000);
    });
    const transport = await connect(endpoint);
    await logout({ transport, accessToken: null });
    expect(asked).toEqual([['private/logout', { invalidate_token: true }]]);
    await failure(logout({ transport, accessToken: null }), 'ERR_CONNECTION_CLOSED');
  });

  it('logs out over HTTP by an answer, and hands on a refusal', async () => {
    const { transport, asked, closed } = fakeTransport(() => 'ok');
    const accessToken = new Secret('t');
    await logout({ transport, accessToken }, { invalidateToken: false, timeoutMs: 4 });
    expect(asked[0]).toMatchObject({
      params: { invalidate_token: false },
      options: { timeoutMs: 4, accessToken },
    });
    expect(closed()).toBe(1);
    const cut = fakeTransport(() => {
      throw new TypeError('other');
    });
    await expect(logout({ transport: cut.transport, accessToken: null })).rejects.toThrow('other');
  });
});

describe('the exchange’s clock and version', () => {
  it('are read and checked', async () => {
    expect(await getTime(fakeTransport(() => 1.7e12).transport)).toBe(1_700_000_000_000);
    expect(await getVersion(fakeTransport(() => ({ version: '1.2.26' })).transport, { timeoutMs: 1 })).toBe('1.2.26');
    await failure(getTime(fakeTransport(() => '1700000000000').transport), 'ERR_PROTOCOL');
    await failure(getVersion(fakeTransport(() => ({})).transport), 'ERR_PROTOCOL');
    await failure(getVersion(fakeTransport(() => []).transport), 'ERR_PROTOCOL');
  });
});
