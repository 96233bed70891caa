import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Sandbox } from '../../src/sandbox/index.js';
import { afterTest } from '../support/after-test.js';

const fixture = new URL('../fixtures/ccxt/package.json', import.meta.url);

/** Whether ccxt is there: it is installed for these tests only, by `npm ci --prefix test/fixtures/ccxt`. */
export const hasCcxt = existsSync(new URL('node_modules/ccxt/package.json', fixture));

type Implicit = (params?: object) => Promise<{ result: unknown }>;

/** What the tests use of ccxt's exchange objects. */
export interface Ccxt {
  apiKey: string;
  secret: string;
  urls: { api: { rest: string; ws: string } };
  clients: Record<string, { url: string; subscriptions: Record<string, unknown> }>;
  fetchBalance(): Promise<Record<string, { free: number; total: number }>>;
  fetchTime(): Promise<number>;
  loadMarkets(): Promise<Record<string, unknown>>;
  fetchTicker(symbol: string): Promise<{ last: number }>;
  fetchOpenOrders(symbol?: string): Promise<unknown[]>;
  createOrder(
    symbol: string,
    type: string,
    side: string,
    amount: number,
    price?: number,
    params?: object,
  ): Promise<{ id: string }>;
  cancelOrder(id: string, symbol: string): Promise<unknown>;
  authenticate(params?: object): Promise<{ result: { access_token: string } }>;
  watchBalance(): Promise<unknown>;
  watchOrders(): Promise<readonly { readonly info: { readonly label: string } }[]>;
  watchTicker(symbol: string): Promise<{ last: number }>;
  close(): Promise<void>;
  /** ccxt wants this to be called before it speaks plain `ws:`. */
  loadHttpProxyAgent(): Promise<unknown>;
  privateGetGetSubaccounts: Implicit;
  privateGetCreateApiKey: Implicit;
  privateGetChangeScopeInApiKey: Implicit;
  privateGetChangeApiKeyName: Implicit;
  privateGetDisableApiKey: Implicit;
  privateGetEnableApiKey: Implicit;
  privateGetListApiKeys: Implicit;
  privateGetRemoveApiKey: Implicit;
}

interface CcxtModule {
  readonly default: {
    readonly pro: { deribit: new (config?: object) => Ccxt };
    readonly deribit: new (config?: object) => Ccxt;
    readonly AuthenticationError: new (message: string) => Error;
    readonly ExchangeError: new (message: string) => Error;
    readonly NetworkError: new (message: string) => Error;
  };
}

/** The package itself, as a program finds it. */
export async function loadCcxt(): Promise<CcxtModule['default']> {
  const path = createRequire(fixture).resolve('ccxt').replace('dist/ccxt.cjs', 'js/ccxt.js');
  return ((await import(path)) as CcxtModule).default;
}

/** Sends an exchange object to the sandbox: the URLs are all that changes. */
export async function pointAt(exchange: Ccxt, sandbox: Sandbox): Promise<Ccxt> {
  exchange.urls.api = { rest: sandbox.httpUrl.replace('/api/v2', ''), ws: sandbox.wsUrl };
  await exchange.loadHttpProxyAgent();
  afterTest(() => exchange.close());
  return exchange;
}
