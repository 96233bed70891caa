import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, copyFileSync, mkdirSync, readFileSync, renameSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { afterTest } from '../support/after-test.js';
import { temporaryFolder } from '../support/cli.js';
import { isTaken, openBotDesk } from '../support/desk.js';
import { builtProgram, canRun } from '../support/program.js';

/** The user and the group of examples/deploy/kubernetes and docker. */
const NOBODY = 65_532;
const canMount = process.getuid?.() === 0 && (await canRun('setpriv', '--version'));
if (!canMount) process.stderr.write('skipped, a keystore mounted by Kubernetes: this needs root and setpriv\n');

const program = builtProgram();
const FILES = ['bot.json', 'bot.pem', 'bot.pub.pem'] as const;

/** Lays files out as the kubelet does: each a link through `..data`, which names the current edition. */
function mountEdition(mount: string, edition: string, from: string): void {
  mkdirSync(join(mount, edition), { mode: 0o755 });
  for (const name of FILES) {
    const path = join(mount, edition, name);
    copyFileSync(join(from, name), path);
    chownSync(path, 0, NOBODY);
    chmodSync(path, 0o440);
  }
  symlinkSync(edition, join(mount, '..data_tmp'));
  renameSync(join(mount, '..data_tmp'), join(mount, '..data'));
}

test.skipIf(!canMount)('the auth server serves a secret that Kubernetes mounts, and follows its editions', async () => {
  const s = await openBotDesk({}, 'account:read_write trade:read_write');
  const folder = temporaryFolder();
  const [mount, run] = [join(folder, 'keys'), join(folder, 'run')];
  for (const path of [folder, dirname(program.path)]) chmodSync(path, 0o755);
  mkdirSync(run);
  chownSync(run, NOBODY, NOBODY);
  mkdirSync(mount);
  chmodSync(mount, 0o1777);
  mountEdition(mount, '..1', s.keysDir);
  for (const name of FILES) symlinkSync(join('..data', name), join(mount, name));

  const child = spawn(
    'setpriv',
    [
      ...[`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--no-new-privs', '--inh-caps=-all'],
      ...[process.execPath, program.path, 'auth-server', 'bot', '--json', '--allow-mounted'],
      ...['--secret-file', join(run, 'secret')],
    ],
    { env: { PATH: process.env.PATH ?? '', DERIBIT_KEYS_DIR: mount }, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  afterTest(async () => {
    if (child.exitCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'close');
  });
  const { url } = JSON.parse(String((await once(child.stdout, 'data'))[0])) as { url: string };
  const secret = readFileSync(join(run, 'secret'), 'utf8').trim();
  const token = async () => {
    const response = await fetch(`${url}/v1/bot/token`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}` },
    });
    return ((await response.json()) as { accessToken: string }).accessToken;
  };
  const first = await token();
  expect(await isTaken(s.sandbox, first)).toBe(true);
  expect(await s.run(['rotate', 'bot', '--yes'])).toMatchObject({ exitCode: 0 });
  mountEdition(mount, '..2', s.keysDir);
  const second = await token();
  expect(second).not.toBe(first);
  expect(await isTaken(s.sandbox, second)).toBe(true);
  // nothing is written beside the secret file
  expect(spawnSync('find', [mount, '-user', String(NOBODY)], { encoding: 'utf8' }).stdout).toBe('');
});
