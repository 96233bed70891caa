import { engine } from '#engine';
import { concatBytes } from '../../crypto/bytes.js';
import { encodeOpensshPrivate, readOpensshEnvelope } from '../../crypto/formats/openssh-private.js';
import { WireReader, wireUint32 } from '../../crypto/formats/ssh-wire.js';
import type { PrivateKey } from '../../crypto/keys.js';
import { signerError } from '../../crypto/signer.js';
import { DeribitKeysError } from '../../errors.js';
import type { LoadPackage } from '../optional-package.js';
import { type AgentConnection, connectAgent } from './connection.js';
import { type AgentIdentity, chooseIdentity, listIdentities } from './identities.js';

export interface LoadKeyOptions {
  /** Default: the environment variable SSH_AUTH_SOCK. */
  readonly socket?: string | undefined;
  /** Shown beside the key by `ssh-add -l`: one line. */
  readonly comment: string;
  /** Seconds after which the agent forgets the key; default: never. */
  readonly lifetimeS?: number | undefined;
  /** Whether the agent asks its user before each signature. */
  readonly confirm?: boolean | undefined;
  readonly load?: LoadPackage | undefined;
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
    throw new DeribitKeysError('ERR_USAGE', `a lifetime is a number of seconds from 1 to ${MAX_LIFETIME_S}`);
  }
  if (/\p{Cc}/u.test(comment))
    throw new DeribitKeysError('ERR_USAGE', 'a comment is one line without control characters');
  const agent = await connectAgent(options.socket ?? process.env.SSH_AUTH_SOCK, options.load);
  const constraints = concatBytes(
    ...(lifetimeS === undefined ? [] : [Uint8Array.of(CONSTRAIN_LIFETIME), wireUint32(lifetimeS)]),
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
export async function removeKeyFromAgent(
  identity: AgentIdentity,
  options: Pick<LoadKeyOptions, 'socket' | 'load'>,
): Promise<void> {
  const agent = await connectAgent(options.socket ?? process.env.SSH_AUTH_SOCK, options.load);
  await agent.exchange(
    concatBytes(Uint8Array.of(REMOVE_IDENTITY), wireUint32(identity.blob.length), identity.blob),
    LOAD_TIMEOUT_MS,
  );
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
