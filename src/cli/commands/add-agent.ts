import type { Command } from 'commander';
import { DeribitKeysError } from '../../errors.js';
import { examples } from '../options.js';
import type { Act } from '../program.js';
import { showStoredKey } from './generate.js';

interface AddAgentFlags {
  readonly fingerprint?: string;
  readonly comment?: string;
  readonly socket?: string;
}

export function defineAddAgent(program: Command, act: Act): void {
  program
    .command('add-agent')
    .description('use a key that a running ssh-agent holds')
    .argument('<name>', 'what to call it here')
    .option('--fingerprint <SHA256:…>', 'the key, as ssh-add -l shows it; or …')
    .option('--comment <text>', '… by the comment that stands beside it there')
    .option('--socket <path>', "the agent's socket, which is then remembered (env SSH_AUTH_SOCK, which is not)")
    .addHelpText(
      'after',
      examples(
        'add-agent bot --comment bot@desk',
        'add-agent bot --fingerprint SHA256:… --socket ~/.1password/agent.sock',
      ),
    )
    .action(
      act(async (cx, name: string, flags: AddAgentFlags) => {
        const { fingerprint, comment, socket } = flags;
        if ((fingerprint === undefined) === (comment === undefined)) {
          throw new DeribitKeysError('ERR_USAGE', 'which key of the agent is meant: give --fingerprint or --comment', {
            hint: 'ssh-add -l shows both',
          });
        }
        const { addAgentKey } = await import('../../workflows/external-keys.js');
        const choice = comment === undefined ? { fingerprint: fingerprint ?? '' } : { comment };
        await showStoredKey(cx, await addAgentKey(cx.store, name, choice, socket, cx.signerAccess));
      }),
    );
}
