import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { cli, temporaryFolder } from '../support/cli.js';

/*
 * Each file in transcripts/ is a session on the command line, in a folder of its own:
 *
 *   # a title                          what the calls below show; each title is one test, all run in order
 *   $ deribit-keys list --json         a call; $WORK is the folder, $WORK/keys the keystore
 *   < text                             a line of its stdin
 *   NAME=value                         an environment variable of the call
 *   1| a line of stdout                all lines, or none for an empty output; [..] stands for anything within a line
 *   2| a line of stderr                the same; a line of ... stands for any number of lines
 *   = 2                                its exit code; 0 where it is left out
 *   + keys/bot.pem                     what exists afterwards
 *   - keys/other.pem                   what does not
 *   -- secret.txt --                   at the end of the file: a file of the folder, with the lines below
 */

interface Call {
  readonly argv: string[];
  readonly stdin: string[];
  readonly env: Record<string, string>;
  readonly stdout: string[];
  readonly stderr: string[];
  exitCode: number;
  readonly there: string[];
  readonly gone: string[];
}

interface Step {
  readonly title: string;
  readonly calls: Call[];
}

const words = (line: string) =>
  [...line.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(([, one, two, plain]) => one ?? two ?? plain ?? '');

function parse(text: string): { steps: Step[]; files: Map<string, string> } {
  const [session = '', ...parts] = text.split(/^-- (.+) --\n/m);
  const files = new Map<string, string>();
  for (let part = 0; part < parts.length; part += 2) files.set(parts[part] ?? '', parts[part + 1] ?? '');
  const steps: Step[] = [];
  for (const line of session.split('\n')) {
    const call = steps.at(-1)?.calls.at(-1);
    const rest = line.slice(2);
    if (line.startsWith('# ')) steps.push({ title: rest, calls: [] });
    else if (line.startsWith('$ ')) {
      const [program, ...argv] = words(rest);
      if (program !== 'deribit-keys') throw new Error(`not a call of this program: ${line}`);
      steps.at(-1)?.calls.push({ argv, stdin: [], env: {}, stdout: [], stderr: [], exitCode: 0, there: [], gone: [] });
    } else if (line === '') continue;
    else if (call === undefined) throw new Error(`no call before: ${line}`);
    else if (line.startsWith('1|')) call.stdout.push(line.slice(3));
    else if (line.startsWith('2|')) call.stderr.push(line.slice(3));
    else if (line.startsWith('< ')) call.stdin.push(`${rest}\n`);
    else if (line.startsWith('= ')) call.exitCode = Number(rest);
    else if (line.startsWith('+ ')) call.there.push(rest);
    else if (line.startsWith('- ')) call.gone.push(rest);
    else if (/^[A-Z_]+=/.test(line)) call.env[line.slice(0, line.indexOf('='))] = line.slice(line.indexOf('=') + 1);
    else throw new Error(`not a line of a transcript: ${line}`);
  }
  return { steps, files };
}

/** Lines with [..] and ... as a pattern for the whole of an output. */
function pattern(lines: readonly string[]): RegExp {
  const escaped = lines.map((line) =>
    line === '...'
      ? '(?:.*\\n)*'
      : `${line
          .split('[..]')
          .map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
          .join('.*')}\\n`,
  );
  return new RegExp(`^${escaped.join('')}$`);
}

const folder = fileURLToPath(new URL('transcripts/', import.meta.url));

describe.each(readdirSync(folder))('transcripts/%s', (file) => {
  const { steps, files } = parse(readFileSync(join(folder, file), 'utf8'));

  it(`shows: ${steps.map(({ title }) => title).join('; ')}`, async () => {
    const work = temporaryFolder();
    for (const [name, content] of files) {
      mkdirSync(join(work, name, '..'), { recursive: true });
      writeFileSync(join(work, name), content, { mode: 0o600 });
    }
    const inWork = (text: string) => text.replaceAll('$WORK', work);
    for (const { title, calls } of steps) {
      for (const call of calls) {
        const env = Object.fromEntries(Object.entries(call.env).map(([name, value]) => [name, inWork(value)]));
        const result = await cli(call.argv.map(inWork), {
          env: { DERIBIT_KEYS_DIR: join(work, 'keys'), ...env },
          stdin: call.stdin.join(''),
        });
        const where = `${title}: deribit-keys ${call.argv.join(' ')}`;
        expect(result.stderr.replaceAll(work, '$WORK'), `stderr of ${where}`).toMatch(pattern(call.stderr));
        expect(result.stdout.replaceAll(work, '$WORK'), `stdout of ${where}`).toMatch(pattern(call.stdout));
        expect(result.exitCode, `exit code of ${where}`).toBe(call.exitCode);
        for (const path of call.there) expect(existsSync(join(work, path)), `${path} after ${where}`).toBe(true);
        for (const path of call.gone) expect(existsSync(join(work, path)), `${path} after ${where}`).toBe(false);
      }
    }
  });
});
