import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chmodSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { afterTest } from '../support/after-test.js';
import { temporaryFolder } from '../support/cli.js';
import { builtProgram, canRun } from '../support/program.js';
import { freePort } from '../support/redis.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const program = builtProgram();

async function lacking(): Promise<readonly string[]> {
  const tools = { curl: '--version', jq: '--version', openssl: 'version', 'redis-server': '--version' };
  const found = await Promise.all(
    Object.entries(tools).map(async ([tool, word]) => [tool, await canRun(tool, word)] as const),
  );
  return found.filter(([, there]) => !there).map(([tool]) => tool);
}
const lacks = await lacking();
if (lacks.length > 0) {
  process.stderr.write(`skipped, the commands of examples/deploy/README.md: there is no ${lacks.join(', no ')}\n`);
}

async function isRunning(sandbox: ChildProcess): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    sandbox.stderr?.on('data', (text) => String(text).includes('running') && resolve());
    sandbox.on('exit', (code) => reject(new Error(`it ended with ${code}`)));
  });
}

test.skipIf(lacks.length > 0)('the shell commands of "From one bot to a fleet" work word by word', async () => {
  const folder = temporaryFolder();
  // optional packages are found from the program's folder
  symlinkSync(join(root, 'node_modules'), join(dirname(program.path), 'node_modules'));
  writeFileSync(join(folder, 'deribit-keys'), `#!/bin/sh\nexec "${process.execPath}" "${program.path}" "$@"\n`);
  chmodSync(join(folder, 'deribit-keys'), 0o755);
  const options = { cwd: folder, env: { PATH: [folder, process.env.PATH].join(delimiter), HOME: folder } };

  // only the ports differ, which may be taken here
  let page = readFileSync(join(root, 'examples/deploy/README.md'), 'utf8');
  for (const port of ['7070', '7071', '6390']) page = page.replaceAll(port, String(await freePort()));
  const [first = '', ...blocks] = [...page.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => block ?? '');
  expect(blocks.length).toBeGreaterThan(6);

  const sandbox = spawn('sh', ['-c', `exec ${first}`], options);
  afterTest(async () => {
    const ended = new Promise((resolve) => sandbox.once('exit', resolve));
    sandbox.kill('SIGINT');
    await ended;
  });
  await isRunning(sandbox);
  // what the page's last block ends is ended here too where another block fails
  const script = [
    `trap 'kill $FIRST $SECOND $(cat redis.pid 2>/dev/null) 2>/dev/null || :' EXIT`,
    ...blocks,
    'wait "$FIRST" "$SECOND"',
  ].join('\n');
  const { stdout } = await promisify(execFile)('sh', ['-eu', '-c', script], options);
  expect(stdout).toContain('the same token\n');
  expect(stdout.match(/^\{"ready":true/gm)).toHaveLength(2);
  expect(stdout).toMatch(/^10$/m);
  expect(stdout).toMatch(/"scope": ".*trade:read_write/);
});
