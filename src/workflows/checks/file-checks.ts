import { realpath } from 'node:fs/promises';
import { parsePrivateKey, parsePublicKey } from '../../crypto/formats/index.js';
import { fingerprint, localSigner } from '../../crypto/index.js';
import type { PublicKey } from '../../crypto/keys.js';
import type { Secret } from '../../crypto/secret.js';
import type { Signer } from '../../crypto/signer.js';
import type { Endpoint } from '../../deribit/endpoints.js';
import { type DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import { readFileOrNull } from '../../keystore/files.js';
import { foldName } from '../../keystore/names.js';
import { type PermissionPolicy, readPrivateFile } from '../../keystore/permissions.js';
import type { KeyRecord } from '../../keystore/record.js';
import { shellWord } from '../../util/text.js';
import { asFound, type Finding, fixOf, notesOn, ownCommand } from './finding.js';
import { describe, kindOf, modeOf, STAGES, type Stage, stageFindings } from './key-checks.js';

/** A key file that need not belong to the keystore. */
export interface FileRequest {
  readonly path: string;
  readonly permissions: PermissionPolicy;
  /** Asked for where the file is encrypted; null where none is available. */
  readonly passphrase: () => Promise<Secret | null>;
}

export interface FileView {
  readonly path: string;
  readonly findings: readonly Finding[];
  /** Null where the key cannot be read; so for the fingerprint. */
  readonly publicKey: PublicKey | null;
  readonly fingerprint: string | null;
  /** Null for a public key, and where the private one cannot be opened. */
  readonly signer: Signer | null;
}

/** A key without a record: a file, a client id, or both. */
export interface UnmanagedKey {
  readonly file: FileView | null;
  readonly clientId: string | null;
  /** Where the records of the file or of the client id belong; null without such a record. */
  readonly endpoint: Endpoint | null;
  /** The command that checks it again, without a login. */
  readonly again: string;
  /** The key of the keystore that is in the file. */
  readonly stored: KeyRecord | null;
  /** A name that no key of the keystore has. */
  readonly freeName: string;
}

const PUBLIC_STAGES: readonly Stage[] = ['file', 'format', 'strength'];

/** Looks at a file with a private or public key in any form, and for the keys of the keystore that are the same. */
export async function checkFile(request: FileRequest, view: KeystoreFiles): Promise<FileView> {
  const { records } = view;
  const { path } = request;
  const notes = notesOn(null);
  const described = await describe(path);
  const mode = await modeOf(path);
  const isPrivate = described === null || described.kind === 'private';
  let key: { readonly publicKey: PublicKey; readonly signer: Signer | null } | null = null;
  let failure: DeribitKeysError | null = null;
  try {
    key = isPrivate ? await openPrivate(request) : await openPublic(path);
  } catch (error) {
    failure = asFound(error);
  }
  const own = key === null ? null : fingerprint(key.publicKey);
  const encrypt = await howToEncrypt(path, own, view);
  const good = (stage: Stage): Finding => {
    switch (stage) {
      case 'permissions':
        return notes.good(stage, mode);
      case 'format':
        return notes.good(stage, described === null ? 'a key' : `${described.kind} key, ${described.format}`);
      case 'passphrase':
        if (described?.encrypted) return notes.good(stage, 'the passphrase opens it');
        if (failure !== null) return notes.good(stage, 'the private key is not encrypted');
        return notes.remark(stage, 'the private key is not encrypted', encrypt);
      case 'strength':
        return notes.good(stage, key === null ? 'not checked' : kindOf(key.publicKey));
      default:
        return notes.good(stage, path);
    }
  };
  const stages = isPrivate ? STAGES.filter((stage) => stage !== 'record-matches') : PUBLIC_STAGES;
  const fix = (stage: Stage, error: DeribitKeysError) => fixForFile(stage, error, path);
  const findings = await stageFindings({ notes, stages, path, failure, good, fix });
  if (key === null || own === null) return { path, findings, publicKey: null, fingerprint: null, signer: null };
  const importIt = isPrivate ? ownCommand('import', freeName(records), path) : null;
  return { path, findings: [...findings, inKeystore(own, records, importIt)], fingerprint: own, ...key };
}

/** The keys of the keystore, and where the private half of each is. */
interface KeystoreFiles {
  readonly records: readonly KeyRecord[];
  readonly pathOf: (name: string) => string;
}

/** What to do about a private key in `path` that is not encrypted. */
async function howToEncrypt(path: string, own: string | null, { records, pathOf }: KeystoreFiles): Promise<string> {
  const same = records.filter(({ fingerprint: stored }) => stored === own);
  const [first] = same;
  if (first === undefined) return ownCommand('import', freeName(records), path, '--encrypt');
  const file = await realpath(path).catch(() => path);
  for (const { name } of same) {
    if ((await realpath(pathOf(name)).catch(() => null)) === file) return ownCommand('passphrase', name);
  }
  return `delete the file if nothing uses it: the keystore has the key as "${first.name}"`;
}

/** `bot`, or with a number behind it where the keystore has a key of that name. */
export function freeName(records: readonly KeyRecord[]): string {
  const taken = new Set(records.map(({ name }) => foldName(name)));
  for (let number = 1; ; number++) {
    const name = number === 1 ? 'bot' : `bot-${number}`;
    if (!taken.has(name)) return name;
  }
}

async function openPrivate({ path, permissions, passphrase }: FileRequest) {
  const content = await readPrivateFile(path, permissions);
  const key = await parsePrivateKey(content).catch(async (error: unknown) => {
    const given = isDeribitKeysError(error, 'ERR_PASSPHRASE_REQUIRED') ? await passphrase() : null;
    if (given === null) throw error;
    return parsePrivateKey(content, { passphrase: given });
  });
  return { publicKey: key.publicKey, signer: localSigner(key) };
}

async function openPublic(path: string) {
  return { publicKey: await parsePublicKey((await readFileOrNull(path)) ?? ''), signer: null };
}

function fixForFile(stage: Stage, error: DeribitKeysError, path: string): string {
  switch (stage) {
    case 'permissions':
      return fixOf(error);
    case 'passphrase':
      return `${ownCommand('doctor', '--file', path)} --input-passphrase-file <file>`;
    case 'strength':
      return ownCommand('generate', 'bot');
    default:
      return `name a file with a key: ls -l ${shellWord(path)}`;
  }
}

/** Which keys of the keystore have the fingerprint `own`; `importIt` is the command that brings it in where none does. */
function inKeystore(own: string, records: readonly KeyRecord[], importIt: string | null): Finding {
  const notes = notesOn(null);
  const names = records.filter((record) => record.fingerprint === own).map(({ name }) => name);
  if (names.length > 0)
    return notes.good('record', `fingerprint ${own}: the key "${names.join('", "')}" of the keystore`);
  return notes.skipped('record', `fingerprint ${own}: the keystore does not have it`, importIt);
}
