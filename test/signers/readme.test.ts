import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { cli } from '../support/cli.js';
import { FIXTURE } from './support.js';

const readme = readFileSync(fileURLToPath(new URL('../../src/signers/README.md', import.meta.url)), 'utf8');

describe('the page on keys that the bot cannot read', () => {
  it.each(['aws-kms', 'vault-transit'])('shows the worked signer %s as it is tested', (name) => {
    const shown = new RegExp(`<!-- ${name}\\.ts -->\\n\\n\`\`\`ts\\n([^]*?)\`\`\``).exec(readme)?.[1];
    const tested = readFileSync(join(FIXTURE, 'examples', `${name}.ts`), 'utf8');
    expect(shown).toBe(tested.replace("'../deribit-keys.js'", "'deribit-keys'"));
  });

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
    for (const line of lines) {
      const [, command = '', ...words] = line.replace(/\s#.*/, '').split(/\s+/);
      const help = await cli([command, '--help'], { env: {} });
      expect(help.exitCode).toBe(0);
      for (const option of words.filter((word) => word.startsWith('--'))) expect(help.stdout).toContain(option);
    }
  });
});
