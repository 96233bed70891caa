import { scopeText } from '../options.js';
import { fields } from '../output.js';
import type { Define } from '../program.js';
import { tellMissingScope } from '../token.js';

interface AuthFlags {
  readonly scope?: string;
  readonly printToken?: true;
}

export const define: Define = (command, { act }) => {
  command
    .argument('<name>')
    .option('--scope <scope>', 'request this scope (default: everything that the key allows)', scopeText)
    .option('--print-token', 'print the tokens, which grant access until they expire')
    .examples('auth bot', 'auth bot --scope trade:read', 'auth bot --print-token --json | jq -r .accessToken')
    .action(
      act(async (cx, name: string, flags: AuthFlags) => {
        const { authenticate } = await import('../../workflows/account/account.js');
        const { selectEndpoint } = await import('../../workflows/context.js');
        const record = await cx.store.read(name);
        const endpoint = selectEndpoint(cx.target, record);
        const outlives = flags.printToken === true;
        cx.login.attempt = { endpoint, clientId: record.clientId ?? '', record, secret: null };
        const { clientId, login, account } = await authenticate(cx.workflow, record, {
          endpoint,
          scope: flags.scope,
          outlives,
        });
        const tokens = outlives
          ? { accessToken: login.accessToken.reveal(), refreshToken: login.refreshToken.reveal() }
          : {};
        const { scope, expiresInS, tokenType } = login;
        tellMissingScope(cx, flags.scope, scope);
        const { environment, url } = endpoint;
        const seen = account === null ? {} : { account };
        cx.out.result({ clientId, scope, expiresIn: expiresInS, tokenType, environment, url, ...seen, ...tokens }, () =>
          fields([
            ['client id', clientId],
            ['account', account === null ? null : String(account)],
            ['environment', `${environment} (${url})`],
            ['scope', scope],
            ['expires in', `${expiresInS} s`],
            ['access token', tokens.accessToken ?? null],
            ['refresh token', tokens.refreshToken ?? null],
          ]),
        );
      }),
    );
};
