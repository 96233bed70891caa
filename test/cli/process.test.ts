import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, vi } from 'vitest';
import { VERSION } from '../../src/version.js';
import { cli, temporaryFolder } from '../support/cli.js';
import { openDesk } from '../support/desk.js';
import { builtProgram, canRun, type ProcessOptions, runProcess } from '../support/program.js';
import { openExchange } from '../support/world.js';

vi.setConfig({ testTimeout: 120_000 });

const program = builtProgram();
const hasScript = await canRun('script', '--version');

const run = (args: readonly string[], options?: ProcessOptions) =>
  runProcess(process.execPath, [program.path, ...args], options);
const shell = (line: string, env: Readonly<Record<string, string>> = {}) =>
  runProcess('bash', ['-c', line], { env: { NODE: process.execPath, PROGRAM: program.path, ...env } });

/** Whether a process has a handler for SIGHUP (proc(5)), which Node.js has only where the program sets it. */
const listens = (pid: number) =>
  (Number.parseInt(
    /SigCgt:\s*[0-9a-f]*([0-9a-f])\n/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0',
    16,
  ) &
    1) ===
  1;

/** Whether a process opens or reads a named pipe (proc(5)): it has it open, or one of its threads waits for a writer. */
function waitsForPipe(pid: number): boolean {
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`));
  const waits = readdirSync(`/proc/${pid}/task`).map((task) => readFileSync(`/proc/${pid}/task/${task}/wchan`, 'utf8'));
  return links.some((link) => link.endsWith('/pipe')) || waits.includes('wait_for_partner');
}
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

/** A keystore with the key "bot", and a sandbox where it can be registered. */
async function openBot(faults: readonly string[] = []) {
  const sandbox = await openExchange({ faults });
  // the sandbox carries nothing out late
  const { env, json } = openDesk(sandbox, undefined, { via: 'ws', env: { DERIBIT_KEYS_UNCERTAIN_MS: '100' } });
  await json(['generate', 'bot']);
  return { sandbox, env };
}

const stateOf = (env: Readonly<Record<string, string>>) =>
  JSON.parse(readFileSync(join(env.DERIBIT_KEYS_DIR ?? '', 'bot.json'), 'utf8')) as { state: string };

it('--version is one line', async () => {
  expect(await run(['--version'])).toEqual({ exitCode: 0, signal: null, stdout: `${VERSION}\n`, stderr: '' });
});

describe('output that goes nowhere', () => {
  it('because its reader went away is no error', async () => {
    const { env } = await openBot();
    const end = await shell('"$NODE" "$PROGRAM" help | head -1; echo "$PIPESTATUS"', env);
    expect(end.stderr).toBe('');
    expect(end.stdout).toMatch(/^Usage: .*\n0\n$/);
    const closed = await shell('"$NODE" "$PROGRAM" list | true; echo "$PIPESTATUS"', env);
    expect(closed).toMatchObject({ stdout: '0\n', stderr: '' });
  });

  it('because the disk is full is exit 1, and says so', async () => {
    const { env } = await openBot();
    const end = await shell('"$NODE" "$PROGRAM" sign bot --client-id x > /dev/full', env);
    expect(end).toMatchObject({ exitCode: 1, stderr: 'error: the output cannot be written (ENOSPC)\n' });
  });
});

describe('a signal', () => {
  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    '%s during a request is exit 130, soon, with the record in order',
    async (signal) => {
      const { env, sandbox } = await openBot(['silent@private/create_api_key']);
      const arrived = vi.waitUntil(() => sandbox.calls.some(({ method }) => method === 'private/create_api_key'), {
        timeout: 60_000,
      });
      const end = await run(['register', 'bot', '--scope', 'trade:read'], {
        env,
        onStart: (pid) => void arrived.then(() => process.kill(pid, signal)),
      });
      expect(end).toMatchObject({ exitCode: 130, signal: null, stdout: '' });
      expect(end.stderr).toContain('error: ');
      expect(stateOf(env).state).toBe('pending');
      expect(readdirSync(env.DERIBIT_KEYS_DIR).filter((file) => /\.(tmp|lock|commit)$/.test(file))).toEqual([]);
      sandbox.clearFaults();
      expect((await run(['register', 'bot', '--scope', 'trade:read', '--json'], { env })).exitCode).toBe(0);
      expect(sandbox.keys()).toHaveLength(2);
    },
  );

  it.skipIf(process.platform !== 'linux')('while a lock is waited for is exit 130', async () => {
    const { env } = await openBot();
    const holder = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    const lock = join(env.DERIBIT_KEYS_DIR, '.bot.lock');
    writeFileSync(lock, JSON.stringify({ token: 't', pid: holder.pid, started: '', machine: 'elsewhere' }));
    const end = await run(['remove', 'bot'], {
      env,
      onStart: (pid) => void vi.waitUntil(() => listens(pid)).then(() => process.kill(pid, 'SIGINT')),
    });
    holder.kill();
    expect(end.stderr).toContain('interrupted while waiting for the key "bot"');
    expect(end).toMatchObject({ exitCode: 130, stdout: '' });
  });

  const slowBackup = fileURLToPath(new URL('../vectors/age-scrypt-20.age', import.meta.url));

  it.skipIf(process.platform !== 'linux').each<[string, (folder: string) => readonly string[], string | null]>([
    ['the making of an RSA key', () => ['generate', 'slow', '--type', 'rsa', '--bits', '4096'], 'generating'],
    ['a key file that is a pipe without a writer', (folder) => ['fingerprint', join(folder, 'pipe')], null],
    ['a passphrase file that is one', (folder) => ['generate', 'a', '--passphrase-file', join(folder, 'pipe')], null],
    ['a policy file that is one', (folder) => ['plan', join(folder, 'pipe')], null],
    // scrypt with 2^20 rounds takes seconds
    ['the opening of a backup', () => ['restore', slowBackup], 'decrypting'],
    ['the encryption of a backup', (folder) => ['backup', join(folder, 'backup.age')], 'encrypting'],
  ])('ends %s, within a second', async (_what, argv, sign) => {
    const folder = temporaryFolder();
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    await cli(['generate', 'bot', '--keys-dir', join(folder, 'keys')]);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      let pid = 0;
      const end = run(argv(folder), {
        env: { DERIBIT_KEYS_DIR: join(folder, 'keys'), DERIBIT_KEYS_BACKUP_PASSPHRASE: 'correct horse' },
        onStart: (started) => {
          pid = started;
          if (sign === null) void vi.waitUntil(() => waitsForPipe(started)).then(() => process.kill(started, signal));
        },
        onStderr: (text) => {
          if (sign !== null && text.startsWith(sign)) process.kill(pid, signal);
        },
      });
      const { exitCode, signal: endedBy, stdout } = await end;
      expect({ stdout, by: exitCode === 130 ? signal : endedBy }).toEqual({ stdout: '', by: signal });
    }
  });

  it('to a sandbox ends it, with exit 0', async () => {
    const child = spawn(process.execPath, [program.path, 'sandbox', '--json'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    child.stdout.once('data', () => child.kill('SIGINT'));
    expect(await new Promise((resolve) => child.on('close', resolve))).toBe(0);
  });
});

describe.skipIf(!hasScript)('on a real terminal (needs script)', () => {
  /** Types `keys` into the program once it has asked, and gives what the terminal showed. */
  const type = (keys: readonly string[], words: readonly string[], env: Readonly<Record<string, string>>) =>
    typeTo(keys, [process.execPath, program.path, ...words].map((word) => `'${word}'`).join(' '), env);

  /** The same with a line for the shell; `onShown` is called with all that was shown so far. */
  const typeTo = (
    keys: readonly string[],
    line: string,
    env: Readonly<Record<string, string>>,
    onShown: (text: string) => void = () => {},
  ) =>
    new Promise<{ exitCode: number | null; shown: string }>((resolve) => {
      let told = false;
      const child = spawn('script', ['-qefc', line, '/dev/null'], {
        env: { PATH: process.env.PATH ?? '', TERM: 'xterm', ...env },
      });
      const left = [...keys];
      let shown = '';
      let answered = 0;
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        shown += text;
        if (!told && shown.includes('Passphrase of')) {
          told = true;
          onShown(shown);
        }
        const questions = shown.match(/(: |\[y\/N\] )/g)?.length ?? 0;
        while (answered < questions && left.length > 0) {
          answered += 1;
          child.stdin.write(left.shift() ?? '');
        }
      });
      child.on('close', (exitCode) => resolve({ exitCode, shown }));
    });

  it('a passphrase is asked for and not shown, Ctrl-C is exit 130, and the terminal is left as it was', async () => {
    const env = { DERIBIT_KEYS_DIR: join(temporaryFolder(), 'keys') };
    const made = await type(['horse\r', 'horse\r'], ['generate', 'bot', '--encrypt'], env);
    expect(made.exitCode).toBe(0);
    expect(made.shown).toContain('New passphrase of the key "bot": ');
    expect(made.shown).not.toContain('horse');
    const signed = await type(['horse\r'], ['sign', 'bot', '--client-id', 'x'], env);
    expect(signed.exitCode).toBe(0);
    expect(signed.shown).toContain('"signature"');
    expect(signed.shown).not.toContain('horse');
    const broken = await type(['ho\u0003'], ['sign', 'bot', '--client-id', 'x'], env);
    expect(broken.exitCode).toBe(130);
    expect(broken.shown).toContain('interrupted');
  });

  it('a passphrase is asked for there where the key comes from a pipe, and where stderr is a file', async () => {
    const folder = temporaryFolder();
    const env = { DERIBIT_KEYS_DIR: join(folder, 'keys'), PROGRAM: program.path, NODE: process.execPath };
    await cli(['generate', 'bot', '--encrypt'], { env: { ...env, DERIBIT_KEYS_PASSPHRASE: 'horse' } });
    const piped = await typeTo(
      ['horse\r'],
      'cat "$DERIBIT_KEYS_DIR/bot.pem" | "$NODE" "$PROGRAM" import copy - --json',
      env,
    );
    expect(piped.exitCode).toBe(0);
    expect(piped.shown).toContain('Passphrase of the key on stdin: ');
    expect(piped.shown).not.toContain('horse');
    const line = `"$NODE" "$PROGRAM" sign copy --client-id x 2> '${folder}/stderr' > '${folder}/stdout'`;
    const redirected = await typeTo(['horse\r'], line, env);
    expect(redirected.exitCode).toBe(0);
    expect(redirected.shown).toContain('Passphrase of the key "copy": ');
    expect(readFileSync(join(folder, 'stderr'), 'utf8')).toBe('');
    expect(readFileSync(join(folder, 'stdout'), 'utf8')).toContain('"signature"');
  });

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const)(
    '%s at a question leaves the echo on',
    async (signal) => {
      const keysDir = join(temporaryFolder(), 'keys');
      const env = { DERIBIT_KEYS_DIR: keysDir, PROGRAM: program.path, NODE: process.execPath };
      await cli(['generate', 'bot', '--encrypt'], { env: { ...env, DERIBIT_KEYS_PASSPHRASE: 'horse' } });
      // the outer shell outlives the signal; it prints the pid that the inner one has in common with the program
      const line = `sh -c 'echo "pid $$"; exec "$NODE" "$PROGRAM" sign bot --client-id x'; echo "exit $?"; stty -a`;
      const { shown } = await typeTo([], line, env, (text) => {
        const pid = /pid (\d+)/.exec(text)?.[1];
        if (text.includes('Passphrase of') && pid !== undefined) process.kill(Number(pid), signal);
      });
      const number = constants.signals[signal];
      expect(shown).toMatch(new RegExp(`exit (130|${128 + number})\\b`));
      expect(shown).toMatch(/\secho\s/);
      expect(shown).toMatch(/\sicanon\s/);
    },
  );

  it('two answers that are pasted at once are both taken', async () => {
    const env = { DERIBIT_KEYS_DIR: join(temporaryFolder(), 'keys') };
    const made = await type(['horse\rhorse\r'], ['generate', 'bot', '--encrypt'], env);
    expect(made.exitCode).toBe(0);
    expect(
      (await run(['sign', 'bot', '--client-id', 'x'], { env: { ...env, DERIBIT_KEYS_PASSPHRASE: 'horse' } })).exitCode,
    ).toBe(0);
  });

  it('a private key is not shown, and removal asks', async () => {
    const env = { DERIBIT_KEYS_DIR: join(temporaryFolder(), 'keys') };
    await cli(['generate', 'bot'], { env });
    const exported = await type([], ['export', 'bot'], env);
    expect(exported.exitCode).toBe(2);
    expect(exported.shown).not.toContain('PRIVATE KEY-----');
    const kept = await type(['n\r'], ['remove', 'bot', '--purge'], env);
    expect(kept.exitCode).toBe(1);
    expect(readdirSync(env.DERIBIT_KEYS_DIR)).toContain('bot.pem');
  });
});

it('registering the same name twice at once makes one key: one wins, the other says so', async () => {
  const { env, sandbox } = await openBot();
  const ends = await Promise.all(
    [1, 2, 3].map(() => run(['register', 'bot', '--scope', 'trade:read', '--json'], { env })),
  );
  expect(ends.map(({ exitCode }) => exitCode).sort()).toEqual([0, 1, 1]);
  for (const end of ends.filter(({ exitCode }) => exitCode === 1)) {
    const { error } = JSON.parse(end.stderr) as { error: { code: string } };
    expect(['ERR_STATE', 'ERR_LOCKED']).toContain(error.code);
  }
  expect(sandbox.keys()).toHaveLength(2);
});

it.skipIf(process.platform !== 'linux')('no secret stands in the arguments of the process', async () => {
  const { env, sandbox } = await openBot(['delay@public/auth:500']);
  let line = '';
  await run(['register', 'bot', '--scope', 'trade:read', '--verbose'], {
    env,
    onStderr: (_text, pid) => {
      if (line !== '') return;
      line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    },
  });
  expect(line).toContain('register');
  expect(line).not.toContain(sandbox.clientSecret);
});

it('the folder that it runs in holds the keys where nothing else is said', async () => {
  const cwd = temporaryFolder();
  mkdirSync(join(cwd, 'keys'));
  expect((await run(['generate', 'bot'], { cwd })).exitCode).toBe(0);
  expect(readdirSync(join(cwd, 'keys')).sort()).toEqual([
    '.gitignore',
    'audit.jsonl',
    'bot.json',
    'bot.pem',
    'bot.pub.pem',
  ]);
});
