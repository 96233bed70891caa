import type { Secret } from '../crypto/secret.js';
import type { Signer } from '../crypto/signer.js';
import { ExchangeClock } from '../deribit/clock.js';
import type { Endpoint, Environment } from '../deribit/endpoints.js';
import type { Transport } from '../deribit/transport.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import { type Keystore, openKeystore } from '../keystore/keystore.js';
import { openPrivateKey } from '../keystore/open-key.js';
import type { PermissionPolicy } from '../keystore/permissions.js';
import type { KeyRecord } from '../keystore/record.js';
import type { WorkflowContext } from '../workflows/context.js';
import type { EndpointSelection } from '../workflows/endpoint-selection.js';
import type { SignerAccess } from '../workflows/external-keys.js';
import type { Host } from './host.js';
import type { GlobalOptions } from './options.js';
import type { Printer } from './output.js';
import { requirePin, withPassphrase } from './secrets.js';

/** What a command works with. */
export interface Context {
  readonly host: Host;
  readonly out: Printer;
  readonly options: GlobalOptions;
  readonly store: Keystore;
  /** What was said of where to go, by option or environment variable. */
  readonly target: EndpointSelection;
  readonly timeoutMs: number | undefined;
  readonly permissions: PermissionPolicy;
  readonly workflow: WorkflowContext;
  /** How keys in agents and tokens are reached. */
  readonly signerAccess: SignerAccess;
  /** The workflow with another passphrase file for one key: the login's. */
  passphraseOf(record: KeyRecord): Promise<Secret>;
  /** Says that the passphrase of `name` may come from these places first. */
  addPassphrasePlace(name: string, file: string | undefined, variable: string): void;
}

function environmentFrom(host: Host, options: GlobalOptions): Environment | undefined {
  const value = options.env ?? (host.env.DERIBIT_ENV || undefined);
  if (value === undefined || value === 'test' || value === 'prod') return value;
  throw new DeribitKeysError('ERR_USAGE', 'DERIBIT_ENV is neither test nor prod');
}

/** Says with --verbose what is asked and how it ends; parameters and results never. */
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

export function createContext(host: Host, out: Printer, options: GlobalOptions): Context {
  const store = openKeystore(options.keysDir ?? (host.env.DERIBIT_KEYS_DIR || 'keys'), { signal: host.signal });
  const permissions: PermissionPolicy = options.allowInsecurePermissions
    ? 'any'
    : options.allowMounted
      ? 'mounted'
      : 'strict';
  const target: EndpointSelection = {
    environment: environmentFrom(host, options),
    url: options.url ?? (host.env.DERIBIT_KEYS_URL || undefined),
  };
  const ownPlaces = new Map<string, { file: string | undefined; variable: string }>();
  const signers = new Map<string, Promise<Signer>>();

  /** @throws `ERR_PASSPHRASE_WRONG`; whatever else is wrong with the key shows when it is used */
  const tryOut = async (record: KeyRecord, passphrase: Secret) => {
    try {
      await openPrivateKey(store, record, { passphrase: async () => passphrase, permissions });
    } catch (error) {
      if (isDeribitKeysError(error, 'ERR_PASSPHRASE_WRONG')) throw error;
    }
  };

  const passphraseOf = (record: KeyRecord) => {
    const own = ownPlaces.get(record.name);
    const common = { file: options.passphraseFile, variable: 'DERIBIT_KEYS_PASSPHRASE' };
    const tried = async (passphrase: Secret, typed: boolean) => {
      if (typed) await tryOut(record, passphrase);
      return passphrase;
    };
    return withPassphrase(
      tried,
      host,
      `the key "${record.name}"`,
      '--passphrase-file',
      ...(own === undefined ? [] : [own]),
      common,
    );
  };

  const pins = new Map<string, Promise<Secret>>();
  const signerAccess: SignerAccess = {
    agentSocket: host.env.SSH_AUTH_SOCK,
    pinOf(token) {
      const pin = pins.get(token) ?? requirePin(host, token, options.pinFile);
      pins.set(token, pin);
      return pin;
    },
    load: host.load,
  };

  const openSigner = async (record: KeyRecord): Promise<Signer> => {
    const { signer } = record;
    if (signer !== null) {
      const { openExternalSigner } = await import('../workflows/external-keys.js');
      return openExternalSigner(store, { ...record, signer }, signerAccess);
    }
    const { localSigner } = await import('../crypto/signer.js');
    return localSigner(await openPrivateKey(store, record, { passphrase: () => passphraseOf(record), permissions }));
  };

  const connectTo = async (endpoint: Endpoint): Promise<Transport> => {
    const { connect } = await import('../deribit/connect.js');
    out.detail(`endpoint: ${endpoint.url}`);
    const transport = await connect(endpoint, { timeoutMs: options.timeout, signal: host.signal, env: host.env });
    return watched(transport, out);
  };

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
    clock: new ExchangeClock(),
  };

  return {
    host,
    out,
    options,
    store,
    target,
    timeoutMs: options.timeout,
    permissions,
    workflow,
    signerAccess,
    passphraseOf,
    addPassphrasePlace: (name, file, variable) => void ownPlaces.set(name, { file, variable }),
  };
}
