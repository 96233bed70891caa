import { execFile, spawn } from 'node:child_process';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { temporaryFolder } from '../support/cli.js';
import { builtProgram } from '../support/program.js';

const program = builtProgram();

/** The shell blocks of a page's section. */
function shellBlocks(page: string, heading: string): readonly string[] {
  const text = readFileSync(page, 'utf8');
  const start = text.indexOf(`\n${heading}\n`);
  const section = text.slice(start, text.indexOf('\n## ', start + 1));
  return [...section.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => block ?? '');
}

it.each([
  ['README.md', '## The sandbox'],
  ['src/sandbox/README.md', '## From a shell'],
])('the shell commands of %s under "%s" work word by word', async (page, heading) => {
  const folder = temporaryFolder();
  const command = join(folder, 'deribit-keys');
  writeFileSync(command, `#!/bin/sh\nexec "${process.execPath}" "${program.path}" "$@"\n`);
  chmodSync(command, 0o755);
  const options = { cwd: folder, env: { PATH: [folder, process.env.PATH].join(delimiter), HOME: folder } };
  const [first = '', ...blocks] = shellBlocks(page, heading);
  const sandbox = spawn('sh', ['-c', `exec ${first.replace(/ #.*/, '')}`], options);
  try {
    await new Promise<void>((resolve, reject) => {
      sandbox.stderr.on('data', (text) => String(text).includes('running') && resolve());
      sandbox.on('exit', (code) => reject(new Error(`it ended with ${code}`)));
    });
    const { stdout } = await promisify(execFile)('sh', ['-eu', '-c', blocks.join('\n')], options);
    expect(stdout).toContain('BEGIN PUBLIC KEY');
    const { stdout: keys } = await promisify(execFile)(
      'sh',
      ['-c', '. sandbox/env; deribit-keys list --json'],
      options,
    );
    const clientIds = (JSON.parse(keys) as readonly { readonly clientId: string | null }[]).map((key) => key.clientId);
    expect(clientIds).toEqual([expect.any(String), expect.any(String)]);
  } finally {
    const ended = new Promise((resolve) => sandbox.on('exit', resolve));
    sandbox.kill('SIGINT');
    await ended;
  }
});
