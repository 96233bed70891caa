import { parseDuration } from '../../util/text.js';
import type { Define } from '../program.js';

interface AgentLoadFlags {
  readonly socket?: string;
  readonly lifetime?: string;
  readonly confirm?: true;
}

export const define: Define = (command, { act }) => {
  command
    .argument('<name>')
    .option('--socket <path>', "the agent's socket (env SSH_AUTH_SOCK)")
    .option('--lifetime <duration>', 'the agent forgets the key after this time, such as 12h')
    .option('--confirm', 'the agent asks before each signature')
    .examples('agent-load bot --lifetime 12h', 'agent-load bot --confirm')
    .action(
      act(async (cx, name: string, flags: AgentLoadFlags) => {
        const { loadKeyIntoAgent } = await import('../../signers/ssh-agent/identities.js');
        const { requirePrivateFile } = await import('../../keystore/stored-keys.js');
        const lifetimeS = flags.lifetime === undefined ? undefined : parseDuration(flags.lifetime) / 1000;
        const record = await cx.store.read(name);
        requirePrivateFile(record);
        const { key } = await cx.openKey(record);
        const { socket, confirm = false } = flags;
        const { env, load, timeoutMs } = cx.signerAccess;
        const agent = { socket: socket ?? env.SSH_AUTH_SOCK ?? '', load, timeoutMs };
        const { fingerprint, comment } = await loadKeyIntoAgent(key, { ...agent, comment: name, confirm, lifetimeS });
        await cx.store.audit({ action: 'agent-load', name, fingerprint: record.fingerprint });
        const loaded = { name, sshFingerprint: fingerprint, comment, lifetimeS: lifetimeS ?? null, confirm };
        cx.out.result(loaded, () => `loaded into the ssh-agent: ${fingerprint} ${comment}`);
        cx.out.note(`to use it from there: deribit-keys add-agent <other name> --fingerprint ${fingerprint}`);
      }),
    );
};
