import type { Command } from 'commander';
import { DeribitKeysError } from '../../errors.js';
import { ExitWith } from '../check-failed.js';
import { addTokenStoreOptions, examples, type TokenStoreOptions } from '../options.js';
import type { Act } from '../program.js';
import { validToken } from '../token.js';

interface ExecFlags extends TokenStoreOptions {
  readonly scope?: string;
}

export function defineExec(command: Command, act: Act): void {
  addTokenStoreOptions(command)
    .argument('<name>')
    .argument('<command...>', 'behind --')
    .option('--scope <scope>', 'ask for this scope; "expires:SECONDS" in it asks for another life of the token')
    .addHelpText(
      'after',
      `${examples(
        'exec bot -- python3 bot.py',
        `exec bot -- sh -c 'curl -s -H "Authorization: Bearer $DERIBIT_ACCESS_TOKEN" "$DERIBIT_URL/private/get_subaccounts"'`,
      )}

The program finds:
  DERIBIT_ACCESS_TOKEN  good until it expires: it is not renewed
  DERIBIT_CLIENT_ID
  DERIBIT_URL           the HTTP endpoint, such as https://test.deribit.com/api/v2

Its exit code is passed on, and 128+n where signal n ended it; 127 where there is no such program, 126 where it cannot
be executed. Signals are handed on to it.`,
    )
    .action(
      act(
        async (cx, name: string, words: readonly string[], flags: ExecFlags) => {
          const [child = '', ...rest] = words;
          if (child === '') {
            throw new DeribitKeysError('ERR_USAGE', 'the program to run has an empty name', {
              hint: 'give it behind --, such as: exec bot -- python3 bot.py',
            });
          }
          const shared = flags.tokenStore !== undefined || Boolean(cx.host.env.DERIBIT_KEYS_TOKEN_STORE);
          const { source, token } = await validToken(cx, name, { ...flags, cache: shared });
          const { clientId, url } = source;
          const { accessToken } = token;
          const { childEnvironment } = await import('../child-environment.js');
          const { runChild } = await import('../run-child.js');
          const exitCode = await runChild(
            cx.host,
            child,
            rest,
            childEnvironment(cx.host.env, { accessToken, clientId, url }),
          );
          if (exitCode !== 0) throw new ExitWith(exitCode);
        },
        { tidy: false },
      ),
    );
}
