import { join } from 'node:path';
import type { RsaSize } from '../crypto/generate.js';
import type { KeyAlgorithm } from '../crypto/keys.js';
import { DeribitKeysError } from '../errors.js';
import { isSignerTarget, type SignerTarget } from '../signers/kinds.js';
import { isRecord, isText, isTexts, parseJsonObject } from '../util/checks.js';
import { namesIn, readFileOrNull } from './files.js';
import type { Keystore } from './keystore.js';
import { foldName, isKeyName } from './names.js';
import type { Step } from './steps.js';

/*
 * How far the rotation of a key has come: one file a name, `.<name>.rotation.json`, which changes in the same
 * transaction as the files that it describes.
 *
 *   (none) --> begun --promote--> promoted --grace over, old key removed--> (none)
 *                |                   |
 *                | --abort           | --abort: the files swap back
 *                +---> aborting <----+
 *                         |  successor removed
 *                         +--> (none)
 */

const ROTATION_SCHEMA = 1;

/** What the successor is registered with. */
export interface SuccessorPlan {
  readonly scope: string;
  readonly label: string;
  readonly features: readonly string[];
  readonly ipWhitelist: readonly string[];
}

/** Where the private half of a successor is made, and stays. */
export type SuccessorTarget = { readonly kind: 'file' } | SignerTarget;

/** What kind of key the successor is; `bits` is null for Ed25519. Without a target it is a file. */
export interface SuccessorKind {
  readonly type: KeyAlgorithm;
  readonly bits: RsaSize | null;
  readonly target?: SuccessorTarget;
}

export interface RotationJournal {
  readonly name: string;
  /** `begun`, `aborting`: the name means the old key. `promoted`: it means the successor. */
  readonly stage: 'begun' | 'promoted' | 'aborting';
  /** What the successor is called in the keystore while the name means the old key. */
  readonly successor: string;
  /** What the old key is called once the name means the successor; null before. */
  readonly archive: string | null;
  /** The key that is replaced, as the exchange knows it. */
  readonly previous: { readonly clientId: string; readonly keyId: number; readonly fingerprint: string };
  readonly kind: SuccessorKind;
  readonly plan: SuccessorPlan;
  readonly graceMs: number;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  readonly promotedAt: string | null;
}

const fileOf = (name: string) => `.${foldName(name)}.rotation.json`;
const FILE = /^\.(.+)\.rotation\.json$/;

/** The step that writes the journal, for a transaction of its key. */
export function writeJournal(journal: RotationJournal): Step {
  const content = `${JSON.stringify({ schema: ROTATION_SCHEMA, ...journal }, null, 2)}\n`;
  return { do: 'replace', file: fileOf(journal.name), content };
}

/** The step that ends the rotation of `name`. */
export function deleteJournal(name: string): Step {
  return { do: 'delete', file: fileOf(name) };
}

function damaged(path: string, what: string): DeribitKeysError {
  return new DeribitKeysError('ERR_RECORD_DAMAGED', `the journal ${path} is damaged: ${what}`, {
    hint: 'compare deribit-keys list with deribit-keys api-keys list, then move the journal away',
  });
}

const isTime = (value: unknown) => typeof value === 'string' && !Number.isNaN(Date.parse(value));
const isName = (value: unknown) => typeof value === 'string' && isKeyName(value);

type Fields = Readonly<Record<string, unknown>>;

const isPrevious = ({ clientId, fingerprint, keyId }: Fields) =>
  isText(clientId) && isText(fingerprint) && Number.isSafeInteger(keyId);

const isKind = ({ type, bits, target }: Fields) =>
  (type === 'ed25519' ? bits === null : type === 'rsa' && isRsaSize(bits)) &&
  (target === undefined || isTarget(target));

const isPlan = ({ scope, label, features, ipWhitelist }: Fields) =>
  isText(scope) && isText(label) && isTexts(features) && isTexts(ipWhitelist);

function firstWrongField(value: Fields): string | null {
  const { previous, kind, plan } = value;
  const promoted = value.stage === 'promoted';
  const checks: readonly (readonly [string, boolean])[] = [
    ['name', isName(value.name)],
    ['stage', ['begun', 'promoted', 'aborting'].includes(value.stage as string)],
    ['successor', isName(value.successor)],
    ['archive', promoted ? isName(value.archive) : value.archive === null],
    ['previous', isRecord(previous) && isPrevious(previous)],
    ['kind', isRecord(kind) && isKind(kind)],
    ['plan', isRecord(plan) && isPlan(plan)],
    ['graceMs', Number.isSafeInteger(value.graceMs) && (value.graceMs as number) >= 0],
    ['startedAt', isTime(value.startedAt)],
    ['promotedAt', promoted ? isTime(value.promotedAt) : value.promotedAt === null],
  ];
  return checks.find(([, fine]) => !fine)?.[0] ?? null;
}

const isTarget = (value: unknown) => (isRecord(value) && value.kind === 'file') || isSignerTarget(value);

/** Earlier releases called the target of a successor its place. */
function withTarget(kind: unknown): unknown {
  if (!isRecord(kind) || kind.place === undefined) return kind;
  const { place, ...others } = kind;
  return { ...others, target: place };
}

const isRsaSize = (bits: unknown) => [2048, 3072, 4096].includes(bits as number);

/**
 * Reads the content of a journal's file, which is named `path` in errors.
 * @throws `ERR_RECORD_NEWER` for a schema that this program does not know, `ERR_RECORD_DAMAGED` for anything amiss
 */
export function parseJournal(text: string, path: string): RotationJournal {
  const value = parseJsonObject(text);
  if (typeof value === 'string') throw damaged(path, `it ${value}`);
  const { schema, kind, ...others } = value;
  const fields = { ...others, kind: withTarget(kind) };
  if (typeof schema === 'number' && schema > ROTATION_SCHEMA) {
    throw new DeribitKeysError('ERR_RECORD_NEWER', `the journal ${path} has schema ${schema}`, {
      hint: 'use the newer version of deribit-keys that wrote it; the journal was left as it is',
    });
  }
  const wrong = schema === ROTATION_SCHEMA ? firstWrongField(fields) : 'schema';
  if (wrong !== null) throw damaged(path, `"${wrong}" is missing or not valid`);
  return fields as unknown as RotationJournal;
}

/** The journal of the rotation of `name`, or null where none is under way. */
export async function readJournal(store: Keystore, name: string): Promise<RotationJournal | null> {
  const path = join(store.folder, fileOf(name));
  const content = await readFileOrNull(path);
  return content === null ? null : parseJournal(content.toString('utf8'), path);
}

/** All rotations that are under way, by name. @throws as {@link parseJournal} */
export async function listJournals(store: Keystore): Promise<readonly RotationJournal[]> {
  const journals: RotationJournal[] = [];
  for (const entry of (await namesIn(store.folder)).sort()) {
    const name = FILE.exec(entry)?.[1];
    const journal = name === undefined ? null : await readJournal(store, name);
    if (journal !== null) journals.push(journal);
  }
  return journals;
}

/**
 * For work that would take a key away from under its rotation: its name, its successor and its old pair are all needed.
 * @throws `ERR_STATE` where `name` is one of these
 */
export async function requireNoRotation(store: Keystore, name: string): Promise<void> {
  const journals = await listJournals(store);
  const journal = journals.find((one) => [one.name, one.successor, one.archive].includes(name));
  if (journal === undefined) return;
  const message = `the key "${name}" is needed: the rotation of "${journal.name}" is under way`;
  const hint = `finish it with: deribit-keys rotate ${journal.name} …, or go back with --abort`;
  throw new DeribitKeysError('ERR_STATE', message, { hint });
}
