import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { rm, rmdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { DeribitKeysError, isDeribitKeysError, usageError } from '../../errors.js';
import { errnoOf, explaining, outsideKeystore } from '../../keystore/file-errors.js';
import type { Lock } from '../../keystore/lock.js';
import type { Remark, Sandbox, SandboxOptions } from '../../sandbox/index.js';
import { defined } from '../../util/defined.js';
import { closestWord, shellWord } from '../../util/text.js';
import type { Context } from '../context.js';
import { readKeyInput } from '../key-input.js';
import { collect, notEmpty, scopeText, wholeNumber } from '../options.js';
import { fields } from '../output.js';
import type { Define } from '../program.js';

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
  const { faultNames, SandboxError, startSandbox } = await import('../../sandbox/index.js');
  try {
    return await startSandbox(options);
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error;
    const code = error.code === 'ERR_STATE_FILE' ? 'ERR_KEYSTORE_IO' : error.code;
    const [, word = ''] = /^there is no fault (\S+)/.exec(error.message) ?? [];
    const near = closestWord(word, faultNames);
    if (near !== null) throw usageError(error.message, `did you mean ${near}?\n${error.hint}`);
    const isFull = errnoOf(error.cause) === 'ENOSPC';
    throw new DeribitKeysError(code, isFull ? `${error.message}: the disk is full` : error.message, {
      hint: isFull ? 'free some space, then run the same command again' : error.hint?.replace('; 0 ', '; --port 0 '),
      cause: error,
    });
  }
}

function optionsOf(cx: Context, flags: SandboxFlags, folder: SandboxFolder | null): SandboxOptions {
  const { port, tfaSecret, tls, keyLimit, strictIds } = flags;
  const all = { connectionsPerIp: true, sessionsPerKey: true, credits: true };
  return defined({
    ...{ port, tfaSecret, tls, keyLimit, strictIds },
    stateFile: flags.state ?? folder?.stateFile,
    caFile: folder?.caFile,
    corsOrigin: flags.cors,
    faults: flags.fault,
    faultApi: flags.faultApi ?? (folder === null ? undefined : true),
    expiresInS: flags.tokenLife,
    limits: flags.limits === undefined ? undefined : all,
    unauthorizedStatus: flags.status401 === undefined ? undefined : (401 as const),
    onRemark: ({ kind, text }: Remark) => (kind === 'unknown-client' ? cx.out.note(text) : cx.out.detail(text)),
  });
}

/** Keeps a second sandbox from the same state: each would overwrite what the other one writes. */
async function lockState(cx: Context, stateFile: string): Promise<Lock> {
  const { takeLock } = await import('../../keystore/lock.js');
  const { signal } = cx.host;
  try {
    const options = { waitMs: 500, signal, onWait: cx.out.note, what: `the state file ${stateFile}` };
    return await outsideKeystore(() => takeLock(dirname(stateFile), basename(stateFile), options));
  } catch (error) {
    if (!isDeribitKeysError(error, 'ERR_LOCKED')) throw error;
    throw error.with({
      message: error.message.replace('is working on', 'runs a sandbox with'),
      hint: 'use that one, or end it with Ctrl-C; a second sandbox needs another --init folder or --state file',
    });
  }
}

async function runSandbox(cx: Context, flags: SandboxFlags): Promise<void> {
  const folder = flags.init === undefined ? null : await openSandboxFolder(flags.init);
  const stateFile = flags.state ?? folder?.stateFile;
  try {
    const lock = stateFile === undefined ? null : await lockState(cx, resolve(stateFile));
    await runLocked(cx, flags, folder).finally(() => lock?.release());
  } catch (error) {
    // unless something is in it
    if (folder?.isNew === true) await rmdir(dirname(folder.stateFile)).catch(() => {});
    throw error;
  }
}

async function runLocked(cx: Context, flags: SandboxFlags, folder: SandboxFolder | null): Promise<void> {
  const sandbox = await start(optionsOf(cx, flags, folder));
  try {
    if (folder !== null) await outsideKeystore(() => writeSandboxFolder(folder, sandbox));
    const { httpUrl, wsUrl, clientId, clientSecret, tfaSecret, caFile } = sandbox;
    const envFile = folder?.envFile ?? null;
    cx.out.result({ httpUrl, wsUrl, clientId, clientSecret, tfaSecret, caFile, envFile }, () =>
      fields([
        ['http', httpUrl],
        ['websocket', wsUrl],
        ['client id', clientId],
        ['client secret', folder === null ? clientSecret : `in ${folder.secretFile}`],
        ['second factor', folder === null || tfaSecret === null ? tfaSecret : `in ${folder.tfaSecretFile}`],
        ['CA', caFile],
        ['environment', envFile === null ? null : `. ${envFile}`],
      ]),
    );
    if (folder === null && flags.state === undefined) {
      cx.out.note('its keys are gone when it stops; keep them with --state <file>, or with --init <folder>');
    }
    cx.out.note('running; stop it with Ctrl-C');
    if (!cx.host.signal.aborted) await once(cx.host.signal, 'abort');
  } finally {
    await sandbox.close();
  }
}

/** Adds a public key as Deribit's web page does. @throws `ERR_USAGE` for an endpoint that is no sandbox */
async function addKey(cx: Context, source: string, { scope, label }: AddKeyFlags): Promise<void> {
  const { parsePublicKey, serialisePublicKey } = await import('../../crypto/formats/index.js');
  const { selectEndpoint } = await import('../../workflows/context.js');
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
    if (!isDeribitKeysError(error) || error.rpc?.code !== -32_601) throw error;
    throw error.with({
      message: 'the sandbox takes no keys without a login',
      hint: 'start it with --init <folder> or --fault-api',
    });
  } finally {
    await transport.close();
  }
}

export const define: Define = (command, { look }) => {
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
    .examples(
      'sandbox',
      'sandbox --init sandbox',
      'sandbox --port 8080 --state sandbox.json',
      'sandbox --fault cut-after@private/create_api_keyx1',
      'sandbox --json | head -1 | jq .',
      'sandbox add-key keys/bot.pub.pem',
    )
    .action(look(runSandbox, { graceMs: 10_000 }));

  sandbox
    .command('add-key')
    .description("add a public key to a running sandbox, as one does in Deribit's web page; prints its client id")
    .argument('<file|->', 'the public key, in a file or on stdin')
    .option('--scope <scope>', 'what the key may do; default everything', scopeText)
    .option('--label <label>', 'its name on the exchange', notEmpty)
    .examples(
      'sandbox add-key keys/bot.pub.pem',
      '$ deribit-keys export bot --public | deribit-keys sandbox add-key - --scope "account:read trade:read"',
    )
    .action(look(addKey));
};

/** The files of `sandbox --init`, ready to be used as the README does, and whether this run made their folder. */
type SandboxFolder = Awaited<ReturnType<typeof openSandboxFolder>>;

/**
 * Makes the folder, 0700, or takes the one of an earlier run.
 * @throws `ERR_USAGE` where files of that name are there that no sandbox wrote, `ERR_KEYSTORE_IO`
 */
async function openSandboxFolder(folder: string) {
  const path = (name: string) => resolve(folder, name);
  const files = {
    stateFile: path('state.json'),
    caFile: path('ca.pem'),
    // the commands that set the environment, for `.` (source)
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
  const { makeFolders } = await import('../../keystore/files.js');
  return { ...files, isNew: await outsideKeystore(() => makeFolders(resolve(folder))) };
}

/** Writes what is only known once the sandbox runs. @throws `ERR_KEYSTORE_IO` */
async function writeSandboxFolder(files: SandboxFolder, sandbox: Sandbox): Promise<void> {
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
  await writePrivately(files.secretFile, `${clientSecret}\n`);
  await writePrivately(
    files.envFile,
    `# The sandbox of deribit-keys, for a POSIX shell: . ${files.envFile}\n${lines.join('\n')}\n`,
  );
  if (tfaSecret === null) await rm(files.tfaSecretFile, { force: true });
  else await writePrivately(files.tfaSecretFile, `${tfaSecret}\n`);
}

function writePrivately(file: string, text: string): Promise<void> {
  return explaining('write', file, async () => {
    await rm(file, { force: true });
    await writeFile(file, text, { mode: 0o600, flag: 'wx' });
  });
}
