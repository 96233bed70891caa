import type { Command } from 'commander';
import { examples } from '../options.js';
import type { Act } from '../program.js';
import { tokenSource } from '../token.js';

interface TokenFlags {
  readonly scope?: string;
  readonly cache: boolean;
}

export function defineToken(program: Command, act: Act): void {
  program
    .command('token')
    .description('a valid access token alone on one line, cached in the keystore while it is good')
    .argument('<name>')
    .option('--scope <scope>', 'ask for this scope instead of all that the key allows')
    .option('--no-cache', 'log in anew, and keep the token nowhere')
    .addHelpText(
      'after',
      examples(
        'token bot',
        'token bot --json | jq -r .expiresAt',
        'token bot --scope account:read',
        `token bot --no-cache`,
      ),
    )
    .action(
      act(
        async (cx, name: string, flags: TokenFlags) => {
          const source = await tokenSource(cx, name, flags.scope);
          const { cachedToken } = await import('../../integrations/token-store/token-cache.js');
          const token = flags.cache
            ? await cachedToken(cx.store, name, source.purpose, source.fetch, cx.out.note)
            : await source.fetch();
          const { accessToken, expiresAtMs, scope } = token;
          const expiresAt = new Date(expiresAtMs).toISOString();
          cx.out.result({ accessToken, expiresAt, scope }, () => accessToken);
        },
        { tidy: false },
      ),
    );
}
