import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { SandboxOptions } from '../../src/sandbox/index.js';
import { cli, temporaryFolder } from '../support/cli.js';
import { type DeskCall, openDesk } from '../support/desk.js';
import { until } from '../support/outcomes.js';
import { openExchange, type Via } from '../support/world.js';

const SCOPE = 'account:read trade:read_write';
const SEED = 'JBSWY3DPEHPK3PXP';

/** A sandbox, a keystore with the key "bot", and the environment of a user who may do everything. */
async function openBot(via: Via = 'http', options: SandboxOptions = {}) {
  const desk = openDesk(await openExchange(options), undefined, { via });
  await desk.json(['generate', 'bot']);
  const { DERIBIT_CLIENT_ID, DERIBIT_CLIENT_SECRET, ...place } = desk.env;
  /** Runs what must succeed and say nothing beside its document. */
  const json = async <T = Record<string, unknown>>(argv: readonly string[], call?: DeskCall) => {
    const result = await desk.run(argv, call);
    expect(result).toMatchObject({ stderr: '', exitCode: 0 });
    return result.json<T>();
  };
  return { ...desk, json, place, keysDir: desk.folder };
}

describe.each(['ws', 'http'] as const)('from registration to login over %s', (via) => {
  it('register, show, verify, auth, sign', async () => {
    const { sandbox, json, run, place } = await openBot(via);
    const registered = await json(['register', 'bot', '--scope', SCOPE, '--label', 'my_bot', '--ip', '127.0.0.1']);
    expect(Object.keys(registered)).toEqual(
      expect.arrayContaining(
        'name environment clientId keyId fingerprint fingerprintVerified publicKeyVerified loginVerified scope adopted'.split(
          ' ',
        ),
      ),
    );
    expect(registered).toMatchObject({
      environment: 'test',
      fingerprintVerified: true,
      publicKeyVerified: true,
      loginVerified: true,
      scope: SCOPE,
      adopted: false,
    });
    expect(sandbox.keys().at(-1)).toMatchObject({ name: 'my_bot', ip_whitelist: ['127.0.0.1'] });
    expect(await json(['show', 'bot'])).toMatchObject({
      state: 'registered',
      clientId: registered.clientId,
      keyId: registered.keyId,
    });

    // from now on the key knows where it belongs, and needs no other login
    const alone = { env: { DERIBIT_KEYS_DIR: place.DERIBIT_KEYS_DIR } };
    const auth = await cli(['auth', 'bot', '--json'], alone);
    expect(auth.json()).toMatchObject({ clientId: registered.clientId, tokenType: 'bearer', expiresIn: 900 });
    expect(auth.json<{ account: unknown }>().account).toEqual(expect.any(Number));
    expect(auth.stdout).not.toMatch(/access|refresh/i);
    const blind = await cli(['auth', 'bot', '--json', '--scope', 'trade:read'], alone);
    expect(Object.keys(blind.json<object>())).not.toContain('account');
    const verified = await json<
      { name: string; ok: boolean; checks: { check: string; ok: boolean; detail: string }[] }[]
    >(['verify', '--all']);
    expect(verified).toMatchObject([{ name: 'bot', ok: true }]);
    expect(verified[0]?.checks.map(({ check }) => check)).toContain('exchange');

    const withToken = (await run(['auth', 'bot', '--print-token', '--scope', 'account:read'])).json<
      Record<string, string>
    >();
    const answer = await fetch(`${sandbox.httpUrl}/private/get_account_summary?currency=BTC`, {
      headers: { authorization: `Bearer ${withToken.accessToken}` },
    });
    expect(answer.status).toBe(200);
    const params = (await cli(['sign', 'bot'], alone)).json();
    const login = await fetch(`${sandbox.httpUrl}/public/auth`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'public/auth', params }),
    });
    expect(await login.json()).toMatchObject({ result: { token_type: 'bearer' } });
  });

  it('link, as after a visit to the web page', async () => {
    const { sandbox, json, fails, keysDir } = await openBot(via);
    const pasted = sandbox.addKey({ publicKey: readFileSync(join(keysDir, 'bot.pub.pem'), 'utf8'), maxScope: SCOPE });
    expect(await fails(['link', 'bot', '--client-id', 'Unknown12'])).toMatchObject({
      exitCode: 5,
      code: 'ERR_UNAUTHORIZED',
    });
    const linked = await json(['link', 'bot', '--client-id', pasted.client_id]);
    expect(linked).toMatchObject({ clientId: pasted.client_id, keyId: pasted.id, loginVerified: true, adopted: true });
  });

  it('--as another key, which needs no secret', async () => {
    const { json, place } = await openBot(via);
    await json(['generate', 'admin']);
    await json(['register', 'admin', '--scope', 'account:read_write trade:read_write']);
    const result = await cli(['register', 'bot', '--scope', SCOPE, '--as', 'admin', '--json'], {
      env: { DERIBIT_KEYS_DIR: place.DERIBIT_KEYS_DIR },
    });
    expect(result.exitCode).toBe(0);
    expect(result.json()).toMatchObject({ loginVerified: true });
  });
});

describe('people are told', () => {
  it('each proof with its verdict, and how a key was adopted', async () => {
    const { sandbox, env, json } = await openBot('http', { faults: ['cut-after@private/create_api_keyx1'] });
    const cut = await cli(['register', 'bot', '--scope', SCOPE], { env });
    expect(cut.exitCode).toBe(4);
    expect(cut.stderr).toMatch(/error: .*may have been created.*\nhint: run the same command again/);
    expect(await json(['show', 'bot'])).toMatchObject({ state: 'pending' });
    const again = await cli(['register', 'bot', '--scope', SCOPE], { env });
    expect(again.exitCode).toBe(0);
    expect(again.stdout).toMatch(/fingerprint +[0-9a-f:]{47} \(verified\)/);
    expect(again.stdout).toMatch(/login +verified/);
    expect(again.stderr).toContain('adopted');
    expect(sandbox.keys()).toHaveLength(2);
  });

  it('what failed, by a cross', async () => {
    const { sandbox, env, json } = await openBot();
    await json(['register', 'bot', '--scope', SCOPE]);
    sandbox.setFaults(['refuse-login']);
    const { exitCode, stdout } = await cli(['verify', 'bot'], { env: { DERIBIT_KEYS_DIR: env.DERIBIT_KEYS_DIR } });
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/^FAILED +bot\n/);
    expect(stdout).toContain('✗ login: ');
    sandbox.clearFaults();
    expect((await cli(['verify', 'bot'], { env })).stdout).toMatch(/^ok +bot\n.*✓ public-key/s);
  });
});

describe('what goes wrong', () => {
  it('is exit 1 for a proof that failed, with the key removed', async () => {
    const { sandbox, fails } = await openBot('ws', { faults: ['swap-key'] });
    const error = await fails(['register', 'bot', '--scope', SCOPE]);
    expect(error).toMatchObject({ exitCode: 1, code: 'ERR_PROOF_FAILED' });
    expect(error.message).toContain('fingerprint');
    expect(sandbox.keys()).toHaveLength(1);
  });

  it('is exit 1 for a key that is registered already', async () => {
    const { json, fails } = await openBot();
    await json(['register', 'bot', '--scope', SCOPE]);
    expect(await fails(['register', 'bot', '--scope', SCOPE])).toMatchObject({ exitCode: 1, code: 'ERR_STATE' });
    expect(await fails(['remove', 'bot'])).toMatchObject({ exitCode: 1, code: 'ERR_STATE' });
    expect(await fails(['remove', 'bot', '--purge', '--yes'])).toMatchObject({ exitCode: 1, code: 'ERR_STATE' });
  });

  it('is exit 1 for the wrong environment', async () => {
    const { fails } = await openBot('ws', { testnet: false });
    expect(await fails(['register', 'bot', '--scope', SCOPE])).toMatchObject({
      exitCode: 1,
      code: 'ERR_WRONG_ENVIRONMENT',
    });
  });

  it('is exit 2 for another place than the key was registered at', async () => {
    const { json, fails } = await openBot();
    await json(['register', 'bot', '--scope', SCOPE]);
    expect(await fails(['auth', 'bot', '--url', 'http://127.0.0.1:9/api/v2'])).toMatchObject({
      exitCode: 2,
      code: 'ERR_USAGE',
    });
    expect(await fails(['verify', 'bot', '--env', 'prod'])).toMatchObject({ exitCode: 2 });
  });

  it.each<[string, number, SandboxOptions & { via?: 'ws' | 'http' }]>([
    ['nobody listens', 4, {}],
    ['the connection is cut', 4, { faults: ['cut-before'] }],
    ['the answer is no JSON', 4, { faults: ['garbage'] }],
    ['no answer comes', 4, { faults: ['silent'] }],
  ])('is exit %#: %s', async (what, exitCode, options) => {
    for (const via of ['ws', 'http'] as const) {
      const desk = await openBot(via, options);
      if (what === 'nobody listens') await desk.sandbox.close();
      const error = await desk.fails(['register', 'bot', '--scope', SCOPE, '--timeout', '300']);
      expect(error.exitCode).toBe(exitCode);
      expect(error.hint).toBeTruthy();
    }
  });

  it('is exit 5 for what the exchange refuses, with its own words', async () => {
    const { fails } = await openBot('http', { keyLimit: 1 });
    const error = await fails(['register', 'bot', '--scope', SCOPE]);
    expect(error.exitCode).toBe(5);
    expect(error.rpc).toMatchObject({ code: expect.any(Number), message: expect.any(String) });
    const refused = await fails(['register', 'bot', '--scope', SCOPE], { env: { DERIBIT_CLIENT_SECRET: 'wrong' } });
    expect(refused).toMatchObject({ exitCode: 5, code: 'ERR_UNAUTHORIZED', rpc: { code: 13004 } });
  });

  it('is exit 6 for a second factor that is missing or refused', async () => {
    const { fails, json } = await openBot('ws', { tfaSecret: SEED });
    const register = ['register', 'bot', '--scope', SCOPE];
    expect(await fails(register)).toMatchObject({ exitCode: 6, code: 'ERR_SECOND_FACTOR_REQUIRED' });
    expect(await fails([...register, '--tfa-code', '000000'])).toMatchObject({
      exitCode: 6,
      code: 'ERR_SECOND_FACTOR_REFUSED',
    });
    expect(await fails([...register, '--tfa-code', 'abc'])).toMatchObject({ exitCode: 2 });
    const seed = join(temporaryFolder(), 'seed');
    writeFileSync(seed, `${SEED}\n`);
    expect(await json([...register, '--tfa-secret-file', seed])).toMatchObject({ loginVerified: true });
  });

  it('is exit 130 where the user breaks it off', async () => {
    const { fails, json, sandbox } = await openBot('ws', { faults: ['silent'] });
    const abort = new AbortController();
    const error = fails(['register', 'bot', '--scope', SCOPE], { signal: abort.signal });
    await until(() => sandbox.calls.length > 0);
    abort.abort();
    expect(await error).toMatchObject({ exitCode: 130, code: 'ERR_INTERRUPTED' });
    expect(await json(['show', 'bot'])).toMatchObject({ state: 'local' });
  });
});

describe('removing with a login', () => {
  it('looks at the account once, so that one code does', async () => {
    const { fails, json } = await openBot('ws', { tfaSecret: SEED });
    const code = await totp();
    const gone = await json(['remove', 'bot', '--purge', '--yes', '--tfa-code', code]);
    expect(gone).toMatchObject({ name: 'bot', purged: true, folder: null });
    expect(await fails(['show', 'bot'])).toMatchObject({ exitCode: 3 });
  });
});

async function totp(): Promise<string> {
  const { TOTP, Secret } = await import('otpauth');
  return new TOTP({ secret: Secret.fromBase32(SEED) }).generate();
}

describe('verifying keys of several places at once', () => {
  it('looks at the account for those of its own place, and at the others without', async () => {
    const [one, two] = [await openBot(), await openBot()];
    await one.json(['register', 'bot', '--scope', SCOPE]);
    const source = two.keysDir;
    await two.json(['register', 'bot', '--scope', SCOPE]);
    // the second place's key, brought into the first keystore as it is
    for (const ending of ['.pem', '.pub.pem']) {
      writeFileSync(join(one.keysDir, `other${ending}`), readFileSync(join(source, `bot${ending}`)), { mode: 0o600 });
    }
    const record = readFileSync(join(source, 'bot.json'), 'utf8').replace('"name": "bot"', '"name": "other"');
    writeFileSync(join(one.keysDir, 'other.json'), record);
    const { DERIBIT_KEYS_URL: url, ...env } = one.env;
    const result = await cli(['verify', '--all', '--json', '--url', url], { env });
    expect(result.exitCode).toBe(2);
    await one.json(['generate', 'admin']);
    await one.json(['register', 'admin', '--scope', 'account:read']);
    const all = await cli(['verify', '--all', '--json', '--as', 'admin'], { env: { DERIBIT_KEYS_DIR: one.keysDir } });
    expect(all.stderr).toBe('');
    const seen = all.json<{ name: string; ok: boolean; checks: { check: string }[] }[]>();
    expect(
      Object.fromEntries(seen.map(({ name, checks }) => [name, checks.some(({ check }) => check === 'exchange')])),
    ).toEqual({
      admin: true,
      bot: true,
      other: false,
    });
    expect(seen.every(({ ok }) => ok)).toBe(true);
  });
});

it('demo tells the story and proves that a swapped key is caught', async () => {
  const told = await cli(['demo'], {});
  expect(told.exitCode).toBe(0);
  expect(told.stdout).toContain('Everything worked.');
  expect(told.stdout).toContain('caught');
  expect((await cli(['demo', '--json'], {})).json()).toMatchObject({
    ok: true,
    swappedKey: { caught: true, removed: true },
  });
});

it('sandbox runs until it is interrupted, and tells where it is in one document', async () => {
  const abort = new AbortController();
  let answered: Promise<unknown> | null = null;
  const onStdout = (text: string) => {
    if (answered !== null || !text.includes('\n')) return;
    const { httpUrl } = JSON.parse(text) as { httpUrl: string };
    answered = fetch(`${httpUrl}/public/get_time`)
      .then((response) => response.json())
      .finally(() => abort.abort());
  };
  const state = join(temporaryFolder(), 'state.json');
  const argv = [
    'sandbox',
    '--json',
    '--state',
    state,
    '--key-limit',
    '3',
    '--token-life',
    '60',
    '--limits',
    '--fault-api',
  ];
  const { exitCode, stdout } = await cli(argv, { signal: abort.signal, onStdout });
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ wsUrl: expect.stringContaining('ws://127.0.0.1:'), tfaSecret: null });
  expect(await answered).toMatchObject({ result: expect.any(Number) });
});

it('sandbox on a port that is taken says so, as auth-server does', async () => {
  const { sandbox, fails, json } = await openBot();
  const port = new URL(sandbox.httpUrl).port;
  const taken = {
    exitCode: 1,
    code: 'ERR_LISTEN',
    message: `cannot listen on port ${port} of 127.0.0.1 (EADDRINUSE)`,
    hint: expect.stringMatching(/^choose another one, or /),
  };
  expect(await fails(['sandbox', '--port', port])).toEqual(taken);
  await json(['register', 'bot', '--scope', SCOPE]);
  expect(await fails(['auth-server', 'bot', '--listen', `127.0.0.1:${port}`])).toEqual(taken);
});

describe('a private certificate authority', () => {
  it.each(['ws', 'http'] as const)('is trusted over %s by --ca-file and DERIBIT_KEYS_CA_FILE only', async (via) => {
    const { fails, run, sandbox } = await openBot(via, { tls: true });
    const caFile = sandbox.caFile ?? '';
    const argv = ['api-keys', 'list'];
    expect(await fails(argv)).toMatchObject({ code: 'ERR_NETWORK', hint: expect.stringContaining('--ca-file') });
    expect((await run([...argv, '--ca-file', caFile])).exitCode).toBe(0);
    expect((await run(argv, { env: { DERIBIT_KEYS_CA_FILE: caFile } })).exitCode).toBe(0);
    const other = join(temporaryFolder(), 'other.pem');
    expect(await fails([...argv, '--ca-file', other])).toMatchObject({ code: 'ERR_USAGE', exitCode: 2 });
    writeFileSync(other, 'not a certificate');
    expect((await fails([...argv, '--ca-file', other])).message).toContain('holds no certificate');
  });
});
