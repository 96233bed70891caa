import { setTimeout as sleep } from 'node:timers/promises';
import { Hub } from './channels/hub.js';
import { type AddKeyRequest, addKeyOfWebPage, type SandboxKey, showKey } from './core/accounts.js';
import { Credits, type Exchange } from './core/exchange.js';
import { signatureMaxAgeMs } from './core/guesses.js';
import { Ledger } from './core/ledger.js';
import { AccessLog, Calls, remarker, type SandboxCall } from './core/logs.js';
import { Market } from './core/market.js';
import { type Order, Orders } from './core/orders.js';
import { SecondFactor } from './core/second-factor.js';
import { Replays } from './core/signature.js';
import { describeState, keepState, openState } from './core/state-file.js';
import { Faults } from './faults/faults.js';
import { methodNames } from './methods/table.js';
import { longestTimerMs, type SandboxOptions, settle } from './server/options.js';
import { SandboxServer } from './server/server.js';
import { openTls } from './server/tls.js';

const answerFirstMs = 20;

/** A running exchange. */
export interface Sandbox {
  /** `http://127.0.0.1:PORT/api/v2`; `https:` with `tls`. */
  readonly httpUrl: string;
  /** `ws://127.0.0.1:PORT/ws/api/v2`; `wss:` with `tls`. */
  readonly wsUrl: string;
  /** With `tls`, the file with the certificate (PEM) that clients must trust; else null. */
  readonly caFile: string | null;
  /** The main account's symmetric bootstrap key, which may do everything. */
  readonly clientId: string;
  readonly clientSecret: string;
  /** The base32 seed of the second factor; null without one. */
  readonly tfaSecret: string | null;
  /** The last requests, oldest first. */
  readonly calls: readonly SandboxCall[];
  /** Stops for good, leaving no timer and no socket. Safe to call twice. */
  close(): Promise<void>;
  /** Replaces all faults. @throws SandboxError `ERR_USAGE` for a spec that cannot be read */
  setFaults(specs: readonly string[]): void;
  addFault(spec: string): void;
  clearFaults(): void;
  /** Sends a frame on every WebSocket connection, whatever is in it. */
  broadcast(frame: string): void;
  /** Cuts every connection, without a word. */
  dropConnections(): void;
  /** Stops, stays away for `downMs`, and listens again on the same port with the same state; while it is away, a second call joins the first. */
  restart(downMs?: number): Promise<void>;
  /** What a user does in the exchange's web page: makes a key without being logged in. @throws SandboxError `ERR_USAGE` */
  addKey(request: AddKeyRequest): SandboxKey;
  /** All keys of all accounts. */
  keys(): readonly SandboxKey[];
  /** How many sessions of a key are open: named ones, and connections that it is logged in on. */
  sessions(clientId: string): number;
  /** All orders that were taken, oldest first. */
  orders(): readonly Order[];
  /** Ids of the main account and its subaccounts. */
  readonly accountIds: readonly number[];
}

/**
 * Starts an exchange on 127.0.0.1 that speaks Deribit's protocol over HTTP and WebSocket.
 * @throws SandboxError `ERR_USAGE`, `ERR_LISTEN` for a port that cannot be listened on, `ERR_STATE_FILE` for a state file
 * that cannot be used
 */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const settings = settle(options);
  const faults = new Faults(methodNames);
  faults.set(settings.faults);
  const now = () => Math.floor(settings.now()) + faults.clockOffsetMs;
  const { accounts, grants, bootstrap, port } = openState(settings, now());
  const keeper = keepState(settings.stateFile, () =>
    describeState(accounts, grants, { bootstrapClientId: bootstrap.clientId, port: server.port }),
  );

  const orders = new Orders();
  const { secondFactor, tfaKey, testnet } = settings;
  const relyingParty = testnet ? 'test.deribit.com' : 'www.deribit.com';
  const exchange: Exchange = {
    now,
    settings,
    accounts,
    grants,
    replays: new Replays(signatureMaxAgeMs),
    secondFactor: secondFactor === null ? null : new SecondFactor(secondFactor, tfaKey, relyingParty),
    credits: settings.credits === null ? null : new Credits(settings.credits),
    faults,
    calls: new Calls(settings.callLimit),
    orders,
    market: new Market(orders, now),
    ledger: new Ledger(orders),
    hub: new Hub(),
    accessLog: new AccessLog(),
    remark: remarker(settings.onRemark, settings.stateFile !== null),
    saveNow: keeper.saveNow,
    saveSoon: keeper.saveSoon,
    control: {
      dropConnections: () => server.later(answerFirstMs, () => server.dropConnections()),
      restart: (downMs) => server.later(answerFirstMs, () => void restart(downMs).catch(() => undefined)),
      broadcast: (frame) => server.broadcast(frame),
      later: (delayMs, action) => server.later(delayMs, action),
    },
  };
  const tls = settings.tls ? openTls(settings.caFile) : null;
  const server = new SandboxServer(exchange, settings.port ?? port ?? 0, tls?.certificate ?? null);
  const awayFor = new AbortController();

  let restarting: Promise<void> | null = null;

  function restart(downMs = 0): Promise<void> {
    restarting ??= goAway(downMs).finally(() => {
      restarting = null;
    });
    return restarting;
  }

  async function goAway(downMs: number): Promise<void> {
    await server.stop();
    await sleep(Math.min(downMs, longestTimerMs), undefined, { signal: awayFor.signal }).catch(() => undefined);
    if (!awayFor.signal.aborted) await server.start();
  }

  try {
    await server.start();
    keeper.saveNow();
  } catch (error) {
    await server.stop();
    tls?.remove();
    throw error;
  }
  return {
    httpUrl: `${tls === null ? 'http' : 'https'}://127.0.0.1:${server.port}/api/v2`,
    wsUrl: `${tls === null ? 'ws' : 'wss'}://127.0.0.1:${server.port}/ws/api/v2`,
    caFile: tls?.caFile ?? null,
    clientId: bootstrap.clientId,
    get clientSecret() {
      return bootstrap.secret;
    },
    tfaSecret: settings.tfaSecret,
    accountIds: accounts.all.map(({ id }) => id),
    get calls() {
      return exchange.calls.list();
    },
    async close() {
      awayFor.abort();
      await restarting?.catch(() => undefined);
      await server.stop();
      tls?.remove();
      keeper.stop();
    },
    setFaults: (specs) => faults.set(specs),
    addFault: (spec) => faults.add(spec),
    clearFaults: () => faults.clear(),
    broadcast: (frame) => server.broadcast(frame),
    dropConnections: () => server.dropConnections(),
    restart,
    addKey: (request) => addKeyOfWebPage(exchange, request),
    keys: () => accounts.all.flatMap(({ keys }) => [...keys.values()].map(showKey)),
    sessions(clientId) {
      const key = accounts.key(clientId);
      return key === undefined ? 0 : grants.countSessions(key, now());
    },
    orders: () => exchange.orders.list(),
  };
}
