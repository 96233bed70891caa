import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createProgram } from '../../src/cli/program.js';
import { COMMANDS } from '../../src/cli/run.js';
import { type Sandbox, startSandbox } from '../../src/sandbox/index.js';
import { cli, temporaryFolder } from '../support/cli.js';

const PAGES = ['README.md', 'src/sandbox/README.md', 'src/signers/README.md'].filter(existsSync);

/** The words of a shell line: quotes are taken off, a comment is left out. */
function shellWords(line: string): string[] {
  const words = line.match(/"[^"]*"|'[^']*'|[^\s"']+/g) ?? [];
  const end = words.findIndex((word) => word.startsWith('#'));
  return words.slice(0, end === -1 ? undefined : end).map((word) => word.replace(/^["']|["']$/g, ''));
}

/** Every command line of ours in a page's shell blocks; lines that end in a backslash are joined. */
function commandLines(page: string): string[] {
  const text = readFileSync(page, 'utf8').replace(/\\\n\s*/g, ' ');
  const blocks = [...text.matchAll(/```(?:sh|console|bash)\n([\s\S]*?)```/g)].map(([, block]) => block ?? '');
  return blocks.flatMap((block) =>
    block.split('\n').flatMap((line) => {
      const call = /(?:^|[|;(&]\s*)(?:npx )?deribit-keys ((?:"[^"]*"|'[^']*'|[^|;&)])*)/.exec(
        line.replace(/^\$ /, '').trim(),
      );
      return call?.[1] === undefined ? [] : [call[1].trim()];
    }),
  );
}

class Reached extends Error {}

/** Whether the program takes the line: its action is reached, and goes no further. */
async function parses(line: string): Promise<void> {
  const words = shellWords(line);
  const program = await createProgram(
    COMMANDS,
    () => {
      throw new Reached();
    },
    words,
  );
  const all = [program, ...program.commands, ...program.commands.flatMap((command) => command.commands)];
  for (const command of all) command.exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
  await program.parseAsync(words, { from: 'user' });
}

describe.each(PAGES.map((page) => ({ page, lines: commandLines(page) })).filter(({ lines }) => lines.length > 0))(
  '$page',
  ({ lines }) => {
    it.each(lines)('has a line that the program takes: %s', async (line) => {
      await expect(parses(line)).rejects.toBeInstanceOf(Reached);
    });
  },
);

describe('the quick start of the README', () => {
  let sandbox: Sandbox;
  beforeEach(async () => {
    sandbox = await startSandbox();
  });
  afterEach(() => sandbox.close());

  it('works from the first line to the last', async () => {
    const folder = temporaryFolder();
    const secretFile = join(folder, 'secret.txt');
    writeFileSync(secretFile, sandbox.clientSecret);
    const env: Record<string, string> = {
      DERIBIT_KEYS_DIR: join(folder, 'keys'),
      DERIBIT_KEYS_URL: sandbox.wsUrl,
      DERIBIT_KEYS_PASSPHRASE: 'correct horse battery staple',
    };
    const text = readFileSync('README.md', 'utf8');
    const start = text.indexOf('## Quick start');
    const section = text.slice(start, text.indexOf('\n## ', start + 1));
    const lines = commandLines('README.md').filter((line) => section.includes(line));
    expect(lines.length).toBeGreaterThanOrEqual(8);
    let webPageId = '';
    for (const line of lines) {
      const words = shellWords(line).map((word) =>
        word
          .replace('$CLIENT_ID', webPageId)
          .replace('$ADMIN_ID', sandbox.clientId)
          .replace(/^secret\.txt$/, secretFile),
      );
      const result = await cli(words, { env });
      expect(result, line).toMatchObject({ exitCode: 0 });
      const made = /-----BEGIN PUBLIC KEY-----[\s\S]*-----END PUBLIC KEY-----/.exec(result.stdout)?.[0];
      if (made !== undefined && webPageId === '') {
        webPageId = sandbox.addKey({ publicKey: made, maxScope: 'account:read_write trade:read_write' }).client_id;
      }
    }
    const enabled = sandbox.keys().filter((key) => key.enabled);
    expect(enabled).toHaveLength(4);
  });
});
