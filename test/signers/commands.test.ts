import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../src/cli/run.js';
import { cli } from '../support/cli.js';
import { live, openDesk, type Registered, type Stored } from './desk.js';
import { folder, load, noAgent, noToken, PIN, SOFTHSM_MODULE, softHsm, startAgent } from './support.js';

describe.skipIf(noAgent)('keys in an ssh-agent, on the command line', () => {
  it.each(['ed25519', 'rsa'] as const)(
    'are added, registered, verified and used to log in there (%s)',
    async (type) => {
      const agent = await startAgent();
      const { fingerprint } = agent.addKey(type, 'bot@desk');
      const desk = await openDesk({ SSH_AUTH_SOCK: agent.socket });
      const stored = await desk.json<Stored>(['add-agent', 'bot', '--comment', 'bot@desk']);
      expect(stored.signer).toEqual({ kind: 'ssh-agent', fingerprint, comment: 'bot@desk', socket: null });
      await live(desk, stored, { SSH_AUTH_SOCK: agent.socket });
      expect((await desk.fails(1, ['add-agent', 'bot', '--comment', 'bot@desk'])).code).toBe('ERR_NAME_TAKEN');
      expect((await desk.fails(1, ['passphrase', 'bot'])).code).toBe('ERR_STATE');
      expect((await desk.fails(1, ['agent-load', 'bot'])).code).toBe('ERR_STATE');
      const exported = await cli(['export', 'bot'], { env: { DERIBIT_KEYS_DIR: desk.keys } });
      expect(exported).toMatchObject({
        exitCode: 1,
        stdout: '',
        stderr: expect.stringContaining('it lives in ssh-agent'),
      });
    },
  );

  it('are remembered with their socket where it was named', async () => {
    const agent = await startAgent();
    const { fingerprint } = agent.addKey('ed25519', 'bot');
    const desk = await openDesk();
    const words = ['add-agent', 'bot', '--fingerprint', fingerprint, '--socket', agent.socket];
    const stored = await desk.json<Stored>(words);
    expect(stored.signer.socket).toBe(agent.socket);
    await live(desk, stored, {});
    const shown = await cli(['show', 'bot'], { env: { DERIBIT_KEYS_DIR: desk.keys } });
    expect(shown.stdout).toContain(`ssh-agent ${fingerprint} bot on ${agent.socket}`);
  });

  it('are made there on request, and written to no disk', async () => {
    const agent = await startAgent();
    const desk = await openDesk({ SSH_AUTH_SOCK: agent.socket });
    const stored = await desk.json<Stored>(['generate', 'bot', '--in-agent', '--lifetime', '1h']);
    expect(agent.sshAdd(['-l'])).toContain(' bot (ED25519)');
    await live(desk, stored, { SSH_AUTH_SOCK: agent.socket });
    const human = await cli(['generate', 'other', '--in-agent'], {
      load,
      env: { DERIBIT_KEYS_DIR: desk.keys, SSH_AUTH_SOCK: agent.socket },
    });
    expect(human.stderr).toMatch(/warning: the private key is only in the agent: it is lost when the agent ends/);
    expect(human.stdout).toMatch(/signer\s+ssh-agent SHA256:/);
  });

  it('come from the keystore by agent-load, with the passphrase asked for once', async () => {
    const agent = await startAgent();
    const desk = await openDesk({ SSH_AUTH_SOCK: agent.socket, DERIBIT_KEYS_PASSPHRASE: 'correct horse' });
    await desk.json(['generate', 'bot', '--encrypt']);
    const loaded = await desk.json<{ sshFingerprint: string }>(['agent-load', 'bot', '--lifetime', '2h']);
    expect(loaded).toMatchObject({ name: 'bot', comment: 'bot', lifetimeS: 7200, confirm: false });
    expect(agent.sshAdd(['-l'])).toContain(`${loaded.sshFingerprint} bot`);
    const added = await desk.json<Stored>(['add-agent', 'same', '--fingerprint', loaded.sshFingerprint]);
    expect(added.fingerprint).toBe((await desk.json<Stored>(['show', 'bot'])).fingerprint);
    const wrong = await desk.fails(3, ['agent-load', 'bot'], { DERIBIT_KEYS_PASSPHRASE: 'wrong' });
    expect(wrong.code).toBe('ERR_PASSPHRASE_WRONG');
    const audit = readFileSync(join(desk.keys, 'audit.jsonl'), 'utf8');
    expect(audit).toContain('"agent-load"');
    expect(audit).toContain('"add ssh-agent"');
  });

  it('rotate from a file to the agent, there again, and back, also where a run was interrupted', async () => {
    const agent = await startAgent();
    const desk = await openDesk({ SSH_AUTH_SOCK: agent.socket });
    await desk.json(['generate', 'bot']);
    await desk.json(['register', 'bot', '--scope', 'account:read_write']);
    desk.sandbox.setFaults(['cut-before@private/create_api_key']);
    await desk.fails(4, ['rotate', 'bot', '--in-agent']);
    desk.sandbox.clearFaults();
    for (const file of readdirSync(desk.keys)) if (/^bot\.next-/.test(file)) rmSync(join(desk.keys, file));
    expect(await desk.json(['rotate', 'bot'])).toMatchObject({ state: 'done' });
    expect(agent.sshAdd(['-l']).trim().split('\n')).toHaveLength(1);
    const first = await desk.json<Stored>(['show', 'bot']);
    expect(first.signer).toMatchObject({ kind: 'ssh-agent', socket: null });
    expect(await desk.json(['rotate', 'bot', '--in-agent', '--socket', agent.socket])).toMatchObject({ state: 'done' });
    expect((await desk.json<Stored>(['show', 'bot'])).signer.socket).toBe(agent.socket);
    expect(await desk.json(['rotate', 'bot'])).toMatchObject({ state: 'done' });
    expect((await desk.json<Stored>(['show', 'bot'])).signer.socket).toBe(agent.socket);
    expect(await desk.json(['rotate', 'bot', '--in-file'])).toMatchObject({ state: 'done' });
    expect(await desk.json(['auth', 'bot'], { SSH_AUTH_SOCK: '' })).toMatchObject({ tokenType: 'bearer' });
  });

  it.each([
    [['--in-file', '--in-agent']],
    [['--in-agent', '--in-token']],
    [['--in-token', '--module', 'x']],
    [['--socket', 'x']],
    [['--token', 'x']],
    [['--abort', '--in-file']],
  ])('are not rotated to a place that cannot be meant: %j', async (flags) => {
    const desk = await openDesk();
    await desk.json(['generate', 'bot']);
    await desk.json(['register', 'bot', '--scope', 'account:read_write']);
    expect((await desk.fails(2, ['rotate', 'bot', ...flags])).code).toBe('ERR_USAGE');
  });

  it('fail clearly, with exit code 3', async () => {
    const agent = await startAgent();
    agent.addKey('ed25519', 'bot');
    const desk = await openDesk();
    await desk.json(['add-agent', 'bot', '--comment', 'bot'], { SSH_AUTH_SOCK: agent.socket });
    expect((await desk.fails(3, ['sign', 'bot', '--client-id', 'x'])).message).toMatch(/SSH_AUTH_SOCK is not set/);
    agent.sshAdd(['-D']);
    const env = { SSH_AUTH_SOCK: agent.socket };
    expect((await desk.fails(3, ['sign', 'bot', '--client-id', 'x'], env)).message).toMatch(/empty or locked/);
    const checks = await desk.run(['verify', 'bot'], env);
    expect(checks.exitCode).toBe(1);
    expect(checks.stdout).toContain('empty or locked');
  });

  it.each([
    [['add-agent', 'bot']],
    [['add-agent', 'bot', '--comment', 'a', '--fingerprint', 'b']],
    [['add-agent', 'bot', '--fingerprint', 'b', '--socket', '/nowhere']],
    [['generate', 'bot', '--lifetime', '1h']],
    [['generate', 'bot', '--token', 'x']],
    [['generate', 'bot', '--token-label', 'x']],
    [['generate', 'bot', '--in-agent', '--in-token']],
    [['generate', 'bot', '--in-agent', '--encrypt']],
    [['generate', 'bot', '--in-agent', '--lifetime', 'long']],
    [['generate', 'bot', '--in-agent', '--module', 'x']],
    [['generate', 'bot', '--in-token', '--module', 'x']],
    [['add-token', 'bot', '--module', 'x', '--label', 'y']],
  ])('refuse what cannot be meant: %j', async (argv) => {
    const keys = folder();
    const result = await cli([...argv, '--json'], { env: { DERIBIT_KEYS_DIR: keys }, load });
    if (argv.includes('/nowhere')) expect(result.error().code).toBe('ERR_SIGNER');
    else expect(result.error().code).toBe('ERR_USAGE');
    expect(readdirSync(keys).filter((file) => !file.startsWith('.'))).toEqual([]);
  });
});

describe.skipIf(noToken)('keys in a PKCS#11 token, on the command line', () => {
  const home = mkdtempSync(join(tmpdir(), 'dk-softhsm-cli-'));
  const place = ['--module', SOFTHSM_MODULE, '--token', 'bots'];
  const env = { DERIBIT_KEYS_PIN: PIN };
  let pinFile = '';

  beforeAll(() => {
    softHsm(home, ['bots', 'closed', 'asked']);
    pinFile = join(home, 'pin');
    writeFileSync(pinFile, `${PIN}\n`);
  });
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  it.each([
    ['ed25519', []],
    ['rsa', ['--type', 'rsa', '--bits', '2048']],
  ])('are made there and live their whole life there (%s)', async (type, kind) => {
    const desk = await openDesk();
    const label = `life-${type}`;
    const words = ['generate', 'bot', '--in-token', ...place, '--token-label', label, ...kind, '--pin-file', pinFile];
    const stored = await desk.json<Stored>(words);
    expect(stored.signer).toMatchObject({ kind: 'pkcs11', module: SOFTHSM_MODULE, token: 'bots', label });
    expect(stored.algorithm).toBe(type);
    await live(desk, stored, env);
    const shown = await cli(['show', 'bot'], { env: { DERIBIT_KEYS_DIR: desk.keys } });
    expect(shown.stdout).toContain(`pkcs11 token "bots", label "${label}"`);
  });

  it('are added by label or id where others made them', async () => {
    const desk = await openDesk(env);
    const pem = join(home, 'their.pem');
    const words = ['genpkey', '-algorithm', 'rsa', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', pem];
    execFileSync('openssl', words, { stdio: 'pipe' });
    const into = ['--token', 'bots', '--label', 'their', '--id', 'c0ffee', '--pin', PIN];
    execFileSync('softhsm2-util', ['--import', pem, ...into], { stdio: 'pipe' });
    const stored = await desk.json<Stored>(['add-token', 'bot', ...place, '--label', 'their']);
    expect(stored.signer).toMatchObject({ label: 'their', id: 'c0ffee' });
    const again = await desk.json<Stored>(['add-token', 'same', ...place, '--id', 'c0ffee']);
    expect(again.fingerprint).toBe(stored.fingerprint);
    const file = await cli(['fingerprint', pem], { env: {} });
    expect(file.stdout.trim()).toBe(stored.fingerprint);
  });

  it('rotate from a file to a token and back, with openssl and the exchange as witnesses', async () => {
    const desk = await openDesk(env);
    await desk.json(['generate', 'bot']);
    const scope = 'account:read_write trade:read_write';
    const first = await desk.json<Registered>(['register', 'bot', '--scope', scope]);
    expect(await desk.json(['rotate', 'bot', '--in-token', ...place])).toMatchObject({ state: 'done' });
    const inToken = await desk.json<Stored & Registered>(['show', 'bot']);
    expect(inToken.signer).toMatchObject({
      kind: 'pkcs11',
      token: 'bots',
      label: expect.stringMatching(/^bot\.next-/),
    });
    expect(readdirSync(desk.keys)).not.toContain('bot.pem');
    expect(await desk.json(['verify', 'bot'])).toEqual([expect.objectContaining({ ok: true })]);

    // without a word on the place: again in that token
    expect(await desk.json(['rotate', 'bot'])).toMatchObject({ state: 'done', previousClientId: inToken.clientId });
    const second = await desk.json<Stored & Registered>(['show', 'bot']);
    expect(second.signer.token).toBe('bots');
    expect(second.fingerprint).not.toBe(inToken.fingerprint);

    expect(await desk.json(['rotate', 'bot', '--in-file', '--type', 'rsa', '--bits', '2048'])).toMatchObject({
      state: 'done',
    });
    const back = await desk.json<Stored & Registered>(['show', 'bot']);
    expect(back).toMatchObject({ signer: null, algorithm: 'rsa' });
    expect(await desk.json(['auth', 'bot'], { DERIBIT_KEYS_PIN: '' })).toMatchObject({ clientId: back.clientId });
    const listed = desk.sandbox.keys().map((key) => key.client_id);
    expect(listed).toContain(back.clientId);
    for (const gone of [first.clientId, inToken.clientId, second.clientId]) expect(listed).not.toContain(gone);
  });

  it('are never made twice by a rotation that was interrupted', async () => {
    const desk = await openDesk(env);
    await desk.json(['generate', 'bot']);
    await desk.json(['register', 'bot', '--scope', 'account:read_write']);
    desk.sandbox.setFaults(['cut-before@private/create_api_key']);
    await desk.fails(4, ['rotate', 'bot', '--in-token', ...place]);
    desk.sandbox.clearFaults();
    const [next] = readdirSync(desk.keys).filter((file) => /^bot\.next-.*\.json$/.test(file));
    const successor = (next ?? '').replace(/\.json$/, '');
    expect(successor).not.toBe('');
    // as if the run had died between making the pair and writing its record
    for (const ending of ['.json', '.pub.pem']) rmSync(join(desk.keys, successor + ending));
    expect((await desk.fails(1, ['rotate', 'bot', '--in-file'])).message).toMatch(/in the token "bots"/);
    expect(await desk.json(['rotate', 'bot'])).toMatchObject({ state: 'done' });
    expect((await desk.json<Stored>(['show', 'bot'])).signer.label).toBe(successor);
    expect(desk.sandbox.keys().filter((key) => key.client_id !== desk.sandbox.clientId)).toHaveLength(1);
  });

  it('stay in the token when a rotation to them is rolled back, which is said', async () => {
    const desk = await openDesk(env);
    await desk.json(['generate', 'bot']);
    await desk.json(['register', 'bot', '--scope', 'account:read_write']);
    await desk.json(['rotate', 'bot', '--in-token', ...place, '--grace', '1h']);
    const aborted = await cli(['rotate', 'bot', '--abort'], {
      load,
      env: {
        ...env,
        DERIBIT_KEYS_DIR: desk.keys,
        DERIBIT_CLIENT_ID: desk.sandbox.clientId,
        DERIBIT_CLIENT_SECRET: desk.sandbox.clientSecret,
      },
    });
    expect(aborted.stderr).toMatch(/the successor's key is still in pkcs11, called bot\.next-\w+: delete it there/);
    expect(aborted.exitCode).toBe(0);
    expect((await desk.json<Stored>(['show', 'bot'])).signer).toBeNull();
  });

  it('fail clearly, with exit code 3', async () => {
    const desk = await openDesk();
    await desk.json(['generate', 'bot', '--in-token', ...place], env);
    const sign = ['sign', 'bot', '--client-id', 'x'];
    expect((await desk.fails(1, ['generate', 'other', '--in-token', ...place, '--token-label', 'bot'], env)).code).toBe(
      'ERR_NAME_TAKEN',
    );
    const closed = ['--module', SOFTHSM_MODULE, '--token', 'closed', '--label', 'x'];
    expect(await desk.fails(3, ['add-token', 'x', ...closed])).toMatchObject({
      code: 'ERR_PASSPHRASE_REQUIRED',
      message: 'the token "closed" needs a PIN, and no PIN was given',
      hint: expect.stringContaining('--pin-file'),
    });
    expect((await desk.fails(3, ['add-token', 'x', ...closed], { DERIBIT_KEYS_PIN: '0000' })).code).toBe(
      'ERR_PASSPHRASE_WRONG',
    );
    const absent = ['--module', SOFTHSM_MODULE, '--token', 'absent', '--label', 'x'];
    expect((await desk.fails(3, ['add-token', 'x', ...absent], env)).message).toBe('there is no token "absent"');
    const record = join(desk.keys, 'bot.json');
    const text = readFileSync(record, 'utf8');
    writeFileSync(record, text.replace(SOFTHSM_MODULE, '/nowhere.so'));
    expect((await desk.fails(3, sign, env)).message).toBe('there is no PKCS#11 module /nowhere.so');
  });

  it('ask for the PIN on a terminal, once, and do not show it', async () => {
    const desk = await openDesk();
    const asked = ['--in-token', '--module', SOFTHSM_MODULE, '--token', 'asked'];
    await desk.json(['generate', 'bot', ...asked], env);
    const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => {} });
    const shown = { stdout: '', stderr: '' };
    const terminal = (name: 'stdout' | 'stderr') =>
      Object.assign(
        new Writable({
          write(chunk, _encoding, done) {
            shown[name] += String(chunk);
            if (String(chunk).startsWith('PIN of the token')) setImmediate(() => stdin.write(`${PIN}\r`));
            done();
          },
        }),
        { isTTY: true },
      );
    const host = {
      stdin,
      stdout: terminal('stdout'),
      stderr: terminal('stderr'),
      signal: new AbortController().signal,
      load,
    };
    const argv = ['sign', 'bot', '--client-id', 'x'];
    expect(await run(argv, { ...host, env: { DERIBIT_KEYS_DIR: desk.keys, NO_COLOR: '1' } })).toBe(0);
    expect(shown.stderr).toBe('PIN of the token "asked": \n');
    expect(shown.stdout).toContain('"signature"');
  });

  it('are refused where the record names another key than it holds', async () => {
    const desk = await openDesk(env);
    const one = await desk.json<Stored>(['generate', 'one', '--in-token', ...place]);
    const two = await desk.json<Stored>(['generate', 'two', '--in-token', ...place]);
    const record = join(desk.keys, 'one.json');
    const swapped = readFileSync(record, 'utf8')
      .replace(String(one.signer.id), String(two.signer.id))
      .replace('"label": "one"', '"label": "two"');
    writeFileSync(record, swapped);
    expect((await desk.fails(3, ['sign', 'one', '--client-id', 'x'])).code).toBe('ERR_KEY_MISMATCH');
  });
});
