import { join } from 'node:path';
import { Secret } from '../../src/crypto/secret.js';
import { localSigner } from '../../src/crypto/signer.js';
import { ExchangeClock } from '../../src/deribit/clock.js';
import { connect } from '../../src/deribit/connect.js';
import { type Endpoint, resolveEndpoint } from '../../src/deribit/endpoints.js';
import { type Keystore, openKeystore } from '../../src/keystore/keystore.js';
import { openPrivateKey } from '../../src/keystore/open-key.js';
import { generate } from '../../src/keystore/stored-keys.js';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../src/sandbox/index.js';
import type { AccountLogin, WorkflowContext } from '../../src/workflows/context.js';
import { type RegisterRequest, type Registration, register } from '../../src/workflows/registration/register.js';
import { afterTest } from '../support/after-test.js';
import { temporaryFolder } from '../support/cli.js';

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

/** @param timeoutMs how long an answer may take; short where one is to be lost */
export async function openWorld(
  via: Via,
  { timeoutMs = 10_000, ...options }: SandboxOptions & { readonly timeoutMs?: number } = {},
): Promise<World> {
  const sandbox = await startSandbox(options);
  afterTest(() => sandbox.close());
  const store = openKeystore(join(temporaryFolder(), 'keys'));
  const { fingerprint } = await generate(store, 'bot', { type: 'ed25519' });
  const endpoint = resolveEndpoint({ url: via === 'ws' ? sandbox.wsUrl : sandbox.httpUrl });
  const notes: string[] = [];
  const context: WorkflowContext = {
    store,
    connect: (to) => connect(to, { timeoutMs }),
    signerOf: async (record) => localSigner(await openPrivateKey(store, record)),
    onNote: (note) => void notes.push(note),
    nowMs: Date.now,
    uncertainMs: 50,
    clock: new ExchangeClock(),
  };
  const { clientId } = sandbox;
  const login: AccountLogin = { endpoint, credentials: { clientId, clientSecret: new Secret(sandbox.clientSecret) } };
  let seen = 0;
  return {
    sandbox,
    store,
    context,
    endpoint,
    login,
    notes,
    fingerprint,
    register: (request = {}, other = {}) =>
      register({ ...context, ...other }, { name: 'bot', scope: SCOPE, login, ...request }),
    keys: () => sandbox.keys().filter((key) => key.client_id !== clientId),
    asked() {
      const calls = sandbox.calls.slice(seen);
      seen = sandbox.calls.length;
      return calls.map(({ method }) => method);
    },
  };
}
