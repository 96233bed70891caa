import type { Endpoint } from '../../src/deribit/endpoints.js';
import { decodeFrame, type Notification, resultOf } from '../../src/deribit/json-rpc.js';
import { timeoutError } from '../../src/deribit/network-errors.js';
import type { ConnectionEnd, WebSocketTransport } from '../../src/deribit/websocket-transport.js';
import { DeribitKeysError } from '../../src/errors.js';
import { Hub } from '../../src/sandbox/channels/hub.js';
import { Accounts, makeKey } from '../../src/sandbox/core/accounts.js';
import { type Connection, disconnect, type Exchange } from '../../src/sandbox/core/exchange.js';
import { Ledger } from '../../src/sandbox/core/ledger.js';
import { AccessLog, Calls } from '../../src/sandbox/core/logs.js';
import { Market } from '../../src/sandbox/core/market.js';
import { Orders } from '../../src/sandbox/core/orders.js';
import { everything, parseMaxScope } from '../../src/sandbox/core/scope.js';
import { Replays, readPublicKey } from '../../src/sandbox/core/signature.js';
import { Grants } from '../../src/sandbox/core/tokens.js';
import { Faults } from '../../src/sandbox/faults/faults.js';
import { methodNames } from '../../src/sandbox/methods/table.js';
import { handleRequest } from '../../src/sandbox/server/dispatch.js';
import { settle } from '../../src/sandbox/server/options.js';
import type { FakeTime } from '../support/fake-time.js';

const ANSWER_TO_TEST_REQUEST_MS = 10_000;
const HOST = 'ws://127.0.0.1:1/ws/api/v2';

/** The sandbox's rules over a network in which time passes only as it is told to. */
export class SimulatedExchange {
  readonly faults = new Faults(methodNames);
  readonly #time: FakeTime;
  readonly #random: () => number;
  readonly #exchange: Exchange;
  readonly #lines = new Set<Line>();
  #orders = new Orders();
  #isDown = false;
  #nextId = 1;
  /** Swallows whatever is sent, on connections that are open now. */
  connects = 0;

  constructor(time: FakeTime, random: () => number, expiresInS: number) {
    this.#time = time;
    this.#random = random;
    const simulated = this;
    const now = () => Math.floor(time.nowMs()) + this.faults.clockOffsetMs;
    const never = () => {
      throw new Error('not in a simulation');
    };
    this.#exchange = {
      now,
      settings: settle({ expiresInS }),
      accounts: new Accounts(0),
      grants: new Grants(),
      replays: new Replays(60_000),
      secondFactor: null,
      credits: null,
      faults: this.faults,
      calls: new Calls(0),
      get orders() {
        return simulated.#orders;
      },
      market: new Market(new Orders(), now),
      ledger: new Ledger(new Orders()),
      hub: new Hub(),
      accessLog: new AccessLog(),
      remark() {},
      saveNow() {},
      saveSoon() {},
      control: { dropConnections: never, restart: never, broadcast: never, later: never },
    };
  }

  get open(): number {
    return this.#lines.size;
  }

  /** Subscriptions of all connections. */
  get channels(): number {
    return [...this.#lines].reduce((sum, line) => sum + line.connection.channels.size, 0);
  }

  addKey(publicKeyPem: string): string {
    const { accounts } = this.#exchange;
    const publicKey = readPublicKey(publicKeyPem);
    if (publicKey === null) throw new Error('not a key');
    const maxScope = parseMaxScope(everything) ?? {};
    const key = makeKey({ id: accounts.takeKeyId(), accountId: accounts.main.id, publicKey, maxScope, timestampMs: 0 });
    accounts.add(key);
    return key.clientId;
  }

  /** The orders taken since the last time, which are forgotten. */
  takeOrders() {
    const taken = this.#orders.list();
    this.#orders = new Orders();
    return taken;
  }

  cutAll(): void {
    for (const line of [...this.#lines]) line.end(1006, false);
  }

  /** From now on, connections that are open now say and answer nothing. */
  goSilent(): void {
    for (const line of this.#lines) line.isSilent = true;
  }

  restart(downMs: number): void {
    this.#isDown = true;
    this.cutAll();
    this.#time.setTimeout(() => {
      this.#isDown = false;
    }, downMs);
  }

  readonly connect = async (endpoint: Endpoint): Promise<WebSocketTransport> => {
    this.connects += 1;
    await new Promise<void>((resolve) => this.#time.setTimeout(resolve, this.latencyMs() * 2));
    if (this.#isDown) throw new DeribitKeysError('ERR_NETWORK', 'nobody listens', { maybeSent: false });
    const line = new Line(this.#exchange, this.#time, () => this.latencyMs(), endpoint.expectTestnet, this.#nextId++);
    this.#lines.add(line);
    void line.closed.then(() => this.#lines.delete(line));
    return line;
  };

  latencyMs(): number {
    return 5 + this.#random() * 35;
  }
}

interface Waiting {
  readonly timer: unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** One connection of the simulated network. */
class Line implements WebSocketTransport {
  readonly kind = 'websocket';
  readonly url = HOST;
  readonly closed: Promise<ConnectionEnd>;
  readonly connection: Connection;
  isSilent = false;
  readonly #exchange: Exchange;
  readonly #time: FakeTime;
  readonly #latencyMs: () => number;
  readonly #expectTestnet: boolean | null;
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners = new Set<(notification: Notification) => void>();
  #settle: (end: ConnectionEnd) => void = () => {};
  #isOpen = true;
  #lastId = 0;
  #heartbeat: unknown = null;
  #deadline: unknown = null;

  constructor(exchange: Exchange, time: FakeTime, latencyMs: () => number, expectTestnet: boolean | null, id: number) {
    this.#exchange = exchange;
    this.#time = time;
    this.#latencyMs = latencyMs;
    this.#expectTestnet = expectTestnet;
    this.closed = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.connection = {
      id,
      grant: null,
      channels: new Map(),
      cancelOnDisconnect: null,
      loggedOut: false,
      send: (text) => this.#notify(text),
      setHeartbeat: (intervalS) => this.#beat(intervalS),
      heardFrom: () => {
        time.clearTimeout(this.#deadline);
        this.#deadline = null;
      },
      close: (code) => this.end(code, false),
    };
  }

  request(
    method: string,
    params: Readonly<Record<string, unknown>> = {},
    { timeoutMs = 15_000 }: { readonly timeoutMs?: number } = {},
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (!this.#isOpen) {
        reject(closedError(false));
        return;
      }
      this.#lastId += 1;
      const id = this.#lastId;
      const timer = this.#time.setTimeout(
        () => this.#take(id)?.reject(timeoutError(`the answer to ${method}`, timeoutMs, { maybeSent: true })),
        timeoutMs,
      );
      this.#waiting.set(id, { timer, resolve, reject });
      this.#later(() => this.#arrive(id, method, params));
    });
  }

  onNotification(listener: (notification: Notification) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onClose(listener: (end: ConnectionEnd) => void): () => void {
    void this.closed.then(listener);
    return () => {};
  }

  async close(): Promise<void> {
    this.end(1000, true);
    await this.closed;
  }

  end(code: number, byUs: boolean): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#time.clearTimeout(this.#heartbeat);
    this.#time.clearTimeout(this.#deadline);
    disconnect(this.#exchange, this.connection);
    for (const id of [...this.#waiting.keys()]) this.#take(id)?.reject(closedError(true));
    this.#settle({ code, byUs });
  }

  #arrive(id: number, method: string, params: Readonly<Record<string, unknown>>): void {
    if (this.isSilent) return;
    const origin = {
      connection: this.connection,
      peer: '127.0.0.1',
      credentials: { kind: 'none' },
      loose: false,
    } as const;
    const { text, cut } = handleRequest(this.#exchange, { jsonrpc: '2.0', id, method, params }, origin);
    if (cut) this.end(1006, false);
    else if (text !== null) this.#later(() => this.#deliver(text, method, params));
  }

  #deliver(text: string, method: string, params: Readonly<Record<string, unknown>>): void {
    if (this.isSilent) return;
    const frame = decodeFrame(text);
    if (frame.kind !== 'reply' || frame.reply.id === null) {
      this.end(1006, false);
      return;
    }
    const waiting = this.#take(frame.reply.id);
    try {
      waiting?.resolve(resultOf({ reply: frame.reply, method, params, expectTestnet: this.#expectTestnet }));
    } catch (error) {
      waiting?.reject(error);
    }
  }

  #notify(text: string): void {
    const frame = decodeFrame(text);
    if (frame.kind !== 'notification' || this.isSilent) return;
    for (const listener of this.#listeners) listener(frame.notification);
  }

  #beat(intervalS: number | null): void {
    this.#time.clearTimeout(this.#heartbeat);
    if (intervalS === null) return;
    this.#heartbeat = this.#time.setTimeout(() => {
      this.#notify('{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}');
      this.#deadline ??= this.#time.setTimeout(() => this.end(4000, false), ANSWER_TO_TEST_REQUEST_MS);
      this.#beat(intervalS);
    }, intervalS * 1000);
  }

  /** What is under way when the connection ends does not arrive. */
  #later(action: () => void): void {
    this.#time.setTimeout(() => {
      if (this.#isOpen) action();
    }, this.#latencyMs());
  }

  #take(id: number): Waiting | null {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return null;
    this.#waiting.delete(id);
    this.#time.clearTimeout(waiting.timer);
    return waiting;
  }
}

function closedError(maybeSent: boolean): DeribitKeysError {
  return new DeribitKeysError('ERR_CONNECTION_CLOSED', 'the connection is closed', { maybeSent });
}
