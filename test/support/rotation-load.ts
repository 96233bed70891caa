import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { isDeribitKeysError } from '../../src/errors.js';
import { withSigner } from '../../src/integrations/ccxt/with-signer.js';
import { openSession } from '../../src/session/index.js';
import { openKeystore } from '../../src/workflows/library.js';
import { type Ccxt, hasCcxt, loadCcxt, pointAt } from '../integrations/ccxt-package.js';
import { afterTest } from './after-test.js';
import { type BotDesk, openBotDesk } from './desk.js';

export interface RotationPlan {
  /** The program, bundled. */
  readonly program: string;
  readonly rounds: number;
  readonly sessions: number;
  /** Of the auth server. */
  readonly clients: number;
  readonly everyMs: number;
}

/** Somebody who asks all the time, and what came of it. */
interface Asker {
  readonly name: string;
  /** Whether it can place orders: then some of its requests are orders, each under a label of its own. */
  readonly orders: boolean;
  /** Rejects with an error that has a code. */
  ask(label: string | null): Promise<unknown>;
  /** The key that it uses, where that is to be seen. */
  clientId?(): string;
}

const SUMMARY = 'private/get_account_summary';

async function sessionAskers(s: BotDesk, count: number): Promise<readonly Asker[]> {
  const keystore = openKeystore({ dir: s.keysDir });
  return Promise.all(
    Array.from({ length: count }, async (_, i): Promise<Asker> => {
      const url = i % 2 === 0 ? s.sandbox.wsUrl : s.sandbox.httpUrl;
      const session = await openSession({ keystore, name: 'bot', url, backoff: { firstMs: 50, longestMs: 500 } });
      afterTest(() => session.close());
      return {
        name: `session ${i}`,
        orders: true,
        clientId: () => session.clientId,
        ask: (label) =>
          label === null
            ? session.request(SUMMARY, { currency: 'BTC' })
            : session.request('private/buy', { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'market', label }),
      };
    }),
  );
}

async function ccxtAskers(s: BotDesk): Promise<readonly Asker[]> {
  const ccxt = await loadCcxt();
  const key = { keystore: openKeystore({ dir: s.keysDir }), name: 'bot' };
  const rest = withSigner(new ccxt.deribit({ enableRateLimit: false }), key);
  const streaming = withSigner(new ccxt.pro.deribit({ enableRateLimit: false }), key);
  await Promise.all([pointAt(rest, s.sandbox), pointAt(streaming, s.sandbox)]);
  return [
    { name: 'ccxt', orders: false, ask: () => rest.fetchBalance() },
    { name: 'ccxt-stream', orders: true, ask: await streamOf(streaming) },
  ];
}

/** Places orders and waits until the WebSocket connection tells of them; in between it subscribes again, and connects again. */
async function streamOf(exchange: Ccxt): Promise<Asker['ask']> {
  await exchange.loadMarkets();
  const told = new Set<string>();
  let news = new EventEmitter();
  const watch = async (to: EventEmitter) => {
    try {
      for (;;) {
        for (const { info } of await exchange.watchOrders()) told.add(info.label);
        to.emit('orders');
      }
    } catch (error) {
      to.emit('error', error);
    }
  };
  const connect = async () => {
    await exchange.close();
    // who waits for orders is told of an error; that nobody waits is no fault
    news = new EventEmitter().on('error', () => {});
    const failed = once(news, 'orders');
    failed.catch(() => {});
    void watch(news);
    const isAsked = () => Object.values(exchange.clients)[0]?.subscriptions['user.orders.any.any.raw'] !== undefined;
    await Promise.race([failed, expect.poll(isAsked, { timeout: 60_000, interval: 5 }).toBe(true)]);
    // the exchange takes requests in their order: with this one, it has taken the one for orders
    await Promise.race([failed, exchange.watchBalance()]);
  };
  await connect();
  let isFresh = true;
  return async (label) => {
    if (label === null) {
      isFresh = !isFresh;
      if (isFresh) return connect();
      for (const { subscriptions } of Object.values(exchange.clients)) delete subscriptions.balance;
      return exchange.watchBalance();
    }
    await exchange.createOrder('BTC/USD:BTC', 'market', 'buy', 10, undefined, { label });
    while (!told.has(label)) await once(news, 'orders', { signal: AbortSignal.timeout(30_000) });
    return null;
  };
}

/** Programs that take a token from the auth server whenever they need one, and hand back one that was refused. */
async function clientAskers(s: BotDesk, count: number): Promise<readonly Asker[]> {
  const abort = new AbortController();
  const first = await new Promise<string>((resolve, reject) => {
    const ended = s.run(['auth-server', 'bot', '--json'], {
      signal: abort.signal,
      onStdout: (text) => text.includes('\n') && resolve(text),
    });
    ended.then(({ stderr }) => reject(new Error(stderr)), reject);
    afterTest(async () => {
      abort.abort();
      await ended;
    });
  });
  const { url, secretFile } = JSON.parse(first) as { url: string; secretFile: string };
  const headers = {
    authorization: `Bearer ${readFileSync(secretFile, 'utf8').trim()}`,
    'content-type': 'application/json',
  };
  const tokenOf = async (refused: string | null): Promise<string> => {
    const body = JSON.stringify(refused === null ? {} : { refused });
    const response = await fetch(`${url}/v1/bot/token`, { method: 'POST', headers, body });
    const answer = (await response.json()) as { accessToken?: string; error?: { code: string } };
    if (answer.accessToken !== undefined) return answer.accessToken;
    throw Object.assign(new Error('no token'), { code: answer.error?.code });
  };
  const ask = async (): Promise<unknown> => {
    let token = await tokenOf(null);
    for (let left = 2; ; left -= 1) {
      const response = await fetch(`${s.sandbox.httpUrl}/${SUMMARY}?currency=BTC`, {
        headers: { authorization: `Bearer ${token}` },
      });
      const { error } = (await response.json()) as { error?: { code: number } };
      if (error === undefined) return null;
      if (error.code !== 13009 || left === 0) throw Object.assign(new Error('refused'), { code: String(error.code) });
      token = await tokenOf(token);
    }
  };
  return Array.from({ length: count }, (_, i) => ({ name: `client ${i}`, orders: false, ask }));
}

/** Runs `rotate` as a process of its own, which is killed after `killMs`. Resolves to its exit code; null where it was. */
function rotate(s: BotDesk, { program }: RotationPlan, grace: string, killMs: number | null): Promise<number | null> {
  const argv = [program, 'rotate', 'bot', '--yes', '--client-id', s.sandbox.clientId, '--grace', grace];
  const child = spawn(process.execPath, argv, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      PATH: process.env.PATH ?? '',
      DERIBIT_KEYS_DIR: s.keysDir,
      DERIBIT_CLIENT_SECRET: s.sandbox.clientSecret,
      // the sandbox carries nothing out late
      DERIBIT_KEYS_UNCERTAIN_MS: '100',
    },
  });
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += String(chunk);
  });
  const timer = killMs === null ? undefined : setTimeout(() => child.kill('SIGKILL'), killMs);
  return new Promise((resolve, reject) => {
    child.on('close', (code) => {
      clearTimeout(timer);
      if (code === null || code === 0) resolve(code);
      else reject(new Error(`rotate ended with ${code}: ${stderr}`));
    });
  });
}

/**
 * One key is rotated again and again, with and without grace, by a program that is killed and run again, while everybody
 * asks. Every request is answered or rejected with a code, no order is taken twice, and all follow. Returns figures.
 */
export async function playRotations(plan: RotationPlan): Promise<string> {
  const s = await openBotDesk({ callLimit: 1_000 });
  const askers = [
    ...(await sessionAskers(s, plan.sessions)),
    ...(hasCcxt ? await ccxtAskers(s) : []),
    ...(await clientAskers(s, plan.clients)),
  ];
  const answers = new Map<string, number>();
  const answered: string[] = [];
  const rejected = new Map<string, number>();
  let isOver = false;
  const run = async ({ name, ask, orders }: Asker) => {
    for (let i = 0; !isOver; i += 1) {
      const label = orders && i % 4 === 0 ? `${name.replace('session ', 's')}-${i}` : null;
      try {
        await ask(label);
        answers.set(name, (answers.get(name) ?? 0) + 1);
        if (label !== null) answered.push(label);
      } catch (error) {
        const { code } = error as { code?: unknown };
        const isCcxt = name.startsWith('ccxt') && error instanceof Error;
        const cause = isCcxt && isDeribitKeysError(error.cause) ? error.cause.code : undefined;
        const kind = `${name.split(' ')[0]}: ${String(cause ?? code ?? (isCcxt ? error.name : `no code, ${String(error)}`))}`;
        rejected.set(kind, (rejected.get(kind) ?? 0) + 1);
      }
      await sleep(plan.everyMs * (0.5 + Math.random()));
    }
  };
  const running = askers.map(run);
  afterTest(async () => {
    isOver = true;
    await Promise.all(running);
  });
  const goOn = async () => {
    const before = new Map(answers);
    const behind = () => askers.filter(({ name }) => (answers.get(name) ?? 0) <= (before.get(name) ?? 0) + 1);
    await expect.poll(() => behind().map(({ name }) => name), { timeout: 120_000 }).toEqual([]);
  };
  const keystore = openKeystore({ dir: s.keysDir });
  const follow = async () => {
    const { clientId } = await keystore.get('bot');
    const behind = () => askers.filter((asker) => asker.clientId !== undefined && asker.clientId() !== clientId);
    await expect.poll(() => behind().map(({ name }) => name), { timeout: 120_000 }).toEqual([]);
  };

  await goOn();
  let usualMs = performance.now();
  await rotate(s, plan, '0s', null);
  usualMs = performance.now() - usualMs;
  let kills = 0;
  for (let round = 0; round < plan.rounds; round += 1) {
    const grace = round % 2 === 0 ? '0s' : '1h';
    // twice at the most, so that a round ends
    for (let left = 2; left > 0; left -= 1) {
      if ((await rotate(s, plan, grace, Math.random() * usualMs)) === 0) break;
      kills += 1;
    }
    await rotate(s, plan, grace, null);
    await follow();
    // ends the grace
    if (grace === '1h') await rotate(s, plan, '0s', null);
    await follow();
    await goOn();
    const ours = s.sandbox.keys().filter(({ client_id: id }) => id !== s.sandbox.clientId);
    expect(ours.map(({ client_id: id }) => id)).toEqual([(await keystore.get('bot')).clientId]);
  }
  isOver = true;
  await Promise.all(running);

  const carriedOut = s.sandbox.orders().map(({ label }) => label);
  expect(new Set(carriedOut).size).toBe(carriedOut.length);
  const known = new Set(carriedOut);
  expect(answered.filter((label) => !known.has(label))).toEqual([]);
  expect([...rejected.keys()].filter((kind) => kind.includes('no code'))).toEqual([]);
  const total = [...answers.values()].reduce((sum, n) => sum + n, 0);
  const refusals = [...rejected].map(([kind, n]) => `${kind} ${n}`).join(', ') || 'none';
  return `${plan.rounds} rounds, ${kills} kills, ${askers.length} askers, ${total} requests answered, rejected: ${refusals}`;
}
