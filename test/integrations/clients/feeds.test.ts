import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { afterTest, world } from '../../session/support.js';

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
