import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import type { Settings } from '../server/options.js';
import { Accounts, type ApiKey, makeKey, mostSubaccounts, parseIpList } from './accounts.js';
import { SandboxError } from './errors.js';
import { isRecord, isTexts } from './params.js';
import { everything, formatScope, parseMaxScope } from './scope.js';
import { readPublicKey } from './signature.js';
import { type Grant, Grants } from './tokens.js';

const version = 1;

/** What a state file holds. */
interface StateDocument {
  readonly version: number;
  readonly nextKeyId: number;
  readonly bootstrapClientId: string;
  /** The port that was listened on; absent in files of 0.1. */
  readonly port?: number;
  readonly subaccounts: number;
  readonly keys: readonly StoredKey[];
  readonly grants: readonly StoredGrant[];
}

type StoredKey = Omit<ApiKey, 'allowed' | 'maxScope' | 'publicKey'> & {
  readonly maxScope: string;
  /** SPKI PEM. */
  readonly publicKey: string | null;
};

type StoredGrant = Omit<Grant, 'key' | 'connectionId' | 'sinceMs'> & {
  readonly clientId: string;
  /** Absent in files of 0.1. */
  readonly sinceMs?: number;
};

/** The file's content; null where there is no file. @throws SandboxError `ERR_STATE_FILE` for anything that the sandbox did not write */
function readState(file: string): StateDocument | null {
  let value: unknown;
  try {
    value = JSON.parse(readRegular(file));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw damaged(file, cause instanceof SyntaxError ? 'is not JSON' : 'cannot be read', cause);
  }
  if (!isRecord(value) || value.version !== version) throw damaged(file, 'is of another version');
  if (!isDocument(value)) throw damaged(file, 'is incomplete');
  return value;
}

/** Reads a regular file: a pipe in its place would hang the process. */
function readRegular(file: string): string {
  const descriptor = openSync(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    if (!fstatSync(descriptor).isFile()) throw new Error('it is not a regular file');
    return readFileSync(descriptor, 'utf8');
  } finally {
    closeSync(descriptor);
  }
}

function isDocument(value: unknown): value is StateDocument {
  if (!isRecord(value)) return false;
  const { nextKeyId, bootstrapClientId, subaccounts, keys, grants, port = 0 } = value;
  return (
    isCount(nextKeyId) &&
    isCount(port) &&
    port <= 65_535 &&
    typeof bootstrapClientId === 'string' &&
    isCount(subaccounts) &&
    subaccounts <= mostSubaccounts &&
    Array.isArray(keys) &&
    keys.every(isStoredKey) &&
    Array.isArray(grants) &&
    grants.every(isStoredGrant)
  );
}

function isStoredKey(value: unknown): value is StoredKey {
  return (
    isRecord(value) &&
    [value.id, value.accountId].every(isCount) &&
    Number.isSafeInteger(value.timestampMs) &&
    [value.clientId, value.secret, value.maxScope, value.name].every((text) => typeof text === 'string') &&
    (value.publicKey === null || typeof value.publicKey === 'string') &&
    [value.enabled, value.isDefault].every((flag) => typeof flag === 'boolean') &&
    isTexts(value.features) &&
    isTexts(value.ipWhitelist) &&
    parseIpList(value.ipWhitelist) !== null
  );
}

function isStoredGrant(value: unknown): value is StoredGrant {
  return (
    isRecord(value) &&
    [value.accountId, value.lifeS, value.sinceMs ?? 0].every(isCount) &&
    [value.accessExpiresMs, value.refreshExpiresMs].every(Number.isSafeInteger) &&
    [value.clientId, value.accessToken, value.refreshToken, value.scope].every((text) => typeof text === 'string') &&
    isRecord(value.levels) &&
    (value.session === null || isRecord(value.session)) &&
    (value.ip === null || typeof value.ip === 'string')
  );
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Puts what was read into the exchange's state. */
function restoreState(
  file: string,
  document: StateDocument,
  { accounts, grants }: { readonly accounts: Accounts; readonly grants: Grants },
): void {
  try {
    for (const stored of document.keys) {
      const maxScope = parseMaxScope(stored.maxScope) ?? {};
      if (accounts.account(stored.accountId) === undefined) throw new Error('a key belongs to no account');
      const publicKey = stored.publicKey === null ? null : readPublicKey(stored.publicKey);
      if (publicKey === null && stored.secret === '') throw new Error('a key has neither a secret nor a public key');
      accounts.add(makeKey({ ...stored, maxScope, publicKey }));
    }
    accounts.nextKeyId = document.nextKeyId;
    for (const { clientId, ...stored } of document.grants) {
      const key = accounts.key(clientId);
      if (key !== undefined) grants.add({ ...stored, sinceMs: stored.sinceMs ?? 0, key, connectionId: null });
    }
  } catch (cause) {
    throw damaged(file, 'cannot be understood', cause);
  }
}

/** The state as a file's text; tokens that live on one connection are left out, since that ends with the process. */
export function describeState(
  accounts: Accounts,
  grants: Grants,
  { bootstrapClientId, port }: Pick<StateDocument, 'bootstrapClientId' | 'port'>,
): string {
  const keys = accounts.all.flatMap((account) => [...account.keys.values()]);
  const document: StateDocument = {
    version,
    nextKeyId: accounts.nextKeyId,
    bootstrapClientId,
    ...(port === undefined ? {} : { port }),
    subaccounts: accounts.all.length - 1,
    keys: keys.map(({ allowed: _allowed, maxScope, publicKey, ...key }) => {
      return { ...key, maxScope: formatScope(maxScope), publicKey: publicKey?.pem ?? null };
    }),
    grants: grants.lasting().map(({ key, connectionId: _connectionId, ...grant }) => {
      return { ...grant, clientId: key.clientId };
    }),
  };
  return `${JSON.stringify(document)}\n`;
}

/** Writes, flushes and renames, so that the file is complete at any moment; readable by its owner only. */
export function writeState(file: string, text: string): void {
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    rmSync(temporary, { force: true });
    writeFileSync(temporary, text, { flag: 'wx', mode: 0o600, flush: true });
    renameSync(temporary, file);
    flushFolder(dirname(file));
  } catch (cause) {
    rmSync(temporary, { force: true });
    throw damaged(file, 'cannot be written', cause);
  }
}

function flushFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function damaged(file: string, what: string, cause?: unknown): SandboxError {
  return new SandboxError('ERR_STATE_FILE', `the state file ${file} ${what}`, {
    hint: 'move it away, or name another',
    cause,
  });
}

/** The accounts, keys and tokens that the state file holds, and the port of the last run; or new ones with a bootstrap key. */
export function openState({ stateFile, subaccounts, clientId, clientSecret }: Settings, nowMs: number) {
  const document = stateFile === null ? null : readState(stateFile);
  const accounts = new Accounts(document?.subaccounts ?? subaccounts);
  const grants = new Grants();
  if (stateFile !== null && document !== null) {
    restoreState(stateFile, document, { accounts, grants });
    const { bootstrapClientId: id, port = null } = document;
    return { port, accounts, grants, bootstrap: accounts.key(id) ?? { clientId: id, secret: '' } };
  }
  const bootstrap = makeKey({
    id: accounts.takeKeyId(),
    accountId: accounts.main.id,
    publicKey: null,
    maxScope: parseMaxScope(everything) ?? {},
    timestampMs: nowMs,
    name: 'bootstrap',
    isDefault: true,
    ...(clientId === null ? {} : { clientId }),
    ...(clientSecret === null ? {} : { secret: clientSecret }),
  });
  accounts.add(bootstrap);
  return { port: null, accounts, grants, bootstrap };
}

const saveSoonMs = 50;

/** Writes the state file: at once, or once for all changes of a short while. What fails is tried again with the next. */
export function keepState(file: string | null, describe: () => string) {
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
