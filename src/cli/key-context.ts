import type { Secret } from '../crypto/secret.js';
import type { KeyRecord } from '../keystore/record.js';
import type { WorkflowContext } from '../workflows/context.js';
import type { KeyContext } from '../workflows/policy/apply-policy.js';
import type { Context } from './context.js';

/** The means for one key: it and its successor have one passphrase, which is asked for once, under the first name. */
export async function keyContext(
  cx: Context,
  workflow: WorkflowContext,
  passphraseOf: (record: KeyRecord) => Promise<Secret> = cx.passphraseOf,
): Promise<KeyContext> {
  const { localSuccessor } = await import('../workflows/rotation/successor.js');
  const { successorAnywhere } = await import('../workflows/external-keys.js');
  const { openPrivateKey } = await import('../keystore/open-key.js');
  const { localSigner } = await import('../crypto/signer.js');
  const { store, permissions } = cx;
  let asked: Promise<Secret> | undefined;
  const passphrase = (record: KeyRecord) => {
    asked ??= passphraseOf(record);
    return asked;
  };
  const signerOf = async (record: KeyRecord) => {
    if (!record.encrypted || record.signer !== null) return workflow.signerOf(record);
    return localSigner(await openPrivateKey(store, record, { passphrase: () => passphrase(record), permissions }));
  };
  const inFile = localSuccessor(store, passphrase, permissions);
  return { context: { ...workflow, signerOf }, makeSuccessor: successorAnywhere(store, inFile, cx.signerAccess) };
}
