import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { type Answer, type Json, post, record, token } from '../client.js';

let sandbox: Sandbox;
let access: string;
beforeEach(async () => {
  sandbox = await startSandbox();
  access = await token(sandbox);
});
afterEach(() => sandbox.close());

function ask(method: string, params: Json = {}): Promise<Answer> {
  return post(sandbox, method, params, access);
}

const limit = { instrument_name: 'BTC-PERPETUAL', amount: 10, price: 40_000 };

it('takes orders, shows the open ones, and cancels them', async () => {
  const bought = record(record((await ask('private/buy', { ...limit, label: 'a' })).result).order);
  expect(bought).toMatchObject({ order_state: 'open', direction: 'buy', label: 'a', filled_amount: 0 });
  const market = { instrument_name: 'ETH-PERPETUAL', contracts: 3, type: 'market', label: 'b' };
  const sold = record((await ask('private/sell', market)).result);
  expect(sold).toMatchObject({ order: { order_state: 'filled', amount: 3 }, trades: [{ amount: 3, price: 2500 }] });
  expect((await ask('private/get_open_orders_by_currency', { currency: 'BTC' })).result).toHaveLength(1);
  expect((await ask('private/get_open_orders_by_currency', { currency: 'ETH' })).result).toEqual([]);
  expect((await ask('private/cancel', { order_id: bought.order_id })).result).toMatchObject({
    order_state: 'cancelled',
  });
  expect((await ask('private/cancel', { order_id: bought.order_id })).error?.code).toBe(11_044);
  expect((await ask('private/cancel', { order_id: 'x' })).error?.code).toBe(10_004);
  await ask('private/buy', limit);
  expect((await ask('private/cancel_all')).result).toBe(1);
  expect(sandbox.orders().map(({ label, order_state: state }) => [label, state])).toEqual([
    ['a', 'cancelled'],
    ['b', 'filled'],
    ['', 'cancelled'],
  ]);
});

it.each<[string, Json]>([
  ['instrument_name', { instrument_name: 'X' }],
  ['amount', { amount: undefined }],
  ['amount', { amount: 0 }],
  ['amount', { amount: 'ten' }],
  ['type', { type: 'stop' }],
  ['price', { price: undefined }],
  ['label', { label: 'x'.repeat(65) }],
])('refuses an order with a wrong %s', async (param, change) => {
  expect((await ask('private/buy', { ...limit, ...change })).error).toMatchObject({ code: -32_602, data: { param } });
  expect(sandbox.orders()).toEqual([]);
});

it('asks for currencies and instruments that it has', async () => {
  for (const [method, params, param] of [
    ['private/get_account_summary', {}, 'currency'],
    ['private/get_account_summary', { currency: 'toString' }, 'currency'],
    ['private/get_positions', { currency: 'XYZ' }, 'currency'],
    ['public/get_instruments', { currency: 'XYZ' }, 'currency'],
    ['public/ticker', { instrument_name: 'X' }, 'instrument_name'],
  ] as const) {
    expect((await ask(method, params)).error).toMatchObject({ code: -32_602, data: { param } });
  }
  expect((await ask('public/get_instruments', { kind: 'spot' })).result).toHaveLength(1);
  expect((await ask('public/get_instruments')).result).toHaveLength(3);
  expect((await ask('private/get_positions')).result).toEqual([]);
});

it('shows a subaccount to its main account only', async () => {
  const [main, sub] = sandbox.accountIds;
  const summary = { currency: 'BTC', extended: true };
  expect((await ask('private/get_account_summary', { ...summary, subaccount_id: sub })).result).toMatchObject({
    id: sub,
  });
  const unknown = await ask('private/get_account_summary', { ...summary, subaccount_id: 7 });
  expect(unknown.error).toMatchObject({ data: { param: 'subaccount_id' } });
  const key = sandbox.addKey({ accountId: Number(sub) });
  const login = { grant_type: 'client_credentials', client_id: key.client_id, client_secret: key.client_secret };
  access = String(record((await post(sandbox, 'public/auth', login)).result).access_token);
  expect((await ask('private/get_account_summary', { ...summary, subaccount_id: main })).error?.code).toBe(13_021);
  expect((await ask('private/get_account_summary', { ...summary, subaccount_id: sub })).error).toBeUndefined();
});

it('throws what public/test is told to throw', async () => {
  expect((await ask('public/test', { expected_result: 'exception' })).error?.code).toBe(10_010);
});
