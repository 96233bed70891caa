import { usageError } from '../../errors.js';
import { ExitWith } from '../exit-codes.js';
import { addTokenStoreOptions, examples, scopeText, type TokenStoreOptions } from '../options.js';
import type { Define } from '../program.js';
import { namesTokenStore, validToken } from '../token.js';

interface ExecFlags extends TokenStoreOptions {
  readonly scope?: string;
}

export const define: Define = (command, { look }) => {
  addTokenStoreOptions(command)
    .argument('<name>')
    .argument('<command...>', 'program to run and its arguments, after --')
    .option('--scope <scope>', 'request this scope; "expires:SECONDS" in it sets the lifetime of the token', scopeText)
    .addHelpText(
      'after',
      `${examples(
        'exec bot -- python3 bot.py',
        `exec bot -- sh -c 'curl -s -H "Authorization: Bearer $DERIBIT_ACCESS_TOKEN" "$DERIBIT_URL/private/get_subaccounts"'`,
      )}

The environment of the program holds, instead of our own secrets:
  DERIBIT_ACCESS_TOKEN  valid until it expires; it is not renewed
  DERIBIT_CLIENT_ID
  DERIBIT_URL           the HTTP endpoint, such as https://test.deribit.com/api/v2

deribit-keys passes signals on to the program and exits with its exit code, or with 128+n if signal n ended it. It exits
with 127 if there is no such program, and with 126 if the program cannot be executed.`,
    )
    .action(
      look(async (cx, name: string, words: readonly string[], flags: ExecFlags) => {
        const [program = '', ...argv] = words;
        if (program === '') {
          throw usageError(
            'the name of the program to run is empty',
            'name it after --, such as: deribit-keys exec bot -- python3 bot.py',
          );
        }
        const { source, token } = await validToken(cx, name, { ...flags, cache: namesTokenStore(cx, flags) });
        const { clientId, url } = source;
        const { childEnvironment, runChild } = await import('../run-child.js');
        const env = childEnvironment(cx.host.env, { accessToken: token.accessToken, clientId, url });
        const exitCode = await runChild(cx.host, { program, argv, env });
        if (exitCode !== 0) throw new ExitWith(exitCode);
      }),
    );
};
