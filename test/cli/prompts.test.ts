import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { engine } from '#engine';
import type { Host } from '../../src/cli/program.js';
import { ask, canAsk, confirm } from '../../src/cli/prompt.js';
import { secretFinder } from '../../src/cli/secret-sources.js';
import { requireNewPassphrase, withPassphrase } from '../../src/cli/secrets.js';
import { engine as native } from '../../src/crypto/engine/native.js';
import { type Sandbox, startSandbox } from '../../src/sandbox/index.js';
import { cli, temporaryFolder } from '../support/cli.js';
import { codeOf } from '../support/outcomes.js';
import { onTerminal } from '../support/terminal.js';

/** A terminal of which the test is the user. */
function terminal() {
  const raw: boolean[] = [];
  const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: (on: boolean) => void raw.push(on) });
  const abort = new AbortController();
  let shown = '';
  const stderr = Object.assign(
    new Writable({
      write(chunk, _encoding, done) {
        shown += String(chunk);
        done();
      },
    }),
    { isTTY: true },
  );
  const host: Host = { stdin, stdout: stderr, stderr, env: {}, signal: abort.signal };
  return { host, stdin, abort, raw, shown: () => shown };
}

describe('a question', () => {
  it.each([
    ['a line', 'horse\r', 'horse'],
    ['a line with a newline', 'horse\n', 'horse'],
    ['nothing', '\r', ''],
    ['letters of other scripts', 'пароль😀\r', 'пароль😀'],
    ['what is rubbed out', 'hox\u007frse\r', 'horse'],
    ['more rubbed out than there is', 'x\b\b\bhorse\r', 'horse'],
    ['a letter of two units rubbed out', 'a😀\u007fb\r', 'ab'],
    ['a line thrown away', 'wrong\u0015horse\r', 'horse'],
    ['control characters', 'ho\u0001\u0007rse\r', 'horse'],
    ['Ctrl-D behind something', 'horse\u0004\r', 'horse'],
  ])('takes %s, and shows none of it where it is secret', async (_what, typed, answer) => {
    const { host, stdin, shown, raw } = terminal();
    const asked = ask(host, 'Passphrase: ', { hidden: true });
    stdin.write(typed);
    expect(await asked).toBe(answer);
    expect(shown()).toBe('Passphrase: \n');
    expect(raw).toEqual([true, false]);
  });

  it('is shown only once the terminal echoes nothing any more', async () => {
    const { host, stdin, shown, raw } = terminal();
    const seen: boolean[] = [];
    stdin.setRawMode = (on) => {
      raw.push(on);
      if (on) seen.push(shown().includes('Passphrase'));
    };
    const asked = ask(host, 'Passphrase: ', { hidden: true });
    stdin.write('x\r');
    await asked;
    expect(seen).toEqual([false]);
  });

  it('shows what is typed where it is no secret', async () => {
    const { host, stdin, shown } = terminal();
    const asked = ask(host, 'Code: ', { hidden: false });
    stdin.write('12\u007f3\r');
    expect(await asked).toBe('13');
    expect(shown()).toBe('Code: 12\b \b3\n');
  });

  it('takes what comes in pieces, and in the middle of a character', async () => {
    const { host, stdin } = terminal();
    const asked = ask(host, '? ', { hidden: true });
    const bytes = Buffer.from('é😀\r');
    for (const byte of bytes) {
      stdin.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await asked).toBe('é😀');
  });

  it('answers the next one with what was typed or pasted ahead', async () => {
    const { host, stdin } = terminal();
    stdin.write('one\rtwo\rthr');
    expect(await ask(host, '? ', { hidden: true })).toBe('one');
    expect(await ask(host, '? ', { hidden: true })).toBe('two');
    const third = ask(host, '? ', { hidden: true });
    stdin.write('ee\r');
    expect(await third).toBe('three');
  });

  it.each([
    ['Ctrl-C', '\u0003'],
    ['Ctrl-C in the middle', 'hor\u0003'],
    ['Ctrl-D', '\u0004'],
  ])('is broken off by %s, and the terminal is as before', async (_what, typed) => {
    const { host, stdin, raw } = terminal();
    const asked = ask(host, '? ', { hidden: true });
    stdin.write(typed);
    expect(await codeOf(asked)).toBe('ERR_INTERRUPTED');
    expect(raw).toEqual([true, false]);
    expect(stdin.listenerCount('data')).toBe(0);
  });

  it('lets go of the terminal on Ctrl-Z, and is asked again without an echo when the user comes back', async () => {
    const { host, stdin, shown, raw } = terminal();
    const events: string[] = [];
    let goOn = () => {};
    const suspended: Host = {
      ...host,
      suspend: () => events.push(`stopped with raw ${raw.at(-1)}`),
      onContinue(listener) {
        goOn = listener;
        return () => events.push('no longer listening');
      },
    };
    const asked = ask(suspended, 'Passphrase: ', { hidden: true });
    stdin.write('hor\u001a');
    await vi.waitFor(() => expect(events).toEqual(['stopped with raw false']));
    goOn();
    expect(raw.at(-1)).toBe(true);
    stdin.write('se\r');
    expect(await asked).toBe('horse');
    expect(shown()).toBe('Passphrase: \nPassphrase: \n');
    expect(events.at(-1)).toBe('no longer listening');
  });

  it('is broken off by a signal, before and while it is asked', async () => {
    const { host, abort, raw } = terminal();
    const asked = ask(host, '? ', { hidden: true });
    abort.abort();
    expect(await codeOf(asked)).toBe('ERR_INTERRUPTED');
    expect(raw).toEqual([true, false]);
    expect(await codeOf(ask(host, '? ', { hidden: true }))).toBe('ERR_INTERRUPTED');
  });

  it('ends with what there is when the terminal goes away', async () => {
    const { host, stdin } = terminal();
    const asked = ask(host, '? ', { hidden: true });
    stdin.end('half');
    expect(await asked).toBe('half');
    expect(await codeOf(ask(host, 'Again? ', { hidden: true }))).toBe('ERR_INTERRUPTED');
  });

  it('is asked only where both ends are a terminal', () => {
    const { host } = terminal();
    expect(canAsk(host)).toBe(true);
    expect(canAsk({ ...host, stdin: new PassThrough() })).toBe(false);
    expect(canAsk({ ...host, stderr: new PassThrough() })).toBe(false);
  });
});

describe('a confirmation', () => {
  it.each([
    ['y', true],
    ['YES', true],
    [' y ', true],
    ['', false],
    ['n', false],
    ['yep', false],
  ])('of %j is %s', async (typed, means) => {
    const { host, stdin } = terminal();
    const confirmed = confirm(host, false, 'Really?');
    stdin.write(`${typed}\r`);
    if (means) await confirmed;
    else expect(await codeOf(confirmed)).toBe('ERR_CANCELLED');
  });
});

describe('a new passphrase', () => {
  const request = (host: Host, what: string) => {
    const secrets = secretFinder({ env: host.env, flags: {}, signal: host.signal, note: () => {} });
    return { host, secrets, what, names: ['passphrase'] } as const;
  };

  it('is asked for twice', async () => {
    const { host, stdin, shown } = terminal();
    stdin.write('horse\rhorse\r');
    expect((await requireNewPassphrase(request(host, 'the key'))).reveal()).toBe('horse');
    expect(shown()).not.toContain('horse');
  });

  it('that is empty, or another the second time, is asked for again, and given up in the end', async () => {
    const { host, stdin, shown } = terminal();
    stdin.write('\rhorse\rhouse\rhorse\rhorse\r');
    expect((await requireNewPassphrase(request(host, 'the key'))).reveal()).toBe('horse');
    expect(shown()).toContain('cannot be empty');
    expect(shown()).toContain('do not match');
    stdin.write('\r\r\r');
    expect(await codeOf(requireNewPassphrase(request(host, 'the key')))).toBe('ERR_CANCELLED');
  });

  it('that exists is asked for once', async () => {
    const { host, stdin, shown } = terminal();
    stdin.write('horse\r');
    expect(await withPassphrase(request(host, 'the key "bot"'), async (secret) => secret.reveal())).toBe('horse');
    expect(shown()).toContain('the key "bot"');
  });
});

const sandboxes: Sandbox[] = [];
afterEach(async () => {
  await Promise.all(sandboxes.splice(0).map((sandbox) => sandbox.close()));
});

describe('on a terminal', () => {
  const keys = () => ({ DERIBIT_KEYS_DIR: join(temporaryFolder(), 'keys') });

  it('generate, sign and passphrase ask for what they need', async () => {
    const env = keys();
    const made = await onTerminal(['generate', 'bot', '--encrypt'], env, () => 'horse');
    expect(made).toMatchObject({ exitCode: 0, asked: 2 });
    expect(made.stdout + made.stderr).not.toContain('horse');
    const signed = await onTerminal(['sign', 'bot', '--client-id', 'x'], env, () => 'horse');
    expect(signed).toMatchObject({ exitCode: 0, asked: 1 });
    expect(await onTerminal(['sign', 'bot', '--client-id', 'x'], env, () => '\u0003')).toMatchObject({
      exitCode: 130,
      stdout: '',
    });
    const changed = await onTerminal(['passphrase', 'bot'], env, (question) =>
      question.startsWith('Passphrase') ? 'horse' : 'house',
    );
    expect(changed).toMatchObject({ exitCode: 0, asked: 3 });
    expect(
      (await cli(['sign', 'bot', '--client-id', 'x'], { env: { ...env, DERIBIT_KEYS_PASSPHRASE: 'house' } })).exitCode,
    ).toBe(0);
  });

  it('a wrong passphrase is asked for again, three times in all', async () => {
    const env = keys();
    const horse = { ...env, DERIBIT_KEYS_PASSPHRASE: 'horse', DERIBIT_KEYS_BACKUP_PASSPHRASE: 'horse' };
    const exported = join(temporaryFolder(), 'bot.pem');
    const backup = join(temporaryFolder(), 'keys.age');
    for (const argv of [
      ['generate', 'bot', '--encrypt'],
      ['export', 'bot', '--out', exported],
      ['backup', backup],
    ])
      expect((await cli(argv, { env: horse })).exitCode).toBe(0);
    const sign = ['sign', 'bot', '--client-id', 'x'];
    for (const argv of [
      sign,
      ['export', 'bot', '--out', '-'],
      ['passphrase', 'bot', '--remove'],
      ['import', 'other', exported, '--no-encrypt'],
      ['fingerprint', exported],
      ['restore', backup, '--keys-dir', join(temporaryFolder(), 'restored')],
    ]) {
      const third = await onTerminal(argv, env, (_question, number) => (number === 2 ? 'horse' : 'house'));
      expect({ argv, exitCode: third.exitCode, asked: third.asked }).toEqual({ argv, exitCode: 0, asked: 3 });
      expect(third.stderr.match(/^wrong passphrase, try again$/gm)).toHaveLength(2);
      if (argv[0] === 'passphrase')
        await cli(['passphrase', 'bot'], { env: { ...env, DERIBIT_KEYS_NEW_PASSPHRASE: 'horse' } });
    }
    const never = await onTerminal(sign, env, () => 'house');
    expect(never).toMatchObject({ exitCode: 3, asked: 3, stdout: '' });
    expect(never.stderr).toMatch(/error: wrong passphrase for the key "bot"/);
    const given = await onTerminal(sign, { ...env, DERIBIT_KEYS_PASSPHRASE: 'house' }, () => 'horse');
    expect(given).toMatchObject({ exitCode: 3, asked: 0, stdout: '' });
    const broken = await onTerminal(sign, env, (_question, number) => (number === 1 ? '\u0003' : 'house'));
    expect(broken).toMatchObject({ exitCode: 130, asked: 2, stdout: '' });
  });

  it('a typed passphrase opens the key once: nothing is derived from it a second time', async () => {
    const sandbox = await startSandbox();
    sandboxes.push(sandbox);
    const env = { ...keys(), DERIBIT_KEYS_URL: sandbox.wsUrl };
    const login = { DERIBIT_CLIENT_ID: sandbox.clientId, DERIBIT_CLIENT_SECRET: sandbox.clientSecret };
    const exported = join(temporaryFolder(), 'bot.pem');
    const draw = vi.spyOn(engine, 'randomBytes').mockImplementation(native.randomBytes);
    onTestFinished(() => draw.mockRestore());
    const horse = { ...env, DERIBIT_KEYS_PASSPHRASE: 'horse' };
    for (const argv of [
      ['generate', 'bot', '--encrypt'],
      ['export', 'bot', '--out', exported],
    ]) {
      expect((await cli(argv, { env: horse })).exitCode).toBe(0);
    }
    for (const [argv, more] of [
      [['sign', 'bot', '--client-id', 'x'], {}],
      [['fingerprint', exported], {}],
      [['import', 'other', exported], {}],
      [['export', 'bot', '--out', '-'], {}],
      [['register', 'bot', '--scope', 'account:read_write trade:read'], login],
      [['auth', 'bot'], {}],
      [['verify', 'bot'], {}],
      [['api-keys', 'list', '--as', 'bot'], {}],
      [['doctor', 'bot'], {}],
      [['rotate', 'bot', '--grace', '1m'], {}],
      [['passphrase', 'other'], {}],
      [['passphrase', 'other', '--remove'], {}],
    ] as const) {
      const derive = vi.spyOn(engine, 'pbkdf2');
      const run = await onTerminal(argv, { ...env, ...more }, () => 'horse');
      const salts = derive.mock.calls.map(([, { salt }]) => Buffer.from(salt).toString('hex'));
      derive.mockRestore();
      expect({ argv, stderr: run.stderr, exitCode: run.exitCode }).toMatchObject({ argv, exitCode: 0 });
      // a key that is encrypted anew has another salt; the file that was opened is the first one
      expect({ argv, count: salts.filter((salt) => salt === salts[0]).length }).toEqual({ argv, count: 1 });
    }
  });

  it('remove --purge asks, and a no keeps the key', async () => {
    const env = keys();
    await cli(['generate', 'bot'], { env });
    const kept = await onTerminal(['remove', 'bot', '--purge'], env, () => 'n');
    expect(kept).toMatchObject({ exitCode: 1, asked: 1 });
    expect((await cli(['show', 'bot'], { env })).exitCode).toBe(0);
    expect(await onTerminal(['remove', 'bot', '--purge'], env, () => 'y')).toMatchObject({ exitCode: 0, asked: 1 });
    expect((await cli(['show', 'bot'], { env })).exitCode).toBe(3);
  });

  it('export does not put a private key on the screen unless it is asked to', async () => {
    const env = keys();
    await cli(['generate', 'bot'], { env });
    const refused = await onTerminal(['export', 'bot'], env, () => '');
    expect(refused).toMatchObject({ exitCode: 2, stdout: '' });
    expect((await onTerminal(['export', 'bot', '--out', '-'], env, () => '')).stdout).toContain('PRIVATE KEY');
    expect((await onTerminal(['export', 'bot', '--public'], env, () => '')).stdout).toContain('PUBLIC KEY');
  });

  it('register asks for a code, and Ctrl-C there leaves the key local', async () => {
    const sandbox = await startSandbox({ tfaSecret: 'JBSWY3DPEHPK3PXP' });
    sandboxes.push(sandbox);
    const env = {
      ...keys(),
      DERIBIT_KEYS_URL: sandbox.wsUrl,
      DERIBIT_CLIENT_ID: sandbox.clientId,
      DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
    };
    await cli(['generate', 'bot'], { env });
    const register = ['register', 'bot', '--scope', 'trade:read'];
    const broken = await onTerminal(register, env, () => '\u0003');
    expect(broken).toMatchObject({ exitCode: 130, asked: 1 });
    expect((await cli(['show', 'bot', '--json'], { env })).json()).toMatchObject({ state: 'local' });
    const { TOTP, Secret } = await import('otpauth');
    const totp = new TOTP({ secret: Secret.fromBase32('JBSWY3DPEHPK3PXP') });
    expect(await onTerminal(register, env, () => totp.generate())).toMatchObject({ exitCode: 0, asked: 1 });
  });

  it('fits tables to the width of the terminal, and writes them in full to a pipe', async () => {
    const sandbox = await startSandbox();
    sandboxes.push(sandbox);
    const env = {
      ...keys(),
      DERIBIT_KEYS_URL: sandbox.wsUrl,
      DERIBIT_CLIENT_ID: sandbox.clientId,
      DERIBIT_CLIENT_SECRET: sandbox.clientSecret,
    };
    await cli(['generate', 'bot'], { env });
    await cli(['register', 'bot', '--scope', 'account:read trade:read_write wallet:read custody:read'], { env });
    const widest = (text: string) =>
      Math.max(
        ...text
          .trimEnd()
          .split('\n')
          .map((line) => line.length),
      );
    for (const argv of [['list'], ['api-keys', 'list'], ['audit']]) {
      const full = (await cli(argv, { env })).stdout;
      expect(widest(full)).toBeGreaterThan(100);
      const wide = await onTerminal(argv, env, () => '', widest(full));
      expect(wide.stdout).toBe(full);
      const narrow = await onTerminal(argv, env, () => '', 80);
      expect(widest(narrow.stdout)).toBeLessThanOrEqual(80);
      expect(narrow.stdout).toMatch(/\bbot\b/);
      expect((await onTerminal(argv, env, () => '')).stdout).toBe(full);
    }
    expect((await onTerminal(['list'], env, () => '', 80)).stdout).toMatch(
      / account:read\b.*custody:read.*\nnot shown, for lack of width: FINGERPRINT\n$/s,
    );
  });

  it('uses colour only there, and not under NO_COLOR', async () => {
    const env = keys();
    await cli(['generate', 'bot'], { env });
    const coloured = await onTerminal(['list'], { ...env, NO_COLOR: '' }, () => '');
    expect(coloured.stdout).toContain('\u001b[1m');
    expect((await onTerminal(['list'], env, () => '')).stdout).not.toContain('\u001b');
    expect((await cli(['list'], { env })).stdout).not.toContain('\u001b');
  });
});
