import { inspectKey, parsePrivateKey } from '../crypto/formats/index.js';
import type { GenerateOptions, RsaSize } from '../crypto/generate.js';
import type { KeyAlgorithm } from '../crypto/keys.js';
import { type Secret, type SecretLike, toSecret } from '../crypto/secret.js';
import { localSigner, type Signer } from '../crypto/signer.js';
import { ExchangeClock } from '../deribit/clock.js';
import type { ConnectOptions } from '../deribit/connect-options.js';
import type { SecondFactor } from '../deribit/second-factor.js';
import { DeribitKeysError, usageError } from '../errors.js';
import { openKeystore as openStore, type Keystore as Store } from '../keystore/keystore.js';
import { type PermissionPolicy, readPrivateFile } from '../keystore/permissions.js';
import type { KeyRecord } from '../keystore/record.js';
import type { SignerAccess } from '../signers/kinds.js';
import { defined } from '../util/defined.js';
import type { Verification } from './checks/verify.js';
import type { AccountLogin, WorkflowContext } from './context.js';
import type { LinkRequest } from './registration/link.js';
import type { RegisterRequest, Registration } from './registration/register.js';
import type { Rotation } from './rotation/rotate.js';

/*
 * The workflows for programs that import this package:
 *
 *   const keystore = openKeystore({ dir: 'keys', passphrase });
 *   const context = createContext({ keystore, secondFactor: totpSecondFactor(seed) });
 *   const login = { endpoint: resolveEndpoint({ environment: 'test' }), credentials: { clientId, clientSecret } };
 *   await keystore.generate('bot');
 *   await register(context, { name: 'bot', scope: 'account:read trade:read_write', login });
 */

/** The arguments of {@link openKeystore}. */
export interface KeystoreOptions {
  /** The folder of the keys; it is made with the first key. */
  readonly dir: string;
  /** The passphrase of encrypted keys, or a function that is called with the record of each. */
  readonly passphrase?: SecretLike | ((record: KeyRecord) => SecretLike | Promise<SecretLike>) | undefined;
  /** How strictly owner and mode of private key files are checked; `strict` where left out. */
  readonly permissions?: PermissionPolicy | undefined;
  /** How keys in an ssh-agent, a token, Vault or a cloud service are reached; the process's environment where left out. */
  readonly access?: SignerAccess | undefined;
  /** How long a lock that another process holds is waited for, in milliseconds. */
  readonly lockWaitMs?: number | undefined;
}

/** A folder of keys. Each call reads the files: it sees what other processes have changed. */
export interface Keystore {
  readonly dir: string;
  /** The records of all keys that can be read, by name. They hold no secret. */
  list(): Promise<readonly KeyRecord[]>;
  /** @throws `ERR_NO_SUCH_NAME`, `ERR_USAGE`, `ERR_RECORD_DAMAGED`, `ERR_RECORD_NEWER`, `ERR_PERMISSIONS` */
  get(name: string): Promise<KeyRecord>;
  /**
   * Opens the private key of `name`, wherever it lives.
   * @throws as `get` does, and `ERR_KEY_UNREADABLE`, `ERR_PASSPHRASE_REQUIRED`, `ERR_PASSPHRASE_WRONG`, `ERR_KEY_MISMATCH`,
   *   `ERR_SIGNER`
   */
  signer(name: string): Promise<Signer>;
  /**
   * Makes a key pair and stores it under a free name, encrypted where this keystore has a passphrase.
   * @throws `ERR_NAME_TAKEN`, `ERR_USAGE`, `ERR_LOCKED`, `ERR_KEYSTORE_IO`
   */
  generate(name: string, options?: GenerateOptions): Promise<KeyRecord>;
}

/** The parts behind a keystore of the library. */
interface Inner {
  readonly store: Store;
  signerOf(record: KeyRecord): Promise<Signer>;
  passphraseOf(record: KeyRecord): Promise<Secret | null>;
  readonly access: SignerAccess;
}

const inners = new WeakMap<Keystore, Inner>();

/** Opens the keystore in a folder, as the command line does with `--keys-dir`. Nothing is read or made yet. */
export function openKeystore(options: KeystoreOptions): Keystore {
  const { dir, passphrase, permissions, lockWaitMs, access = { env: process.env } } = options;
  const store = openStore(dir, defined({ lockWaitMs }));
  const passphraseOf = async (record: KeyRecord) => {
    const given = typeof passphrase === 'function' ? await passphrase(record) : passphrase;
    return given === undefined ? null : toSecret(given);
  };
  const signerOf = async (record: KeyRecord): Promise<Signer> => {
    const { signer } = record;
    if (signer !== null) {
      const { openExternalSigner } = await import('./external-keys.js');
      return openExternalSigner(store, { ...record, signer }, access);
    }
    const { openPrivateKey } = await import('../keystore/open-key.js');
    const secret = record.encrypted ? await passphraseOf(record) : null;
    const source = secret === null ? undefined : async () => secret;
    return localSigner(await openPrivateKey(store, record, defined({ passphrase: source, permissions })));
  };
  const keystore: Keystore = {
    dir: store.folder,
    list: async () => (await store.list()).records,
    get: (name) => store.read(name),
    signer: async (name) => signerOf(await store.read(name)),
    async generate(name, kind = {}) {
      const { generate } = await import('../keystore/stored-keys.js');
      const fixed = passphrase === undefined || typeof passphrase === 'function' ? null : toSecret(passphrase);
      return generate(store, name, { ...kind, passphrase: fixed });
    },
  };
  inners.set(keystore, { store, signerOf, passphraseOf, access });
  return keystore;
}

/** The arguments of {@link createContext}. */
export interface ContextOptions extends Pick<ConnectOptions, 'timeoutMs' | 'signal' | 'env' | 'ca'> {
  readonly keystore: Keystore;
  /** Answers the exchange's challenges; without it they are `ERR_SECOND_FACTOR_REQUIRED`. */
  readonly secondFactor?: SecondFactor | undefined;
  /** Called with sentences for the user while the work goes on, such as what is waited for; never with a secret. */
  readonly onNote?: ((note: string) => void) | undefined;
}

/** What {@link register}, {@link link}, {@link verify} and {@link rotate} work with. */
export interface Context {
  readonly keystore: Keystore;
}

const workflows = new WeakMap<Context, WorkflowContext>();

/** Builds the context of workflows on a keystore. Nothing is opened or sent yet. */
export function createContext(options: ContextOptions): Context {
  const { keystore, secondFactor, onNote, signal, ...connecting } = options;
  const { store, signerOf } = innerOf(keystore);
  const context: Context = { keystore };
  workflows.set(context, {
    store,
    signerOf,
    async connect(endpoint, { signal: other = signal } = {}) {
      const { connect } = await import('../deribit/connect.js');
      return connect(endpoint, defined({ ...connecting, signal: other }));
    },
    nowMs: Date.now,
    clock: new ExchangeClock(),
    ...defined({ secondFactor, onNote, signal }),
  });
  return context;
}

/** What this module keeps for an object that it made. @throws `ERR_USAGE` for any other object */
function keptFor<K extends object, V>(kept: WeakMap<K, V>, object: K, maker: 'openKeystore' | 'createContext'): V {
  const found = kept.get(object);
  if (found !== undefined) return found;
  const what = maker === 'openKeystore' ? 'the keystore' : 'the context';
  throw usageError(`${what} was not made by ${maker}`, `pass on the object that ${maker} returned, not a copy`);
}

const innerOf = (keystore: Keystore) => keptFor(inners, keystore, 'openKeystore');
const workflowOf = (context: Context) => keptFor(workflows, context, 'createContext');

/**
 * Registers the public half of a stored key by `private/create_api_key` and proves each part of it. What an interrupted call
 * left is found and finished by the next one with the same arguments; a second key is never created.
 * @throws `ERR_STATE`, `ERR_PROOF_FAILED` (the new key is removed again), `ERR_OUTCOME_UNKNOWN`, `ERR_UNAUTHORIZED`,
 *   `ERR_RPC`, `ERR_SECOND_FACTOR_REQUIRED`, `ERR_SECOND_FACTOR_REFUSED`, and network and keystore errors
 */
export async function register(context: Context, request: RegisterRequest): Promise<Registration> {
  const workflow = await import('./registration/register.js');
  return workflow.register(workflowOf(context), request);
}

/**
 * Links a stored key to the API key that was made with its public half on Deribit's web page: logs in with it, then records it.
 * @throws `ERR_STATE`, `ERR_UNAUTHORIZED`, `ERR_PROOF_FAILED`, and network and keystore errors
 */
export async function link(context: Context, request: LinkRequest): Promise<Registration> {
  const workflow = await import('./registration/link.js');
  return workflow.link(workflowOf(context), request);
}

/** What {@link verify} checks. */
export interface VerifyRequest {
  /** All keys of the keystore where left out. */
  readonly names?: readonly string[] | undefined;
  /** Adds what the account shows of the keys; its scope must hold `account:read`. */
  readonly account?: AccountLogin | undefined;
}

/**
 * Proves keys again: that their files are intact and belong together, and that a signed login grants the scope on record. What
 * is wrong with a key is in the result.
 * @throws `ERR_NO_SUCH_NAME`, `ERR_RECORD_DAMAGED`, `ERR_INTERRUPTED`, and what the login of `account` throws
 */
export async function verify(
  context: Context,
  { names, account }: VerifyRequest = {},
): Promise<readonly Verification[]> {
  const { keystore } = context;
  const records =
    names === undefined ? await keystore.list() : await Promise.all(names.map((name) => keystore.get(name)));
  const workflow = await import('./checks/verify.js');
  return workflow.verify(workflowOf(context), records, defined({ account }));
}

/** The key that {@link rotate} replaces, and its successor. */
export interface RotationRequest {
  readonly name: string;
  /** For the account of the key; it may be the rotating key itself. */
  readonly login: AccountLogin;
  /** Of the successor; the type of the old key where left out. */
  readonly type?: KeyAlgorithm | undefined;
  /** Of an RSA successor; at least that of the old key where left out. */
  readonly bits?: RsaSize | undefined;
  /** How long the old key stays enabled after the successor took over, in milliseconds; 0 where left out. */
  readonly graceMs?: number | undefined;
}

/**
 * Replaces a registered key by a successor of the same scope, features, whitelist and label, whose private half lives where
 * the old one does. The same call continues a rotation that was interrupted, or finishes one whose grace period is over.
 * @throws as {@link register} does; {@link abortRotation} goes back
 */
export async function rotate(context: Context, request: RotationRequest): Promise<Rotation> {
  const { store, passphraseOf, access } = innerOf(context.keystore);
  const { localSuccessor } = await import('./rotation/start.js');
  const { successorAnywhere } = await import('./external-keys.js');
  const makeSuccessor = successorAnywhere(store, localSuccessor(store, passphraseOf), access);
  const { login, ...rest } = request;
  const workflow = await import('./rotation/rotate.js');
  return workflow.rotate(workflowOf(context), { ...rest, login: async () => login, makeSuccessor });
}

/**
 * Goes back to before a rotation: the old key has its name again, the successor is removed.
 * @throws `ERR_STATE` where no rotation is under way, or the old key is removed already
 */
export async function abortRotation(
  context: Context,
  { name, login }: Pick<RotationRequest, 'name' | 'login'>,
): Promise<Rotation> {
  const workflow = await import('./rotation/rotate.js');
  return workflow.abortRotation(workflowOf(context), { name, login: async () => login });
}

/** The variable that `env: true` reads. */
const PRIVATE_KEY_VARIABLE = 'DERIBIT_PRIVATE_KEY';

/** Exactly one of `file`, `pem` and `env`, and how it is opened. */
export interface LoadSignerOptions {
  /** A private key file, in any format that `parsePrivateKey` reads. */
  readonly file?: string;
  /** The key itself, as text. */
  readonly pem?: string;
  /** A variable of the environment, `true` for `DERIBIT_PRIVATE_KEY`: a PEM with real newlines or literal `\n`, or base64 of it. */
  readonly env?: string | true;
  readonly passphrase?: SecretLike | (() => Promise<SecretLike>);
  /** How strictly the file's owner and mode are checked; `mounted` for keys that Kubernetes or Docker mount. */
  readonly permissions?: PermissionPolicy;
  /** Where `env` looks; the process's own environment by default. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

async function inputFrom({
  file,
  pem,
  env,
  permissions,
  environment = process.env,
}: LoadSignerOptions): Promise<string | Uint8Array> {
  if ([file, pem, env].filter((source) => source !== undefined).length !== 1) {
    throw usageError('loadSigner takes exactly one of file, pem and env');
  }
  if (file !== undefined) return readPrivateFile(file, permissions);
  if (pem !== undefined) return pem;
  const variable = env === true || env === undefined ? PRIVATE_KEY_VARIABLE : env;
  const value = environment[variable];
  if (value !== undefined && value !== '') return value;
  throw new DeribitKeysError('ERR_KEY_UNREADABLE', `the environment variable ${variable} is not set`, {
    hint: 'set it to a private key as PEM, or as base64 of the PEM',
  });
}

/**
 * Loads a private key for a bot, from a file, a text or an environment variable. The passphrase is asked for only where
 * the key is encrypted.
 *
 * @throws `ERR_USAGE`, `ERR_KEY_UNREADABLE`, `ERR_PERMISSIONS` with the `chmod` to run, `ERR_PASSPHRASE_REQUIRED`,
 *   `ERR_PASSPHRASE_WRONG`, `ERR_KEY_UNSUPPORTED`, `ERR_KEY_INVALID`
 */
export async function loadSigner(options: LoadSignerOptions): Promise<Signer> {
  const input = await inputFrom(options);
  const { passphrase } = options;
  if (typeof passphrase !== 'function') {
    return localSigner(
      await parsePrivateKey(input, passphrase === undefined ? {} : { passphrase: toSecret(passphrase) }),
    );
  }
  const { encrypted } = await inspectKey(input);
  return localSigner(await parsePrivateKey(input, encrypted ? { passphrase: toSecret(await passphrase()) } : {}));
}
