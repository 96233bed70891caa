import { describe, expect, test } from 'vitest';
import { DeribitKeysError } from '../../src/errors.js';
import { asCcxtError, type CcxtExchange, failureIn } from '../../src/integrations/ccxt/exchange.js';
import { withSigner } from '../../src/integrations/ccxt/with-signer.js';
import type { SandboxOptions } from '../../src/sandbox/index.js';
import { type World, world } from '../session/support.js';
import { thrownBy } from '../support/outcomes.js';
import { type Ccxt, hasCcxt, loadCcxt, pointAt } from './ccxt-package.js';

const needsCcxt = hasCcxt ? describe : describe.skip;
const title = (text: string) => (hasCcxt ? text : `${text} (skipped: run npm ci --prefix test/fixtures/ccxt)`);

const logins = (w: World) => w.calls().filter((call) => call.startsWith('public/auth'));

async function signed(options: SandboxOptions = {}): Promise<World & { exchange: Ccxt }> {
  const [w, ccxt] = await Promise.all([world(options), loadCcxt()]);
  const exchange = await pointAt(new ccxt.pro.deribit(), w.sandbox);
  withSigner(exchange, { clientId: w.clientId, signer: w.signer });
  return { ...w, exchange };
}

needsCcxt(title('ccxt, unmodified, with a symmetric key on the sandbox'), () => {
  test('logs in over REST and WebSocket, reads the market and trades', async () => {
    const [w, ccxt] = await Promise.all([world(), loadCcxt()]);
    const exchange = await pointAt(new ccxt.pro.deribit(), w.sandbox);
    exchange.apiKey = w.sandbox.clientId;
    exchange.secret = w.sandbox.clientSecret;
    expect(Math.abs((await exchange.fetchTime()) - Date.now())).toBeLessThan(10_000);
    expect(Object.keys(await exchange.loadMarkets())).toContain('BTC/USD:BTC');
    expect((await exchange.fetchTicker('BTC/USD:BTC')).last).toBe(50_000);
    expect((await exchange.fetchBalance()).BTC).toMatchObject({ total: 10 });
    const { id } = await exchange.createOrder('BTC/USD:BTC', 'limit', 'buy', 10, 40_000);
    expect(await exchange.fetchOpenOrders('BTC/USD:BTC')).toHaveLength(1);
    await exchange.cancelOrder(id, 'BTC/USD:BTC');
    expect((await exchange.authenticate()).result.access_token).toMatch(/\S/);
    expect(await exchange.watchBalance()).toMatchObject({ BTC: { total: { BTC: 10 } } });
    expect((await exchange.watchTicker('BTC/USD:BTC')).last).toBe(50_000);
    expect(w.calls().filter((call) => !call.endsWith(' ok'))).toEqual([]);
  });

  test('manages API keys', async () => {
    const [w, ccxt] = await Promise.all([world(), loadCcxt()]);
    const exchange = await pointAt(new ccxt.deribit(), w.sandbox);
    exchange.apiKey = w.sandbox.clientId;
    exchange.secret = w.sandbox.clientSecret;
    const created = (await exchange.privateGetCreateApiKey({ max_scope: 'account:read', name: 'by_ccxt' })).result;
    const { id } = created as { id: number };
    await exchange.privateGetChangeScopeInApiKey({ id, max_scope: 'account:read trade:read' });
    await exchange.privateGetChangeApiKeyName({ id, name: 'renamed' });
    await exchange.privateGetDisableApiKey({ id });
    const listed = (await exchange.privateGetListApiKeys()).result as { id: number }[];
    expect(listed.find((key) => key.id === id)).toMatchObject({
      name: 'renamed',
      enabled: false,
      max_scope: expect.stringContaining('trade:read'),
    });
    await exchange.privateGetEnableApiKey({ id });
    await exchange.privateGetRemoveApiKey({ id });
    expect(w.sandbox.keys().map((key) => key.name)).not.toContain('renamed');
  });

  test('(what ours must not do) resolves a second authenticate() after a refused one', async () => {
    const [w, ccxt] = await Promise.all([world(), loadCcxt()]);
    const exchange = await pointAt(new ccxt.pro.deribit(), w.sandbox);
    exchange.apiKey = w.sandbox.clientId;
    exchange.secret = 'wrong';
    await thrownBy(exchange.authenticate());
    expect(await exchange.authenticate()).toBeDefined();
  });
});

needsCcxt(title('ccxt with an asymmetric key'), () => {
  test('sends a token with private REST requests, got by one login', async () => {
    const { exchange, ...w } = await signed();
    await exchange.loadMarkets();
    const answers = await Promise.all([exchange.fetchBalance(), exchange.fetchBalance(), exchange.fetchOpenOrders()]);
    expect(answers[0]?.BTC).toMatchObject({ total: 10 });
    const { id } = await exchange.createOrder('BTC/USD:BTC', 'limit', 'buy', 10, 40_000);
    await exchange.cancelOrder(id, 'BTC/USD:BTC');
    expect(logins(w)).toEqual(['public/auth ok']);
  });

  test('renews its token before it expires, and replaces one that is refused', async () => {
    const { exchange, ...w } = await signed({ expiresInS: 1 });
    await exchange.privateGetGetSubaccounts();
    const renewed = async () => {
      await exchange.privateGetGetSubaccounts();
      return logins(w).length;
    };
    await expect.poll(renewed, { timeout: 30_000 }).toBeGreaterThan(1);
    w.sandbox.addFault('error@private/get_subaccounts:13009x2');
    await Promise.all([exchange.privateGetGetSubaccounts(), exchange.privateGetGetSubaccounts()]);
    expect(logins(w).every((call) => call === 'public/auth ok')).toBe(true);
    w.sandbox.addFault('error@private/get_subaccounts:13009');
    expect((await thrownBy(exchange.privateGetGetSubaccounts())).message).toContain('13009');
  });

  test('logs in once for each connection, and again after a cut', async () => {
    const { exchange, ...w } = await signed();
    const [first, second] = await Promise.all([exchange.authenticate(), exchange.authenticate()]);
    expect(first).toBe(second);
    expect(first.result.access_token).toMatch(/\S/);
    expect(await exchange.watchBalance()).toMatchObject({ BTC: { total: { BTC: 10 } } });
    expect(logins(w)).toEqual(['public/auth ok']);
    const waiting = exchange.watchBalance();
    w.sandbox.dropConnections();
    await thrownBy(waiting);
    expect(await exchange.watchBalance()).toMatchObject({ BTC: { total: { BTC: 10 } } });
    expect(logins(w)).toEqual(['public/auth ok', 'public/auth ok']);
  });

  test('logs in again where a subscription is refused because the login is over, and subscribes once more', async () => {
    const ccxt = await loadCcxt();
    const { exchange, ...w } = await signed();
    await exchange.authenticate();
    w.sandbox.addFault('error@private/subscribe:13009x1');
    expect(await exchange.watchBalance()).toMatchObject({ BTC: { total: { BTC: 10 } } });
    expect(logins(w)).toEqual(['public/auth ok', 'public/auth ok']);
    w.sandbox.addFault('error@private/subscribe:13009x2');
    expect(await thrownBy(exchange.watchOrders())).toBeInstanceOf(ccxt.ExchangeError);
    expect(w.sandbox.calls.filter(({ method }) => method === 'private/subscribe')).toHaveLength(4);
  });

  test('logs in again before the login of a connection expires', async () => {
    const { exchange, ...w } = await signed({ expiresInS: 1 });
    await exchange.authenticate();
    await expect.poll(() => logins(w).length, { timeout: 5_000 }).toBeGreaterThan(2);
    const client = Object.values(exchange.clients)[0];
    await expect.poll(() => Object.keys(client?.subscriptions ?? {})).toEqual([]);
    await exchange.watchBalance();
    await exchange.close();
    const count = logins(w).length;
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    expect(logins(w)).toHaveLength(count);
  });

  test('rejects every authenticate() as long as the login is refused, with ccxt’s own error, and recovers', async () => {
    const ccxt = await loadCcxt();
    const { exchange, ...w } = await signed({ faults: ['refuse-login'] });
    for (let i = 0; i < 3; i += 1) {
      const error = await thrownBy(exchange.authenticate());
      expect(error).toBeInstanceOf(ccxt.AuthenticationError);
      expect(error.cause).toMatchObject({ code: 'ERR_UNAUTHORIZED', rpc: { code: 13004 } });
    }
    expect(await thrownBy(exchange.watchBalance())).toBeInstanceOf(ccxt.AuthenticationError);
    expect(await thrownBy(exchange.fetchBalance())).toBeInstanceOf(ccxt.AuthenticationError);
    w.sandbox.clearFaults();
    expect(await exchange.watchBalance()).toMatchObject({ BTC: { total: { BTC: 10 } } });
    expect((await exchange.fetchBalance()).BTC).toMatchObject({ total: 10 });
  });

  test('does not let a refused login break what else is watched', async () => {
    const { exchange, ...w } = await signed();
    await exchange.loadMarkets();
    w.sandbox.addFault('refuse-login');
    const ticker = exchange.watchTicker('BTC/USD:BTC');
    await thrownBy(exchange.authenticate());
    expect((await ticker).last).toBe(50_000);
  });

  test.each([600_000, -600_000])('corrects a clock that is off by %i ms', async (offsetMs) => {
    const { exchange, ...w } = await signed({ faults: [`clock:${offsetMs}`] });
    await exchange.authenticate();
    await exchange.fetchBalance();
    expect(logins(w).filter((call) => call === 'public/auth ok')).toHaveLength(2);
  });

  test('lets the network’s errors be ccxt’s', async () => {
    const ccxt = await loadCcxt();
    const { exchange, ...w } = await signed();
    w.sandbox.addFault('cut-before@public/auth');
    expect(await thrownBy(exchange.authenticate())).toBeInstanceOf(ccxt.NetworkError);
    w.sandbox.clearFaults();
    await w.sandbox.close();
    expect(await thrownBy(exchange.fetchBalance())).toBeInstanceOf(ccxt.NetworkError);
  });

  test('refuses to sign by hand without a token, and to be set up late', async () => {
    const { exchange, ...w } = await signed();
    const { sign } = exchange as unknown as CcxtExchange;
    expect(() => sign('get_subaccounts', 'private', 'GET', {})).toThrow(/no access token yet/);
    await exchange.authenticate();
    expect(() => withSigner(exchange, { clientId: w.clientId, signer: w.signer })).toThrow(/connections already/);
  });
});

describe('withSigner', () => {
  test.each([[{}], [{ id: 'binance' }], [{ id: 'deribit', sign() {}, fetch2() {}, fetch() {}, fetchTime() {} }]])(
    'refuses what is not an exchange object for Deribit: %o',
    async (other) => {
      const w = await world();
      expect(() => withSigner(other, { clientId: 'x', signer: w.signer })).toThrow(/not an exchange object/);
    },
  );

  test('finds the exchange’s error in what ccxt throws', () => {
    const thrown = (text: string) => failureIn(new Error(text));
    expect(thrown('deribit {"error":{"code":13009,"message":"unauthorized"}}')).toMatchObject({ code: 13009 });
    expect(thrown('deribit {"code":13004,"message":"invalid_credentials"}')).toMatchObject({ code: 13004 });
    for (const text of ['deribit GET', 'deribit {', 'deribit {"error":7}', 'x {"error":{"code":"1"}}']) {
      expect(thrown(text)).toBeNull();
    }
    expect(failureIn('text')).toBeNull();
  });

  test('passes errors on that ccxt has no name for', () => {
    const exchange = { id: 'deribit', exceptions: {} } as unknown as CcxtExchange;
    const refusal = new DeribitKeysError('ERR_UNAUTHORIZED', 'no');
    expect(asCcxtError(exchange, refusal)).toBe(refusal);
    expect(asCcxtError(exchange, 'text')).toBe('text');
    const inner = new Error('socket');
    const outer = new DeribitKeysError('ERR_NETWORK', 'a', {
      cause: new DeribitKeysError('ERR_NETWORK', 'b', { cause: inner }),
    });
    expect(asCcxtError(exchange, outer)).toBe(inner);
  });
});
