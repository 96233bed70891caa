import { describe, expect, test } from 'vitest';
import { type World, world } from '../../session/support.js';
import { hasCcxt, loadCcxt, pointAt } from '../ccxt-package.js';

const needsCcxt = hasCcxt ? describe : describe.skip;
const title = (text: string) => (hasCcxt ? text : `${text} (skipped: run npm ci --prefix test/fixtures/ccxt)`);

const symbol = 'BTC/USD:BTC';
const call = 'BTC/USD:BTC-301227-50000-C';

type Ask = (method: string, ...args: readonly unknown[]) => Promise<unknown>;

/** The client, its URL changed and nothing else, and a way to call any of its methods. */
async function client(edition: 'rest' | 'pro'): Promise<World & { ask: Ask }> {
  const [w, ccxt] = await Promise.all([world(), loadCcxt()]);
  const exchange = await pointAt(edition === 'pro' ? new ccxt.pro.deribit() : new ccxt.deribit(), w.sandbox);
  exchange.apiKey = w.sandbox.clientId;
  exchange.secret = w.sandbox.clientSecret;
  const methods = exchange as unknown as Record<string, (...args: readonly unknown[]) => Promise<unknown>>;
  return { ...w, ask: async (method, ...args) => methods[method]?.(...args) };
}

const refused = (w: World) => w.calls().filter((line) => !line.endsWith(' ok'));

needsCcxt(title('ccxt over REST'), () => {
  test('reads every kind of market', async () => {
    const { ask, ...w } = await client('rest');
    const markets = Object.values((await ask('loadMarkets')) as Record<string, { type: string }>);
    expect(new Set(markets.map(({ type }) => type))).toEqual(new Set(['swap', 'future', 'option', 'spot']));
    // Deribit's description says that `locked` is a boolean; ccxt compares it with a text.
    expect(await ask('fetchStatus')).toHaveProperty('status');
    expect(await ask('fetchCurrencies')).toMatchObject({ BTC: { code: 'BTC' }, USDC: {} });
    const { bids } = (await ask('fetchOrderBook', symbol)) as { bids: number[][] };
    expect(bids.slice(0, 2)).toEqual([
      [49_999.5, 1000],
      [49_999, 2000],
    ]);
    expect(await ask('fetchTicker', call)).toMatchObject({ bid: 0.0495, ask: 0.0505, last: 0.05 });
    expect(await ask('fetchTickers', [symbol], { code: 'BTC' })).toMatchObject({ [symbol]: { last: 50_000 } });
    expect(await ask('fetchTrades', symbol, undefined, 5)).toHaveLength(5);
    expect(await ask('fetchTrades', 'BTC/USDC', Date.now() - 60_000)).toContainEqual(
      expect.objectContaining({ price: 50_000, symbol: 'BTC/USDC' }),
    );
    const candles = (await ask('fetchOHLCV', symbol, '1m', Date.now() - 600_000)) as number[][];
    expect(candles.length).toBeGreaterThanOrEqual(9);
    expect(candles.at(-1)?.slice(1)).toEqual([50_000, 50_000, 50_000, 50_000, 600]);
    expect(await ask('fetchFundingRate', symbol)).toMatchObject({ symbol, markPrice: undefined });
    const rates = (await ask('fetchFundingRateHistory', symbol, Date.now() - 7_200_000)) as unknown[];
    expect(rates[0]).toMatchObject({ symbol, fundingRate: 0.0001 });
    expect(await ask('fetchVolatilityHistory', 'BTC')).toMatchObject([{ volatility: 60 }]);
    expect(await ask('fetchLiquidations', symbol)).toEqual([]);
    expect(await ask('fetchGreeks', call)).toMatchObject({ delta: 0.5 });
    expect(await ask('fetchOption', call)).toMatchObject({ markPrice: 0.05 });
    expect(Object.keys((await ask('fetchOptionChain', 'BTC')) as object)).toHaveLength(2);
    expect(await ask('fetchOpenInterest', symbol)).toMatchObject({ symbol });
    expect(refused(w)).toEqual([]);
  });

  test('trades, and sees the same in every list', async () => {
    const { ask, ...w } = await client('rest');
    expect(await ask('fetchBalance')).toMatchObject({ BTC: { free: 10, total: 10 }, USDC: { total: 100_000 } });
    expect(await ask('fetchAccounts')).toHaveLength(2);
    expect(await ask('fetchTradingFees')).toHaveProperty([symbol]);
    const { id } = (await ask('createOrder', symbol, 'limit', 'buy', 10, 40_000)) as { id: string };
    expect(await ask('fetchOpenOrders', symbol)).toMatchObject([{ id, status: 'open', remaining: 10 }]);
    expect(await ask('editOrder', id, symbol, 'limit', 'buy', 20, 41_000)).toMatchObject({
      id,
      amount: 20,
      price: 41_000,
    });
    expect(await ask('fetchOrder', id, symbol)).toMatchObject({ id, price: 41_000 });
    expect(await ask('cancelOrder', id, symbol)).toMatchObject({ id, status: 'canceled' });
    const market = (await ask('createOrder', symbol, 'market', 'sell', 100)) as { id: string };
    expect(market).toMatchObject({ status: 'closed', average: 49_999.5, fee: { currency: 'BTC' } });
    expect(await ask('fetchClosedOrders', symbol)).toMatchObject([{ id: market.id, filled: 100 }]);
    expect(await ask('fetchOrderTrades', market.id)).toMatchObject([{ order: market.id, takerOrMaker: 'taker' }]);
    expect(await ask('fetchMyTrades', symbol)).toMatchObject([{ order: market.id, side: 'sell', price: 49_999.5 }]);
    expect(await ask('fetchMyTrades', symbol, Date.now() - 60_000)).toHaveLength(1);
    expect(await ask('fetchPosition', symbol)).toMatchObject({ side: 'short', symbol });
    expect(await ask('fetchPositions', [symbol])).toMatchObject([{ side: 'short', entryPrice: 49_999.5 }]);
    expect(await ask('fetchMyLiquidations', symbol)).toEqual([]);
    await ask('createOrder', symbol, 'limit', 'buy', 10, 40_000);
    await ask('cancelAllOrders', symbol);
    expect(await ask('fetchOpenOrders', symbol)).toEqual([]);
    expect(refused(w)).toEqual([]);
  });

  test('raises its own errors for what the exchange refuses', async () => {
    const { ask } = await client('rest');
    await expect(ask('createOrder', symbol, 'limit', 'buy', 100_000_000, 40_000)).rejects.toThrow(/not_enough_funds/);
    await expect(ask('cancelOrder', 'no-such-order', symbol)).rejects.toThrow(/order_not_found/);
  });
});

needsCcxt(title('ccxt pro over WebSocket'), () => {
  test('watches the market', async () => {
    const { ask, ...w } = await client('pro');
    const { nonce, bids } = (await ask('watchOrderBook', symbol)) as { nonce: number; bids: number[][] };
    expect(bids[0]?.slice(0, 2)).toEqual([49_999.5, 1000]);
    expect(((await ask('watchOrderBook', symbol)) as { nonce: number }).nonce).toBeGreaterThan(nonce);
    expect(await ask('watchTrades', symbol)).toContainEqual(expect.objectContaining({ symbol, price: 50_000 }));
    expect(await ask('watchTicker', symbol)).toMatchObject({ last: 50_000 });
    expect(await ask('watchTickers', [symbol, call])).not.toEqual({});
    expect(await ask('watchBidsAsks', [symbol])).toMatchObject({ [symbol]: { bid: 49_999.5, ask: 50_000.5 } });
    const [candle] = (await ask('watchOHLCV', symbol, '1m')) as number[][];
    expect(candle?.slice(1, 5)).toEqual([50_000, 50_000, 50_000, 50_000]);
    expect(refused(w)).toEqual([]);
  });

  test('watches its own orders, trades and balance', async () => {
    const { ask, ...w } = await client('pro');
    expect(await ask('watchBalance')).toMatchObject({ BTC: { total: { BTC: 10 } } });
    const watched = [ask('watchOrders', symbol), ask('watchMyTrades', symbol)];
    await expect.poll(() => w.calls().filter((line) => line === 'private/subscribe ok')).toHaveLength(3);
    await ask('createOrder', symbol, 'market', 'buy', 10);
    const [orders, trades] = await Promise.all(watched);
    expect(orders).toMatchObject([{ symbol, status: 'closed', filled: 10 }]);
    expect(trades).toMatchObject([{ symbol, side: 'buy', price: 50_000.5 }]);
    expect(refused(w)).toEqual([]);
  });
});
