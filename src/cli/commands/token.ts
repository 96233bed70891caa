import { scopeText, type TokenStoreOptions } from '../options.js';
import type { Define } from '../program.js';
import { validToken } from '../token.js';

interface TokenFlags extends TokenStoreOptions {
  readonly scope?: string;
  readonly cache: boolean;
}

export const define: Define = (command, { look }) => {
  command
    .tokenStoreOptions()
    .argument('<name>')
    .option('--scope <scope>', 'request this scope (default: everything that the key allows)', scopeText)
    .option('--no-cache', 'log in again and do not store the token')
    .examples(
      'token bot',
      'token bot --json | jq -r .expiresAt',
      'token bot --scope account:read',
      `token bot --no-cache`,
    )
    .action(
      look(async (cx, name: string, flags: TokenFlags) => {
        const { token } = await validToken(cx, name, flags);
        const { accessToken, expiresAtMs, scope } = token;
        const expiresAt = new Date(expiresAtMs).toISOString();
        cx.out.result({ accessToken, expiresAt, scope }, () => accessToken);
      }),
    );
};
