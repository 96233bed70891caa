import { describe, expect, it } from 'vitest';
import { resolveEndpoint } from '../../../src/deribit/endpoints.js';
import { DeribitKeysError } from '../../../src/errors.js';
import { likelyReasons } from '../../../src/workflows/checks/refusal.js';
import { type CliResult, cli } from '../../support/cli.js';
import { type DoctorWorld, openDoctorWorld } from '../../support/doctor-world.js';
import { openWorld } from '../../support/world.js';

const hints = (result: CliResult) => (result.error().hint ?? '').split('\n');

async function refused(world: DoctorWorld, ...argv: readonly string[]): Promise<readonly string[]> {
  const result = await world.run(...argv, '--json');
  expect(result.exitCode).toBe(5);
  expect(result.error()).toMatchObject({ code: 'ERR_UNAUTHORIZED', rpc: { code: 13004 } });
  return hints(result);
}

describe('A login refused without a reason', () => {
  it('by auth is explained by the key, with reasons only that may be true', async () => {
    const world = await openDoctorWorld();
    expect((await world.run('api-keys', 'disable', 'bot', '--as', 'admin', '--yes')).exitCode).toBe(0);
    const reasons = await refused(world, 'auth', 'bot');
    expect(reasons).toEqual([
      'the key may be disabled: deribit-keys api-keys enable bot --as <another key>',
      'a whitelist that was set in the web page may not hold this address',
      expect.stringMatching(
        /^\S+ may be unknown, removed, or have a different public key: .* fingerprint ([0-9a-f]{2}:){15}[0-9a-f]{2} for it$/,
      ),
      'find out more with: deribit-keys doctor bot --as <another key>',
    ]);
  });

  it('by auth is not blamed on a clock that is off and was corrected', async () => {
    const world = await openDoctorWorld();
    world.sandbox.setFaults(['clock:90000']);
    const granted = await world.run('auth', 'bot');
    expect(granted.exitCode).toBe(0);
    expect(granted.stderr).toMatch(/the clock here is (89|90)\d{3} ms behind the exchange's: signed by the exchange's/);
    expect((await world.run('api-keys', 'disable', 'bot', '--as', 'admin', '--yes')).exitCode).toBe(0);
    const reasons = await refused(world, 'auth', 'bot');
    expect(reasons[0]).toMatch(/^the key may be disabled/);
    expect(reasons.join('\n')).not.toMatch(/clock/);
  });

  it('by auth is explained by a clock that is days off, before all else: no signature is made for another day', async () => {
    const world = await openDoctorWorld();
    world.sandbox.setFaults([`clock:${2 * 24 * 60 * 60 * 1000}`]);
    const [first, ...others] = await refused(world, 'auth', 'bot');
    expect(first).toMatch(/^the clock here is 172[78]\d{5} ms behind the exchange's, too far off to be corrected: \S+/);
    expect(others.join()).not.toContain('clock');
  });

  it('by auth is explained by the whitelist on record', async () => {
    const world = await openDoctorWorld();
    const edited = await world.run('api-keys', 'edit', 'bot', '--ip', '203.0.113.7', '--as', 'admin', '--yes');
    expect(edited.exitCode).toBe(0);
    expect(await refused(world, 'auth', 'bot')).toContain(
      'this address may not be in its whitelist, which is on record as 203.0.113.7',
    );
  });

  it('by link is explained by the client id of another key', async () => {
    const world = await openDoctorWorld();
    expect((await world.run('generate', 'late')).exitCode).toBe(0);
    const clientId = String(world.record('bot').clientId);
    const [first, second] = await refused(world, 'link', 'late', '--client-id', clientId, '--url', world.sandbox.wsUrl);
    expect(first).toBe(`the client id ${clientId} is that of the key "bot"`);
    expect(second).toMatch(/may be unknown, removed, or have a different public key/);
  });

  it('by link is explained by a client id that cannot be one', async () => {
    const world = await openDoctorWorld();
    expect((await world.run('generate', 'late')).exitCode).toBe(0);
    const [first] = await refused(world, 'link', 'late', '--client-id', 'ab+c', '--url', world.sandbox.wsUrl);
    expect(first).toMatch(/^ab\+c does not look like a client id of Deribit's: 8 or more/);
  });

  it('by any login never shows a client secret that was given as the client id', async () => {
    const world = await openDoctorWorld();
    await world.run('generate', 'late');
    const secret = `canary${'x'.repeat(37)}`;
    for (const argv of [
      ['link', 'late', '--client-id', secret],
      ['api-keys', 'list'],
      ['register', 'late', '--scope', 'trade:read'],
    ]) {
      const env = {
        DERIBIT_CLIENT_ID: secret,
        DERIBIT_CLIENT_SECRET: 'AbCdEf12',
        DERIBIT_KEYS_URL: world.sandbox.wsUrl,
      };
      const result = await cli(['--keys-dir', world.keys, ...argv], { env });
      expect(result.exitCode).toBe(5);
      expect(result.stderr).toContain('hint: the client id has 43 characters: it may be the client secret');
      expect(`${result.stdout}${result.stderr}`).not.toContain('canary');
    }
    const alone = await cli(['--keys-dir', world.keys, 'api-keys', 'list'], { env: { DERIBIT_CLIENT_ID: secret } });
    expect(alone.stderr).toMatch(/^error: a client id was given, but no client secret$/m);
    expect(alone.exitCode).toBe(2);
  });

  it.each([
    ['in quotes', '"AbCdEf12"', 'the client id is in quotes, which are not part of it'],
    ['with a newline', 'AbCdEf12\n', 'the client id begins or ends with white space or a newline'],
  ])('by any command is explained by a client id %s, in one line each', async (_what, clientId, reason) => {
    const world = await openDoctorWorld();
    await world.run('generate', 'late');
    for (const argv of [
      ['api-keys', 'list'],
      ['rotate', 'bot'],
      ['register', 'late', '--scope', 'trade:read'],
    ]) {
      const env = {
        DERIBIT_CLIENT_ID: clientId,
        DERIBIT_CLIENT_SECRET: 'canary-secret',
        DERIBIT_KEYS_URL: world.sandbox.wsUrl,
      };
      const result = await cli(['--keys-dir', world.keys, ...argv], { env });
      expect(result.exitCode).toBe(5);
      const [error, ...lines] = result.stderr.trimEnd().split('\n');
      expect(error).toMatch(/^error: /);
      expect(lines[0]).toBe(`hint: ${reason}`);
      for (const line of lines) expect(line).toMatch(/^hint: \S/);
    }
  });

  it.each([
    [
      'a fingerprint',
      '9c:6d:c9:02:fd:9f:75:6e:14:bb:71:c5:74:95:86:c8',
      /^the client secret is a fingerprint: .*--as <name>/,
    ],
    [
      'a text with a space behind it',
      'canary-secret ',
      /^the client secret begins or ends with white space or a newline$/,
    ],
    ['in quotes', '"canary-secret"', /^the client secret is in quotes, which are not part of it$/],
    ['another', 'canary-secret', /may be unknown, or the client secret another key's or an old one$/],
  ])('by register with a client secret that is %s says so', async (_what, secret, reason) => {
    const world = await openDoctorWorld();
    expect((await world.run('generate', 'late')).exitCode).toBe(0);
    const argv = ['register', 'late', '--scope', 'trade:read', '--client-id', world.sandbox.clientId];
    const result = await cli(['--keys-dir', world.keys, ...argv, '--url', world.sandbox.wsUrl, '--json'], {
      env: { DERIBIT_CLIENT_SECRET: secret },
    });
    expect(result.exitCode).toBe(5);
    expect(hints(result)[0]).toMatch(reason);
    expect(result.stderr).not.toContain('canary');
    expect(world.record('late').state).toBe('local');
  });

  it.each([
    ['begins with the client id', (id: string) => `${id}:canary-secret`, 'the client secret begins with the client id'],
    ['has a newline', () => 'canary-secret\n', 'the client secret begins or ends with white space or a newline'],
  ])('by the doctor with a client secret that %s says so', async (_what, secretOf, reason) => {
    const world = await openDoctorWorld();
    const { clientId, wsUrl } = world.sandbox;
    const result = await cli(['--keys-dir', world.keys, '--url', wsUrl, '--json', 'doctor'], {
      env: { DERIBIT_CLIENT_ID: clientId, DERIBIT_CLIENT_SECRET: secretOf(clientId) },
    });
    expect(result.exitCode).toBe(1);
    const { culprit } = result.json<{ culprit: { check: string; fix: string } }>();
    expect(culprit.check).toBe('account');
    expect(culprit.fix.startsWith(`${reason}; `)).toBe(true);
    expect(result.stdout).not.toContain('canary');
  });

  it('by sign is not waited for: a client id that cannot be one is refused', async () => {
    const world = await openDoctorWorld();
    const result = await world.run('sign', 'bot', '--client-id', '"AbCdEf12"');
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toContain('error: the client id is in quotes, which are not part of it');
  });

  it('by register with a key of the keystore names that key', async () => {
    const world = await openDoctorWorld();
    expect((await world.run('generate', 'late')).exitCode).toBe(0);
    world.sandbox.setFaults(['refuse-login@public/auth']);
    const login = ['--as', 'admin', '--url', world.sandbox.wsUrl];
    expect(await refused(world, 'register', 'late', '--scope', 'trade:read', ...login)).toContain(
      `the key may be disabled: deribit-keys --url ${world.sandbox.wsUrl} api-keys enable admin --as <another key>`,
    );
  });

  it('by verify is a finding with the likely reasons', async () => {
    const world = await openDoctorWorld();
    expect((await world.run('api-keys', 'disable', 'bot', '--as', 'admin', '--yes')).exitCode).toBe(0);
    const result = await world.run('verify', 'bot', '--json');
    expect(result.exitCode).toBe(1);
    const [verified] = result.json<{ ok: boolean; checks: { check: string; ok: boolean; hints?: string[] }[] }[]>();
    const login = verified?.checks.find(({ check }) => check === 'login');
    expect(login).toMatchObject({
      ok: false,
      hints: expect.arrayContaining([expect.stringMatching(/^the key may be disabled/)]),
    });
    const { stdout } = await world.run('verify', 'bot');
    expect(stdout).toMatch(/✗ login: the exchange refuses the login of \S+\n {6}likely: the key may be disabled/);
  });

  it('is told to people a line each', async () => {
    const world = await openDoctorWorld();
    world.sandbox.setFaults(['refuse-login@public/auth']);
    const { stderr } = await world.run('auth', 'bot');
    const lines = stderr.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^error: the exchange refused public\/auth: 13004 invalid_credentials$/);
    expect(lines.length).toBeGreaterThan(4);
    for (const line of lines.slice(1)) expect(line).toMatch(/^hint: \S/);
  });

  it('is told without the clock where that cannot be compared', async () => {
    const world = await openDoctorWorld();
    world.sandbox.setFaults(['refuse-login@public/auth', 'error@public/get_time:11094']);
    expect(await refused(world, 'auth', 'bot')).toContain(
      'the clock here may be off by a minute: it could not be compared',
    );
  });

  it.each([
    ['prod', 'www.deribit.com', 'test'],
    ['test', 'test.deribit.com', 'prod'],
  ] as const)(
    'on %s (%s) names the other environment for a key that was not registered there',
    async (environment, host, other) => {
      const world = await openWorld('ws');
      const attempt = {
        endpoint: resolveEndpoint({ environment }),
        ...{ clientId: 'AbCdEf12', record: await world.store.read('bot'), secret: null },
      };
      const connect = () => Promise.reject(new DeribitKeysError('ERR_NETWORK', 'no network in tests'));
      const reasons = (endpoint = attempt.endpoint) =>
        likelyReasons({ ...world.context, connect }, { ...attempt, endpoint }).then((all) => all.join('\n'));
      expect(await reasons()).toContain(`this was ${environment} (${host}), the other is --env ${other}`);
      expect(await reasons(world.endpoint)).not.toContain('--env');
    },
  );
});

describe('Any other refusal', () => {
  it('keeps its own hint', async () => {
    const world = await openDoctorWorld();
    world.sandbox.setFaults(['error@public/auth:10028']);
    const result = await world.run('auth', 'bot', '--json');
    expect(result.error()).toMatchObject({
      code: 'ERR_RPC',
      rpc: { code: 10028 },
      hint: 'too many requests: wait a little and try again',
    });
  });
});
