import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { afterTest } from '../support/after-test.js';
import { temporaryFolder } from '../support/cli.js';
import { openBotDesk } from '../support/desk.js';
import { builtProgram, canRun } from '../support/program.js';
import { freePort } from '../support/redis.js';

const units = fileURLToPath(new URL('../../examples/deploy/systemd', import.meta.url));
const hasSystemd = await canRun('systemd-analyze', '--version');
const hasActivation = hasSystemd && (await canRun('systemd-socket-activate', '--version'));
const hasNotify = hasSystemd && (await canRun('systemd-notify', '--version')) && (await canRun('python3', '--version'));
const services = ['deribit-keys-auth.service', 'deribit-keys-rotate.service'];

beforeAll(() => {
  if (!hasSystemd) process.stderr.write('skipped, tests of the systemd units: systemd is not here\n');
});

/** A root folder with the units, and programs where they expect them. */
function rootWithUnits(change: (text: string) => string = (text) => text): string {
  const root = temporaryFolder();
  const folder = join(root, 'etc/systemd/system');
  cpSync(units, folder, { recursive: true });
  for (const name of readdirSync(folder)) {
    writeFileSync(join(folder, name), change(readFileSync(join(folder, name), 'utf8')));
  }
  // what systemd's own units say, such as sysinit.target
  const own = 'usr/lib/systemd/system';
  const isTarget = (path: string) => path.endsWith(own) || path.endsWith('.target');
  cpSync(join('/', own), join(root, own), { recursive: true, verbatimSymlinks: true, filter: isTarget });
  for (const program of ['usr/local/bin/deribit-keys', 'usr/bin/kill']) {
    mkdirSync(join(root, program, '..'), { recursive: true });
    writeFileSync(join(root, program), '#!/bin/sh\n');
    chmodSync(join(root, program), 0o755);
  }
  return root;
}

function analyze(...words: readonly string[]): { readonly status: number | null; readonly said: string } {
  const { status, stdout, stderr } = spawnSync('systemd-analyze', words, { encoding: 'utf8' });
  return { status, said: stdout + stderr };
}

describe.skipIf(!hasSystemd)('the systemd units', () => {
  const verify = (root: string) =>
    analyze(
      'verify',
      `--root=${root}`,
      '--man=no',
      ...readdirSync(units).filter((name) => name.startsWith('deribit-')),
    );

  test('pass systemd-analyze verify without a word', () => {
    expect(verify(rootWithUnits())).toEqual({ status: 0, said: '' });
  });

  test('would not pass with a setting that systemd does not know', () => {
    const { said } = verify(rootWithUnits((text) => text.replace('ProtectClock=', 'ProtectClok=')));
    expect(said).toContain("Unknown key 'ProtectClok'");
  });

  test.each(services)('%s is rated at most 1.5 of 10 by systemd-analyze security', (service) => {
    const rated = analyze('security', '--offline=true', `--root=${rootWithUnits()}`, '--threshold=15', service);
    expect(rated).toMatchObject({ status: 0 });
  });

  test('come with the users that they name', () => {
    const made = spawnSync('systemd-sysusers', ['--dry-run', join(units, 'sysusers.conf')], { encoding: 'utf8' });
    expect(made.status).toBe(0);
    const text = services.map((name) => readFileSync(join(units, name), 'utf8')).join('');
    expect(new Set(text.match(/^(User|Group)=.*$/gm))).toEqual(new Set(['User=deribit-keys', 'Group=deribit-keys']));
  });
});

/** Prints what a service tells the socket of sd_notify(3), one message a line; descriptors (barriers) are closed at once. */
const LISTENER = `
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('bound', flush=True)
while True:
    text, ancillary, _, _ = s.recvmsg(4096, 1024)
    for _, kind, data in ancillary:
        if kind == socket.SCM_RIGHTS: os.close(int.from_bytes(data[:4], sys.byteorder))
    print(text.decode().replace('\\n', ' '), flush=True)
`;

describe.skipIf(!hasNotify)('the auth server under Type=notify', () => {
  const program = builtProgram();

  test('says when it is ready and when it stops, with its own process id', async () => {
    const s = await openBotDesk();
    const socket = join(temporaryFolder(), 'notify');
    const listener = spawn('python3', ['-c', LISTENER, socket], { stdio: ['ignore', 'pipe', 'inherit'] });
    afterTest(async () => {
      listener.kill('SIGKILL');
      await once(listener, 'close');
    });
    let heard = '';
    listener.stdout.on('data', (text) => {
      heard += String(text);
    });
    const poll = { timeout: 60_000 };
    await expect.poll(() => heard, poll).toBe('bound\n');
    const server = spawn(process.execPath, [program.path, 'auth-server', 'bot'], {
      env: { PATH: process.env.PATH ?? '', DERIBIT_KEYS_DIR: s.keysDir, NOTIFY_SOCKET: socket },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const ended = once(server, 'close');
    await expect.poll(() => heard, poll).toContain('READY=1');
    expect(heard).toContain(`MAINPID=${server.pid}`);
    server.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    await expect.poll(() => heard, poll).toContain('STOPPING=1');
  });
});

describe.skipIf(!hasActivation)('the auth server under socket activation', () => {
  const program = builtProgram();

  async function activated(address: string) {
    const s = await openBotDesk();
    const child = spawn(
      'systemd-socket-activate',
      [
        ...['-l', address, '-E', `DERIBIT_KEYS_DIR=${s.keysDir}`, '-E', 'PATH'],
        ...[process.execPath, program.path, 'auth-server', 'bot', '--json'],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const written = { stdout: '', stderr: '' };
    child.stdout.on('data', (text) => {
      written.stdout += String(text);
    });
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    const isOpen = new Promise<void>((resolve) => {
      child.stderr.on('data', (text) => {
        written.stderr += String(text);
        if (written.stderr.includes('Listening on')) resolve();
      });
    });
    afterTest(async () => {
      child.kill('SIGTERM');
      await ended;
    });
    await isOpen;
    return { child, ended, written };
  }

  test('serves on the Unix socket that it was passed, and leaves it to systemd when it ends', async () => {
    const socketPath = join(temporaryFolder(), 'auth.sock');
    const { child, ended, written } = await activated(socketPath);
    const reply = await new Promise<string>((resolve, reject) => {
      request({ socketPath, path: '/readyz' }, (response) => {
        let text = '';
        response.on('data', (chunk) => {
          text += String(chunk);
        });
        response.on('end', () => resolve(text));
      })
        .on('error', reject)
        .end();
    });
    expect(JSON.parse(reply)).toMatchObject({ ready: true, keys: [{ name: 'bot' }] });
    expect(JSON.parse(written.stdout)).toMatchObject({ url: 'fd:3' });
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
    expect(existsSync(socketPath)).toBe(true);
  });

  test('refuses a socket that other machines reach where there is no TLS', async () => {
    const port = await freePort();
    const { ended, written } = await activated(`0.0.0.0:${port}`);
    // the server ends without an answer
    await expect(fetch(`http://127.0.0.1:${port}/healthz`)).rejects.toThrow();
    expect(await ended).toBe(2);
    expect(written.stderr).toContain('other machines can reach this address');
  });
});
