import { setTimeout as sleep } from 'node:timers/promises';
import { generateKeyPair } from '../../src/crypto/generate.js';
import { encodePublicKeyPem } from '../../src/crypto/pem.js';
import { localSigner } from '../../src/crypto/signer.js';
import { openFleet, type Session } from '../../src/session/index.js';
import { exchangeHere, type SoakExchange } from './exchange.js';
import { Ledger, seeded } from './ledger.js';

export interface WallClockOptions {
  readonly seconds: number;
  readonly seed: number;
  /** It goes on beyond its time until there were so many of each. */
  readonly atLeast?: { readonly orders: number; readonly reads: number; readonly logins: number };
  /** In this process where left out. */
  readonly start?: (publicKeyPem: string) => Promise<SoakExchange>;
  /** Called about once a minute with the heap in use, in bytes, after a collection where there can be one. */
  readonly onMinute?: (second: number, heapBytes: number) => void;
}

export interface WallClockReport {
  readonly orders: number;
  readonly done: number;
  readonly unknown: number;
  readonly executed: number;
  readonly codes: Readonly<Record<string, number>>;
  readonly reads: { readonly sent: number; readonly done: number; readonly failed: number };
  readonly messages: number;
  readonly logins: number;
  readonly refreshes: number;
  readonly reconnects: number;
  readonly incidents: number;
  readonly heapBytes: readonly number[];
  readonly violations: readonly string[];
  readonly left: { readonly requests: number; readonly resources: readonly string[] };
}

const ORDERS_AMONG_REQUESTS = 0.1;

/** Sessions that trade on a real sandbox over real sockets, while it misbehaves. */
export async function soak({
  seconds,
  seed,
  atLeast = { orders: 0, reads: 0, logins: 0 },
  start = exchangeHere,
  onMinute,
}: WallClockOptions): Promise<WallClockReport> {
  const random = seeded(seed);
  const resourcesBefore = process.getActiveResourcesInfo();
  const key = await generateKeyPair();
  const exchange = await start(encodePublicKeyPem(key.publicKey));
  const { wsUrl, httpUrl, clientId } = exchange;
  const fleet = openFleet({ rate: null });
  const ledger = new Ledger();
  const tally = { login: 0, refresh: 0, reconnect: 0 };
  const violations: string[] = [];
  let messages = 0;
  const urls = [wsUrl, wsUrl, wsUrl, httpUrl];
  const sessions = await Promise.all(
    urls.map((url) =>
      fleet.openSession({
        url,
        clientId,
        signer: localSigner(key),
        timeoutMs: 4_000,
        backoff: { firstMs: 20, longestMs: 500 },
      }),
    ),
  );
  for (const session of sessions) {
    for (const name of ['login', 'refresh', 'reconnect'] as const) {
      session.on(name, () => {
        tally[name] += 1;
      });
    }
    session.on('closed', ({ error }) => {
      if (error !== null) violations.push(`a session ended: ${error.code} ${error.message}`);
    });
    if (session.kind === 'websocket') {
      await session.subscribe('sandbox.counter.50ms', () => {
        messages += 1;
      });
    }
  }

  const startMs = performance.now();
  const passedS = () => (performance.now() - startMs) / 1000;
  let label = 0;
  const reads = { sent: 0, done: 0, failed: 0 };
  const isOver = () =>
    passedS() >= seconds &&
    ledger.sent >= atLeast.orders &&
    reads.done >= atLeast.reads &&
    tally.login + tally.refresh >= atLeast.logins;
  const trading = (async () => {
    const waiting = new Set<Promise<void>>();
    while (!isOver()) {
      await sleep(random() * 40);
      const session = sessions[Math.floor(random() * sessions.length)] as Session;
      // the exchange keeps orders for ever: most requests are none, so that its memory does not hide ours
      if (random() > ORDERS_AMONG_REQUESTS) {
        reads.sent += 1;
        const read = session.request('private/get_account_summary', { currency: 'BTC' }).then(
          () => {
            reads.done += 1;
          },
          () => {
            reads.failed += 1;
          },
        );
        waiting.add(read);
        void read.then(() => waiting.delete(read));
        continue;
      }
      label += 1;
      const params = { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'market', label: String(label) };
      const recorded = ledger.record(params.label, session.request('private/buy', params));
      waiting.add(recorded);
      void recorded.then(() => waiting.delete(recorded));
    }
    await Promise.all(waiting);
  })();
  let incidents = 0;
  const trouble = (async () => {
    while (!isOver()) {
      await sleep(200 + random() * 1_500);
      incidents += 1;
      await misfortune(exchange, random);
    }
    await exchange.clearFaults();
  })();
  const heapBytes: number[] = [];
  const watching = (async () => {
    while (!isOver()) {
      await sleep(Math.min(60_000, Math.max(1, (seconds - passedS()) * 1_000)));
      (globalThis as { gc?: () => void }).gc?.();
      heapBytes.push(process.memoryUsage().heapUsed);
      onMinute?.(Math.round(passedS()), heapBytes.at(-1) ?? 0);
    }
  })();
  await Promise.all([trading, trouble, watching]);
  ledger.settle(await exchange.orders());
  await fleet.close();
  await exchange.close();
  await sleep(50);
  const resources = leftOf(resourcesBefore);
  return {
    orders: ledger.sent,
    done: ledger.done,
    unknown: ledger.unknown,
    executed: ledger.executed,
    codes: Object.fromEntries(ledger.codes),
    reads,
    messages,
    logins: tally.login,
    refreshes: tally.refresh,
    reconnects: tally.reconnect,
    incidents,
    heapBytes,
    violations: [...violations, ...ledger.violations],
    left: { requests: ledger.lost + reads.sent - reads.done - reads.failed, resources },
  };
}

/** This program's own output, and what is over in a moment. */
const NOT_OURS: readonly string[] = ['Immediate', 'PipeWrap', 'TTYWrap'];

/** What holds the process that did not before. */
function leftOf(before: readonly string[]): readonly string[] {
  const rest = [...process.getActiveResourcesInfo()];
  for (const name of before) {
    const at = rest.indexOf(name);
    if (at !== -1) rest.splice(at, 1);
  }
  return rest.filter((name) => !NOT_OURS.includes(name));
}

async function misfortune(exchange: SoakExchange, random: () => number): Promise<void> {
  const fault = (spec: string) => exchange.addFault(`${spec}x${1 + Math.floor(random() * 3)}`);
  const choices: readonly (() => Promise<void>)[] = [
    () => exchange.dropConnections(),
    () => exchange.restart(random() * 400),
    () => fault('cut-before@private/buy'),
    () => fault('cut-after@private/buy'),
    () => fault('garbage@private/buy'),
    () => fault('drop-answer@private/buy'),
    () => fault('duplicate@private/buy'),
    () => fault('reorder@private/buy'),
    () => fault('delay@private/buy:300'),
    () => fault('refuse-refresh'),
    () => fault('error@private/buy:13009'),
    () => fault('error@private/buy:10028'),
    () => fault('error@private/buy:10040'),
    () => fault('error@public/auth:11051'),
    () => fault('error@public/auth:13028'),
    () => fault('cut-after@public/auth'),
    () => exchange.addFault(`clock:${Math.round((random() - 0.5) * 100_000)}`),
  ];
  await choices[Math.floor(random() * choices.length)]?.();
}
