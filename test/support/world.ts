import { join } from 'node:path';
import { Secret } from '../../src/crypto/secret.js';
import { localSigner } from '../../src/crypto/signer.js';
import { ExchangeClock } from '../../src/deribit/clock.js';
import { connect } from '../../src/deribit/connect.js';
import { type Endpoint, resolveEndpoint } from '../../src/deribit/endpoints.js';
import type { SecondFactor } from '../../src/deribit/second-factor.js';
import { type Keystore, openKeystore } from '../../src/keystore/keystore.js';
import { openPrivateKey } from '../../src/keystore/open-key.js';
import { generate } from '../../src/keystore/stored-keys.js';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../src/sandbox/index.js';
import { defined } from '../../src/util/defined.js';
import type { AccountLogin, WorkflowContext } from '../../src/workflows/context.js';
import { type RegisterRequest, type Registration, register } from '../../src/workflows/registration/register.js';
import { afterTest } from './after-test.js';
import { temporaryFolder } from './cli.js';

export type Via = 'ws' | 'http';
export const SCOPE = 'account:read trade:read_write';

/** An exchange, a keystore with the key "bot" in it, and a login for the account. */
export interface World {
  readonly sandbox: Sandbox;
  readonly store: Keystore;
  readonly context: WorkflowContext;
  readonly endpoint: Endpoint;
  readonly login: AccountLogin;
  readonly notes: string[];
  /** The fingerprint of "bot". */
  readonly fingerprint: string;
  register(request?: Partial<RegisterRequest>, context?: Partial<WorkflowContext>): Promise<Registration>;
  /** The keys on the exchange beside the account's first one. */
  keys(): ReturnType<Sandbox['keys']>;
  /** The last outcome of each method that was asked for, newest first, since the last call of this function. */
  asked(): readonly string[];
}

/** An exchange that is closed after the test. */
export async function openExchange(options: SandboxOptions = {}): Promise<Sandbox> {
  const sandbox = await startSandbox(options);
  afterTest(() => sandbox.close());
  return sandbox;
}

/** The login of the account's first key. */
export function loginOf(sandbox: Sandbox, via: Via): AccountLogin {
  const endpoint = resolveEndpoint({ url: via === 'ws' ? sandbox.wsUrl : sandbox.httpUrl });
  return { endpoint, credentials: { clientId: sandbox.clientId, clientSecret: new Secret(sandbox.clientSecret) } };
}

export interface ContextOptions {
  readonly nowMs?: () => number;
  readonly passphrase?: Secret;
  readonly secondFactor?: SecondFactor | undefined;
  /** How long an answer may take; short where one is to be lost. */
  readonly timeoutMs?: number | undefined;
}

/** What workflows work with, on real connections; `notes` collects what they say. */
export function contextOn(store: Keystore, notes: string[], options: ContextOptions = {}): WorkflowContext {
  const { nowMs = Date.now, passphrase, secondFactor, timeoutMs } = options;
  const key = defined({ passphrase: passphrase && (() => Promise.resolve(passphrase)) });
  return {
    store,
    connect: (endpoint) => connect(endpoint, defined({ timeoutMs })),
    signerOf: async (record) => localSigner(await openPrivateKey(store, record, key)),
    onNote: (note) => void notes.push(note),
    nowMs,
    uncertainMs: 50,
    clock: new ExchangeClock({ nowMs, monotonicMs: () => performance.now() }),
    ...defined({ secondFactor }),
  };
}

/** What a test does with a request: `send` asks the exchange, with other parameters where it is given some. */
export type OnRequest = (
  method: string,
  send: (params?: Readonly<Record<string, unknown>>) => Promise<unknown>,
  params: Readonly<Record<string, unknown>>,
) => Promise<unknown>;

/** The same context, with `onRequest` between it and the exchange. */
export function withRequests(context: WorkflowContext, onRequest: OnRequest): WorkflowContext {
  return {
    ...context,
    async connect(endpoint, connectOptions) {
      const transport = await context.connect(endpoint, connectOptions);
      return {
        kind: transport.kind,
        url: transport.url,
        close: () => transport.close(),
        request: (method, params = {}, options) =>
          onRequest(method, (others = params) => transport.request(method, others, options), params),
      };
    },
  };
}

/** @param timeoutMs how long an answer may take; short where one is to be lost */
export async function openWorld(
  via: Via,
  { timeoutMs = 10_000, ...options }: SandboxOptions & { readonly timeoutMs?: number } = {},
): Promise<World> {
  const sandbox = await openExchange(options);
  const store = openKeystore(join(temporaryFolder(), 'keys'));
  const { fingerprint } = await generate(store, 'bot', { type: 'ed25519' });
  const notes: string[] = [];
  const context = contextOn(store, notes, { timeoutMs });
  const login = loginOf(sandbox, via);
  let seen = 0;
  return {
    sandbox,
    store,
    context,
    endpoint: login.endpoint,
    login,
    notes,
    fingerprint,
    register: (request = {}, other = {}) =>
      register({ ...context, ...other }, { name: 'bot', scope: SCOPE, login, ...request }),
    keys: () => sandbox.keys().filter((key) => key.client_id !== sandbox.clientId),
    asked() {
      const calls = sandbox.calls.slice(seen);
      seen = sandbox.calls.length;
      return calls.map(({ method }) => method);
    },
  };
}
