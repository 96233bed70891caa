import { proveSigner, type Signer, signatureLength, signerError } from '../../crypto/signer.js';
import type { DeribitKeysError } from '../../errors.js';
import { concurrencyLimit } from '../signer-kind.js';
import { type AgentConnection, connectAgent, type SshAgentOptions } from './connection.js';
import { type AgentIdentity, type AgentKeyChoice, chooseIdentity, identityKey, listIdentities } from './identities.js';

/** The arguments of {@link sshAgentSigner}. */
export type SshAgentSignerOptions = AgentKeyChoice & SshAgentOptions;

/** A signer whose key an agent holds. */
export interface SshAgentSigner extends Signer {
  /** As `ssh-add -l` shows it. */
  readonly sshFingerprint: string;
  readonly comment: string;
}

/** Deribit accepts a login for 60 s: a later signature is useless. */
const SIGN_TIMEOUT_MS = 60_000;
/** Connections at a time: the queue of an agent is short. */
const CONNECTIONS = 8;

/**
 * A signer whose Ed25519 or RSA key a running ssh-agent holds: OpenSSH's, or any that speaks its protocol
 * (draft-ietf-sshm-ssh-agent). RSA is signed with SHA-256 (flag 2). It needs the optional package `ssh2`, and proves
 * itself once before it is returned.
 * @throws `ERR_SIGNER` for no agent, no such key, a refusal; `ERR_KEY_UNSUPPORTED` for FIDO and other keys that cannot
 *   sign for Deribit; `ERR_USAGE` if the choice matches several keys
 */
export async function sshAgentSigner(options: SshAgentSignerOptions): Promise<SshAgentSigner> {
  const agent = await connectAgent(options);
  const identity = chooseIdentity(await listIdentities(agent), options);
  const publicKey = identityKey(identity);
  const { algorithm } = publicKey;
  const length = signatureLength(publicKey);
  const limited = concurrencyLimit(CONNECTIONS);
  const sign = agent.signWith(identity.blob, algorithm === 'rsa', SIGN_TIMEOUT_MS);
  return proveSigner(
    {
      algorithm,
      publicKey,
      sshFingerprint: identity.fingerprint,
      comment: identity.comment,
      sign: (message) =>
        limited(async () => {
          const signature = await sign(message);
          if (signature === null) throw await explainRefusal(agent, identity);
          return fullLength(signature, length);
        }),
    },
    `the ssh-agent's key ${identity.fingerprint}`,
  );
}

/** A refusal has no reason in the protocol: the list of keys shows the likely one. */
async function explainRefusal(agent: AgentConnection, { fingerprint }: AgentIdentity): Promise<DeribitKeysError> {
  const identities = await listIdentities(agent);
  if (identities.length === 0) {
    return signerError(
      `the ssh-agent shows no keys any more, so it cannot sign with ${fingerprint}: it was locked or emptied`,
      'unlock it (ssh-add -X), or load the key again',
    );
  }
  if (!identities.some((other) => other.fingerprint === fingerprint)) {
    return signerError(
      `the key ${fingerprint} is no longer in the ssh-agent`,
      'it was removed or its lifetime is over: load it again',
    );
  }
  return signerError(
    `the ssh-agent refuses to sign with ${fingerprint}`,
    'the confirmation was denied, or the agent could not ask for it (ssh-askpass)',
  );
}

/** Some agents omit the leading zeros of an RSA signature, which RFC 8332 §3 requires. */
function fullLength(signature: Uint8Array, length: number): Uint8Array {
  if (signature.length > length || signature.length === 0) {
    throw signerError(
      `the ssh-agent returned a signature of ${signature.length} bytes instead of ${length}`,
      'use another agent, and report this to its authors',
    );
  }
  const padded = new Uint8Array(length);
  padded.set(signature, length - signature.length);
  return padded;
}
