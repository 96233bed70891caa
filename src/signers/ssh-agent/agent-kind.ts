import { DeribitKeysError, usageError } from '../../errors.js';
import { isText } from '../../util/checks.js';
import { parseDuration } from '../../util/text.js';
import { fits, isTextOrNull, MAKES, type SignerAccess, type SignerKind, textOf } from '../signer-kind.js';
import type { SshAgentSigner } from './ssh-agent-signer.js';

/** A key in an ssh-agent, as a record keeps it. */
export interface AgentLocation {
  readonly kind: 'ssh-agent';
  /** As `ssh-add -l` shows it. */
  readonly fingerprint: string;
  readonly comment: string | null;
  /** Null for the socket of the user's SSH_AUTH_SOCK. */
  readonly socket: string | null;
}

export type AgentTarget = Pick<AgentLocation, 'kind' | 'socket'>;

const agentOf = (access: SignerAccess, socket: string | null) => ({
  socket: socket ?? access.env.SSH_AUTH_SOCK ?? '',
  load: access.load,
  timeoutMs: access.timeoutMs,
});

const locationOf = ({ sshFingerprint, comment }: SshAgentSigner, socket: string | null): AgentLocation => ({
  kind: 'ssh-agent',
  fingerprint: sshFingerprint,
  comment,
  socket,
});

/** Keys in a running ssh-agent. */
export const AGENT_KIND: SignerKind<AgentLocation, AgentTarget> = {
  kind: 'ssh-agent',
  add: {
    command: 'add-agent',
    description: 'Use a key that a running ssh-agent holds',
    examples: ['--comment bot@desk', '--fingerprint SHA256:… --socket ~/.1password/agent.sock'],
  },
  make: {
    flag: '--in-agent',
    description: 'in the running ssh-agent, never on disk',
    examples: ['--in-agent --lifetime 12h'],
  },
  options: [
    { flags: '--fingerprint <SHA256:…>', description: 'the key, as ssh-add -l shows it …', on: ['add'] },
    { flags: '--comment <text>', description: '… or its comment there', on: ['add'] },
    {
      flags: '--socket <path>',
      description: 'the socket of the agent, which is remembered (default: env SSH_AUTH_SOCK, which is not)',
    },
    {
      flags: '--lifetime <duration>',
      description: 'the agent forgets the key after this time, such as 12h',
      on: MAKES,
    },
    { flags: '--confirm', description: 'the agent asks before each signature', on: MAKES },
  ],
  isLocation: (value) => fits(value, 'ssh-agent', { fingerprint: isText, comment: isTextOrNull, socket: isTextOrNull }),
  isTarget: (value) => fits(value, 'ssh-agent', { socket: isTextOrNull }),
  describe: ({ fingerprint, comment, socket }) =>
    ['ssh-agent', fingerprint, comment, socket === null ? null : `on ${socket}`].filter(Boolean).join(' '),
  describeTarget: ({ socket }) => (socket === null ? 'an ssh-agent' : `the ssh-agent on ${socket}`),
  targetOf: ({ socket }) => ({ kind: 'ssh-agent', socket }),
  targetFrom: (values) => ({ kind: 'ssh-agent', socket: textOf(values, 'socket') }),
  valuesOf: (name, { socket }) => ({ comment: name, socket: socket ?? undefined }),
  async open({ fingerprint, socket }, access) {
    const { sshAgentSigner } = await import('./ssh-agent-signer.js');
    return sshAgentSigner({ fingerprint, ...agentOf(access, socket) });
  },
  async hold(values, access) {
    const [fingerprint, comment] = [textOf(values, 'fingerprint'), textOf(values, 'comment')];
    if ((fingerprint === null) === (comment === null)) {
      throw usageError(
        'the key of the agent is named by --fingerprint or by --comment',
        'ssh-add -l shows both; give one of them',
      );
    }
    const { sshAgentSigner } = await import('./ssh-agent-signer.js');
    const socket = textOf(values, 'socket');
    const choice = comment === null ? { fingerprint: fingerprint ?? '' } : { comment };
    const signer = await sshAgentSigner({ ...choice, ...agentOf(access, socket) });
    return { publicKey: signer.publicKey, location: locationOf(signer, socket) };
  },
  async generate({ key: { name, exclusive, ...key }, target: { socket }, values, access }) {
    const { generateKeyPair } = await import('../../crypto/generate.js');
    const { connectAgent } = await import('./connection.js');
    const { listIdentities, loadKeyIntoAgent, removeKeyFromAgent } = await import('./identities.js');
    const { sshAgentSigner } = await import('./ssh-agent-signer.js');
    const lifetime = textOf(values, 'lifetime');
    const lifetimeS = lifetime === null ? undefined : parseDuration(lifetime) / 1000;
    const agent = agentOf(access, socket);
    if (exclusive) {
      const identities = await listIdentities(await connectAgent(agent));
      if (identities.some(({ comment }) => comment === name)) {
        throw new DeribitKeysError('ERR_NAME_TAKEN', `the ssh-agent has a key with the comment "${name}" already`, {
          hint: `use it with deribit-keys add-agent <name> --comment ${name}`,
        });
      }
    }
    const pair = await generateKeyPair(key);
    const confirm = values.confirm === true;
    const identity = await loadKeyIntoAgent(pair, { ...agent, comment: name, lifetimeS, confirm });
    const signer = await sshAgentSigner({ fingerprint: identity.fingerprint, ...agent }).catch(async (error) => {
      await removeKeyFromAgent(identity, agent).catch(() => {});
      throw error;
    });
    return {
      publicKey: pair.publicKey,
      location: locationOf(signer, socket),
      recover: `the key is in the agent: deribit-keys add-agent <name> --fingerprint ${identity.fingerprint}`,
    };
  },
  warning(values) {
    const lifetime = textOf(values, 'lifetime');
    return `the private key is only in the agent: it is lost when the agent ends${lifetime === null ? '' : `, or after ${lifetime}`}`;
  },
};
