import { createHash } from 'node:crypto';
import { engine } from '#engine';
import { buildPublicKey } from '../../crypto/build-keys.js';
import { concatBytes, uint32Bytes } from '../../crypto/bytes.js';
import { encodeOpensshPrivate, readOpensshEnvelope } from '../../crypto/formats/openssh-private.js';
import {
  checkSshKeyType,
  isSshCertificateType,
  readSshPublicBlob,
  sshKeyType,
  WireReader,
  wireString,
} from '../../crypto/formats/ssh-public.js';
import type { PrivateKey, PublicKey } from '../../crypto/keys.js';
import { signerError } from '../../crypto/signer.js';
import { DeribitKeysError, usageError } from '../../errors.js';
import { type AgentConnection, connectAgent, nonsense, type SshAgentOptions } from './connection.js';

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
    throw usageError(
      `a text of ${choice.fingerprint.length} characters is not a SHA-256 fingerprint`,
      'use the form of ssh-add -l: SHA256: and 43 characters',
    );
  }
  const found = identities.filter((identity) => matches(identity, choice));
  const usable = distinct(found.filter(isUsable));
  const [first, second] = usable;
  if (first !== undefined && second === undefined) return first;
  if (second !== undefined) {
    throw usageError(
      `the ssh-agent has ${usable.length} keys ${wanted(choice)}`,
      `name one by --fingerprint: ${usable.slice(0, SHOWN).map(describe).join(', ')}`,
    );
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
  const shown = distinct(identities);
  const more = shown.length > SHOWN ? `, and ${shown.length - SHOWN} more` : '';
  return signerError(
    `the ssh-agent has no key ${wanted(choice)}`,
    `it has: ${shown.slice(0, SHOWN).map(describe).join(', ')}${more}`,
  );
}

/** How a key is loaded into an agent. */
export interface LoadKeyOptions extends SshAgentOptions {
  /** Shown beside the key by `ssh-add -l`: one line. */
  readonly comment: string;
  /** Seconds after which the agent forgets the key; default: never. */
  readonly lifetimeS?: number | undefined;
  /** Whether the agent asks its user before each signature. */
  readonly confirm?: boolean | undefined;
}

const ADD_IDENTITY = 17;
const ADD_ID_CONSTRAINED = 25;
const REMOVE_IDENTITY = 18;
const SUCCESS = 6;
const CONSTRAIN_LIFETIME = 1;
const CONSTRAIN_CONFIRM = 2;
const MAX_LIFETIME_S = 0xffff_ffff;
const LOAD_TIMEOUT_MS = 60_000;

/**
 * Loads a private key into a running agent, and checks that it lists the key. A key that the agent has already gets the
 * new lifetime and confirmation.
 * @throws `ERR_SIGNER` if the agent does not accept it; `ERR_USAGE` for an invalid lifetime or comment
 */
export async function loadKeyIntoAgent(key: PrivateKey, options: LoadKeyOptions): Promise<AgentIdentity> {
  const { comment, lifetimeS, confirm = false } = options;
  if (lifetimeS !== undefined && !(Number.isInteger(lifetimeS) && lifetimeS > 0 && lifetimeS <= MAX_LIFETIME_S)) {
    throw usageError(`a lifetime is a number of seconds from 1 to ${MAX_LIFETIME_S}`);
  }
  if (/\p{Cc}/u.test(comment)) throw usageError('a comment is one line without control characters');
  const agent = await connectAgent(options);
  const constraints = concatBytes(
    ...(lifetimeS === undefined ? [] : [Uint8Array.of(CONSTRAIN_LIFETIME), uint32Bytes(lifetimeS)]),
    ...(confirm ? [Uint8Array.of(CONSTRAIN_CONFIRM)] : []),
  );
  const secret = await agentForm(key, comment);
  const type = constraints.length === 0 ? ADD_IDENTITY : ADD_ID_CONSTRAINED;
  const request = concatBytes(Uint8Array.of(type), secret, constraints);
  try {
    const [answer] = await agent.exchange(request, LOAD_TIMEOUT_MS);
    if (answer !== SUCCESS) throw await refused(agent, constraints.length > 0);
  } finally {
    secret.fill(0);
    request.fill(0);
  }
  return chooseIdentity(await listIdentities(agent), { publicKey: key.publicKey });
}

/** Removes a key from an agent. It makes no difference whether it was there. */
export async function removeKeyFromAgent(identity: AgentIdentity, options: SshAgentOptions): Promise<void> {
  const agent = await connectAgent(options);
  await agent.exchange(concatBytes(Uint8Array.of(REMOVE_IDENTITY), wireString(identity.blob)), LOAD_TIMEOUT_MS);
}

/**
 * A private key in the form that agents accept: the secret part of a private key file (draft-ietf-sshm-ssh-agent §3.2,
 * OpenSSH's PROTOCOL.key), without the check numbers before it and the padding after it.
 */
async function agentForm(key: PrivateKey, comment: string): Promise<Uint8Array> {
  const { secret } = readOpensshEnvelope(await encodeOpensshPrivate(key, { comment, passphrase: undefined }, engine));
  const reader = new WireReader(secret);
  reader.take(8, 'check numbers');
  const numbers = reader.name('key type') === 'ssh-rsa' ? 6 : 2;
  for (let i = 0; i < numbers; i += 1) reader.string('number');
  reader.string('comment');
  const form = secret.slice(8, secret.length - reader.rest().length);
  secret.fill(0);
  return form;
}

async function refused(agent: AgentConnection, constrained: boolean): Promise<DeribitKeysError> {
  const empty = (await listIdentities(agent)).length === 0;
  const reasons = [
    ...(empty ? ['it may be locked (ssh-add -X)'] : []),
    ...(constrained ? ['it may not support lifetimes or confirmations'] : []),
    'it may accept no keys from outside, as password managers do',
  ];
  return signerError(`the ssh-agent on ${agent.socket} does not accept the key`, reasons.join('; '));
}
