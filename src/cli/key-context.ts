import type { KeyRecord } from '../keystore/record.js';
import type { WorkflowContext } from '../workflows/context.js';
import type { KeyContext } from '../workflows/policy/apply-policy.js';
import type { Context, OpenedKey } from './context.js';

/** What work on one key needs: the key and its successor have one passphrase, which is asked for only once. */
export async function keyContext(
  cx: Context,
  workflow: WorkflowContext,
  openKey: (record: KeyRecord) => Promise<OpenedKey> = cx.openKey,
): Promise<KeyContext> {
  const { localSuccessor } = await import('../workflows/rotation/successor.js');
  const { successorAnywhere } = await import('../workflows/external-keys.js');
  const { openPrivateKey } = await import('../keystore/open-key.js');
  const { localSigner } = await import('../crypto/signer.js');
  const { store, permissions } = cx;
  const opened = new Map<string, Promise<OpenedKey>>();
  let first: Promise<OpenedKey> | undefined;
  const openOnce = (record: KeyRecord) => {
    const known = opened.get(record.fingerprint) ?? open(record);
    opened.set(record.fingerprint, known);
    return known;
  };
  const open = async (record: KeyRecord): Promise<OpenedKey> => {
    const passphrase = (await first)?.passphrase ?? null;
    if (passphrase === null) {
      first = openKey(record);
      return first;
    }
    return {
      key: await openPrivateKey(store, record, { passphrase: async () => passphrase, permissions }),
      passphrase,
    };
  };
  const signerOf = async (record: KeyRecord) => {
    if (!record.encrypted || record.signer !== null) return workflow.signerOf(record);
    return localSigner((await openOnce(record)).key);
  };
  const passphraseOf = async (record: KeyRecord) => (await openOnce(record)).passphrase;
  const inFile = localSuccessor(store, passphraseOf);
  return { context: { ...workflow, signerOf }, makeSuccessor: successorAnywhere(store, inFile, cx.signerAccess) };
}
