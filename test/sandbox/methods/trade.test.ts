import { afterEach, beforeEach, describe, expect, it } from 'vitest';
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
  expect(sold).toMatchObject({ order: { order_state: 'filled', amount: 3 }, trades: [{ amount: 3, price: 2499.95 }] });
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
  ['amount', { amount: 15 }],
  ['price', { price: 40_000.3 }],
  ['price', { price: -1 }],
  ['time_in_force', { time_in_force: 'forever' }],
])('refuses an order with a wrong %s', async (param, change) => {
  expect((await ask('private/buy', { ...limit, ...change })).error).toMatchObject({ code: -32_602, data: { param } });
  expect(sandbox.orders()).toEqual([]);
});

const perpetual = 'BTC-PERPETUAL';

async function buy(params: Json): Promise<Json> {
  const answer = await ask('private/buy', { instrument_name: perpetual, amount: 10, ...params });
  return answer.error === undefined ? record(answer.result) : { error: answer.error.code };
}

describe('an order', () => {
  it('is filled level by level as far as its price goes, and the rest stays in the book', async () => {
    const { order, trades } = await buy({ amount: 5000, price: 50_001 });
    expect(order).toMatchObject({ order_state: 'open', filled_amount: 3000 });
    expect(trades).toMatchObject([
      { price: 50_000.5, amount: 1000, liquidity: 'T', fee_currency: 'BTC' },
      { price: 50_001, amount: 2000 },
    ]);
    const book = record((await ask('public/get_order_book', { instrument_name: perpetual })).result);
    expect(book).toMatchObject({ best_bid_price: 50_001, best_bid_amount: 2000, best_ask_price: 50_001.5 });
    await ask('private/cancel_all');
    const after = record((await ask('public/get_order_book', { instrument_name: perpetual })).result);
    expect(after).toMatchObject({ best_bid_price: 49_999.5, best_ask_price: 50_000.5 });
    expect(Number(after.change_id)).toBeGreaterThan(Number(book.change_id));
  });

  it.each<[string, Json, Json]>([
    ['immediate_or_cancel', { amount: 2000, price: 50_000.5 }, { order_state: 'cancelled', filled_amount: 1000 }],
    ['fill_or_kill', { amount: 2000, price: 50_000.5 }, { order_state: 'cancelled', filled_amount: 0 }],
    ['fill_or_kill', { amount: 1000, price: 50_000.5 }, { order_state: 'filled', filled_amount: 1000 }],
    ['immediate_or_cancel', { amount: 10, price: 49_000 }, { order_state: 'cancelled', filled_amount: 0 }],
    ['good_til_day', { amount: 10, price: 50_000 }, { order_state: 'open', filled_amount: 0 }],
  ])('with %s and %o becomes %o', async (timeInForce, params, expected) => {
    expect(await buy({ ...params, time_in_force: timeInForce })).toMatchObject({ order: expected });
  });

  it('that is post-only steps aside, or is refused where it must not move', async () => {
    const order = { price: 50_004, post_only: true };
    expect(await buy(order)).toMatchObject({ order: { order_state: 'open', price: 50_000 }, trades: [] });
    expect(await buy({ ...order, reject_post_only: true })).toEqual({ error: 11_054 });
  });

  it('that only reduces a position is cut to it, and refused without one', async () => {
    expect(await buy({ type: 'market', reduce_only: true })).toEqual({ error: 11_030 });
    await ask('private/sell', { instrument_name: perpetual, amount: 20, type: 'market' });
    expect(await buy({ amount: 50, type: 'market', reduce_only: true })).toMatchObject({ order: { amount: 20 } });
    expect((await ask('private/get_positions')).result).toEqual([]);
  });

  it('that only reduces a position and rests in the book shrinks with it', async () => {
    await ask('private/sell', { instrument_name: perpetual, amount: 20, type: 'market' });
    const { order } = await buy({ amount: 20, price: 49_000, reduce_only: true });
    const { order_id } = record(order);
    await buy({ amount: 10, type: 'market' });
    expect((await ask('private/get_order_state', { order_id })).result).toMatchObject({ amount: 10 });
    await buy({ amount: 10, type: 'market' });
    expect((await ask('private/get_order_state', { order_id })).result).toMatchObject({ order_state: 'cancelled' });
  });

  it('that the account has no funds for, or that is outside the price band, is refused', async () => {
    expect(await buy({ amount: 20_000_000, price: 30_000 })).toEqual({ error: 10_009 });
    expect(await buy({ price: 56_000 })).toEqual({ error: 10_007 });
    expect(await buy({ instrument_name: 'BTC_USDC', amount: 3, price: 40_000 })).toEqual({ error: 10_009 });
    expect(sandbox.orders()).toEqual([]);
  });

  it('is edited in its place, and is as it was where the change is refused', async () => {
    const { order } = await buy({ price: 40_000 });
    const { order_id } = record(order);
    expect((await ask('private/edit', { order_id, amount: 30_000_000, price: 40_000 })).error?.code).toBe(10_009);
    expect((await ask('private/get_order_state', { order_id })).result).toEqual(order);
    const edited = record((await ask('private/edit', { order_id, amount: 30, price: 50_000.5 })).result);
    expect(edited).toMatchObject({ order: { order_id, order_state: 'filled', amount: 30, replaced: true } });
    expect((await ask('private/edit', { order_id, amount: 10 })).error?.code).toBe(11_044);
  });

  it('meets the order of another account, and replaces an older one of its own', async () => {
    const sub = sandbox.addKey({ accountId: Number(sandbox.accountIds[1]) });
    const login = { grant_type: 'client_credentials', client_id: sub.client_id, client_secret: sub.client_secret };
    const theirs = String(record((await post(sandbox, 'public/auth', login)).result).access_token);
    await buy({ price: 50_000 });
    const sale = { instrument_name: perpetual, amount: 10, type: 'market' };
    expect((await post(sandbox, 'private/sell', sale, theirs)).result).toMatchObject({ trades: [{ price: 50_000 }] });
    const { trades } = record(
      (await ask('private/get_user_trades_by_instrument', { instrument_name: perpetual })).result,
    );
    expect(trades).toMatchObject([{ direction: 'buy', liquidity: 'M', fee: 0, price: 50_000 }]);
    await buy({ price: 50_000 });
    const sold = await ask('private/sell', { instrument_name: perpetual, amount: 10, price: 50_000 });
    expect(sold.result).toMatchObject({ order: { order_state: 'open' }, trades: [] });
    expect((await ask('private/get_open_orders')).result).toHaveLength(1);
  });
});

it('books fees, profits and premiums', async () => {
  const balance = async (currency: string) => record((await ask('private/get_account_summary', { currency })).result);
  await buy({ amount: 1000, type: 'market' });
  const fee = (1000 / 50_000.5) * 0.0005;
  expect((await balance('BTC')).balance).toBeCloseTo(10 - fee, 9);
  expect(await balance('BTC')).toMatchObject({ initial_margin: expect.closeTo(0.0004, 9) });
  await ask('private/close_position', { instrument_name: perpetual, type: 'market' });
  const loss = 1000 / 49_999.5 - 1000 / 50_000.5;
  expect((await balance('BTC')).balance).toBeCloseTo(10 - fee - loss - (1000 / 49_999.5) * 0.0005, 9);
  await buy({ instrument_name: 'BTC_USDC', amount: 0.01, type: 'market' });
  expect((await balance('USDC')).balance).toBeCloseTo(100_000 - 500.01 * 1.0005, 6);
  await buy({ instrument_name: 'ETH-27DEC30-2500-C', amount: 2, type: 'market' });
  expect((await balance('ETH')).balance).toBeCloseTo(100 - 2 * 0.0505 - 2 * 0.0003, 9);
  const span = { start_timestamp: 0, end_timestamp: Date.now() + 60_000 };
  const log = record((await ask('private/get_transaction_log', { currency: 'BTC', ...span })).result);
  expect(log).toMatchObject({ logs: [{ side: 'close sell', position: 0 }, { side: 'open buy' }], continuation: null });
});

it('books a perpetual that settles in USDC in USDC, by its price and not the reciprocal', async () => {
  const linear = { instrument_name: 'BTC_USDC-PERPETUAL' };
  const usdc = async () => record((await ask('private/get_account_summary', { currency: 'USDC' })).result);
  expect((await ask('private/buy', { ...linear, amount: 0.5, type: 'market' })).result).toMatchObject({
    trades: [
      { price: 50_000.5, amount: 0.1, fee: 2.500025, fee_currency: 'USDC' },
      { price: 50_001, amount: 0.2 },
      { price: 50_001.5, amount: 0.2 },
    ],
  });
  expect((await ask('private/get_position', linear)).result).toMatchObject({
    size: 0.5,
    size_currency: 0.5,
    average_price: 50_001.1,
    floating_profit_loss: -0.55,
    initial_margin: 500,
    maintenance_margin: 250,
  });
  const fee = 12.500275;
  expect(await usdc()).toMatchObject({ balance: 100_000 - fee, equity: 100_000 - fee - 0.55, initial_margin: 500 });
  expect((await ask('private/get_account_summary', { currency: 'BTC' })).result).toMatchObject({ balance: 10 });
  const closed = record((await ask('private/close_position', { ...linear, type: 'market' })).result);
  const profits = (closed.trades as readonly Json[]).map(({ profit_loss: profit }) => Number(profit));
  expect(profits.reduce((sum, profit) => sum + profit, 0)).toBeCloseTo(-0.55 - 0.55, 6);
  expect((await ask('private/get_position', linear)).result).toMatchObject({ size: 0, direction: 'zero' });
  const tooMuch = await ask('private/buy', { ...linear, amount: 101, price: 50_000 });
  expect(tooMuch.error?.code).toBe(10_009);
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
  expect((await ask('public/get_instruments')).result).toHaveLength(10);
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
