import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { unusedPort } from '../deribit/servers.js';
import { afterTest } from '../support/after-test.js';
import { buildWebProgram, webExchange } from './web-build.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const fixture = (path: string) => join(root, 'test/fixtures', path);
const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-web-'));
const program = join(folder, 'program.mjs');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

beforeAll(() => buildWebProgram(program));

const BUN = fixture('runtimes/node_modules/bun/bin/bun.exe');
const DENO = fixture('runtimes/node_modules/.bin/deno');
const WORKERD = fixture('web/node_modules/workerd/bin/workerd');
const SERVERS = [
  { name: 'Bun', command: BUN, words: [] },
  { name: 'Deno', command: DENO, words: ['run', '--no-prompt', '--allow-net'] },
];
for (const path of [BUN, DENO, WORKERD]) {
  if (!existsSync(path)) process.stderr.write(`${path} is not installed: skipped\n`);
}

describe.each(SERVERS)('the entries for the web on $name', ({ command, words }) => {
  it.skipIf(!existsSync(command))('make keys, sign, log in and hear a channel', async () => {
    const { input, expected } = await webExchange();
    const main = join(folder, 'main.mjs');
    writeFileSync(
      main,
      `import { useLibrary } from './program.mjs';\nconsole.log(JSON.stringify(await useLibrary(${JSON.stringify(input)})));\n`,
    );
    const { stdout, stderr } = await promisify(execFile)(command, [...words, main], { timeout: 60_000 });
    expect({ result: JSON.parse(stdout), stderr }).toEqual({ result: expected, stderr: '' });
  });
});

describe('the entries for the web on workerd', () => {
  it.skipIf(!existsSync(WORKERD))('make keys, sign, log in and hear a channel', async () => {
    const { input, expected } = await webExchange();
    const port = await unusedPort();
    writeFileSync(
      join(folder, 'worker.mjs'),
      `import { useLibrary } from 'program';
       export default { fetch: async (request) => Response.json(await useLibrary(await request.json())) };`,
    );
    writeFileSync(
      join(folder, 'workerd.capnp'),
      `using Workerd = import "/workerd/workerd.capnp";
       const config :Workerd.Config = (
         services = [
           (name = "main", worker = (
             modules = [
               (name = "worker", esModule = embed "worker.mjs"),
               (name = "program", esModule = embed "program.mjs"),
             ],
             compatibilityDate = "2025-09-01",
           )),
           (name = "internet", network = (allow = ["public", "private", "local"])),
         ],
         sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
       );`,
    );
    const server = spawn(WORKERD, ['serve', join(folder, 'workerd.capnp'), '--control-fd=1'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = new Promise((resolve) => server.once('exit', resolve));
    afterTest(async () => {
      server.kill();
      await ended;
    });
    // the control channel says when the socket listens
    await Promise.race([new Promise((resolve) => server.stdout.once('data', resolve)), ended]);
    const answer = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: JSON.stringify(input) });
    expect(await answer.json()).toEqual(expected);
  });
});
