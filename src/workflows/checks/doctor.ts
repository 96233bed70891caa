import { resolveEndpoint } from '../../deribit/endpoints.js';
import type { KeyRecord } from '../../keystore/record.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import type { EndpointSelection } from '../endpoint-selection.js';
import { explainCode } from './explain-code.js';
import { checkFile, type FileRequest, type FileView } from './file-checks.js';
import { asFound, type Finding, fixOf, notesOn } from './finding.js';
import { checkKey } from './key-checks.js';
import { checkKeystore, type KeystoreView } from './keystore-checks.js';
import { age, placeOfRecord, registration, rotations } from './record-checks.js';
import { checkRemote, type Patient } from './remote-checks.js';

/*
 * From any starting point to the culprit. The checks, in their order:
 *
 *   error                                            what a code means
 *   keystore, folder-permissions, leftovers,         the folder and all of its records
 *     stray-files, record
 *   file, permissions, format, passphrase,           each key's own files, or a file that was named
 *     strength, record-matches, signer, public-key
 *   registration, environment, rotation              what its record says
 *   reachable, environment, clock                    each exchange that is involved
 *   account, key-limit                               with a login
 *   client-id, enabled, exchange-key, scope,         each registered key on its exchange
 *     whitelist, login
 *   age
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
}

export interface Diagnosis {
  /** Whether nothing is wrong; what could not be checked does not count. */
  readonly ok: boolean;
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
  const stranger = local.patients.length === 0 && !everything && request.names.length === 0;
  const remote = request.offline
    ? [notesOn(null).skipped('reachable', 'the exchange was not asked: --offline')]
    : await checkRemote(context, {
        patients: local.patients,
        stranger: stranger ? { file, clientId: clientId ?? null } : null,
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
    ...underWay.findings.filter(({ name }) => everything || selected.records.some((record) => record.name === name)),
    ...remote,
    ...selected.records.flatMap((record) => age(record, context.nowMs(), request.maxAgeMs, by)),
  ];
  return { ok: findings.every(({ ok }) => ok !== false), findings };
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
): Promise<{ readonly patients: readonly Patient[]; readonly findings: readonly Finding[] }> {
  const patients: Patient[] = [];
  const findings: Finding[] = [];
  for (const record of records) {
    const view = await checkKey(context, record);
    const { endpoint, finding } = placeOfRecord(target, record);
    patients.push({ record, view, keyFile: context.store.files(record.name).privateKey, endpoint });
    const state = successors.has(record.name) ? [] : [registration(record, by)];
    findings.push(...view.findings, ...state, finding);
  }
  return { patients, findings };
}
