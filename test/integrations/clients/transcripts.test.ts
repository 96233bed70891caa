import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { get, type Json, post, record, Socket, signed, token } from '../../sandbox/client.js';

// What clients that cannot be installed with npm send when they start, written down from their sources.

let sandbox: Sandbox;
let socket: Socket;
beforeEach(async () => {
  sandbox = await startSandbox({ strictIds: true });
  socket = await Socket.open(sandbox);
});
afterEach(async () => {
  socket.close();
  await sandbox.close();
});

async function result(method: string, params: Json = {}): Promise<unknown> {
  const answer = await socket.request(method, params);
  expect(answer?.error).toBeUndefined();
  return answer?.result;
}

async function confirmed(method: string, ...channels: readonly string[]): Promise<void> {
  for (const channel of channels) expect(await result(method, { channels: [channel] })).toEqual([channel]);
}

/** The first thing that was said on a channel since `from`. */
async function heard(channel: string, from = 0): Promise<unknown> {
  const said = () => socket.answers.slice(from).find(({ params }) => params?.channel === channel)?.params?.data;
  return socket.until(said);
}

describe('nautilus_trader', () => {
  const kinds = ['future', 'option', 'spot', 'future_combo', 'option_combo'];

  it('loads the instruments of every kind and the account, over HTTP', async () => {
    const counts: number[] = [];
    for (const kind of kinds) {
      const instruments = (await post(sandbox, 'public/get_instruments', { currency: 'any', kind })).result as Json[];
      counts.push(instruments.length);
      for (const instrument of instruments) {
        expect(instrument).toMatchObject({
          kind,
          instrument_id: expect.any(Number),
          contract_size: expect.any(Number),
          maker_commission: expect.any(Number),
          taker_commission: expect.any(Number),
          ...(kind === 'option'
            ? { option_type: expect.stringMatching(/^(call|put)$/), strike: expect.any(Number) }
            : {}),
        });
      }
    }
    expect(counts).toEqual([5, 4, 1, 0, 0]);
    const summaries = (await post(sandbox, 'private/get_account_summaries', {}, await token(sandbox))).result;
    expect(record(summaries).summaries).toHaveLength(3);
  });

  it('watches the market in a session of its own', async () => {
    await result('public/set_heartbeat', { interval: 30 });
    const login = signed(sandbox.clientId, sandbox.clientSecret);
    const granted = record(await result('public/auth', { ...login, scope: 'session:nautilus-data' }));
    expect(granted.scope).toContain('session:nautilus-data');
    await confirmed(
      'public/subscribe',
      'book.BTC-PERPETUAL.raw',
      'book.BTC-PERPETUAL.none.10.100ms',
      'trades.BTC-PERPETUAL.raw',
      'ticker.BTC-PERPETUAL.raw',
      'quote.BTC-PERPETUAL',
      'perpetual.BTC-PERPETUAL.raw',
      'chart.trades.BTC-PERPETUAL.1',
      'instrument.state.any.any',
    );
    expect(await heard('book.BTC-PERPETUAL.raw')).toMatchObject({ type: 'snapshot', instrument_name: 'BTC-PERPETUAL' });
    expect(await heard('trades.BTC-PERPETUAL.raw')).toMatchObject([{ price: 50_000 }]);
  });

  it('trades in a session of its own, with a token that is not repeated', async () => {
    await result('public/set_heartbeat', { interval: 30 });
    const login = signed(sandbox.clientId, sandbox.clientSecret);
    await result('public/auth', { ...login, scope: 'session:nautilus-execution' });
    const [orders, trades, portfolio] = ['user.orders.any.any.raw', 'user.trades.any.any.raw', 'user.portfolio.any'];
    await confirmed('private/subscribe', orders, trades, portfolio);
    expect(await heard(portfolio)).toMatchObject({ currency: 'BTC', balance: 10, margin_balance: 10 });
    const order = { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'limit', label: 'O-1' };
    const open = await result('private/buy', { ...order, price: 40_000, time_in_force: 'good_til_cancelled' });
    expect(open).toMatchObject({ order: { order_state: 'open', label: 'O-1' }, trades: [] });
    expect(await heard(orders)).toMatchObject({ label: 'O-1', order_state: 'open', filled_amount: 0 });
    const { order_id: id } = record(record(open).order);
    let from = socket.answers.length;
    expect(await result('private/edit', { order_id: id, amount: 10, price: 50_000.5 })).toMatchObject({
      order: { order_id: id, order_state: 'filled', replaced: true },
    });
    expect(await heard(trades, from)).toMatchObject([{ order_id: id, label: 'O-1', liquidity: 'T', price: 50_000.5 }]);
    expect(await heard(orders, from)).toMatchObject({ order_id: id, order_state: 'filled', average_price: 50_000.5 });
    expect(await heard(portfolio, from)).toMatchObject({ currency: 'BTC' });
    expect(await result('private/get_order_state', { order_id: id })).toMatchObject({ order_state: 'filled' });
    from = socket.answers.length;
    await result('private/sell', { ...order, price: 51_000, post_only: true });
    expect(await result('private/cancel_all_by_instrument', { instrument_name: 'BTC-PERPETUAL' })).toBe(1);
    const cancelled = () =>
      socket.answers.slice(from).find(({ params }) => {
        return params?.channel === orders && record(params.data).cancel_reason === 'user_request';
      });
    expect(await socket.until(cancelled)).toBeDefined();
  });
});

describe('hummingbot', () => {
  it('reads trading rules, prices and balances with query strings', async () => {
    expect((await get(sandbox, 'public/get_time')).result).toEqual(expect.any(Number));
    for (const currency of ['USDC', 'BTC', 'ETH']) {
      const { result: list } = await get(sandbox, `public/get_instruments?currency=${currency}&extended=true`);
      for (const rule of list as Json[]) {
        expect(rule).toMatchObject({ min_trade_amount: expect.any(Number), tick_size: expect.any(Number) });
      }
    }
    const named = 'instrument_name=BTC-PERPETUAL';
    expect((await get(sandbox, `public/get_order_book?depth=10&${named}`)).result).toMatchObject({
      bids: { length: 10 },
      asks: { length: 10 },
    });
    const secret = `client_id=${sandbox.clientId}&client_secret=${sandbox.clientSecret}`;
    const login = await get(sandbox, `public/auth?${secret}&grant_type=client_credentials`);
    const headers = { authorization: `Bearer ${record(login.result).access_token}` };
    expect((await get(sandbox, 'private/get_account_summary?currency=BTC', headers)).result).toMatchObject({
      available_funds: 10,
    });
    const order = `private/buy?${named}&amount=10&type=limit&label=DRBT-1&price=40000`;
    const { order: placed } = record((await get(sandbox, order, headers)).result);
    const id = record(placed).order_id;
    expect((await get(sandbox, `private/get_order_state?order_id=${id}`, headers)).result).toMatchObject({
      label: 'DRBT-1',
    });
    expect((await get(sandbox, `private/cancel?order_id=${id}`, headers)).result).toMatchObject({
      order_state: 'cancelled',
    });
  });

  it('follows the book, the trades and its own changes', async () => {
    await result('public/auth', {
      grant_type: 'client_credentials',
      client_id: sandbox.clientId,
      client_secret: sandbox.clientSecret,
    });
    await result('public/set_heartbeat', { interval: 30 });
    const market = ['trades.BTC-PERPETUAL.100ms', 'book.BTC-PERPETUAL.none.20.100ms'];
    expect(await result('public/subscribe', { channels: market })).toEqual(market);
    await confirmed('private/subscribe', 'user.changes.any.any.100ms');
    expect(await heard('book.BTC-PERPETUAL.none.20.100ms')).toMatchObject({ bids: { 0: [49_999.5, 1000] } });
    const order = { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'market', label: 'DRBT-2' };
    await result('private/sell', order);
    expect(await heard('user.changes.any.any.100ms')).toMatchObject({
      orders: [{ label: 'DRBT-2', order_state: 'filled' }],
      trades: [{ label: 'DRBT-2' }],
      positions: [{ size: -10 }],
    });
  });
});

describe('gocryptotrader', () => {
  it('loads the pairs of every kind and the limits of every currency, over HTTP', async () => {
    expect((await get(sandbox, 'public/get_time')).result).toEqual(expect.any(Number));
    for (const kind of ['future', 'option', 'spot', 'future_combo', 'option_combo']) {
      const { result: pairs } = await get(sandbox, `public/get_instruments?currency=any&kind=${kind}`);
      for (const pair of pairs as Json[])
        expect(pair).toMatchObject({ is_active: true, instrument_name: expect.anything() });
      for (const currency of ['BTC', 'ETH', 'SOL', 'USDC', 'USDT', 'EURR']) {
        const { result: rules } = await get(sandbox, `public/get_instruments?currency=${currency}&kind=${kind}`);
        for (const rule of rules as Json[]) {
          expect(rule).toMatchObject({ tick_size: expect.any(Number), min_trade_amount: expect.any(Number) });
        }
      }
    }
    const { result: currencies } = await get(sandbox, 'public/get_currencies');
    const bearer = { authorization: `Bearer ${await token(sandbox)}` };
    for (const { currency } of currencies as Json[]) {
      const { result: summary } = await get(sandbox, `private/get_account_summary?currency=${currency}`, bearer);
      expect(summary).toMatchObject({ balance: expect.any(Number), available_funds: expect.any(Number) });
    }
  });

  it('logs in by a signature with a timestamp in text, and has every channel that it subscribes confirmed', async () => {
    await result('public/set_heartbeat', { interval: 15 });
    const { timestamp, ...login } = signed(sandbox.clientId, sandbox.clientSecret);
    await result('public/auth', { ...login, timestamp: String(timestamp) });
    const each = (...names: readonly string[]) =>
      ['BTC_USDC', 'BTC-PERPETUAL', 'BTC_USDC-PERPETUAL'].flatMap((pair) =>
        names.map((name) => name.replace('{pair}', pair)),
      );
    const open = each('chart.trades.{pair}.1D', 'book.{pair}.100ms', 'ticker.{pair}.100ms', 'trades.{pair}.100ms');
    expect(await result('public/subscribe', { channels: open })).toEqual(open);
    const own = each('user.orders.{pair}.100ms', 'user.trades.{pair}.100ms');
    expect(await result('private/subscribe', { channels: own })).toEqual(own);
    const more = [
      'deribit_volatility_index.btc_usd',
      'markprice.options.btc_usd',
      'estimated_expiration_price.btc_usd',
    ];
    await confirmed('public/subscribe', ...more, 'deribit_price_statistics.btc_usd', 'perpetual.BTC-PERPETUAL.100ms');
    expect(await heard('book.BTC_USDC-PERPETUAL.100ms')).toMatchObject({
      type: 'snapshot',
      change_id: expect.any(Number),
    });
    for (const channel of more) expect(await heard(channel)).toBeDefined();
  });

  it('trades, asks for candles and history, and cancels in detail', async () => {
    const login = signed(sandbox.clientId, sandbox.clientSecret);
    await result('public/auth', { ...login });
    const [named, now] = [{ instrument_name: 'BTC_USDC-PERPETUAL' }, Date.now()];
    const span = { start_timestamp: now - 3_600_000, end_timestamp: now };
    await result('public/get_order_book', { ...named, depth: 50 });
    await result('public/get_book_summary_by_instrument', named);
    expect(await result('public/get_tradingview_chart_data', { ...named, ...span, resolution: '1' })).toMatchObject({
      status: 'ok',
      ticks: { length: 60 },
    });
    const history = { ...named, ...span, sorting: 'asc', count: 100, include_old: true };
    expect(await result('public/get_last_trades_by_instrument_and_time', history)).toMatchObject({
      trades: { length: 100 },
    });
    const open = {
      ...named,
      amount: 0.01,
      type: 'limit',
      price: 49_000,
      label: 'gct',
      post_only: false,
      reduce_only: false,
    };
    const { order } = record(await result('private/buy', open));
    const { order_id: id } = record(order);
    await result('private/edit', { order_id: id, amount: 0.02, price: 48_000, post_only: false });
    expect(await result('private/get_open_orders_by_instrument', { ...named, type: 'all' })).toMatchObject([
      { amount: 0.02 },
    ]);
    expect(await result('private/get_order_state', { order_id: id })).toMatchObject({ order_state: 'open' });
    const all = { ...named, type: 'all', detailed: true, include_combos: true };
    expect(await result('private/cancel_all_by_instrument', all)).toMatchObject([
      { ...named, currency: 'USDC', type: 'limit', result: [{ order_id: id, order_state: 'cancelled' }] },
    ]);
    const past = { ...named, count: 100, offset: 0, include_old: true, include_unfilled: true };
    expect(await result('private/get_order_history_by_instrument', past)).toMatchObject([{ order_id: id }]);
    expect(await result('private/get_positions', { currency: 'USDC', kind: 'future' })).toEqual([]);
    expect(await result('public/get_funding_rate_history', { ...named, ...span })).toHaveLength(1);
    expect(await result('public/get_mark_price_history', { ...named, ...span })).toHaveLength(300);
  });
});
