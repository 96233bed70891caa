import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesToHex } from '../../crypto/bytes.js';
import { generateKeyPair } from '../../crypto/generate.js';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import { makePrivateFolder, readFileOrNull, replaceFile } from '../../keystore/files.js';
import { isRecord, isTexts, parseJsonObject } from '../../util/checks.js';
import { withAccount } from '../account/account.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { PROBES } from './facts.js';
import { type Lab, openLab } from './lab.js';

/** One fact about the exchange. */
export interface Fact {
  readonly fact: string;
  /** What this package and its sandbox assume. */
  readonly expected: string;
  readonly observed: string;
  /** Null where the exchange did not show enough to tell. */
  readonly agrees: boolean | null;
}

interface Conformance {
  readonly facts: readonly Fact[];
  /** Whether every key that this run or an interrupted one made was removed again. */
  readonly cleaned: boolean;
}

/** Removing what was made must not wait for ever, and goes on after an interrupt. */
const CLEANUP_MS = 60_000;

/** Labels may hold letters, digits and underscores, 16 at the most. */
const PREFIX = /^cf_[0-9a-f]{8}_$/;

/**
 * Settles on a real account what is not documented: makes throw-away keys (Ed25519 and RSA, `account:read`), observes
 * how the exchange treats them, and removes them. A difference is a result, not an error.
 *
 * The private keys of throw-away keys are never written to disk: they can only read, and are removed at the end. Their
 * label prefix is written to the keystore's folder first, so that the next run removes what a killed one left behind.
 *
 * @param onFact called when a fact is settled
 * @throws `ERR_UNAUTHORIZED` where the login lacks `account:read_write`, and what the transport, the second factor
 *   and the keystore's folder throw; what was made is removed before that
 */
export function checkConformance(
  context: WorkflowContext,
  login: AccountLogin,
  { onFact }: { readonly onFact?: (fact: Fact) => void } = {},
): Promise<Conformance> {
  // one run at a time: each removes what the journal says another one left
  return context.store.withLock('conformance', () => runLocked(context, login, onFact));
}

async function runLocked(
  context: WorkflowContext,
  login: AccountLogin,
  onFact?: (fact: Fact) => void,
): Promise<Conformance> {
  const journal = join(context.store.folder, '.conformance.json');
  await makePrivateFolder(context.store.folder);
  const left = await readPrefixes(journal);
  const prefix = `cf_${bytesToHex(crypto.getRandomValues(new Uint8Array(4)))}_`;
  /** Of the keys that may be there: without a login, none is made. */
  let prefixes = left;
  const facts: Fact[] = [];
  let cleaned = false;
  try {
    await withAccount(context, { login, level: 'read_write' }, async (account) => {
      if (left.length > 0) {
        context.onNote?.('an earlier run was interrupted: removing the keys that it made');
        await removeKeys(openLab(context, login, { account, prefix }), left);
      }
      prefixes = [...left, prefix];
      await replaceFile(journal, `${JSON.stringify({ prefixes })}\n`);
      const lab = openLab(context, login, { account, prefix });
      const ed25519 = await lab.create(await generateKeyPair());
      const rsa = await lab.create(await generateKeyPair({ type: 'rsa', bits: 2048 }));
      for (const { fact, expected, observe } of PROBES) {
        context.signal?.throwIfAborted();
        const observed = await observe(lab, { ed25519, rsa });
        const agrees = observed === null ? null : observed === expected;
        const settled = { fact, expected, observed: observed ?? 'not shown', agrees };
        facts.push(settled);
        onFact?.(settled);
      }
    });
  } finally {
    cleaned = prefixes.length === 0 || (await cleanUp(context, login, prefixes));
    if (cleaned) await unlink(journal).catch(() => {});
  }
  return { facts, cleaned };
}

/** Removes what carries one of these prefixes, on a login of its own; false where something may be left. */
async function cleanUp(context: WorkflowContext, login: AccountLogin, prefixes: readonly string[]): Promise<boolean> {
  const signal = AbortSignal.timeout(CLEANUP_MS);
  const uninterrupted: WorkflowContext = {
    ...context,
    signal,
    connect: (endpoint) => context.connect(endpoint, { signal }),
  };
  try {
    return await withAccount(uninterrupted, { login, level: 'read_write' }, (account) =>
      removeKeys(openLab(uninterrupted, login, { account, prefix: '' }), prefixes),
    );
  } catch (error) {
    context.onNote?.(
      `the throw-away keys could not be removed (${isDeribitKeysError(error) ? error.message : 'internal error'}): run the same command again, or remove the keys named ${prefixes.join('…, ')}… on Deribit's web page`,
    );
    return false;
  }
}

async function removeKeys(lab: Lab, prefixes: readonly string[]): Promise<boolean> {
  const isOurs = (name: unknown) => typeof name === 'string' && prefixes.some((prefix) => name.startsWith(prefix));
  const ours = async () => {
    const keys = await lab.ask('private/list_api_keys');
    return Array.isArray(keys) ? keys.filter(isRecord).filter(({ name }) => isOurs(name)) : [];
  };
  for (const { id } of await ours()) await lab.remove({ keyId: Number(id) });
  return (await ours()).length === 0;
}

async function readPrefixes(path: string): Promise<readonly string[]> {
  const content = await readFileOrNull(path);
  if (content === null) return [];
  const journal = parseJsonObject(content.toString('utf8'));
  const prefixes = typeof journal === 'string' ? null : journal.prefixes;
  if (isTexts(prefixes) && prefixes.every((prefix) => PREFIX.test(prefix))) return prefixes;
  throw new DeribitKeysError('ERR_RECORD_DAMAGED', `the journal ${path} is damaged`, {
    hint: "look for API keys named cf_… on Deribit's web page, remove them, and delete that file",
  });
}
