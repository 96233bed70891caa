import type { Hub } from '../channels/hub.js';
import type { Faults, Struck } from '../faults/faults.js';
import type { Settings } from '../server/options.js';
import type { Accounts } from './accounts.js';
import { errorOf } from './errors.js';
import type { Ledger } from './ledger.js';
import type { AccessLog, Calls, Remark } from './logs.js';
import type { Market } from './market.js';
import { cancelOrders } from './matching.js';
import type { Orders } from './orders.js';
import type { Params } from './params.js';
import type { Level, ScopeGroup } from './scope.js';
import type { SecondFactor } from './second-factor.js';
import type { Replays } from './signature.js';
import type { Grant, Grants } from './tokens.js';

/** The exchange: its state and the settings of its rules. Handlers change it, adapters pass requests to it. */
export interface Exchange {
  /** The exchange's clock, faults included: whole milliseconds since the epoch. */
  now(): number;
  readonly settings: Settings;
  readonly accounts: Accounts;
  readonly grants: Grants;
  readonly replays: Replays;
  readonly secondFactor: SecondFactor | null;
  readonly credits: Credits | null;
  readonly faults: Faults;
  readonly calls: Calls;
  readonly orders: Orders;
  readonly market: Market;
  readonly ledger: Ledger;
  readonly hub: Hub;
  readonly accessLog: AccessLog;
  readonly control: Control;
  /** Says something that a person who runs the sandbox should know. */
  remark(kind: Remark['kind'], text: string): void;
  /** Accounts or keys changed: to be kept before the answer leaves. */
  saveNow(): void;
  /** Tokens changed: to be kept soon. */
  saveSoon(): void;
}

/** What the sandbox's own methods can do to the server around the exchange. */
interface Control {
  dropConnections(): void;
  restart(downMs: number): void;
  /** Sends a frame on every WebSocket connection, whatever is in it. */
  broadcast(frame: string): void;
  /** Runs `action` after `delayMs`, unless the exchange stops before that. */
  later(delayMs: number, action: () => void): void;
}

/** One request as a handler sees it. */
export interface Call {
  readonly params: Params;
  readonly connection: Connection | null;
  readonly peer: string;
  /** The faults that strike its handling. */
  readonly struck: Struck;
}

/** A request whose sender is known. */
export interface PrivateCall extends Call {
  readonly grant: Grant;
}

export interface PublicMethod {
  readonly kind: 'public';
  readonly websocketOnly?: true;
  handle(exchange: Exchange, call: Call): unknown;
}

export interface PrivateMethod {
  readonly kind: 'private';
  readonly websocketOnly?: true;
  /** What the token must allow; null where being logged in is enough. */
  readonly needs: readonly [ScopeGroup, Level] | null;
  handle(exchange: Exchange, call: PrivateCall): unknown;
}

export type Method = PublicMethod | PrivateMethod;
export type Methods = Readonly<Record<string, Method>>;

/** What a handler returns where nothing is to be answered. */
export const noAnswer = Symbol('no answer');

/** A public method. */
export function publicMethod(handle: PublicMethod['handle']): PublicMethod {
  return { kind: 'public', handle };
}

/** A private method that needs `level` of `group`. */
export function privateMethod(
  group: ScopeGroup,
  level: 'read' | 'read_write',
  handle: PrivateMethod['handle'],
): PrivateMethod {
  return { kind: 'private', needs: [group, level === 'read' ? 1 : 2], handle };
}

/** A method of WebSocket connections; a private one needs no more than a login, which is null for a public one. */
export function websocketMethod(
  kind: 'public' | 'private',
  handle: (exchange: Exchange, call: Call, grant: Grant | null) => unknown,
): Method {
  if (kind === 'public') {
    return { kind, websocketOnly: true, handle: (exchange, call) => handle(exchange, call, null) };
  }
  return { kind, websocketOnly: true, needs: null, handle: (exchange, call) => handle(exchange, call, call.grant) };
}

/** What the methods may do with the WebSocket connection that a request came on. */
export interface Connection {
  readonly id: number;
  /** The login that requests without a token use. */
  grant: Grant | null;
  /** Channels that are subscribed to, each with whether it is a private one. */
  readonly channels: Map<string, boolean>;
  /** Whether its orders are cancelled when it ends; null: by the account's setting. */
  cancelOnDisconnect: boolean | null;
  /** A logout ends it: its orders stay. */
  loggedOut: boolean;
  send(text: string): void;
  /** Seconds between heartbeats; null for none. */
  setHeartbeat(intervalS: number | null): void;
  /** The client answered a test request. */
  heardFrom(): void;
  close(code: number): void;
}

/** What the end of a WebSocket connection means for the exchange. */
export function disconnect(exchange: Exchange, connection: Connection): void {
  const account = connection.grant === null ? null : exchange.accounts.actor(connection.grant.accountId);
  const cancels = connection.cancelOnDisconnect ?? account?.cancelOnDisconnect ?? false;
  if (cancels && !connection.loggedOut) {
    const placed = exchange.orders.open().filter((entry) => entry.connectionId === connection.id);
    for (const accountId of new Set(placed.map((entry) => entry.accountId))) {
      const orders = placed.filter((entry) => entry.accountId === accountId).map(({ order }) => order);
      cancelOrders(exchange, { accountId, orders, reason: 'cancel_on_disconnect' });
    }
  }
  exchange.hub.unsubscribeAll(connection, true);
  exchange.grants.revokeConnection(connection.id);
}

/** A pool of credits: every call costs some, time refills it. */
export interface CreditOptions {
  readonly cost: number;
  readonly pool: number;
  readonly refillPerS: number;
  /** Whether the connection is closed after 10028. */
  readonly terminate: boolean;
}

export const documentedCredits: CreditOptions = { cost: 500, pool: 50_000, refillPerS: 10_000, terminate: false };

interface Pool {
  credits: number;
  atMs: number;
}

const mostPools = 10_000;

/** Counts calls against pools, one for each `owner`. */
export class Credits {
  readonly options: CreditOptions;
  readonly #pools = new Map<string, Pool>();

  constructor(options: CreditOptions) {
    this.options = options;
  }

  /** Pays for one call. @throws RpcError 10028 where the pool is empty */
  pay(owner: string, nowMs: number): void {
    const { cost, pool: full, refillPerS } = this.options;
    const pool = this.#pools.get(owner) ?? this.#open(owner, nowMs);
    pool.credits = Math.min(full, pool.credits + (Math.max(0, nowMs - pool.atMs) / 1000) * refillPerS);
    pool.atMs = nowMs;
    if (pool.credits < cost) throw errorOf(10_028);
    pool.credits -= cost;
  }

  #open(owner: string, nowMs: number): Pool {
    const [oldest] = this.#pools.keys();
    if (this.#pools.size >= mostPools && oldest !== undefined) this.#pools.delete(oldest);
    const pool = { credits: this.options.pool, atMs: nowMs };
    this.#pools.set(owner, pool);
    return pool;
  }
}
