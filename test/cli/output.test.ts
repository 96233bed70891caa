import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createPrinter, fields, table } from '../../src/cli/output.js';
import { DeribitKeysError } from '../../src/errors.js';
import { cli, temporaryFolder } from '../support/cli.js';
import { anyText } from '../support/properties.js';

/** What has been written; since Node.js 26, `read()` returns one chunk of it at a time. */
function textOf(stream: PassThrough): string {
  const chunk = stream.read();
  return chunk === null ? '' : `${chunk}${textOf(stream)}`;
}

/** A printer on streams of which stdout may be a terminal of that many columns. */
function printer({ columns, ...options }: Parameters<typeof createPrinter>[1] & { readonly columns?: number } = {}) {
  const stdout = Object.assign(new PassThrough(), columns === undefined ? {} : { isTTY: true, columns });
  const stderr = new PassThrough();
  const out = createPrinter({ stdout, stderr, env: {} }, options);
  return { out, stdout: () => textOf(stdout), stderr: () => textOf(stderr) };
}

describe('a result', () => {
  const sly = 'a\u001b]0;owned\u0007\u001b[5mb\u202e';

  it('cannot steer the terminal, with colour or without', () => {
    const plain = printer();
    plain.out.result({}, () => [plain.out.style(sly, 'bold'), 'c\td']);
    expect(plain.stdout()).toBe('a\\x1b]0;owned\\x07\\x1b[5mb\\u202e\nc\td\n');
    const coloured = printer({ columns: 80 });
    coloured.out.result({}, () => [coloured.out.style(sly, 'bold', 'red'), 'c']);
    expect(coloured.stdout()).toBe('\u001b[31m\u001b[1ma\\x1b]0;owned\\x07\\x1b[5mb\\u202e\u001b[22m\u001b[39m\nc\n');
    coloured.out.line(`${coloured.out.style('x', 'dim')}\u009b`);
    expect(coloured.stdout()).toBe('\u001b[2mx\u001b[22m\\x9b\n');
  });
});

describe('an error', () => {
  it('that is a mistake of the program is told as such, without its words', () => {
    for (const [thrown, what] of [
      [new TypeError('secret inside'), 'TypeError'],
      ['secret text', 'string'],
    ] as const) {
      const { out, stderr } = printer();
      expect(out.error(thrown)).toBe(1);
      const said = stderr();
      expect(said).toContain(what);
      expect(said).toContain('--verbose');
      expect(said).not.toContain('secret');
    }
  });

  it('is told with its causes only by --verbose, and only so deep', () => {
    let error = new DeribitKeysError('ERR_NETWORK', 'cause 0');
    for (let depth = 1; depth < 20; depth += 1)
      error = new DeribitKeysError('ERR_NETWORK', `cause ${depth}`, { cause: error });
    const quiet = printer();
    quiet.out.error(error);
    expect(quiet.stderr()).toBe('error: cause 19\n');
    const wordy = printer({ verbose: true });
    wordy.out.error(error);
    const lines = wordy.stderr().trim().split('\n');
    expect(lines.length).toBeGreaterThan(3);
    expect(lines.length).toBeLessThan(12);
    expect(lines[1]).toBe('cause: ERR_NETWORK: cause 18');
  });

  it('of the exchange carries its code, once', () => {
    const { out, stderr } = printer();
    out.error(new DeribitKeysError('ERR_RPC', 'it refused', { rpc: { code: 13403, message: 'scope_exceeded' } }));
    expect(stderr()).toBe('error: it refused (Deribit 13403 scope_exceeded)\n');
    out.error(
      new DeribitKeysError('ERR_RPC', 'it refused: 13403', { rpc: { code: 13403, message: 'scope_exceeded' } }),
    );
    expect(stderr()).toBe('error: it refused: 13403\n');
  });

  it('cannot steer the terminal', () => {
    const { out, stderr } = printer();
    out.error(new DeribitKeysError('ERR_RPC', 'a\u001b[2Jb\u009bc\u202e', { hint: '\u0007' }));
    expect(stderr()).toBe('error: a\\x1b[2Jb\\x9bc\\u202e\nhint: \\x07\n');
  });
});

describe('columns', () => {
  it('are as wide as what is in them', () => {
    const { out } = printer();
    expect(table(out, { header: ['A', 'B'], rows: [['long', 'x'], ['y']] })).toEqual(['A     B', 'long  x', 'y']);
    expect(
      fields([
        ['a', 1],
        ['long', 'two'],
        ['none', null],
      ]),
    ).toEqual(['a     1', 'long  two']);
  });

  it('are never wider than the terminal, and hold everything', () => {
    const header = ['NAME', 'ALGORITHM', 'FINGERPRINT', 'STATE', 'ENVIRONMENT', 'CLIENT ID', 'SCOPE'];
    const rows = [
      ['bot.20261126T061324Z', 'ed25519', 'aa:'.repeat(15), 'registered', 'test', 'AbCdEf12', 'trade:read'],
    ];
    for (let columns = 1; columns <= 140; columns += 1) {
      const { out } = printer({ columns });
      const lines = table(out, { header, rows, yielding: ['FINGERPRINT', 'SCOPE'] }).map(stripVTControlCharacters);
      expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(columns);
      const letters = lines.join('').replaceAll(' ', '');
      for (const text of [...header, ...rows.flat()]) {
        for (const letter of text.replaceAll(' ', '')) expect(letters).toContain(letter);
        if (columns >= 40) expect(letters).toContain(text.replaceAll(' ', '').slice(0, 12));
      }
    }
  });

  it('share their rows between lines, or are told row by row, where the terminal is narrow', () => {
    const of = (columns: number) =>
      table(printer({ columns }).out, {
        header: ['ID', 'SCOPE', 'MARKS'],
        rows: [
          ['1', 'account:read trade:read_write wallet:read', 'login'],
          ['2', 'trade:read', '-'],
        ],
        yielding: ['SCOPE'],
      }).map(stripVTControlCharacters);
    expect(of(30)).toEqual([
      'ID  SCOPE                MARKS',
      '1   account:read         login',
      '    trade:read_write',
      '    wallet:read',
      '2   trade:read           -',
    ]);
    expect(of(22)).toEqual([
      'ID     1',
      'SCOPE  account:read',
      '       trade:read_writ',
      '       e wallet:read',
      'MARKS  login',
      '',
      'ID     2',
      'SCOPE  trade:read',
      'MARKS  -',
    ]);
  });

  it('are left out only where they can be spared, and the last line says so', () => {
    const lines = table(printer({ columns: 20 }).out, {
      header: ['ID', 'FINGERPRINT', 'NAME'],
      rows: [['1', 'aa:'.repeat(16), 'bot']],
      spare: ['FINGERPRINT'],
    }).map(stripVTControlCharacters);
    expect(lines.slice(0, 2)).toEqual(['ID  NAME', '1   bot']);
    expect(lines.slice(2).join(' ')).toBe('not shown, for lack of width: FINGERPRINT');
  });

  it('are never cut within a character', () => {
    const { out } = printer({ columns: 30 });
    const [, ...rows] = table(out, { header: ['LABEL', 'B'], rows: [['😀'.repeat(20), 'x']], yielding: ['LABEL'] });
    expect(rows.length).toBeGreaterThan(1);
    for (const row of rows) expect(row).toMatch(/^(😀)+( +x)?$/u);
  });

  it('have no colour on a terminal that cannot show it', () => {
    const stdout = Object.assign(new PassThrough(), { isTTY: true, columns: 80 });
    const of = (env: Readonly<Record<string, string>>) =>
      createPrinter({ stdout, stderr: new PassThrough(), env }, {}).style('x', 'bold');
    expect([of({ TERM: 'dumb' }), of({ NO_COLOR: '1' })]).toEqual(['x', 'x']);
    expect(of({ TERM: 'xterm' })).not.toBe('x');
  });

  it('hold each text in its place, whatever is in it', () => {
    const { out } = printer();
    const text = 'a\nb\tc\r\u0085\u202ed\u2066\u200b\ufeff\u2028\u2029\u{e0041}';
    const told = 'a\\nb\\tc\\x0d\\x85\\u202ed\\u2066\\u200b\\ufeff\\u2028\\u2029\\u{e0041}';
    expect(table(out, { header: ['A'], rows: [[text]] })).toEqual(['A', told]);
    expect(fields([['label', text]])).toEqual([`label  ${told}`]);
  });
});

describe('JSON', () => {
  const steering = /[\p{Cc}\p{Cf}\u2028\u2029]/u;
  const text = fc.array(
    fc.oneof(anyText(), fc.constantFrom('\u009b2J', '\u202e', '\u2028', '\u{e0041}', '\ud800', '\\')),
  );

  it('holds no character that could steer a terminal, and means the same', () => {
    fc.assert(
      fc.property(text, (parts) => {
        const value = { [parts.join('')]: parts };
        const { out, stdout } = printer({ json: true });
        out.result(value, () => '');
        const line = stdout();
        expect(line.endsWith('}\n')).toBe(true);
        expect(line.slice(0, -1)).not.toMatch(steering);
        expect(JSON.parse(line)).toEqual(value);
      }),
    );
  });

  it('of an error neither', () => {
    const { out, stderr } = printer({ json: true });
    out.error(new DeribitKeysError('ERR_RPC', 'a\u009b\u202e\u{e0041}'));
    expect(stderr()).toBe('{"error":{"code":"ERR_RPC","message":"a\\\\x9b\\u202e\\udb40\\udc41"}}\n');
  });
});

it('with --json nothing but documents is said', () => {
  const { out, stdout, stderr } = printer({ json: true, verbose: true });
  out.line('a line');
  out.note('a note');
  out.detail('a detail');
  expect([stdout(), stderr()]).toEqual(['', '']);
  out.result({ a: 1 }, () => 'text');
  expect(stdout()).toBe('{"a":1}\n');
});

it('an empty result is no line', () => {
  const { out, stdout } = printer();
  out.result([], () => '');
  expect(stdout()).toBe('');
});

it('sandbox tells people where it is', async () => {
  const abort = new AbortController();
  const seed = 'JBSWY3DPEHPK3PXP';
  const { exitCode, stdout, stderr } = await cli(['sandbox', '--tfa-secret', seed], {
    signal: abort.signal,
    onStdout: () => abort.abort(),
  });
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^http +http:\/\/127\.0\.0\.1:\d+\/api\/v2\nwebsocket +ws:/);
  expect(stdout).toContain(seed);
  expect(stderr).toContain('Ctrl-C');
});

it('a sandbox that was interrupted before it started ends at once', async () => {
  const abort = new AbortController();
  abort.abort();
  expect((await cli(['sandbox'], { signal: abort.signal })).exitCode).toBe(0);
});

it('a state file that is not one is reported', async () => {
  const { exitCode, stderr } = await cli(['sandbox', '--state', temporaryFolder()]);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/^error: /);
});

it('verify of an empty keystore says that there is nothing', async () => {
  const { exitCode, stdout, stderr } = await cli(['verify', '--keys-dir', join(temporaryFolder(), 'keys')]);
  expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: '' });
  expect(stderr).toContain('no keys');
});
