import { type Command, Option } from 'commander';
import { DeribitKeysError } from '../../errors.js';
import type { Sandbox, SandboxOptions } from '../../sandbox/index.js';
import { collect, examples, notEmpty, wholeNumber } from '../options.js';
import { fields } from '../output.js';
import type { Act } from '../program.js';

interface SandboxFlags {
  readonly port?: number;
  readonly tfaSecret?: string;
  readonly state?: string;
  readonly fault?: readonly string[];
  readonly faultApi?: true;
  readonly tokenLife?: number;
  readonly keyLimit?: number;
  readonly limits?: true;
}

async function start(options: SandboxOptions): Promise<Sandbox> {
  const { SandboxError, startSandbox } = await import('../../sandbox/index.js');
  try {
    return await startSandbox(options);
  } catch (error) {
    if (error instanceof SandboxError) {
      const code = error.code === 'ERR_STATE_FILE' ? 'ERR_KEYSTORE_IO' : error.code;
      throw new DeribitKeysError(code, error.message, { hint: error.hint, cause: error });
    }
    throw error;
  }
}

const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

export function defineSandbox(program: Command, act: Act): void {
  program
    .command('sandbox')
    .description('run the embedded exchange on 127.0.0.1 until interrupted')
    .option('--port <n>', 'default 0: any free one', wholeNumber(0, 65_535))
    .option('--tfa-secret <base32>', 'demand a second factor, with this throw-away seed')
    .option('--state <file>', 'keep accounts, keys and session tokens in this file', notEmpty)
    .option('--fault <spec>', 'misbehave: name[@method][:arg][+skip][xtimes]; may be repeated', collect)
    .option('--fault-api', 'let faults be set at run time, by sandbox/… methods')
    .option('--token-life <seconds>', 'default 900', wholeNumber(1))
    .option('--key-limit <n>', 'API keys per account; default 8', wholeNumber(1))
    .addOption(new Option('--limits', "Deribit's limits of connections, sessions and credits"))
    .addHelpText(
      'after',
      examples(
        'sandbox',
        'sandbox --port 8080 --state sandbox.json',
        'sandbox --fault cut-after@private/create_api_keyx1',
        'sandbox --json | head -1 | jq .',
      ),
    )
    .action(
      act(
        async (cx, flags: SandboxFlags) => {
          const sandbox = await start({
            ...(flags.port === undefined ? {} : { port: flags.port }),
            ...(flags.tfaSecret === undefined ? {} : { tfaSecret: flags.tfaSecret }),
            ...(flags.state === undefined ? {} : { stateFile: flags.state }),
            ...(flags.fault === undefined ? {} : { faults: flags.fault }),
            ...(flags.faultApi === undefined ? {} : { faultApi: true }),
            ...(flags.tokenLife === undefined ? {} : { expiresInS: flags.tokenLife }),
            ...(flags.keyLimit === undefined ? {} : { keyLimit: flags.keyLimit }),
            ...(flags.limits === undefined
              ? {}
              : { limits: { connectionsPerIp: true, sessionsPerKey: true, credits: true } }),
          });
          const { httpUrl, wsUrl, clientId, clientSecret, tfaSecret } = sandbox;
          cx.out.result({ httpUrl, wsUrl, clientId, clientSecret, tfaSecret }, () =>
            fields([
              ['http', httpUrl],
              ['websocket', wsUrl],
              ['client id', clientId],
              ['client secret', clientSecret],
              ['second factor', tfaSecret],
            ]),
          );
          cx.out.note('running; stop it with Ctrl-C');
          await aborted(cx.host.signal);
          await sandbox.close();
        },
        { tidy: false, graceMs: 10_000 },
      ),
    );
}
