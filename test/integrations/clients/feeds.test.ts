import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { world } from '../../session/support.js';
import { afterTest } from '../../support/after-test.js';
import { runProcess } from '../../support/program.js';

afterEach(() => vi.unstubAllEnvs());

/** A client in test/fixtures, which its own lock file pins; null where it is not installed. */
function fixture<Module>(name: string): { readonly load: () => Module } | null {
  const folder = new URL(`../../fixtures/${name}/`, import.meta.url);
  if (!existsSync(new URL(`node_modules/${name}/package.json`, folder))) return null;
  return { load: () => createRequire(new URL('package.json', folder))(name) as Module };
}

const skipped = (name: string) => `${name} (skipped: run npm ci --prefix test/fixtures/${name})`;

interface Tardis {
  streamNormalized(options: object, ...normalizers: readonly unknown[]): AsyncIterable<TardisMessage>;
  readonly normalizeTrades: unknown;
  readonly normalizeBookChanges: unknown;
  readonly normalizeDerivativeTickers: unknown;
}

interface TardisMessage {
  readonly type: string;
  readonly symbol: string;
  readonly isSnapshot?: boolean;
}

const tardis = fixture<Tardis>('tardis-dev');

describe.skipIf(tardis === null)(tardis === null ? skipped('tardis-dev') : 'tardis-dev', () => {
  test.each(['without a login', 'with a login, on raw channels'])('normalizes the feed %s', async (way) => {
    const { sandbox } = await world();
    vi.stubEnv('WSS_URL_DERIBIT', sandbox.wsUrl);
    if (way.startsWith('with a')) {
      vi.stubEnv('DERIBIT_API_CLIENT_ID', sandbox.clientId);
      vi.stubEnv('DERIBIT_API_CLIENT_SECRET', sandbox.clientSecret);
    }
    const { streamNormalized, ...dev } = (tardis as NonNullable<typeof tardis>).load();
    const seen = new Map<string, TardisMessage>();
    const messages = streamNormalized(
      { exchange: 'deribit', symbols: ['BTC-PERPETUAL'], timeoutIntervalMS: 20_000 },
      dev.normalizeTrades,
      dev.normalizeBookChanges,
      dev.normalizeDerivativeTickers,
    );
    for await (const message of messages) {
      const kind = message.isSnapshot === true ? 'snapshot' : message.type;
      if (!seen.has(kind)) seen.set(kind, message);
      if (seen.size === 4) break;
    }
    const price = 50_000;
    expect(seen.get('trade')).toMatchObject({ symbol: 'BTC-PERPETUAL', price });
    expect(seen.get('snapshot')).toMatchObject({ bids: expect.arrayContaining([{ price: 49_999.5, amount: 1000 }]) });
    expect(seen.get('book_change')).toMatchObject({ bids: [{ price: 49_995 }] });
    expect(seen.get('derivative_ticker')).toMatchObject({ lastPrice: price, markPrice: price, indexPrice: price });
    expect(sandbox.calls.filter(({ outcome }) => outcome !== 'ok')).toEqual([]);
  });
});

interface Ccxws {
  readonly DeribitClient: new (options: { wssPath: string }) => CcxwsClient;
}

interface CcxwsClient {
  on(event: string, listener: (data: unknown, market: unknown) => void): void;
  subscribeTicker(market: object): void;
  subscribeTrades(market: object): void;
  subscribeCandles(market: object): void;
  subscribeLevel2Updates(market: object): void;
  close(): void;
}

const ccxws = fixture<Ccxws>('ccxws');

describe.skipIf(ccxws === null)(ccxws === null ? skipped('ccxws') : 'ccxws', () => {
  test('hears of tickers, trades, candles and the book, where raw channels need no login', async () => {
    const { sandbox } = await world({ faults: ['raw-without-login'] });
    const { DeribitClient } = (ccxws as NonNullable<typeof ccxws>).load();
    const client = new DeribitClient({ wssPath: sandbox.wsUrl });
    afterTest(async () => client.close());
    const first = (event: string) => new Promise((resolve) => client.on(event, resolve));
    const events = Promise.all(['ticker', 'trade', 'candle', 'l2snapshot', 'l2update'].map(first));
    const market = { id: 'BTC-PERPETUAL', base: 'BTC', quote: 'USD' };
    client.subscribeTicker(market);
    client.subscribeTrades(market);
    client.subscribeCandles(market);
    client.subscribeLevel2Updates(market);
    const [ticker, trade, candle, snapshot, update] = await events;
    expect(ticker).toMatchObject({ last: '50000.00000000', bid: '49999.50000000' });
    expect(trade).toMatchObject({ price: '50000.00000000', amount: '10.00000000' });
    expect(candle).toMatchObject({ close: '50000.00000000' });
    expect(snapshot).toMatchObject({ asks: { length: 10 }, bids: { length: 10 } });
    expect(update).toMatchObject({ bids: [{ price: '49995.00000000' }], asks: [{ price: '50005.00000000' }] });
    expect(sandbox.calls.filter(({ outcome }) => outcome !== 'ok')).toEqual([]);
  });
});

const v2ws = fixture<unknown>('deribit-v2-ws');

/** The example of deribit-v2-ws with an order. Its URL is fixed, so that the WebSocket that it loads goes elsewhere. */
const v2wsScript = `
const load = require('node:module').createRequire(process.env.FIXTURE);
const Socket = load('ws');
load.cache[load.resolve('ws')].exports = class extends Socket { constructor() { super(process.env.URL); } };
const deribit = load('deribit-v2-ws');
(async () => {
  await deribit.connect();
  await deribit.isReady;
  await deribit.authenticate(process.env.ID, process.env.SECRET);
  const index = new Promise((resolve) => deribit.subscribe('public', 'deribit_price_index.btc_usd', resolve));
  const change = new Promise((resolve) => deribit.subscribe('private', 'user.orders.BTC-PERPETUAL.raw', resolve));
  const order = { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'market', label: 'v2' };
  const bought = await deribit.request('private/buy', order);
  const position = await deribit.request('private/get_position', { instrument_name: 'BTC-PERPETUAL' });
  const told = { index: await index, change: await change, bought: bought.result, position: position.result };
  process.stdout.write(JSON.stringify(told), () => process.exit());
})();`;

describe.skipIf(v2ws === null)(v2ws === null ? skipped('deribit-v2-ws') : 'deribit-v2-ws', () => {
  test.each(Array.from({ length: 15 }, (_, i) => i))('connects, logs in, subscribes and trades %s', async () => {
    // it reads the life of a token in milliseconds and renews at once what lives for less than ten minutes of these
    const { sandbox } = await world({ expiresInS: 31_536_000 });
    const { exitCode, stdout, stderr } = await runProcess(process.execPath, ['-e', v2wsScript], {
      env: {
        FIXTURE: fileURLToPath(new URL('../../fixtures/deribit-v2-ws/package.json', import.meta.url)),
        URL: sandbox.wsUrl,
        ID: sandbox.clientId,
        SECRET: sandbox.clientSecret,
      },
    });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({
      index: { index_name: 'btc_usd', price: 50_000 },
      change: { label: 'v2', order_state: 'filled' },
      bought: { order: { order_state: 'filled' }, trades: [{ price: 50_000.5 }] },
      position: { size: 10, direction: 'buy' },
    });
    expect(sandbox.calls.filter(({ outcome }) => outcome !== 'ok')).toEqual([]);
  });
});
