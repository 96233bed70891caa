import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import { readFileOrNull } from '../../keystore/files.js';
import { deleteJournal, type RotationJournal, writeJournal } from '../../keystore/journal.js';
import { type Keystore, type LockedKey, noteOn, recordStep } from '../../keystore/keystore.js';
import { fileNames } from '../../keystore/names.js';
import type { KeyRecord } from '../../keystore/record.js';
import type { Step } from '../../keystore/steps.js';
import { stepsToRetire } from '../../keystore/stored-keys.js';

const MAX_NAME = 64;

/** A free name for a successor: nobody else makes one like it. */
export function successorName(name: string): string {
  const suffix = `.next-${randomBytes(4).toString('hex')}`;
  return name.slice(0, MAX_NAME - suffix.length) + suffix;
}

/** A free name for the old pair: the name and the time, such as `bot.20261123T160300Z`. */
async function archiveName(store: Keystore, name: string): Promise<string> {
  const stamp = store
    .now()
    .toISOString()
    .replace(/[-:]|\.\d+/g, '');
  for (let count = 1; ; count += 1) {
    const suffix = `.${stamp}${count === 1 ? '' : `-${count}`}`;
    const archive = name.slice(0, MAX_NAME - suffix.length) + suffix;
    try {
      await store.requireFree(archive);
      return archive;
    } catch (error) {
      if (!isDeribitKeysError(error, 'ERR_NAME_TAKEN')) throw error;
    }
  }
}

/** A file that a transaction copies by its content; null where it does not exist. */
async function textOf(store: Keystore, file: string): Promise<string | null> {
  const path = join(store.folder, file);
  const content = await readFileOrNull(path);
  if (content === null) return null;
  const text = content.toString('utf8');
  if (content.equals(Buffer.from(text))) return text;
  throw new DeribitKeysError('ERR_KEY_UNREADABLE', `${path} is not text: it is not a key file of this keystore`, {
    hint: 'restore the right file, then run the same command again',
  });
}

/**
 * One transaction after which `name` means the key that was called `incoming.name`, and the key that it meant before is
 * called `outgoing.name`. Contents are staged, not moved, so that ending it twice harms nothing.
 */
async function exchangeSteps(
  store: Keystore,
  { name, incoming, outgoing }: { readonly name: string; readonly incoming: KeyRecord; readonly outgoing: KeyRecord },
): Promise<readonly Step[]> {
  const [own, from, to] = [fileNames(name), fileNames(incoming.name), fileNames(outgoing.name)];
  const created: Step[] = [];
  const replaced: Step[] = [];
  const deleted: Step[] = [];
  for (const part of ['publicKey', 'privateKey'] as const) {
    const [leaves, comes] = await Promise.all([textOf(store, own[part]), textOf(store, from[part])]);
    if (leaves !== null) created.push({ do: 'create', file: to[part], content: leaves });
    if (comes !== null) replaced.push({ do: 'replace', file: own[part], content: comes });
    else if (leaves !== null) deleted.push({ do: 'delete', file: own[part] });
    if (comes !== null) deleted.push({ do: 'delete', file: from[part] });
  }
  created.push(recordStep(outgoing, 'create'));
  replaced.push(recordStep({ ...incoming, name }));
  deleted.push({ do: 'delete', file: from.record });
  return [...created, ...replaced, ...deleted];
}

/** Lets the name mean the successor; the old pair gets a dated name, its record is `retired`. */
export async function promote(store: Keystore, locked: LockedKey, journal: RotationJournal): Promise<RotationJournal> {
  const { name, successor } = journal;
  return store.withLock(successor, async (next) => {
    const [old, made] = [await locked.read(), await next.read()];
    const archive = await archiveName(store, name);
    return store.withLock(archive, async () => {
      const promotedAt = store.now().toISOString();
      const promoted: RotationJournal = { ...journal, stage: 'promoted', archive, promotedAt };
      const { environment, url, subaccount } = old;
      const steps = await exchangeSteps(store, {
        name,
        incoming: { ...made, environment, url, subaccount },
        outgoing: { ...old, name: archive, state: 'retired' },
      });
      await locked.change([...steps, writeJournal(promoted)], noteOn('promote', { ...made, name }));
      return promoted;
    });
  });
}

/** Reverses a promotion: the name means the old key again, the successor its own name. */
export async function demote(
  store: Keystore,
  locked: LockedKey,
  journal: RotationJournal & { readonly archive: string },
): Promise<RotationJournal> {
  const { name, successor, archive } = journal;
  return store.withLock(archive, (kept) =>
    store.withLock(successor, async (next) => {
      await next.requireFree();
      const [made, old] = [await locked.read(), await kept.read()];
      const aborting: RotationJournal = { ...journal, stage: 'aborting', archive: null, promotedAt: null };
      const steps = await exchangeSteps(store, {
        name,
        incoming: { ...old, state: 'registered' },
        outgoing: { ...made, name: successor },
      });
      await locked.change([...steps, writeJournal(aborting)], noteOn('demote', { ...made, name }));
      return aborting;
    }),
  );
}

/**
 * Ends a rotation that was aborted: the successor's files and the journal go at once. The files are deleted where the
 * exchange certainly has no such key; otherwise, since a request may still be carried out, they are moved to retired/.
 */
export async function dropSuccessor(
  store: Keystore,
  { locked, journal }: { readonly locked: LockedKey; readonly journal: RotationJournal },
  certainlyGone: boolean,
): Promise<void> {
  const { successor } = journal;
  const note = noteOn('abort rotation', await locked.read());
  await store.withLock(successor, async (next) => {
    const drop: readonly Step[] = certainlyGone
      ? Object.values(fileNames(successor)).map((file) => ({ do: 'delete', file }))
      : (await stepsToRetire(store, await next.read())).steps;
    await locked.change([...drop, deleteJournal(journal.name)], note);
  });
}
