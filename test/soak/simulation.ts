import { generateKeyPair } from '../../src/crypto/generate.js';
import { encodePublicKeyPem } from '../../src/crypto/pem.js';
import { localSigner } from '../../src/crypto/signer.js';
import { isDeribitKeysError } from '../../src/errors.js';
import { openFleet, type Session } from '../../src/session/index.js';
import { FakeTime } from '../support/fake-time.js';
import { Ledger, seeded } from './ledger.js';
import { SimulatedExchange } from './simulated-exchange.js';

const DAY_MS = 86_400_000;
const CHANNEL = 'sandbox.counter.900000ms';

export interface SimulationOptions {
  readonly days: number;
  readonly seed: number;
  readonly sessions: number;
  /** Called after each simulated day. */
  readonly onDay?: (day: number) => void;
}

export interface SimulationReport {
  readonly orders: number;
  readonly done: number;
  readonly unknown: number;
  readonly executed: number;
  readonly codes: Readonly<Record<string, number>>;
  readonly logins: number;
  readonly refreshes: number;
  readonly reconnects: number;
  readonly incidents: number;
  readonly connects: number;
  /** What went against the promises; none is well. */
  readonly violations: readonly string[];
  /** What was left after the end; all zero is well. */
  readonly left: { readonly orders: number; readonly connections: number; readonly timers: number };
}

/** Sessions that trade for days of simulated time, while the network and the exchange do what they can. */
export async function simulate({ days, seed, sessions: count, onDay }: SimulationOptions): Promise<SimulationReport> {
  const random = seeded(seed);
  const time = new FakeTime();
  const exchange = new SimulatedExchange(time, random, 900);
  const key = await generateKeyPair();
  const clientId = exchange.addKey(encodePublicKeyPem(key.publicKey));
  const fleet = openFleet({ time, maxConnections: count, maxSessionsPerKey: count });
  const ledger = new Ledger();
  const tally = { login: 0, refresh: 0, reconnect: 0 };
  const opening = Array.from({ length: count }, () =>
    fleet.openSession({
      clientId,
      signer: localSigner(key),
      connectWebSocket: exchange.connect,
      random,
      heartbeatS: 120,
    }),
  );
  let isOpen = false;
  const opened = Promise.all(opening).finally(() => {
    isOpen = true;
  });
  while (!isOpen) await time.advance(100);
  const sessions = await opened;
  const violations: string[] = [];
  for (const session of sessions) {
    for (const name of ['login', 'refresh', 'reconnect'] as const) {
      session.on(name, () => {
        tally[name] += 1;
      });
    }
    session.on('closed', ({ error }) => {
      if (error !== null) violations.push(`a session ended: ${error.code} ${error.message}`);
    });
    void subscribe(session);
  }

  let label = 0;
  let incidents = 0;
  const trade = () => {
    const session = sessions[Math.floor(random() * sessions.length)] as Session;
    label += 1;
    const params = { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'market', label: String(label) };
    void ledger.record(params.label, session.request('private/buy', params));
    time.setTimeout(trade, 1_000 + random() * 240_000);
  };
  let isQuiet = false;
  const incident = () => {
    if (!isQuiet) {
      incidents += 1;
      pick(random, misfortunes)(exchange, time, random);
    }
    time.setTimeout(incident, 60_000 + random() * 3 * 3_600_000);
  };
  const traders = time.setTimeout(trade, 0);
  const troubles = time.setTimeout(incident, 0);
  for (let day = 1; day <= days; day += 1) {
    await time.advance(DAY_MS);
    isQuiet = true;
    exchange.faults.clear();
    await time.advance(1_200_000);
    ledger.settle(exchange.takeOrders());
    if (exchange.channels !== count) violations.push(`${exchange.channels} of ${count} subscriptions on day ${day}`);
    onDay?.(day);
    isQuiet = false;
  }
  void traders;
  void troubles;
  const closing = fleet.close();
  await time.advance(60_000);
  await closing;
  ledger.settle(exchange.takeOrders());
  // the two timers of this simulation itself go on
  const left = { orders: ledger.lost, connections: exchange.open, timers: time.pending - 2 };
  return {
    orders: ledger.sent,
    done: ledger.done,
    unknown: ledger.unknown,
    executed: ledger.executed,
    codes: Object.fromEntries(ledger.codes),
    logins: tally.login,
    refreshes: tally.refresh,
    reconnects: tally.reconnect,
    incidents,
    connects: exchange.connects,
    violations: [...violations, ...ledger.violations],
    left,
  };
}

/** Asks until it is given: a request that was swallowed says so by its time-out. */
async function subscribe(session: Session): Promise<void> {
  for (;;) {
    try {
      await session.subscribe(CHANNEL, () => {});
      return;
    } catch (error) {
      if (!isDeribitKeysError(error, 'ERR_TIMEOUT')) throw error;
    }
  }
}

type Misfortune = (exchange: SimulatedExchange, time: FakeTime, random: () => number) => void;

const times = (random: () => number, most: number) => 1 + Math.floor(random() * most);

const misfortunes: readonly Misfortune[] = [
  (exchange) => exchange.cutAll(),
  (exchange) => exchange.goSilent(),
  (exchange, _time, random) => exchange.restart(random() * 600_000),
  (exchange, _time, random) => exchange.faults.add(`cut-before@private/buyx${times(random, 3)}`),
  (exchange, _time, random) => exchange.faults.add(`cut-after@private/buyx${times(random, 3)}`),
  (exchange, _time, random) => exchange.faults.add(`drop-answer@private/buyx${times(random, 3)}`),
  (exchange, _time, random) => exchange.faults.add(`silent@private/buyx${times(random, 3)}`),
  (exchange, _time, random) => exchange.faults.add(`garbage@private/buyx${times(random, 2)}`),
  (exchange, _time, random) => exchange.faults.add(`refuse-refreshx${times(random, 3)}`),
  (exchange, _time, random) => exchange.faults.add(`error@private/buy:13009x${times(random, 3)}`),
  (exchange, _time, random) => {
    const code = pick(random, [10028, 10040, 11051, 13028]);
    exchange.faults.add(`error@${pick(random, ['private/buy', 'public/auth'])}:${code}x${times(random, 6)}`);
  },
  (exchange, _time, random) => exchange.faults.add(`cut-after@public/authx${times(random, 4)}`),
  (exchange, _time, random) => exchange.faults.add(`error@private/subscribe:10028x${times(random, 3)}`),
  // both clocks drift, ours jumps: asleep, or set by hand
  (exchange, _time, random) => exchange.faults.add(`clock:${Math.round((random() - 0.5) * 120_000)}`),
  (_exchange, time, random) => {
    time.wallMs += (random() - 0.3) * 1_800_000;
  },
];

function pick<T>(random: () => number, choices: readonly T[]): T {
  return choices[Math.floor(random() * choices.length)] as T;
}
