import { KMS_KIND, type KmsLocation, type KmsTarget } from './kms/kms-kind.js';
import { TOKEN_KIND, type TokenLocation, type TokenTarget } from './pkcs11/token-kind.js';
import type { SignerKind } from './signer-kind.js';
import { AGENT_KIND, type AgentLocation, type AgentTarget } from './ssh-agent/agent-kind.js';
import { VAULT_KIND, type VaultLocation, type VaultTarget } from './vault/vault-kind.js';

export type { KindOption, NewKey, OptionUse, OptionValues, SignerAccess } from './signer-kind.js';
export type { AgentLocation, KmsLocation, TokenLocation, VaultLocation };

/** Where a private key lives that is not a file of the keystore. */
export type SignerLocation = AgentLocation | TokenLocation | VaultLocation | KmsLocation;

/** Where a private key that is not a file of the keystore can be made. */
export type SignerTarget = AgentTarget | TokenTarget | VaultTarget | KmsTarget;

export type AnySignerKind = SignerKind<SignerLocation, SignerTarget>;

/**
 * Every kind of place where a private key can live outside of the keystore. The entries hold what every command may need;
 * what opens, adds and makes keys is loaded when it is called.
 */
export const SIGNER_KINDS: readonly AnySignerKind[] = [AGENT_KIND, TOKEN_KIND, VAULT_KIND, KMS_KIND];

/** The entry of a location's or a target's kind. */
export function kindOf({ kind }: Pick<SignerLocation, 'kind'>): AnySignerKind {
  const found = SIGNER_KINDS.find((entry) => entry.kind === kind);
  if (found === undefined) throw new TypeError(`unknown kind of signer: ${kind}`);
  return found;
}

/** Whether `value`, from a record, says where a key lives. */
export function isSignerLocation(value: unknown): value is SignerLocation {
  return SIGNER_KINDS.some((kind) => kind.isLocation(value));
}

/** Whether `value`, from a journal, says where a key can be made. */
export function isSignerTarget(value: unknown): value is SignerTarget {
  return SIGNER_KINDS.some((kind) => kind.isTarget(value));
}
