import { statSync } from 'node:fs';
import { DeribitKeysError, isDeribitKeysError, usageError } from '../../errors.js';
import type { RequestEntry, TlsOptions } from '../../integrations/auth-server/auth-server.js';
import type { Client } from '../../integrations/auth-server/clients.js';
import type { Metrics } from '../../integrations/auth-server/metrics.js';
import type { ServedKey } from '../../integrations/auth-server/served-key.js';
import { defined } from '../../util/defined.js';
import type { Policy } from '../../workflows/policy/parse-policy.js';
import type { Context } from '../context.js';
import { fileName, notEmpty, type TokenStoreOptions } from '../options.js';
import { fields, inLine } from '../output.js';
import type { Define } from '../program.js';
import { namedTokenStore, tokenSource } from '../token.js';

interface AuthServerFlags extends TokenStoreOptions {
  readonly listen?: string;
  readonly secretFile?: string;
  readonly clients?: string;
  readonly logFormat?: 'text' | 'json';
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly clientCa?: string;
  readonly metricsListen?: string;
  readonly policy?: string;
}

/** How often changed certificates and clients are looked for. */
const RELOAD_EVERY_MS = 1_000;

/** Identifies one state of a file; `gone` if it cannot be read. */
function versionOf(path: string): string {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined ? 'gone' : `${stats.ino}:${stats.mtimeMs}:${stats.size}`;
}

interface Serving {
  /** Whether tokens are shared with other processes. */
  readonly shared: boolean;
  /** The age at which the policy wants a key to be rotated; null where it does not say. */
  readonly maxAgeMsOf: (name: string) => number | null;
}

function servedKey(cx: Context, name: string, { shared, maxAgeMsOf }: Serving): ServedKey {
  const { record: file } = cx.store.files(name);
  return {
    name,
    version: () => `${versionOf(file)} ${maxAgeMsOf(name)}`,
    timestampMs: () => cx.workflow.clock.timestampMs(),
    async login(scope) {
      const { purpose, record, credentials, renew } = await tokenSource(cx, name, { scope, shared });
      const registeredAtMs = record.registeredAt === null ? null : Date.parse(record.registeredAt);
      const maxAgeMs = maxAgeMsOf(name);
      return {
        purpose,
        registeredAtMs,
        dueAtMs: registeredAtMs === null || maxAgeMs === null ? null : registeredAtMs + maxAgeMs,
        credentials,
        renew,
      };
    },
  };
}

async function readText(path: string, what: string): Promise<string> {
  const { readFileOrNull } = await import('../../keystore/files.js');
  const content = await readFileOrNull(path);
  if (content !== null) return content.toString('utf8');
  throw usageError(`there is no file ${path} with ${what}`, 'check its path');
}

async function readTls({ tlsCert, tlsKey, clientCa }: AuthServerFlags): Promise<TlsOptions | undefined> {
  if (tlsCert === undefined && tlsKey === undefined && clientCa === undefined) return undefined;
  if (tlsCert === undefined || tlsKey === undefined) {
    throw usageError('TLS needs both a certificate and its key', 'give --tls-cert and --tls-key');
  }
  const tls = {
    cert: await readText(tlsCert, 'the certificate'),
    key: await readText(tlsKey, 'the key of the certificate'),
    ...defined({
      clientCa: clientCa === undefined ? undefined : await readText(clientCa, 'the authorities of clients'),
    }),
  };
  const { createSecureContext } = await import('node:tls');
  try {
    createSecureContext({ cert: tls.cert, key: tls.key, ca: tls.clientCa });
  } catch (cause) {
    throw new DeribitKeysError('ERR_USAGE', 'the certificate and the key do not fit each other, or are not PEM', {
      cause,
      hint: 'check --tls-cert, --tls-key and --client-ca',
    });
  }
  return tls;
}

async function readPolicy(path: string | undefined): Promise<Policy | undefined> {
  if (path === undefined) return undefined;
  const { parsePolicy } = await import('../../workflows/policy/parse-policy.js');
  return parsePolicy(await readText(path, 'the policy'));
}

async function readClients(path: string | undefined, names: readonly string[]): Promise<readonly Client[] | undefined> {
  if (path === undefined) return undefined;
  const { parseClients } = await import('../../integrations/auth-server/clients.js');
  return parseClients(await readText(path, 'clients'), path, names);
}

function logger(cx: Context, format: 'text' | 'json' | undefined): ((entry: RequestEntry) => void) | undefined {
  if (format === undefined) return undefined;
  const write = (line: string) => cx.host.stderr.write(`${line}\n`);
  if (format === 'json') return (entry) => void write(JSON.stringify(entry));
  return ({ time, client, method, path, status, error, ms }) =>
    void write(inLine(`${time} ${client ?? '-'} ${method} ${path} ${status} ${error ?? '-'} ${ms} ms`));
}

/** Counting starts with the server, so that the package is loaded then; without it there are no metrics, unless they are wanted. */
async function metricsIfInstalled(cx: Context, wanted: boolean): Promise<Metrics | undefined> {
  const { createMetrics } = await import('../../integrations/auth-server/metrics.js');
  try {
    return await createMetrics(cx.host.load);
  } catch (error) {
    if (wanted || !isDeribitKeysError(error)) throw error;
    return undefined;
  }
}

/** Notifies systemd (sd_notify(3)), if it started this process, through `systemd-notify`. */
async function notifySystemd(cx: Context, state: string): Promise<void> {
  if (!cx.host.env.NOTIFY_SOCKET) return;
  const { execFile } = await import('node:child_process');
  const env = { NOTIFY_SOCKET: cx.host.env.NOTIFY_SOCKET, PATH: cx.host.env.PATH ?? '/usr/bin:/bin' };
  await new Promise<void>((resolve) => {
    execFile('systemd-notify', [`--pid=${process.pid}`, state], { env, timeout: 5_000 }, (error) => {
      if (error !== null) cx.out.note('systemd-notify could not be run: systemd is not told that the server is ready');
      resolve();
    });
  });
}

/** Resolves when the server should end; SIGHUP reloads instead. */
async function untilStopped(cx: Context, reload: (why: 'signal' | 'timer') => Promise<void>): Promise<void> {
  const timer = setInterval(() => void reload('timer'), RELOAD_EVERY_MS);
  timer.unref();
  await new Promise<void>((resolve) => {
    cx.host.signal.addEventListener('abort', () => resolve(), { once: true });
    if (cx.host.signal.aborted) resolve();
    cx.host.takeSignals?.((signal) => (signal === 'SIGHUP' ? void reload('signal') : resolve()));
  });
  clearInterval(timer);
}

async function serve(cx: Context, names: readonly string[], flags: AuthServerFlags): Promise<void> {
  const [{ startAuthServer }, { parseListen, passedSocket }, { createSecretFile }, { memoryTokenStore }] =
    await Promise.all([
      import('../../integrations/auth-server/auth-server.js'),
      import('../../integrations/auth-server/local-http.js'),
      import('../../integrations/auth-server/secret-file.js'),
      import('../../session/token-store.js'),
    ]);
  const passed = flags.listen === undefined ? passedSocket(cx.host.env) : null;
  const address = passed ?? parseListen(flags.listen ?? '127.0.0.1:0');
  const tls = await readTls(flags);
  const clients = await readClients(flags.clients, names);
  const named = await namedTokenStore(cx, flags);
  let policy = await readPolicy(flags.policy);
  const maxAgeMsOf = (name: string) => policy?.keys.find((key) => key.name === name)?.maxAgeMs ?? null;
  const keys = names.map((name) => servedKey(cx, name, { shared: named !== null, maxAgeMsOf }));
  // asks for passphrases now, while somebody may sit at the terminal
  for (const key of keys) await (await key.login()).credentials();
  const metrics = await metricsIfInstalled(cx, flags.metricsListen !== undefined);
  const metricsAddress = flags.metricsListen === undefined ? undefined : parseListen(flags.metricsListen);
  const secretFile = await createSecretFile(cx.store.folder, flags.secretFile);
  try {
    const server = await startAuthServer({
      keys,
      address,
      secret: secretFile.secret,
      store: named ?? memoryTokenStore(),
      whenAway: flags.tokenStoreAway,
      onNote: cx.out.note,
      clients,
      tls,
      metrics,
      metricsAddress,
      onRequest: logger(cx, flags.logFormat),
    });
    try {
      const { url, metricsUrl } = server;
      const document = { url, secretFile: secretFile.path, names, ...(metricsUrl === null ? {} : { metricsUrl }) };
      cx.out.result(document, () =>
        fields([
          ['url', url],
          ['secret file', secretFile.path],
          ['names', names.join(' ')],
          ['metrics', metricsUrl],
        ]),
      );
      cx.out.note('running; stop it with Ctrl-C');
      await notifySystemd(cx, '--ready');
      const files = [flags.clients, flags.tlsCert, flags.tlsKey, flags.clientCa, flags.policy];
      const watched = files.filter((path) => path !== undefined);
      let state = watched.map(versionOf).join();
      await untilStopped(cx, async (why) => {
        const now = watched.map(versionOf).join();
        if (why === 'timer' && now === state) return;
        state = now;
        try {
          const changed = { clients: await readClients(flags.clients, names), tls: await readTls(flags) };
          policy = await readPolicy(flags.policy);
          server.reload(changed);
          cx.out.note('reloaded');
        } catch (error) {
          cx.out.note(`not reloaded: ${isDeribitKeysError(error) ? error.message : 'a file cannot be read'}`);
        }
      });
      await notifySystemd(cx, 'STOPPING=1');
    } finally {
      await server.close();
    }
  } finally {
    await secretFile.remove();
  }
}

export const define: Define = (command, { look }) => {
  command
    .argument('<name...>')
    .option('--listen <address>', '127.0.0.1:PORT (default, any free port), HOST:PORT with TLS, or unix:PATH', notEmpty)
    .option('--secret-file <file>', 'where the bearer secret is written (default: in the keystore)', fileName)
    .option('--clients <file>', 'more clients, each with a secret, keys and scopes of its own (YAML or JSON)', notEmpty)
    .choice('--log-format <format>', 'log each request on stderr', ['text', 'json'])
    .option('--tls-cert <file>', 'serve HTTPS with this certificate (PEM)', notEmpty)
    .option('--tls-key <file>', 'the key of the certificate (PEM)', notEmpty)
    .option('--client-ca <file>', 'require client certificates of these authorities (PEM)', notEmpty)
    .option(
      '--metrics-listen <address>',
      'answer GET /metrics, /healthz and /readyz on an address of its own, without a secret or TLS',
      notEmpty,
    )
    .option('--policy <file>', 'show in the metrics when a key is due for rotation, by this policy', notEmpty)
    .tokenStoreOptions()
    .examples(
      'auth-server bot',
      'auth-server maker taker --listen unix:/run/user/1000/deribit.sock',
      'auth-server bot --json --listen 127.0.0.1:7070',
      'auth-server bot --listen 0.0.0.0:7443 --tls-cert tls.crt --tls-key tls.key --clients clients.yaml',
    )
    .addHelpText(
      'after',
      `
  POST /v1/<name>/token        {"accessToken", "expiresAt", "scope"}: valid, renewed as needed; a JSON body may hold
                               "scope", and "refused": a token that the exchange no longer accepts
  POST /v1/<name>/auth-params  signed parameters for public/auth; a JSON body may hold "scope", "nonce", "data", "state"
  GET  /healthz, /readyz       for probes, without the secret
  GET  /metrics                for Prometheus, with the secret; needs the package prom-client

A request needs no body; a body must be JSON, with Content-Type: application/json. The server follows rotations at once.
It reloads clients, certificates and the policy on SIGHUP and when their files change; on SIGTERM it answers pending
requests, then stops.

  $ curl -s -X POST -H "Authorization: Bearer $(cat SECRET-FILE)" http://127.0.0.1:PORT/v1/bot/token
  $ curl -s -X POST -H "Authorization: Bearer $(cat SECRET-FILE)" -H "Content-Type: application/json" \\
      -d '{"scope": "trade:read"}' http://127.0.0.1:PORT/v1/bot/token

A clients file: [{name: maker, secretHash: <sha256 of its secret, in hex>, keys: [bot], scopes: trade:read_write}]`,
    )
    .action(look((cx, names: readonly string[], flags: AuthServerFlags) => serve(cx, [...new Set(names)], flags)));
};
