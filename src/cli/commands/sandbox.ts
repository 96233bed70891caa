import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { DeribitKeysError, usageError } from '../../errors.js';
import type { Remark, Sandbox, SandboxOptions } from '../../sandbox/index.js';
import { defined } from '../../util/defined.js';
import { shellWord } from '../../util/text.js';
import type { Context } from '../context.js';
import { readKeyInput } from '../key-input.js';
import { collect, examples, notEmpty, wholeNumber } from '../options.js';
import { fields } from '../output.js';
import type { Act } from '../program.js';

interface SandboxFlags {
  readonly port?: number;
  readonly init?: string;
  readonly tfaSecret?: string;
  readonly state?: string;
  readonly tls?: true;
  readonly cors?: string;
  readonly fault?: readonly string[];
  readonly faultApi?: true;
  readonly tokenLife?: number;
  readonly keyLimit?: number;
  readonly limits?: true;
  readonly strictIds?: true;
  readonly status401?: true;
}

interface AddKeyFlags {
  readonly scope?: string;
  readonly label?: string;
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

function optionsOf(cx: Context, flags: SandboxFlags, folder: SandboxFolder | null): SandboxOptions {
  const all = { connectionsPerIp: true, sessionsPerKey: true, credits: true };
  return defined({
    port: flags.port,
    tfaSecret: flags.tfaSecret,
    stateFile: flags.state ?? folder?.stateFile,
    tls: flags.tls,
    caFile: folder?.caFile,
    corsOrigin: flags.cors,
    faults: flags.fault,
    faultApi: flags.faultApi ?? (folder === null ? undefined : true),
    expiresInS: flags.tokenLife,
    keyLimit: flags.keyLimit,
    limits: flags.limits === undefined ? undefined : all,
    strictIds: flags.strictIds,
    unauthorizedStatus: flags.status401 === undefined ? undefined : (401 as const),
    onRemark: ({ kind, text }: Remark) => (kind === 'unknown-client' ? cx.out.note(text) : cx.out.detail(text)),
  });
}

async function runSandbox(cx: Context, flags: SandboxFlags): Promise<void> {
  const folder = flags.init === undefined ? null : openSandboxFolder(flags.init);
  const sandbox = await start(optionsOf(cx, flags, folder));
  try {
    if (folder !== null) writeSandboxFolder(folder, sandbox);
    const { httpUrl, wsUrl, clientId, clientSecret, tfaSecret, caFile } = sandbox;
    const envFile = folder?.envFile ?? null;
    cx.out.result({ httpUrl, wsUrl, clientId, clientSecret, tfaSecret, caFile, envFile }, () =>
      fields([
        ['http', httpUrl],
        ['websocket', wsUrl],
        ['client id', clientId],
        ['client secret', folder === null ? clientSecret : `in ${folder.secretFile}`],
        ['second factor', tfaSecret],
        ['CA', caFile],
        ['environment', envFile === null ? null : `. ${envFile}`],
      ]),
    );
    if (folder === null && flags.state === undefined) {
      cx.out.note('its keys are gone when it stops; keep them with --state <file>, or with --init <folder>');
    }
    cx.out.note('running; stop it with Ctrl-C');
    await aborted(cx.host.signal);
  } finally {
    await sandbox.close();
  }
}

/** Adds a public key as Deribit's web page does. @throws `ERR_USAGE` for an endpoint that is no sandbox */
async function addKey(cx: Context, source: string, { scope, label }: AddKeyFlags): Promise<void> {
  const { parsePublicKey, serialisePublicKey } = await import('../../crypto/formats/index.js');
  const { selectEndpoint } = await import('../../workflows/endpoint-selection.js');
  const endpoint = selectEndpoint(cx.target);
  if (!['127.0.0.1', 'localhost', '[::1]'].includes(new URL(endpoint.url).hostname)) {
    throw usageError(
      `${endpoint.url} is not a sandbox: keys are added there in the web page`,
      'name the sandbox by --url or DERIBIT_KEYS_URL; the file "env" of sandbox --init sets it',
    );
  }
  const key = await readKeyInput(cx, {
    source,
    parse: (bytes, passphrase) => parsePublicKey(bytes, defined({ passphrase: passphrase ?? undefined })),
  });
  const publicKey = String(await serialisePublicKey(key, { format: 'spki' }));
  const transport = await cx.workflow.connect(endpoint);
  try {
    const params = defined({ public_key: publicKey, max_scope: scope, name: label });
    const added = (await transport.request('sandbox/add_key', params)) as Readonly<Record<string, unknown>>;
    const { client_id: clientId, max_scope: granted, client_secret: fingerprint } = added;
    cx.out.result({ clientId, fingerprint, scope: granted }, () => String(clientId));
  } catch (error) {
    if (!(error instanceof DeribitKeysError) || error.rpc?.code !== -32_601) throw error;
    throw error.with({
      message: 'the sandbox takes no keys without a login',
      hint: 'start it with --init <folder> or --fault-api',
    });
  } finally {
    await transport.close();
  }
}

export function defineSandbox(command: Command, act: Act): void {
  const sandbox = command
    .option('--port <n>', '0: any free one; default: that of the last run with the same state', wholeNumber(0, 65_535))
    .option(
      '--init <folder>',
      'keep its state there, with secret.txt and env ready for use; implies --fault-api',
      notEmpty,
    )
    .option('--state <file>', 'keep accounts, keys and session tokens in this file', notEmpty)
    .option('--tfa-secret <base32>', 'require a second factor, with this throw-away seed')
    .option('--tls', 'https: and wss:, with a certificate of a throw-away authority')
    .option('--cors <origin>', 'let web pages of this origin (or *) read answers', notEmpty)
    .option('--fault <spec>', 'misbehave: name[@method][:arg][+skip][xtimes]; may be repeated', collect)
    .option('--fault-api', 'allow faults to be set at run time, by sandbox/… methods')
    .option('--token-life <seconds>', 'default 900', wholeNumber(1))
    .option('--key-limit <n>', 'API keys per account; default 8', wholeNumber(1))
    .option('--limits', "Deribit's limits of connections, sessions and credits")
    .option('--strict-ids', 'refuse requests without an id')
    .option('--status-401', 'answer refused tokens with HTTP 401 instead of 400')
    .addHelpText(
      'after',
      examples(
        'sandbox',
        'sandbox --init sandbox',
        'sandbox --port 8080 --state sandbox.json',
        'sandbox --fault cut-after@private/create_api_keyx1',
        'sandbox --json | head -1 | jq .',
        'sandbox add-key keys/bot.pub.pem',
      ),
    )
    .action(act(runSandbox, { tidy: false, graceMs: 10_000 }));

  sandbox
    .command('add-key')
    .description("add a public key to a running sandbox, as one does in Deribit's web page; prints its client id")
    .argument('<file|->', 'the public key, in a file or on stdin')
    .option('--scope <scope>', 'what the key may do; default everything', notEmpty)
    .option('--label <label>', 'its name on the exchange', notEmpty)
    .addHelpText(
      'after',
      examples(
        'sandbox add-key keys/bot.pub.pem',
        '$ deribit-keys export bot --public | deribit-keys sandbox add-key - --scope "account:read trade:read"',
      ),
    )
    .action(act(addKey, { tidy: false }));
}

/** The files of `sandbox --init`, ready to be used as the README does. */
interface SandboxFolder {
  readonly stateFile: string;
  readonly caFile: string;
  /** The commands that set the environment, for `.` (source). */
  readonly envFile: string;
  readonly secretFile: string;
  readonly tfaSecretFile: string;
  readonly keysDir: string;
}

/**
 * Makes the folder, 0700, or takes the one of an earlier run.
 * @throws `ERR_USAGE` where files of that name are there that no sandbox wrote
 */
function openSandboxFolder(folder: string): SandboxFolder {
  const path = (name: string) => resolve(folder, name);
  const files: SandboxFolder = {
    stateFile: path('state.json'),
    caFile: path('ca.pem'),
    envFile: path('env'),
    secretFile: path('secret.txt'),
    tfaSecretFile: path('tfa-secret.txt'),
    keysDir: path('keys'),
  };
  const { stateFile, envFile, secretFile, tfaSecretFile } = files;
  const inTheWay = [envFile, secretFile, tfaSecretFile].find((file) => existsSync(file));
  if (!existsSync(stateFile) && inTheWay !== undefined) {
    throw usageError(
      `${inTheWay} exists, but was not written by a sandbox`,
      `name another folder: deribit-keys sandbox --init ${join(folder, 'sandbox')}`,
    );
  }
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw notWritable(folder, cause);
  }
  return files;
}

/** Writes what is only known once the sandbox runs. @throws `ERR_KEYSTORE_IO` */
function writeSandboxFolder(files: SandboxFolder, sandbox: Sandbox): void {
  const { clientId, clientSecret, tfaSecret, wsUrl, caFile } = sandbox;
  const variables: Readonly<Record<string, string | null>> = {
    DERIBIT_KEYS_URL: wsUrl,
    DERIBIT_KEYS_DIR: files.keysDir,
    DERIBIT_KEYS_CA_FILE: caFile,
    DERIBIT_TFA_SECRET: tfaSecret,
    ADMIN_ID: clientId,
  };
  const lines = Object.entries(variables).flatMap(([name, value]) =>
    value === null ? [`unset ${name}`] : [`export ${name}=${shellWord(value)}`],
  );
  writePrivately(files.secretFile, `${clientSecret}\n`);
  writePrivately(
    files.envFile,
    `# The sandbox of deribit-keys, for a POSIX shell: . ${files.envFile}\n${lines.join('\n')}\n`,
  );
  if (tfaSecret === null) rmSync(files.tfaSecretFile, { force: true });
  else writePrivately(files.tfaSecretFile, `${tfaSecret}\n`);
}

function writePrivately(file: string, text: string): void {
  try {
    rmSync(file, { force: true });
    writeFileSync(file, text, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    throw notWritable(file, cause);
  }
}

function notWritable(path: string, cause: unknown): DeribitKeysError {
  return new DeribitKeysError('ERR_KEYSTORE_IO', `${path} cannot be written`, {
    cause,
    hint: 'name a folder that you may write to',
  });
}
