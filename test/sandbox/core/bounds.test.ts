import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isAllowed, makeKey, parseIpList } from '../../../src/sandbox/core/accounts.js';
import { Calls } from '../../../src/sandbox/core/logs.js';
import { Orders } from '../../../src/sandbox/core/orders.js';
import {
  formatScope,
  narrow,
  parseMaxScope,
  parseScopeRequest,
  scopeGroups,
  within,
} from '../../../src/sandbox/core/scope.js';
import { decodeBase32, decodeExactly, Replays } from '../../../src/sandbox/core/signature.js';
import { Grants } from '../../../src/sandbox/core/tokens.js';

describe('memory stays bounded', () => {
  it('for replays: what could not be replayed any more is forgotten', () => {
    const replays = new Replays(60_000);
    for (let nowMs = 0; nowMs < 3_600_000; nowMs += 100) {
      expect(replays.add({ clientId: 'id', timestampMs: nowMs, nonce: 'abcd' }, nowMs)).toBe(true);
      expect(replays.add({ clientId: 'id', timestampMs: nowMs, nonce: 'abcd' }, nowMs)).toBe(false);
    }
    expect(replays.size).toBeLessThan(1000);
    expect(replays.size).toBeGreaterThan(600);
  });

  it('for tokens: expired pairs are forgotten', () => {
    const grants = new Grants();
    const key = makeKey({ id: 1, accountId: 1, publicKey: null, maxScope: {}, timestampMs: 0 });
    const terms: Parameters<Grants['mint']>[0] = {
      lifeS: 1,
      key,
      accountId: 1,
      levels: {},
      scope: '',
      session: null,
      connectionId: null,
      ip: null,
      sinceMs: 0,
    };
    const monthMs = 30 * 86_400_000;
    for (let i = 0; i < 100; i++) grants.mint(terms, 0);
    grants.mint(terms, monthMs);
    expect(grants.size).toBe(1);
    expect(grants.countSessions(key, monthMs)).toBe(0);
    grants.mint({ ...terms, session: { name: 'a', sid: 'a' } }, 0);
    expect(grants.countSessions(key, monthMs)).toBe(0);
    grants.revokeKey(key);
    expect(grants.size).toBe(0);
  });

  it('for calls: the last ones are kept, oldest first', () => {
    const call = { transport: 'http', clientId: null, handledAtMs: 0, outcome: 'ok' } as const;
    fc.assert(
      fc.property(fc.nat({ max: 8 }), fc.nat({ max: 30 }), (limit, count) => {
        const calls = new Calls(limit);
        const names = Array.from({ length: count }, (_, i) => String(i));
        for (const method of names) calls.add({ ...call, method });
        expect(calls.list().map(({ method }) => method)).toEqual(limit === 0 ? [] : names.slice(-limit));
      }),
    );
  });

  it('for calls: long names are cut short', () => {
    const calls = new Calls(1);
    const long = 'x'.repeat(32_000);
    calls.add({ transport: 'http', method: long, clientId: long, handledAtMs: 0, outcome: '-32601' });
    expect(calls.list()).toMatchObject([{ method: 'x'.repeat(64), clientId: 'x'.repeat(64) }]);
  });

  it('for orders: the oldest are forgotten', () => {
    const orders = new Orders();
    const order = { order_state: 'open' } as const;
    for (let i = 0; i < 100_001; i++) orders.put(1, { ...order, order_id: orders.takeId() } as never);
    expect(orders.list()).toHaveLength(100_000);
    expect(orders.get(1, 'sandbox-1')).toBeUndefined();
    expect(orders.get(2, 'sandbox-2')).toBeUndefined();
  });
});

describe('encodings', () => {
  const decodeBase64url = (text: string) => decodeExactly(text, 'base64url');

  it('base64url is read exactly as it is written', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1 }), (bytes) => {
        expect(decodeBase64url(Buffer.from(bytes).toString('base64url'))).toEqual(Buffer.from(bytes));
      }),
    );
    fc.assert(
      fc.property(fc.string(), (text) => {
        const bytes = decodeBase64url(text);
        expect(bytes === null || Buffer.from(bytes).toString('base64url') === text).toBe(true);
      }),
    );
    for (const text of ['QQ==', 'QR', 'Q', 'a+b/', 'QQ ']) expect(decodeBase64url(text)).toBeNull();
  });

  it.each([
    ['MY======', 'f'],
    ['mzxq', 'fo'],
    ['MZXW 6YTB OI', 'foobar'],
  ])('base32 %s is that of RFC 4648', (text, expected) => {
    expect(Buffer.from(decodeBase32(text) ?? []).toString()).toBe(expected);
  });
});

const words = fc.tuple(fc.constantFrom(...scopeGroups), fc.constantFrom('none', 'read', 'read_write'));
const scopes = fc
  .uniqueArray(words, { selector: ([group]) => group, minLength: 1 })
  .map((pairs) => pairs.map(([group, level]) => `${group}:${level}`).join(' '));

describe('scopes', () => {
  it('are normalised to the same words, sorted', () => {
    fc.assert(
      fc.property(scopes, (text) => {
        expect(formatScope(parseMaxScope(text) ?? {})).toBe(text.split(' ').sort().join(' '));
      }),
    );
  });

  it('granted never exceed the largest one, nor what was asked for', () => {
    fc.assert(
      fc.property(scopes, scopes, (asked, max) => {
        const [askedLevels, maxLevels] = [parseScopeRequest(asked).levels, parseMaxScope(max) ?? {}];
        const granted = narrow(askedLevels, maxLevels);
        expect(within(granted, maxLevels) && within(granted, askedLevels)).toBe(true);
      }),
    );
  });

  it('of any text can be asked for', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(within(narrow(parseScopeRequest(text).levels, { trade: 1 }), { trade: 1 })).toBe(true);
      }),
    );
  });
});

it.each<[readonly string[], string, boolean]>([
  [[], '1.2.3.4', true],
  [['1.2.3.4'], '1.2.3.4', true],
  [['1.2.3.4'], '1.2.3.5', false],
  [['1.2.3.0/24'], '1.2.3.5', true],
  [['1.2.3.0/24', '::1'], '1.2.4.5', false],
  [['2001:db8::/32'], '2001:db8:1::1', true],
  [['2001:db8::/32'], '2001:db9::1', false],
])('the whitelist %j lets %s in: %s', (entries, address, expected) => {
  const list = parseIpList(entries);
  expect(list !== null && isAllowed(list, address)).toBe(expected);
});
