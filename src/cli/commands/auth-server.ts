import type { Command } from 'commander';
import type { ServedKey } from '../../integrations/auth-server/auth-server.js';
import { examples, notEmpty } from '../options.js';
import { fields } from '../output.js';
import type { Act } from '../program.js';
import { tokenSource } from '../token.js';

interface AuthServerFlags {
  readonly listen: string;
  readonly secretFile?: string;
}

const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

export function defineAuthServer(program: Command, act: Act): void {
  program
    .command('auth-server')
    .description('hand out logins and tokens to programs of this machine, which never see a key')
    .argument('<name...>')
    .option('--listen <address>', '127.0.0.1:PORT (0: any free port) or unix:PATH', '127.0.0.1:0')
    .option('--secret-file <file>', 'where the bearer secret is written (default: in the keystore)', notEmpty)
    .addHelpText(
      'after',
      `${examples(
        'auth-server bot',
        'auth-server maker taker --listen unix:/run/user/1000/deribit.sock',
        'auth-server bot --json --listen 127.0.0.1:7070',
      )}

  POST /v1/<name>/token        {"accessToken", "expiresAt", "scope"}: valid, renewed as needed
  POST /v1/<name>/auth-params  signed parameters for public/auth; a JSON body may give "scope", "nonce", "data", "state"

A request needs no body; one that it has is JSON, and needs Content-Type: application/json.

  $ curl -s -X POST -H "Authorization: Bearer $(cat SECRET-FILE)" http://127.0.0.1:PORT/v1/bot/token
  $ curl -s -X POST -H "Authorization: Bearer $(cat SECRET-FILE)" -H "Content-Type: application/json" \\
      -d '{"scope": "trade:read"}' http://127.0.0.1:PORT/v1/bot/auth-params`,
    )
    .action(
      act(
        async (cx, names: readonly string[], flags: AuthServerFlags) => {
          const [{ startAuthServer }, { parseListen }, { createSecretFile }] = await Promise.all([
            import('../../integrations/auth-server/auth-server.js'),
            import('../../integrations/auth-server/listen.js'),
            import('../../integrations/auth-server/secret-file.js'),
          ]);
          const address = parseListen(flags.listen);
          const unique = [...new Set(names)];
          const keys: ServedKey[] = [];
          for (const name of unique) {
            // the record is read each time: a key may be rotated meanwhile
            const credentials = async () => {
              const { clientId, record } = await tokenSource(cx, name);
              return { clientId, signer: await cx.workflow.signerOf(record) };
            };
            await credentials();
            keys.push({ name, credentials, open: async () => (await tokenSource(cx, name)).open() });
          }
          const server = await startAuthServer(keys, address);
          try {
            const secretFile = await createSecretFile(cx.store.folder, flags.secretFile, server.secret);
            try {
              const { url } = server;
              cx.out.result({ url, secretFile: secretFile.path, names: unique }, () =>
                fields([
                  ['url', url],
                  ['secret file', secretFile.path],
                  ['names', unique.join(' ')],
                ]),
              );
              cx.out.note('running; stop it with Ctrl-C');
              await aborted(cx.host.signal);
            } finally {
              await secretFile.remove();
            }
          } finally {
            await server.close();
          }
        },
        { tidy: false, graceMs: 30_000 },
      ),
    );
}
