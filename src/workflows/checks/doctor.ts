import { mayBeClientSecret } from '../../crypto/secret.js';
import { type EndpointChoice, resolveEndpoint } from '../../deribit/endpoints.js';
import { RPC_CODES } from '../../deribit/rpc-codes.js';
import { type ErrorCode, usageError } from '../../errors.js';
import type { KeyRecord } from '../../keystore/record.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { type CheckedKey, checkRemote } from './engine.js';
import { checkFile, type FileRequest, type FileView, freeName } from './file-checks.js';
import { asFound, culpritOf, type Finding, fixOf, notesOn, ownCommand } from './finding.js';
import { checkKey } from './key-checks.js';
import {
  age,
  checkKeystore,
  duplicates,
  type KeystoreView,
  placeOfRecord,
  registration,
  rotations,
} from './keystore-checks.js';

/*
 * From any starting point to the culprit. First what needs no network: the keystore, each key's files, its record, its
 * rotation. Then each exchange that is involved, the account where a login was given, and each registered key there.
 * The checks are listed in finding.ts.
 */

interface DoctorRequest {
  /** Names of the keystore; all of them where neither a name nor another starting point is given. */
  readonly names: readonly string[];
  readonly file?: FileRequest | undefined;
  readonly clientId?: string | undefined;
  /** One of this program's codes or of Deribit's. */
  readonly errorCode?: string | undefined;
  /** The login for the account's own view of its keys; null where none was given. */
  readonly login: (records: readonly KeyRecord[]) => Promise<AccountLogin | null>;
  readonly target: EndpointChoice;
  /** The login options for commands that fix what is wrong, such as `--as admin`, or a placeholder for them. */
  readonly by: string;
  /** From which age on a registered key is too old. */
  readonly maxAgeMs: number;
  /** Nothing is asked of any exchange. */
  readonly offline?: boolean | undefined;
  /** Only what is wrong is returned. */
  readonly problems?: boolean | undefined;
}

export interface Diagnosis {
  /** Whether nothing is wrong; what could not be checked does not count. */
  readonly ok: boolean;
  /** The finding that explains the others; null where nothing is wrong. */
  readonly culprit: Finding | null;
  readonly findings: readonly Finding[];
}

/**
 * Looks for what is wrong, changes nothing but what dead commands left behind, and returns each check's finding with the
 * command that fixes it.
 * @throws `ERR_USAGE` for a starting point that leads nowhere, `ERR_INTERRUPTED`; everything else is in the findings
 */
export async function doctor(context: WorkflowContext, request: DoctorRequest): Promise<Diagnosis> {
  const { clientId, target, by } = request;
  if (clientId !== undefined && mayBeClientSecret(clientId)) {
    throw usageError(
      `the client id has ${clientId.length} characters: it may be the client secret, given in its place`,
      'name the client id, which Deribit shows beside the secret',
    );
  }
  const explained = request.errorCode === undefined ? [] : [explainCode(request.errorCode)];
  const keystore = await checkKeystore(context.store);
  const fileOf = (name: string) => context.store.files(name).privateKey;
  const file =
    request.file === undefined ? null : await checkFile(request.file, { records: keystore.records, pathOf: fileOf });
  const everything = request.names.length === 0 && file === null && clientId === undefined;
  const selected = everything
    ? { records: keystore.records, findings: [] }
    : await select(context, request, { keystore, file });
  const underWay = await rotations(context.store, by);
  const keys: CheckedKey[] = [];
  const ofKeys: Finding[] = [];
  for (const record of selected.records) {
    const view = await checkKey(context, record);
    const { endpoint, finding } = placeOfRecord(target, record);
    // the same key in the file may be usable where the stored one is not
    const signer = view.signer ?? (file?.fingerprint === record.fingerprint ? file.signer : null);
    keys.push({ record, view: { ...view, signer }, keyFile: fileOf(record.name), endpoint });
    const state = underWay.successors.has(record.name) ? [] : [registration(record, by)];
    ofKeys.push(...view.findings, ...state, finding);
  }
  const pair = pairOf(file, clientId, keystore.records);
  const onItsOwn = keys.length === 0 && !everything && request.names.length === 0;
  const remote = request.offline
    ? [notesOn(null).skipped('reachable', 'the exchange was not asked: --offline')]
    : await checkRemote(context, {
        keys,
        unmanaged:
          onItsOwn || (pair !== null && !pair.isOnRecord)
            ? {
                file,
                clientId: clientId ?? null,
                endpoint: (request.target.environment ?? request.target.url) ? null : (keys[0]?.endpoint ?? null),
                again: again(file, clientId),
                stored: pair?.ofFile ?? null,
                freeName: freeName(keystore.records),
              }
            : null,
        login: () => request.login(selected.records),
        fallback: () => resolveEndpoint(target),
        by,
      });
  const findings = [
    ...explained,
    ...keystore.findings.filter(({ check, name }) => everything || (name === null && check !== 'stray-files')),
    ...selected.findings,
    ...(file?.findings ?? []),
    ...ofKeys,
    ...unread(file, clientId),
    ...(pair === null ? [] : mismatch(pair, { remote, fileOf })),
    ...duplicates(keystore.records, selected.records),
    ...underWay.findings.filter(({ name }) => everything || selected.records.some((record) => record.name === name)),
    ...remote,
    ...selected.records.flatMap((record) => age(record, { nowMs: context.nowMs(), maxAgeMs: request.maxAgeMs, by })),
  ];
  const shown = request.problems ? findings.filter(({ ok }) => ok === false) : findings;
  return { ok: findings.every(({ ok }) => ok !== false), culprit: culpritOf(findings), findings: shown };
}

/** A file and a client id that were given together. */
interface Pair {
  readonly path: string;
  readonly fingerprint: string;
  readonly clientId: string;
  /** The key of the keystore with that client id, and the one that is in the file. */
  readonly ofClientId: KeyRecord | null;
  readonly ofFile: KeyRecord | null;
  /** Whether they are those of one record, and of one that logs in. */
  readonly isOnRecord: boolean;
}

function pairOf(file: FileView | null, clientId: string | undefined, records: readonly KeyRecord[]): Pair | null {
  if (file === null || file.fingerprint === null || clientId === undefined) return null;
  const { path, fingerprint } = file;
  const ofClientId = records.filter((record) => record.clientId === clientId);
  const ofFile = records.filter((record) => record.fingerprint === fingerprint);
  const ofBoth = ofClientId.find((record) => ofFile.includes(record)) ?? null;
  return {
    ...{ path, fingerprint, clientId },
    ofClientId: ofBoth ?? ofClientId[0] ?? null,
    ofFile: ofBoth ?? ofFile[0] ?? null,
    isOnRecord: ofBoth !== null && ofBoth.state !== 'retired',
  };
}

/** A client id cannot be compared with a file that cannot be read, such as an encrypted one without its passphrase. */
function unread(file: FileView | null, clientId: string | undefined): Finding[] {
  if (file === null || file.fingerprint !== null || clientId === undefined) return [];
  return [notesOn(null).skipped('record-matches', `not checked: whether ${clientId} is the client id of ${file.path}`)];
}

/** The command that starts from the same file and client id. */
function again(file: Pick<FileView, 'path'> | null, clientId: string | undefined): string {
  const ofFile = file === null ? [] : ['--file', file.path];
  return ownCommand('doctor', ...ofFile, ...(clientId === undefined ? [] : ['--client-id', clientId]));
}

/** How the records contradict a file and a client id that the exchange does not show to belong together. */
function mismatch(
  { path, fingerprint, clientId, ofClientId, ofFile }: Pair,
  { remote, fileOf }: { readonly remote: readonly Finding[]; readonly fileOf: (name: string) => string },
): Finding[] {
  const isProved = remote.some(
    ({ check, name, ok }) => (check === 'login' || check === 'exchange-key') && name === clientId && ok === true,
  );
  if (isProved || (ofClientId !== null && ofClientId === ofFile)) return [];
  const notes = notesOn(null);
  if (ofClientId !== null) {
    const { name, fingerprint: stored, signer } = ofClientId;
    const detail = `${path} is not the key of "${name}", which has the client id ${clientId}: the file has the fingerprint ${fingerprint}, "${name}" has ${stored}`;
    const fix =
      signer === null
        ? ownCommand('doctor', '--file', fileOf(name), '--client-id', clientId)
        : ownCommand('doctor', name);
    return [notes.bad('record-matches', detail, fix)];
  }
  if (ofFile === null || ofFile.clientId === null) return [];
  const detail = `${clientId} is not the client id of the key in ${path}: that is "${ofFile.name}", on record as ${ofFile.clientId}`;
  return [notes.bad('client-id', detail, again({ path }, ofFile.clientId))];
}

/** The records that the starting points lead to, and what of them cannot be read. */
async function select(
  context: WorkflowContext,
  { names, clientId }: DoctorRequest,
  { keystore, file }: { readonly keystore: KeystoreView; readonly file: FileView | null },
): Promise<{ readonly records: readonly KeyRecord[]; readonly findings: readonly Finding[] }> {
  const records = new Map<string, KeyRecord>();
  const findings: Finding[] = [];
  for (const name of new Set(names)) {
    try {
      records.set(name, await context.store.read(name));
    } catch (thrown) {
      const error = asFound(thrown);
      if (error.code === 'ERR_USAGE') throw error;
      const damaged = keystore.findings.find((finding) => finding.name === name);
      findings.push(damaged ?? notesOn(name).bad('record', error.message, fixOf(error)));
    }
  }
  for (const record of keystore.records) {
    const byClientId = clientId !== undefined && record.clientId === clientId;
    const byFile = file !== null && record.fingerprint === file.fingerprint;
    if (byClientId || byFile) records.set(record.name, record);
  }
  return { records: [...records.values()], findings };
}

const MEANING: Readonly<Record<ErrorCode, string>> = {
  ERR_USAGE: 'the command or call was wrong: nothing was done',
  ERR_CANCELLED: 'a confirmation was not given: nothing was done',
  ERR_INTERRUPTED: 'it was interrupted, for instance by Ctrl-C',
  ERR_KEY_UNREADABLE: 'a key file is missing or damaged, or is not a key',
  ERR_KEY_UNSUPPORTED: 'the key is of a kind or size that Deribit does not accept',
  ERR_KEY_INVALID: "the key's numbers are not valid: it must not be used",
  ERR_KEY_MISMATCH: 'a key file is not the one that belongs there',
  ERR_PASSPHRASE_REQUIRED: 'the private key is encrypted, and no passphrase was given',
  ERR_PASSPHRASE_WRONG: 'the passphrase does not open the private key',
  ERR_SIGNER: 'what holds the private key (an agent, a token, a service) did not sign',
  ERR_NAME_TAKEN: 'a key of that name exists: nothing is overwritten',
  ERR_NO_SUCH_NAME: 'the keystore has no key of that name; --keys-dir may name the wrong folder',
  ERR_RECORD_DAMAGED: 'a record of the keystore cannot be read',
  ERR_RECORD_NEWER: 'a record was written by a newer version of this program',
  ERR_PERMISSIONS: 'others can read a private key, or replace it',
  ERR_KEYSTORE_IO: 'the file system refused: a full disk, a read-only or missing folder',
  ERR_LOCKED: 'another command works on the same key',
  ERR_LOCK_LOST: 'another command took the key over: this one stopped',
  ERR_STATE: 'the key is not in a state that allows this',
  ERR_LISTEN: 'a port or socket to listen on is taken, or cannot be opened',
  ERR_NETWORK: 'the exchange cannot be reached: name, network, proxy or TLS',
  ERR_TIMEOUT: 'no answer came before the timeout',
  ERR_CONNECTION_CLOSED: 'the connection ended before the answer',
  ERR_PROTOCOL: 'the answer does not follow the protocol of the exchange',
  ERR_TOKEN_STORE: 'the store that shares access tokens cannot be reached, or the package for it is missing',
  ERR_WRONG_ENVIRONMENT: 'the test exchange answered where production was expected, or the other way round',
  ERR_RPC: 'the exchange refused; its own code is in the rpc field of the error',
  ERR_UNAUTHORIZED: 'the exchange refused the login, or the login is not allowed to do this',
  ERR_NOT_ON_EXCHANGE: 'the account has no such API key',
  ERR_SECOND_FACTOR_REQUIRED: 'the exchange requires a second factor, and no code was available',
  ERR_SECOND_FACTOR_REFUSED: 'the exchange refused the second factor',
  ERR_NOT_SENT: 'a request was not sent, because no answer could have come within its timeout; nothing was changed',
  ERR_OUTCOME_UNKNOWN: 'a request was sent and no answer came: whether it was done is not known',
  ERR_PROOF_FAILED: 'the exchange recorded or did something other than what it was asked for',
  ERR_CHECK_FAILED: 'a check found something wrong',
  ERR_INTERNAL: 'a mistake inside this program',
};

const isErrorCode = (text: string): text is ErrorCode => Object.hasOwn(MEANING, text);

/**
 * What an error means: one of this program's codes (`ERR_…`), or a number of Deribit's JSON-RPC.
 * @throws `ERR_USAGE` for text that is neither
 */
function explainCode(text: string): Finding {
  const notes = notesOn(null);
  const own = text.toUpperCase();
  if (isErrorCode(own)) return notes.skipped('error', `${own}: ${MEANING[own]}`);
  if (/^-?\d{1,6}$/.test(text)) {
    const known = RPC_CODES.get(Number(text));
    if (known !== undefined) return notes.skipped('error', `Deribit's ${text} (${known.code} here)`, known.hint);
    return notes.skipped('error', `Deribit's code ${text} is not known to this program: its message says more`);
  }
  throw usageError(
    `a text of ${text.length} characters is not an error code`,
    "give one of Deribit's numbers, such as 13004, or a code of this program such as ERR_UNAUTHORIZED",
  );
}
