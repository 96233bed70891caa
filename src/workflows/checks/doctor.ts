import { resolveEndpoint } from '../../deribit/endpoints.js';
import type { KeyRecord } from '../../keystore/record.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import type { EndpointSelection } from '../endpoint-selection.js';
import { type CheckedKey, checkRemote } from './engine.js';
import { explainCode } from './explain-code.js';
import { checkFile, type FileRequest, type FileView } from './file-checks.js';
import { asFound, culpritOf, type Finding, fixOf, notesOn, ownCommand } from './finding.js';
import { checkKey } from './key-checks.js';
import { checkKeystore, type KeystoreView } from './keystore-checks.js';
import { age, placeOfRecord, registration, rotations } from './record-checks.js';

/*
 * From any starting point to the culprit. First what needs no network: the keystore, each key's files, its record, its
 * rotation. Then each exchange that is involved, the account where a login was given, and each registered key there.
 * The checks are listed in finding.ts.
 */

export interface DoctorRequest {
  /** Names of the keystore; all of them where neither a name nor another starting point is given. */
  readonly names: readonly string[];
  readonly file?: FileRequest | undefined;
  readonly clientId?: string | undefined;
  /** One of this program's codes or of Deribit's. */
  readonly errorCode?: string | undefined;
  /** The login for the account's own view of its keys; null where none was given. */
  readonly login: (records: readonly KeyRecord[]) => Promise<AccountLogin | null>;
  readonly target: EndpointSelection;
  /** The login options for commands that mend, such as `--as admin`; a placeholder where left out. */
  readonly loginWords?: string | undefined;
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
 * Looks for what is wrong, changes nothing but what dead commands left behind, and gives each check's finding with the
 * command that mends it.
 * @throws `ERR_USAGE` for a starting point that is none, `ERR_INTERRUPTED`; all else stands in the findings
 */
export async function doctor(context: WorkflowContext, request: DoctorRequest): Promise<Diagnosis> {
  const { clientId, target, loginWords: by = '--as <another key>' } = request;
  const explained = request.errorCode === undefined ? [] : [explainCode(request.errorCode)];
  const keystore = await checkKeystore(context.store);
  const file = request.file === undefined ? null : await checkFile(request.file, keystore.records);
  const everything = request.names.length === 0 && file === null && clientId === undefined;
  const selected = everything
    ? { records: keystore.records, findings: [] }
    : await select(context, request, keystore, file);
  const underWay = await rotations(context.store, by);
  const local = await examineFiles(context, request, selected.records, underWay.successors, by);
  const unmanaged = local.keys.length === 0 && !everything && request.names.length === 0;
  const remote = request.offline
    ? [notesOn(null).skipped('reachable', 'the exchange was not asked: --offline')]
    : await checkRemote(context, {
        keys: local.keys,
        unmanaged: unmanaged ? { file, clientId: clientId ?? null } : null,
        login: () => request.login(selected.records),
        fallback: () => resolveEndpoint(target),
        by,
      });
  const findings = [
    ...explained,
    ...keystore.findings.filter(({ check, name }) => everything || (name === null && check !== 'stray-files')),
    ...selected.findings,
    ...(file?.findings ?? []),
    ...local.findings,
    ...duplicates(keystore.records, selected.records),
    ...underWay.findings.filter(({ name }) => everything || selected.records.some((record) => record.name === name)),
    ...remote,
    ...selected.records.flatMap((record) => age(record, context.nowMs(), request.maxAgeMs, by)),
  ];
  const shown = request.problems ? findings.filter(({ ok }) => ok === false) : findings;
  return { ok: findings.every(({ ok }) => ok !== false), culprit: culpritOf(findings), findings: shown };
}

/** A key that was imported under several names is one key: what happens to it under one name happens to all. */
function duplicates(records: readonly KeyRecord[], selected: readonly KeyRecord[]): Finding[] {
  const isLive = ({ state }: KeyRecord) => state !== 'retired';
  return selected.filter(isLive).flatMap((record) => {
    const others = records.filter(
      (other) => isLive(other) && other.name !== record.name && other.fingerprint === record.fingerprint,
    );
    const [first] = others;
    if (first === undefined || record.name < first.name) return [];
    const names = others.map(({ name }) => `"${name}"`).join(', ');
    return [notesOn(record.name).remark('duplicates', `the same key as ${names}`, ownCommand('remove', record.name))];
  });
}

/** The records that the starting points lead to, and what of them cannot be read. */
async function select(
  context: WorkflowContext,
  { names, clientId }: DoctorRequest,
  keystore: KeystoreView,
  file: FileView | null,
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

async function examineFiles(
  context: WorkflowContext,
  { target }: DoctorRequest,
  records: readonly KeyRecord[],
  successors: ReadonlySet<string>,
  by: string,
): Promise<{ readonly keys: readonly CheckedKey[]; readonly findings: readonly Finding[] }> {
  const keys: CheckedKey[] = [];
  const findings: Finding[] = [];
  for (const record of records) {
    const view = await checkKey(context, record);
    const { endpoint, finding } = placeOfRecord(target, record);
    keys.push({ record, view, keyFile: context.store.files(record.name).privateKey, endpoint });
    const state = successors.has(record.name) ? [] : [registration(record, by)];
    findings.push(...view.findings, ...state, finding);
  }
  return { keys, findings };
}
