import type { PrivateKey } from '../crypto/keys.js';
import type { Secret } from '../crypto/secret.js';
import type { Signer } from '../crypto/signer.js';
import { ExchangeClock } from '../deribit/clock.js';
import type { EndpointChoice, Environment } from '../deribit/endpoints.js';
import type { Transport } from '../deribit/transport.js';
import { DeribitKeysError, isDeribitKeysError, usageError } from '../errors.js';
import { type Keystore, openKeystore } from '../keystore/keystore.js';
import type { PermissionPolicy } from '../keystore/permissions.js';
import type { KeyRecord } from '../keystore/record.js';
import type { SignerAccess } from '../signers/kinds.js';
import type { LoginAttempt } from '../workflows/checks/refusal.js';
import type { WorkflowContext } from '../workflows/context.js';
import type { KeyContext } from '../workflows/policy/apply-policy.js';
import type { GlobalOptions } from './options.js';
import type { Printer } from './output.js';
import type { Host } from './program.js';
import { type SecretFinder, type SecretName, secretFinder } from './secret-sources.js';

/** A private key, and the passphrase that opened it; null for a key that has none. */
export interface OpenedKey {
  readonly key: PrivateKey;
  readonly passphrase: Secret | null;
}

/** What a command works with. */
export interface Context {
  readonly host: Host;
  readonly out: Printer;
  readonly options: GlobalOptions;
  readonly store: Keystore;
  /** The environment and the URL that options or environment variables name. */
  readonly target: EndpointChoice;
  readonly permissions: PermissionPolicy;
  readonly workflow: WorkflowContext;
  /** How keys in agents and tokens are reached. */
  readonly signerAccess: SignerAccess;
  /** The certificates of `--ca-file`, PEM. @throws `ERR_USAGE` for a file that does not exist or holds no certificate */
  authorities(): Promise<string | undefined>;
  /** Every secret that the call or its environment holds. */
  readonly secrets: SecretFinder;
  /** Opens a key of the keystore: asks for its passphrase if that is needed, and derives from it only once. */
  openKey(record: KeyRecord): Promise<OpenedKey>;
  /** The key that `--as` names may have a passphrase of its own. */
  setLoginKey(name: string): void;
  /** The last login that was set up: where the exchange refuses it without a reason, likely reasons are looked for. */
  readonly login: { attempt: LoginAttempt | null };
}

function environmentFrom(host: Host, options: GlobalOptions): Environment | undefined {
  const value = options.env ?? (host.env.DERIBIT_ENV || undefined);
  if (value === undefined || value === 'test' || value === 'prod') return value;
  throw usageError('DERIBIT_ENV is neither test nor prod');
}

/** As large as the bundles of operating systems are, several times over. */
const MAX_CA_BYTES = 4 * 1024 * 1024;

const CA_HINT = '--ca-file (DERIBIT_KEYS_CA_FILE) takes PEM text with BEGIN CERTIFICATE blocks';

async function readAuthorities(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  const { readFileOrNull } = await import('../keystore/files.js');
  const text = await readFileOrNull(file, MAX_CA_BYTES).then(
    (bytes) => bytes?.toString('utf8'),
    (error: unknown) => {
      if (!isDeribitKeysError(error, 'ERR_KEYSTORE_IO')) throw error;
      throw error.with({ code: 'ERR_USAGE', hint: CA_HINT });
    },
  );
  if (text?.includes('-----BEGIN CERTIFICATE-----')) return text;
  const what = text === undefined ? 'does not exist' : 'holds no certificate';
  throw usageError(`the file of certificate authorities ${file} ${what}`, CA_HINT);
}

/** The time from the environment that an unanswered creation is waited for; meant for test exchanges. */
function uncertainMsFrom(host: Host): number | undefined {
  const text = host.env.DERIBIT_KEYS_UNCERTAIN_MS || undefined;
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw usageError('DERIBIT_KEYS_UNCERTAIN_MS is not a whole number of milliseconds');
}

/** With --verbose, notes each request and how it ended, never its parameters or result. */
function watched(transport: Transport, out: Printer): Transport {
  return {
    kind: transport.kind,
    url: transport.url,
    close: () => transport.close(),
    async request(method, params, options) {
      const startMs = performance.now();
      const end = (how: string) => out.detail(`${method}: ${how} after ${Math.round(performance.now() - startMs)} ms`);
      try {
        const result = await transport.request(method, params, options);
        end('answered');
        return result;
      } catch (error) {
        end(error instanceof DeribitKeysError ? error.code : 'failed');
        throw error;
      }
    },
  };
}

interface ContextOptions {
  readonly out: Printer;
  readonly options: GlobalOptions;
  /** The same options and those of the command. */
  readonly flags?: Readonly<Record<string, unknown>>;
}

export function createContext(host: Host, { out, options, flags = { ...options } }: ContextOptions): Context {
  const store = openKeystore(options.keysDir ?? (host.env.DERIBIT_KEYS_DIR || 'keys'), {
    signal: host.signal,
    onWait: (message) => out.note(message),
    as: typeof flags.as === 'string' ? flags.as : undefined,
    anyMode: options.allowInsecurePermissions === true,
  });
  const permissions: PermissionPolicy = options.allowInsecurePermissions
    ? 'any'
    : options.allowMounted
      ? 'mounted'
      : 'strict';
  const target: EndpointChoice = {
    environment: environmentFrom(host, options),
    url: options.url ?? (host.env.DERIBIT_KEYS_URL || undefined),
  };
  const secrets = secretFinder({
    env: host.env,
    flags,
    signal: host.signal,
    stderr: () => (out.json ? undefined : host.stderr),
    note: out.note,
  });
  const signers = new Map<string, Promise<Signer>>();
  let loginKey: string | null = null;

  const openKey = async (record: KeyRecord): Promise<OpenedKey> => {
    const { openPrivateKey } = await import('../keystore/open-key.js');
    try {
      return { key: await openPrivateKey(store, record, { permissions }), passphrase: null };
    } catch (error) {
      if (!isDeribitKeysError(error, 'ERR_PASSPHRASE_REQUIRED')) throw error;
    }
    const { withPassphrase } = await import('./secrets.js');
    const { name } = record;
    const names: [SecretName, ...SecretName[]] = name === loginKey ? ['asPassphrase', 'passphrase'] : ['passphrase'];
    const request = { host, secrets, what: `the key "${name}"`, names, key: name };
    return withPassphrase(request, (passphrase) => openUnder({ store, permissions }, record, passphrase));
  };

  const pins = new Map<string, Promise<Secret>>();
  const signerAccess: SignerAccess = {
    env: host.env,
    async secret(name, of) {
      const { requirePin, requireVaultSecret } = await import('./secrets.js');
      // a file of Vault's may have been renewed meanwhile; a token locks itself after a few wrong PINs
      if (name !== 'pin') return requireVaultSecret(secrets, name, of);
      const pin = pins.get(of) ?? requirePin(host, secrets, of);
      pins.set(of, pin);
      return pin;
    },
    load: host.load,
    timeoutMs: options.timeout,
    signal: host.signal,
  };

  const openSigner = async (record: KeyRecord): Promise<Signer> => {
    const { signer } = record;
    if (signer !== null) {
      const { openExternalSigner } = await import('../workflows/external-keys.js');
      return openExternalSigner(store, { ...record, signer }, signerAccess);
    }
    const { localSigner } = await import('../crypto/signer.js');
    return localSigner((await openKey(record)).key);
  };

  const authorities = () => readAuthorities(options.caFile ?? (host.env.DERIBIT_KEYS_CA_FILE || undefined));
  const connectTo: WorkflowContext['connect'] = async (endpoint, { signal = host.signal } = {}) => {
    const { connect } = await import('../deribit/connect.js');
    out.detail(`endpoint: ${endpoint.url}`);
    const ca = await authorities();
    const transport = await connect(endpoint, { timeoutMs: options.timeout, signal, env: host.env, ca });
    return watched(transport, out);
  };

  let clock: ExchangeClock | undefined;
  const workflow: WorkflowContext = {
    store,
    connect: connectTo,
    signerOf(record) {
      const key = `${record.name} ${record.fingerprint}`;
      const opened = signers.get(key) ?? openSigner(record);
      signers.set(key, opened);
      return opened;
    },
    signal: host.signal,
    onNote: out.note,
    nowMs: Date.now,
    get clock() {
      clock ??= new ExchangeClock();
      return clock;
    },
    uncertainMs: uncertainMsFrom(host),
  };

  return {
    host,
    out,
    options,
    store,
    target,
    permissions,
    workflow,
    signerAccess,
    secrets,
    authorities,
    openKey,
    setLoginKey(name) {
      loginKey = name;
    },
    login: { attempt: null },
  };
}

/** Opens a key of the keystore with this passphrase. */
export async function openUnder(
  { store, permissions }: Pick<Context, 'store' | 'permissions'>,
  record: KeyRecord,
  passphrase: Secret,
): Promise<OpenedKey> {
  const { openPrivateKey } = await import('../keystore/open-key.js');
  return { key: await openPrivateKey(store, record, { passphrase: async () => passphrase, permissions }), passphrase };
}

/** What work on one key needs: the key and its successor have one passphrase, which is asked for only once. */
export async function keyContext(
  cx: Context,
  workflow: WorkflowContext,
  openKey: (record: KeyRecord) => Promise<OpenedKey> = cx.openKey,
): Promise<KeyContext> {
  const { localSuccessor } = await import('../workflows/rotation/start.js');
  const { successorAnywhere } = await import('../workflows/external-keys.js');
  const { localSigner } = await import('../crypto/signer.js');
  const { store } = cx;
  const opened = new Map<string, Promise<OpenedKey>>();
  let first: Promise<OpenedKey> | undefined;
  const openOnce = (record: KeyRecord) => {
    const known = opened.get(record.fingerprint) ?? open(record);
    opened.set(record.fingerprint, known);
    return known;
  };
  const open = async (record: KeyRecord): Promise<OpenedKey> => {
    const passphrase = (await first)?.passphrase ?? null;
    if (passphrase !== null) return openUnder(cx, record, passphrase);
    first = openKey(record);
    return first;
  };
  const signerOf = async (record: KeyRecord) => {
    if (!record.encrypted || record.signer !== null) return workflow.signerOf(record);
    return localSigner((await openOnce(record)).key);
  };
  const passphraseOf = async (record: KeyRecord) => (await openOnce(record)).passphrase;
  const inFile = localSuccessor(store, passphraseOf);
  return { context: { ...workflow, signerOf }, makeSuccessor: successorAnywhere(store, inFile, cx.signerAccess) };
}
