import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Hub } from './channels/hub.js';
import { AccessLog } from './core/access-log.js';
import { Accounts, type ApiKey, type ApiKeyAnswer, describeKey, makeKey } from './core/accounts.js';
import { Calls, type SandboxCall } from './core/calls.js';
import { Credits } from './core/credits.js';
import { SandboxError } from './core/errors.js';
import type { AddKeyRequest, Exchange } from './core/exchange.js';
import { signatureMaxAgeMs } from './core/guesses.js';
import { type Order, Orders } from './core/orders.js';
import { readPublicKey } from './core/public-key.js';
import { everything, parseMaxScope } from './core/scope.js';
import { SecondFactor } from './core/second-factor.js';
import { Replays } from './core/signature.js';
import { describeState, readState, restoreState, writeState } from './core/state-file.js';
import { Grants } from './core/tokens.js';
import { Faults } from './faults/faults.js';
import { longestTimerMs, type SandboxOptions, type Settings, settle } from './server/options.js';
import { SandboxServer } from './server/server.js';

const saveSoonMs = 50;
const answerFirstMs = 20;

/** A key as the exchange keeps it. */
export type SandboxKey = ApiKeyAnswer & { readonly accountId: number };

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
  /** Replaces all faults; throws `ERR_USAGE` for a spec that cannot be read. */
  setFaults(specs: readonly string[]): void;
  addFault(spec: string): void;
  clearFaults(): void;
  /** Sends a frame on every WebSocket connection, whatever is in it. */
  broadcast(frame: string): void;
  /** Cuts every connection, without a word. */
  dropConnections(): void;
  /** Stops, stays away for `downMs`, and listens again on the same port with the same state; while it is away, a second call joins the first. */
  restart(downMs?: number): Promise<void>;
  /** What a user does in the exchange's web page: makes a key without being logged in. Throws `ERR_USAGE`. */
  addKey(request: AddKeyRequest): SandboxKey;
  /** All keys of all accounts. */
  keys(): readonly SandboxKey[];
  /** All orders that were taken, oldest first. */
  orders(): readonly Order[];
  /** Ids of the main account and its subaccounts. */
  readonly accountIds: readonly number[];
}

/**
 * Starts an exchange on 127.0.0.1 that speaks Deribit's protocol over HTTP and WebSocket.
 * Throws a {@link SandboxError}: `ERR_USAGE`, `ERR_LISTEN` for a port that cannot be had, `ERR_STATE_FILE` for a
 * state file that cannot be used.
 */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const settings = settle(options);
  const faults = new Faults();
  faults.set(settings.faults);
  const now = () => Math.floor(settings.now()) + faults.clockOffsetMs;
  const { accounts, grants, bootstrap } = openState(settings, now);
  const keeper = keepState(settings.stateFile, () => describeState(accounts, grants, bootstrap.clientId));

  const exchange: Exchange = {
    now,
    testnet: settings.testnet,
    expiresInS: settings.expiresInS,
    keyLimit: settings.keyLimit,
    sessionsPerKey: settings.sessionsPerKey,
    faultApi: settings.faultApi,
    strictIds: settings.strictIds,
    accounts,
    grants,
    replays: new Replays(signatureMaxAgeMs),
    secondFactor: secondFactorOf(settings),
    credits: settings.credits === null ? null : new Credits(settings.credits),
    faults,
    calls: new Calls(settings.callLimit),
    orders: new Orders(),
    hub: new Hub(now),
    accessLog: new AccessLog(),
    saveNow: keeper.saveNow,
    saveSoon: keeper.saveSoon,
    control: {
      dropConnections: () => server.later(answerFirstMs, () => server.dropConnections()),
      restart: (downMs) => server.later(answerFirstMs, () => void restart(downMs).catch(() => undefined)),
      addKey,
      broadcast: (frame) => server.broadcast(frame),
      later: (delayMs, action) => server.later(delayMs, action),
    },
  };
  const tls = settings.tls ? await openTls(settings.caFile) : null;
  const server = new SandboxServer(exchange, settings.port, {
    connectionsPerIp: settings.connectionsPerIp,
    silentMs: settings.silentSocketMs,
    corsOrigin: settings.corsOrigin,
    unauthorizedStatus: settings.unauthorizedStatus,
    certificate: tls?.certificate ?? null,
  });
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

  function addKey(request: AddKeyRequest): SandboxKey {
    const key = keyOfWebPage(accounts, request, now());
    accounts.add(key);
    exchange.saveNow();
    return showKey(key);
  }

  keeper.saveNow();
  await server.start().catch((error: unknown) => {
    tls?.remove();
    throw error;
  });
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
    addKey,
    keys: () => accounts.all.flatMap(({ keys }) => [...keys.values()].map(showKey)),
    orders: () => exchange.orders.list(),
  };
}

function showKey(key: ApiKey): SandboxKey {
  return { ...describeKey(key), accountId: key.accountId };
}

interface OpenState {
  readonly accounts: Accounts;
  readonly grants: Grants;
  readonly bootstrap: Pick<ApiKey, 'clientId' | 'secret'>;
}

function openState({ stateFile, subaccounts, clientId, clientSecret }: Settings, now: () => number): OpenState {
  const document = stateFile === null ? null : readState(stateFile);
  const accounts = new Accounts(document?.subaccounts ?? subaccounts);
  const grants = new Grants();
  if (stateFile !== null && document !== null) {
    restoreState(stateFile, document, accounts, grants);
    const { bootstrapClientId } = document;
    return {
      accounts,
      grants,
      bootstrap: accounts.key(bootstrapClientId) ?? { clientId: bootstrapClientId, secret: '' },
    };
  }
  const bootstrap = makeKey({
    id: accounts.takeKeyId(),
    accountId: accounts.main.id,
    publicKey: null,
    maxScope: parseMaxScope(everything) ?? {},
    timestampMs: now(),
    name: 'bootstrap',
    isDefault: true,
    ...(clientId === null ? {} : { clientId }),
    ...(clientSecret === null ? {} : { secret: clientSecret }),
  });
  accounts.add(bootstrap);
  return { accounts, grants, bootstrap };
}

function keyOfWebPage(accounts: Accounts, request: AddKeyRequest, timestampMs: number): ApiKey {
  const accountId = request.accountId ?? accounts.main.id;
  if (accounts.account(accountId) === undefined) throw usage('accountId is not one of the accounts');
  const maxScope = parseMaxScope(request.maxScope ?? everything);
  if (maxScope === null) throw usage('maxScope cannot be read');
  const publicKey = request.publicKey === undefined ? null : readPublicKey(request.publicKey);
  if (request.publicKey !== undefined && publicKey === null) {
    throw usage('publicKey is not an SPKI PEM of Ed25519 or of RSA with 2048 bits or more');
  }
  return makeKey({ id: accounts.takeKeyId(), accountId, publicKey, maxScope, timestampMs, name: request.name ?? '' });
}

function usage(message: string): SandboxError {
  return new SandboxError('ERR_USAGE', message, 'see addKey of the sandbox');
}

/** Writes the state file: at once, or once for all changes of a short while. What fails then is tried again at the next. */
function keepState(file: string | null, describe: () => string) {
  let timer: NodeJS.Timeout | null = null;
  let isDirty = false;
  const saveNow = () => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    if (file === null) return;
    isDirty = true;
    writeState(file, describe());
    isDirty = false;
  };
  const saveInPassing = () => {
    try {
      saveNow();
    } catch {
      // Still dirty: the next change, or close(), says why.
    }
  };
  const saveSoon = () => {
    if (file === null) return;
    isDirty = true;
    timer ??= setTimeout(saveInPassing, saveSoonMs);
  };
  const stop = () => {
    if (isDirty) saveNow();
  };
  return { saveNow, saveSoon, stop };
}

function secondFactorOf({ secondFactor, tfaKey, testnet }: Settings): SecondFactor | null {
  const relyingParty = testnet ? 'test.deribit.com' : 'www.deribit.com';
  return secondFactor === null ? null : new SecondFactor(secondFactor, tfaKey, relyingParty);
}

/** A new certificate, and the file with its authority's. */
async function openTls(caFile: string | null) {
  const { makeServerCertificate } = await import('./server/certificates.js');
  const certificate = makeServerCertificate();
  const folder = caFile === null ? mkdtempSync(join(tmpdir(), 'deribit-keys-sandbox-')) : null;
  const file = caFile ?? join(folder ?? '', 'ca.pem');
  writeFileSync(file, certificate.ca);
  return {
    certificate,
    caFile: file,
    remove() {
      if (folder !== null) rmSync(folder, { recursive: true, force: true });
    },
  };
}
