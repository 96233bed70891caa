import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeFrame,
  encodeRequest,
  isRefusedLogin,
  isTransientRefusal,
  type Reply,
  resultOf,
  rpcError,
} from '../../src/deribit/json-rpc.js';
import { RPC_CODES } from '../../src/deribit/rpc-codes.js';
import { DeribitKeysError } from '../../src/errors.js';
import { anyText } from '../support/properties.js';
import { failure, shown } from './servers.js';

const replyOf = (text: string): Reply => {
  const frame = decodeFrame(text);
  if (frame.kind !== 'reply') throw new Error(`no reply but ${frame.kind}`);
  return frame.reply;
};

describe('a request', () => {
  it('is a JSON-RPC 2.0 envelope with named parameters', () => {
    expect(JSON.parse(encodeRequest(7, 'public/auth', { scope: 'a\u2028"b' }))).toEqual({
      jsonrpc: '2.0',
      id: 7,
      method: 'public/auth',
      params: { scope: 'a\u2028"b' },
    });
  });

  it.each(['', 'auth', 'public/../admin', 'public/auth?x=1', 'public/Auth', 'public/auth\n', '/public/auth'])(
    'cannot have the method %j',
    async (method) => {
      expect((await failure(() => encodeRequest(1, method, {}), 'ERR_USAGE')).maybeSent).toBe(false);
    },
  );

  it('cannot carry what JSON cannot say', async () => {
    const cycle: Record<string, unknown> = { secret: 'canary' };
    cycle.self = cycle;
    expect(shown(await failure(() => encodeRequest(1, 'public/test', cycle), 'ERR_USAGE'))).not.toContain('canary');
    await failure(() => encodeRequest(1, 'public/test', { big: 1n }), 'ERR_USAGE');
  });
});

describe('a frame', () => {
  it('is a reply with a result, whatever else it holds', () => {
    const text = '{"jsonrpc":"2.0","id":1e0,"result":1.5e3,"usIn":1,"usOut":2,"usDiff":1,"testnet":true,"new":[{}]}';
    expect(decodeFrame(text)).toEqual({ kind: 'reply', reply: { id: 1, testnet: true, outcome: { result: 1500 } } });
    expect(replyOf('{"result":null}')).toEqual({ id: null, testnet: null, outcome: { result: null } });
  });

  it('is a reply with an error, with or without an id and data', () => {
    expect(replyOf('{"error":{"code":11050,"message":"bad_request","data":"invalid json"}}')).toEqual({
      id: null,
      testnet: null,
      outcome: { error: { code: 11050, message: 'bad_request', data: 'invalid json' } },
    });
    expect(replyOf('{"id":3,"error":{"code":13004,"message":"x","more":1}}').outcome).toEqual({
      error: { code: 13004, message: 'x' },
    });
  });

  it('is a notification where it has a method and no id', () => {
    const heartbeat = '{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}';
    expect(decodeFrame(heartbeat)).toEqual({
      kind: 'notification',
      notification: { method: 'heartbeat', params: { type: 'test_request' } },
    });
    expect(decodeFrame('{"method":"m","params":[1]}')).toMatchObject({ notification: { params: {} } });
  });

  it.each([
    ['', null],
    ['nope', null],
    ['[]', null],
    ['null', null],
    ['"text"', null],
    ['{}', null],
    ['{"id":4}', 4],
    ['{"id":"4","result":1}', null],
    ['{"id":1.5,"result":1}', null],
    ['{"id":4,"result":1,"testnet":"yes"}', 4],
    ['{"id":4,"error":"broken"}', 4],
    ['{"id":4,"error":{"code":"13004","message":"x"}}', 4],
    ['{"id":4,"error":{"code":1}}', 4],
  ])('is garbage where it is %j', (text, id) => {
    expect(decodeFrame(text)).toMatchObject({ kind: 'garbage', id });
  });

  it('is read without ever throwing, whatever it is', () => {
    const texts = fc.oneof(
      anyText(),
      fc.json(),
      fc.json().map((json) => json.slice(0, -1)),
    );
    fc.assert(
      fc.property(texts, (text) => {
        expect(['reply', 'notification', 'garbage']).toContain(decodeFrame(text).kind);
      }),
    );
  });

  it('is read without ever throwing where it nearly is a reply', () => {
    const odd = fc.oneof(fc.anything({ withNullPrototype: false }), fc.integer(), fc.constant(undefined), fc.boolean());
    const nearly = fc.record(
      { id: odd, result: odd, error: odd, testnet: odd, method: odd, params: odd },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(nearly, (value) => {
        const frame = decodeFrame(JSON.stringify(value, (_, item) => (typeof item === 'bigint' ? Number(item) : item)));
        expect(['reply', 'notification', 'garbage']).toContain(frame.kind);
        if (frame.kind !== 'reply') return;
        try {
          resultOf({ reply: frame.reply, method: 'public/test', params: {}, expectTestnet: true });
        } catch (error) {
          expect(error).toBeInstanceOf(DeribitKeysError);
        }
      }),
    );
  });

  it('returns any result that JSON can express', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.nat(), (result, id) => {
        const text = JSON.stringify({ id, result });
        expect(resultOf({ reply: replyOf(text), method: 'public/test', params: {}, expectTestnet: null })).toEqual(
          JSON.parse(text).result,
        );
      }),
    );
  });

  it('of any depth is read', () => {
    const deep = `{"id":1,"result":${'['.repeat(50_000)}${']'.repeat(50_000)}}`;
    expect(decodeFrame(deep).kind).toBe('reply');
  });
});

describe('the testnet flag', () => {
  it.each([
    ['{"id":1,"result":1,"testnet":false}', true],
    ['{"id":1,"result":1,"testnet":true}', false],
    ['{"id":1,"error":{"code":13004,"message":"x"},"testnet":false}', true],
  ])('of %s contradicts the expected %s', async (text, expected) => {
    const error = await failure(
      () => resultOf({ reply: replyOf(text), method: 'public/auth', params: {}, expectTestnet: expected }),
      'ERR_WRONG_ENVIRONMENT',
    );
    expect(error.maybeSent).toBe(true);
  });

  it('may be absent, and does not matter where nothing is expected', () => {
    expect(
      resultOf({ reply: replyOf('{"id":1,"result":2}'), method: 'public/test', params: {}, expectTestnet: true }),
    ).toBe(2);
    expect(
      resultOf({
        reply: replyOf('{"id":1,"result":2,"testnet":false}'),
        method: 'public/test',
        params: {},
        expectTestnet: null,
      }),
    ).toBe(2);
  });
});

describe('the error for a refusal', () => {
  it.each([
    [13004, 'ERR_UNAUTHORIZED'],
    [13009, 'ERR_UNAUTHORIZED'],
    [13668, 'ERR_SECOND_FACTOR_REFUSED'],
    [12998, 'ERR_SECOND_FACTOR_REFUSED'],
    [13904, 'ERR_SECOND_FACTOR_REFUSED'],
    [13021, 'ERR_RPC'],
    [-32602, 'ERR_RPC'],
    [99999, 'ERR_RPC'],
  ] as const)('%d is %s and keeps what arrived', (code, expected) => {
    const data = { reason: 'some', extra: [1, { a: null }] };
    const error = rpcError('private/x', { code, message: 'words', data });
    expect(error.code).toBe(expected);
    expect(error.rpc).toEqual({ code, message: 'words', data });
    expect(error.message).toBe(`the exchange refused private/x: ${code} words (some)`);
  });

  it('names the parameter and the reason', () => {
    const data = { param: 'name', reason: 'too long' };
    expect(rpcError('private/x', { code: -32602, message: 'Invalid params', data }).message).toBe(
      'the exchange refused private/x: -32602 Invalid params (name: too long)',
    );
  });

  it('has a hint for every code of the table, and a wait for 12998', () => {
    expect(RPC_CODES.size).toBeGreaterThan(15);
    for (const code of RPC_CODES.keys()) expect(rpcError('public/x', { code, message: '' }).hint).toMatch(/\w/);
    expect(rpcError('public/x', { code: 12998, message: 'm', data: { wait: 41.2 } }).hint).toContain('42 s');
    expect(rpcError('public/x', { code: 12998, message: 'm', data: { wait: 'long' } }).hint).toContain('wait');
    expect(rpcError('public/x', { code: 1, message: 'm' }).hint).toBeUndefined();
  });

  it('tells what passes by itself, and what may have been done all the same', () => {
    const transient = [10028, 10040, 11051, 13028].map((code) => rpcError('public/x', { code, message: '' }));
    expect(transient.map(isTransientRefusal)).toEqual([true, true, true, true]);
    expect(isTransientRefusal(rpcError('public/x', { code: 13004, message: '' }))).toBe(false);
    expect(isTransientRefusal(new Error('other'))).toBe(false);
    expect(rpcError('public/x', { code: 13888, message: '' }).maybeSent).toBe(true);
    expect(rpcError('public/x', { code: 13021, message: '' }).maybeSent).toBeUndefined();
  });

  it('cannot garble a terminal or fill it', () => {
    const { message } = rpcError('public/x', { code: 1, message: `\u001b[2J\n\u009b${'w'.repeat(500)}` });
    expect(message).toMatch(/^[\x20-\x7e]{1,200}$/);
  });

  it('repeats no secret that was sent, wherever the exchange echoes it', () => {
    const secrets = {
      access_token: 'canary-access',
      refresh_token: 'canary-refresh',
      client_secret: 'canary-secret',
      authorization_data: '918273',
      signature: 'canary-signature',
    };
    const all = Object.values(secrets);
    const data = { reason: all.join(), deep: [{ [all.join('-')]: all.join(' ') }, 5, null] };
    const error = rpcError('public/auth', { code: 13004, message: all.join(' '), data }, secrets);
    for (const secret of all) expect(shown(error)).not.toContain(secret);
    expect(error.rpc?.data).toMatchObject({ deep: [{}, 5, null] });
    expect(rpcError('public/x', { code: 1, message: 'canary-secret' }, secrets).rpc).toEqual({
      code: 1,
      message: '[secret]',
    });
  });

  it('does not follow echoed data for ever', () => {
    let data: unknown = 'canary';
    for (let depth = 0; depth < 5000; depth += 1) data = [data];
    const error = rpcError('public/x', { code: 1, message: '', data }, { access_token: 'canary' });
    expect(JSON.stringify(error.rpc)).not.toContain('canary');
    const nested = JSON.parse(`${'['.repeat(100_000)}${']'.repeat(100_000)}`);
    expect(JSON.stringify(rpcError('public/x', { code: 1, message: '', data: nested }).rpc)).toContain('[[[');
  });
});

describe('a refusal', () => {
  it.each([
    10001, 10019, 10030, 10048, 11042, 11052, 11056, 11098, 12003, 12005, 13006, 13007, 13008, 13010, 13012, 13016,
    13025, 13031, 13034, 13503, 13778,
  ])('%i comes with a hint', (code) => {
    expect(rpcError('private/x', { code, message: 'refused' }).hint).toMatch(/\w+ \w+/);
  });

  it('of 10001 and 13008 leaves open whether the request was carried out', () => {
    for (const code of [10001, 13008]) expect(rpcError('private/x', { code, message: 'x' }).maybeSent).toBe(true);
  });

  it('shows the seconds to wait and a text as data, made harmless', () => {
    expect(rpcError('private/x', { code: 10028, message: 'x', data: { wait: 2.5 } }).hint).toContain('wait 3 s');
    const { message } = rpcError('private/x', { code: 11050, message: 'x', data: 'invalid\u001b[2J json' });
    expect(message).toBe('the exchange refused private/x: 11050 x (invalid [2J json)');
  });

  it.each([13004, 13009, 10000])('%i of a login is a refused login', (code) => {
    const refusal = rpcError('public/auth', { code, message: 'x' });
    expect(isRefusedLogin(refusal)).toBe(true);
    expect(refusal).toMatchObject({ code: 'ERR_UNAUTHORIZED', hint: expect.stringContaining('client id') });
    expect(isRefusedLogin(rpcError('private/x', { code: 10000, message: 'x' }))).toBe(false);
  });
});
