import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const fixture = join(process.cwd(), 'test/fixtures/redis');

function lacking(): readonly string[] {
  const lacks: string[] = [];
  try {
    execFileSync('redis-server', ['--version'], { stdio: 'ignore' });
  } catch {
    lacks.push('redis-server');
  }
  if (!existsSync(join(fixture, 'node_modules/redis'))) lacks.push('redis in test/fixtures/redis (npm ci)');
  return lacks;
}

const lacks = lacking();
if (lacks.length > 0)
  process.stderr.write(`skipped, tests of a token store in Redis: there is no ${lacks.join(', no ')}\n`);

/** Whether the server and its client are here. */
export const hasRedis = lacks.length === 0;

/** Loads the client from its fixture. */
export const loadRedis = async (name: string): Promise<unknown> =>
  createRequire(join(fixture, 'package.json'))(name) as unknown;

export interface RedisServer {
  readonly url: string;
  readonly port: number;
  readonly process: ChildProcess;
  /** Sends one command by redis-cli. */
  cli(...words: readonly string[]): string;
  stop(): Promise<void>;
}

/** A free port of loopback. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

/** Starts a real redis-server that keeps nothing on disk, and waits until it answers. */
export async function startRedis(
  options: { readonly port?: number; readonly password?: string; readonly config?: readonly string[] } = {},
): Promise<RedisServer> {
  const port = options.port ?? (await freePort());
  const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-redis-'));
  const config = join(folder, 'redis.conf');
  writeFileSync(
    config,
    [
      `port ${port}`,
      'bind 127.0.0.1',
      'save ""',
      'appendonly no',
      `dir ${folder}`,
      ...(options.password === undefined ? [] : [`requirepass ${options.password}`]),
      ...(options.config ?? []),
    ].join('\n'),
  );
  const child = await spawnRedis([config], 'Ready to accept connections');
  const secret = options.password === undefined ? '' : `:${options.password}@`;
  return {
    url: `redis://${secret}127.0.0.1:${port}`,
    port,
    process: child,
    cli: (...words) =>
      execFileSync('redis-cli', ['-p', String(port), ...words], {
        encoding: 'utf8',
        env: { ...process.env, ...(options.password === undefined ? {} : { REDISCLI_AUTH: options.password }) },
      }),
    stop: () => end(child, folder),
  };
}

/** Starts redis-server and waits until it says `word`. */
async function spawnRedis(argv: readonly string[], word: string): Promise<ChildProcess> {
  const child = spawn('redis-server', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise<void>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`redis-server ended with ${code}`)));
    child.stdout?.on('data', (chunk) => {
      if (String(chunk).includes(word)) resolve();
    });
  });
  return child;
}

async function end(child: ChildProcess, folder: string): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }
  rmSync(folder, { recursive: true, force: true });
}

/** Starts a real Sentinel that watches `primary` and promotes a replica of it half a second after it is gone. */
export async function startSentinel(primary: RedisServer): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-sentinel-'));
  const config = join(folder, 'sentinel.conf');
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${folder}`,
    `sentinel monitor fleet 127.0.0.1 ${primary.port} 1`,
    'sentinel down-after-milliseconds fleet 500',
    'sentinel failover-timeout fleet 2000',
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  const child = await spawnRedis([config, '--sentinel'], '+monitor master');
  return { url: `redis+sentinel://127.0.0.1:${port}/fleet`, stop: () => end(child, folder) };
}
