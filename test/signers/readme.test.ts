import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { cli } from '../support/cli.js';

const readme = readFileSync(fileURLToPath(new URL('../../src/signers/README.md', import.meta.url)), 'utf8');

describe('the page on keys that the bot cannot read', () => {
  it('imports what the package exports', async () => {
    const names = [...readme.matchAll(/import \{ ([^}]+) \} from 'deribit-keys'/g)].flatMap(([, list = '']) =>
      list.split(', '),
    );
    const values = names.filter((name) => !name.startsWith('type '));
    expect(values.length).toBeGreaterThan(4);
    const exported = await import('../../src/index.js');
    for (const name of values) expect(exported).toHaveProperty(name, expect.any(Function));
  });

  it('names commands and options that exist', async () => {
    const lines = readme.split('\n').filter((line) => line.startsWith('deribit-keys '));
    expect(lines.length).toBeGreaterThan(6);
    const common = await cli(['--help'], { env: {} });
    for (const line of lines) {
      const [, command = '', ...words] = line.replace(/\s#.*/, '').split(/\s+/);
      const help = await cli([command, '--help'], { env: {} });
      expect(help.exitCode).toBe(0);
      const known = help.stdout + common.stdout;
      for (const option of words.filter((word) => word.startsWith('--'))) expect(known).toContain(option);
    }
  });
});
