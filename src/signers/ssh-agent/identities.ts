import { createHash } from 'node:crypto';
import { buildPublicKey } from '../../crypto/build-keys.js';
import {
  checkSshKeyType,
  isSshCertificateType,
  readSshPublicBlob,
  sshKeyType,
} from '../../crypto/formats/ssh-public.js';
import { WireReader } from '../../crypto/formats/ssh-wire.js';
import type { PublicKey } from '../../crypto/keys.js';
import { signerError } from '../../crypto/signer.js';
import { DeribitKeysError } from '../../errors.js';
import { type AgentConnection, nonsense } from './connection.js';

/** A key that an agent offers. */
export interface AgentIdentity {
  /** The key as SSH encodes it (RFC 4253 §6.6, RFC 8709 §4). */
  readonly blob: Uint8Array;
  /** Its type's name, such as `ssh-ed25519`. */
  readonly type: string;
  /** SHA-256 of the blob as `ssh-add -l` shows it: `SHA256:` and base64 without padding. */
  readonly fingerprint: string;
  readonly comment: string;
}

/** Names a key of an agent by one of three properties. */
export type AgentKeyChoice =
  | { readonly fingerprint: string; readonly publicKey?: never; readonly comment?: never }
  | { readonly publicKey: PublicKey; readonly fingerprint?: never; readonly comment?: never }
  | { readonly comment: string; readonly fingerprint?: never; readonly publicKey?: never };

const REQUEST_IDENTITIES = 11;
const IDENTITIES_ANSWER = 12;
/** SSH_AGENT_FAILURE, and those of older agents (draft-ietf-sshm-ssh-agent §6.1, §9). */
const FAILURES: ReadonlySet<number> = new Set([5, 28, 30, 102]);
const LIST_TIMEOUT_MS = 10_000;
const SHOWN = 8;

/** The fingerprint that `ssh-add -l` shows for a key blob. */
export function sshFingerprint(blob: Uint8Array): string {
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`;
}

/**
 * The keys that the agent offers, also those that Deribit cannot use. A locked agent shows none, or refuses.
 * @throws `ERR_SIGNER`
 */
export async function listIdentities(agent: AgentConnection): Promise<readonly AgentIdentity[]> {
  const answer = await agent.exchange(Uint8Array.of(REQUEST_IDENTITIES), LIST_TIMEOUT_MS);
  if (answer[0] !== undefined && FAILURES.has(answer[0])) {
    throw signerError(
      `the ssh-agent on ${agent.socket} refuses to list its keys: it may be locked`,
      'unlock it (ssh-add -X, or the password manager that it belongs to), then try: ssh-add -l',
    );
  }
  try {
    return parseIdentities(answer);
  } catch (cause) {
    throw nonsense(agent.socket, cause);
  }
}

/** Reads an SSH_AGENT_IDENTITIES_ANSWER (draft-ietf-sshm-ssh-agent §3.5). @throws `ERR_KEY_UNREADABLE` */
export function parseIdentities(answer: Uint8Array): readonly AgentIdentity[] {
  const reader = new WireReader(answer);
  const [type] = reader.take(1, 'type of the answer');
  if (type !== IDENTITIES_ANSWER) throw new DeribitKeysError('ERR_KEY_UNREADABLE', 'the answer is not a list of keys');
  const count = reader.uint32('number of keys');
  const identities: AgentIdentity[] = [];
  for (let i = 0; i < count; i += 1) {
    const blob = reader.string('key');
    const comment = new TextDecoder().decode(reader.string('comment'));
    identities.push({ blob, type: sshKeyType(blob), fingerprint: sshFingerprint(blob), comment });
  }
  return identities;
}

const describe = ({ fingerprint, comment, type }: AgentIdentity) => `${fingerprint} ${comment} (${type})`;

function wanted(choice: AgentKeyChoice): string {
  if (choice.publicKey !== undefined) return 'with this public key';
  return choice.comment === undefined ? choice.fingerprint : `with the comment "${choice.comment}"`;
}

function matches(identity: AgentIdentity, choice: AgentKeyChoice): boolean {
  if (choice.comment !== undefined) return identity.comment === choice.comment;
  if (choice.fingerprint !== undefined) return identity.fingerprint === choice.fingerprint.replace(/=+$/, '');
  return isUsable(identity) && identityKey(identity).equals(choice.publicKey);
}

const isUsable = ({ type }: AgentIdentity) => type === 'ssh-ed25519' || type === 'ssh-rsa';

/** The public key of an identity, checked. @throws `ERR_KEY_UNSUPPORTED`, `ERR_KEY_INVALID`, `ERR_KEY_UNREADABLE` */
export function identityKey(identity: AgentIdentity): PublicKey {
  checkSshKeyType(identity.type);
  return buildPublicKey(readSshPublicBlob(identity.blob));
}

/**
 * The key of `identities` that `choice` names.
 * @throws `ERR_SIGNER` if it is not found; `ERR_KEY_UNSUPPORTED` for a key that cannot sign for Deribit, such as one of a
 *   FIDO device; `ERR_USAGE` if several keys match
 */
export function chooseIdentity(identities: readonly AgentIdentity[], choice: AgentKeyChoice): AgentIdentity {
  if (choice.fingerprint !== undefined && !/^SHA256:[A-Za-z0-9+/]{43}=?$/.test(choice.fingerprint)) {
    throw new DeribitKeysError(
      'ERR_USAGE',
      `a text of ${choice.fingerprint.length} characters is not a SHA-256 fingerprint`,
      {
        hint: 'use the form of ssh-add -l: SHA256: and 43 characters',
      },
    );
  }
  const found = identities.filter((identity) => matches(identity, choice));
  const usable = distinct(found.filter(isUsable));
  const [first, second] = usable;
  if (first !== undefined && second === undefined) return first;
  if (second !== undefined) {
    throw new DeribitKeysError('ERR_USAGE', `the ssh-agent has ${usable.length} keys ${wanted(choice)}`, {
      hint: `name one by --fingerprint: ${usable.slice(0, SHOWN).map(describe).join(', ')}`,
    });
  }
  const [unusable] = found;
  if (unusable === undefined) throw notThere(identities, choice);
  if (isSshCertificateType(unusable.type)) {
    throw new DeribitKeysError('ERR_KEY_UNSUPPORTED', `${describe(unusable)} is a certificate, not a key`, {
      hint: 'name the key that the certificate is for',
    });
  }
  checkSshKeyType(unusable.type);
  return unusable;
}

/** Without repetitions: an agent may list a key once for each time that it was added. */
function distinct(identities: readonly AgentIdentity[]): readonly AgentIdentity[] {
  return [...new Map(identities.map((identity) => [identity.fingerprint, identity])).values()];
}

function notThere(identities: readonly AgentIdentity[], choice: AgentKeyChoice): DeribitKeysError {
  if (identities.length === 0) {
    return signerError(
      `the ssh-agent shows no keys, so none ${wanted(choice)}: it is empty or locked`,
      'unlock it (ssh-add -X), or load the key (deribit-keys agent-load <name>, ssh-add <file>)',
    );
  }
  const more = identities.length > SHOWN ? `, and ${identities.length - SHOWN} more` : '';
  return signerError(
    `the ssh-agent has no key ${wanted(choice)}`,
    `it has: ${identities.slice(0, SHOWN).map(describe).join(', ')}${more}`,
  );
}
