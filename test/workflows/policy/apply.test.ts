import { copyFileSync, cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { SandboxOptions } from '../../../src/sandbox/index.js';
import { cli, temporaryFolder } from '../../support/cli.js';
import { type House, houseOn, openHouse } from '../../support/doctor-world.js';
import { onTerminal } from '../../support/terminal.js';
import { openExchange } from '../../support/world.js';

interface Change {
  readonly action: string;
  readonly name: string;
  readonly detail: string;
}

interface Result {
  readonly changes: readonly Change[];
  readonly applied: boolean;
}

const ADMIN = `
  - name: admin
    scope: account:read_write trade:read_write wallet:read`;

const POLICY = `
environment: test
keys:${ADMIN}
  - name: bot
    scope: trade:read_write
    label: bot
    features: []
    whitelist: []
    maxAge: 90d
`;

function write(house: House, text: string): string {
  const path = join(house.folder, 'keys.yaml');
  writeFileSync(path, text);
  return path;
}

async function plan(house: House, text: string, ...argv: readonly string[]): Promise<Result> {
  const result = await house.run('plan', write(house, text), '--as', 'admin', '--json', ...argv);
  expect(result).toMatchObject({ exitCode: 0, stderr: '' });
  return result.json<Result>();
}

async function apply(house: House, text: string, ...argv: readonly string[]): Promise<Result> {
  const result = await house.run('apply', write(house, text), '--as', 'admin', '--json', '--yes', ...argv);
  expect(result).toMatchObject({ exitCode: 0, stderr: '' });
  return result.json<Result>();
}

const said = ({ changes }: Result) => changes.map(({ action, name }) => `${action} ${name}`);
const changing = ({ sandbox }: House) =>
  sandbox.calls.filter(({ method }) => /(create|edit|enable|disable|remove|change|reset)/.test(method)).length;

/** The account's key of the main account that a name stands for. */
function shown(house: House, name: string) {
  const { clientId } = house.record(name);
  return house.sandbox.keys().find((key) => key.client_id === clientId);
}

async function webPage(house: House, name: string, method: string, params: Readonly<Record<string, unknown>>) {
  const { sandbox } = house;
  const call = async (what: string, body: Readonly<Record<string, unknown>>, token = '') => {
    const response = await fetch(`${sandbox.httpUrl}/${what}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: what, params: body }),
    });
    const answer = (await response.json()) as { result?: { access_token?: string }; error?: unknown };
    if (answer.result === undefined) throw new Error(JSON.stringify(answer.error));
    return answer.result;
  };
  const credentials = { client_id: sandbox.clientId, client_secret: sandbox.clientSecret };
  const { access_token } = await call('public/auth', { grant_type: 'client_credentials', ...credentials });
  await call(`private/${method}`, { id: house.record(name).keyId, ...params }, access_token);
}

describe('A policy that is fulfilled', () => {
  it('changes nothing, however often it is applied', async () => {
    const house = await openHouse();
    const before = changing(house);
    const result = await house.asRoot('apply', write(house, POLICY), '--json');
    expect(result.json()).toEqual({ changes: [], applied: false });
    const again = await house.asRoot('apply', write(house, POLICY), '--prune', '--json');
    expect(again.json()).toEqual({ changes: [], applied: false });
    expect(changing(house)).toBe(before);
  });
});

describe('A key that is missing', () => {
  it('is made, registered and proved; the second time nothing is done', async () => {
    const house = await openHouse();
    const policy = `${POLICY}
  - name: fresh
    type: rsa
    bits: 2048
    scope: [trade:read, account:read]
    label: fresh_one
    features: [restricted_block_trades]
    whitelist: [127.0.0.0/8, 203.0.113.7]
`;
    const planned = await plan(house, policy);
    expect(planned.applied).toBe(false);
    expect(said(planned)).toContain('create fresh');
    expect(() => house.record('fresh')).toThrow(/ENOENT/);
    expect(said(await apply(house, policy))).toContain('create fresh');
    expect(house.record('fresh')).toMatchObject({ state: 'registered', algorithm: 'rsa', bits: 2048 });
    expect(shown(house, 'fresh')).toMatchObject({
      name: 'fresh_one',
      max_scope: 'account:read trade:read',
      enabled_features: ['restricted_block_trades'],
      ip_whitelist: ['127.0.0.0/8', '203.0.113.7'],
    });
    const calls = changing(house);
    const second = await apply(house, policy);
    expect(said(second)).toEqual([`stranger ${house.sandbox.clientId}`]);
    expect(second.applied).toBe(false);
    expect(changing(house)).toBe(calls);
  });

  it('is told to people as done, after the notes on the way', async () => {
    const house = await openHouse();
    const policy = 'keys:\n  - { name: fresh, scope: trade:read }\n';
    const { stdout, stderr } = await house.asRoot('apply', write(house, policy), '--url', house.sandbox.wsUrl);
    expect(stderr).toContain('done: create fresh');
    expect(stdout).toMatch(/^applied:\n\+ create fresh: .*\nleft as it is:\n\? stranger /);
  });

  it('is encrypted where the policy says so', async () => {
    const house = await openHouse();
    const secret = join(house.folder, 'secret');
    writeFileSync(secret, 'correct horse');
    const policy = `keys:\n  - { name: vault, scope: trade:read, encrypt: true }\n`;
    await apply(house, policy, '--new-passphrase-file', secret);
    expect(house.record('vault')).toMatchObject({ encrypted: true, state: 'registered' });
    expect((await house.run('auth', 'vault', '--passphrase-file', secret)).exitCode).toBe(0);
  });

  it('without a passphrase at hand for it, leaves everything as it was', async () => {
    const house = await openHouse();
    const file = write(
      house,
      `keys:\n  - { name: plain, scope: trade:read }\n  - { name: vault, scope: trade:read, encrypt: true }\n`,
    );
    const { exitCode, stderr } = await house.run('apply', file, '--as', 'admin', '--yes');
    expect(exitCode).toBe(3);
    expect(stderr).toContain('--new-passphrase-file');
    expect(() => house.record('plain')).toThrow(/ENOENT/);
  });

  it('is not made where the account has no room, and nothing else is either', async () => {
    const house = await openHouse();
    for (let i = house.sandbox.keys().length; i < 7; i += 1)
      house.sandbox.addKey({ maxScope: 'trade:read', name: `k${i}` });
    const file = write(house, `keys:\n  - { name: one, scope: trade:read }\n  - { name: two, scope: trade:read }\n`);
    const result = await house.run('apply', file, '--as', 'admin', '--yes', '--json');
    expect(result.exitCode).toBe(1);
    expect(result.error()).toMatchObject({
      code: 'ERR_STATE',
      message: expect.stringMatching(/room for 1 .* needs 2/),
    });
    expect(() => house.record('one')).toThrow(/ENOENT/);
    expect(house.sandbox.keys()).toHaveLength(7);
  });
});

interface Drift {
  readonly what: string;
  readonly cause: (house: House) => Promise<unknown>;
  readonly planned: readonly string[];
  readonly policy?: string;
  readonly after?: (house: House) => void;
}

const DRIFTS: readonly Drift[] = [
  {
    what: 'another scope',
    cause: (house) => webPage(house, 'bot', 'edit_api_key', { max_scope: 'trade:read' }),
    planned: ['edit bot'],
    after: (house) => expect(shown(house, 'bot')?.max_scope).toBe('trade:read_write'),
  },
  {
    what: 'a wider scope',
    cause: (house) => webPage(house, 'bot', 'edit_api_key', { max_scope: 'trade:read_write account:read' }),
    planned: ['edit bot'],
    after: (house) => expect(shown(house, 'bot')?.max_scope).toBe('trade:read_write'),
  },
  {
    what: 'a feature that nobody asked for',
    cause: (house) =>
      webPage(house, 'bot', 'edit_api_key', {
        max_scope: 'trade:read_write',
        enabled_features: ['block_trade_approval'],
      }),
    planned: ['edit bot'],
    after: (house) => expect(shown(house, 'bot')?.enabled_features).toEqual([]),
  },
  {
    what: 'a whitelist',
    cause: (house) =>
      webPage(house, 'bot', 'edit_api_key', { max_scope: 'trade:read_write', ip_whitelist: ['203.0.113.7'] }),
    planned: ['edit bot'],
    after: (house) => expect(shown(house, 'bot')?.ip_whitelist).toEqual([]),
  },
  {
    what: 'another label',
    cause: (house) => webPage(house, 'bot', 'change_api_key_name', { name: 'renamed' }),
    planned: ['edit bot'],
    after: (house) => expect(shown(house, 'bot')?.name).toBe('bot'),
  },
  {
    what: 'a key that was disabled',
    cause: (house) => webPage(house, 'bot', 'disable_api_key', {}),
    planned: ['enable bot'],
    after: (house) => expect(shown(house, 'bot')?.enabled).toBe(true),
  },
  {
    what: 'a key that was disabled and changed',
    cause: (house) => webPage(house, 'bot', 'edit_api_key', { max_scope: 'trade:none', enabled: false, name: 'x' }),
    planned: ['enable bot', 'edit bot'],
    after: (house) =>
      expect(shown(house, 'bot')).toMatchObject({ enabled: true, max_scope: 'trade:read_write', name: 'bot' }),
  },
  {
    what: 'a key that was removed from the exchange',
    cause: (house) => webPage(house, 'bot', 'remove_api_key', {}),
    planned: ['replace bot'],
    after: (house) => expect(shown(house, 'bot')).toMatchObject({ enabled: true, max_scope: 'trade:read_write' }),
  },
  {
    what: 'a key that was removed by api-keys',
    cause: (house) => house.run('api-keys', 'remove', 'bot', '--as', 'admin', '--yes'),
    planned: ['replace bot'],
  },
  {
    what: 'a key that is too old',
    cause: async (house) => house.alter('bot', { registeredAt: new Date(Date.now() - 91 * 86_400_000).toISOString() }),
    planned: ['rotate bot'],
  },
  {
    what: 'a key of another type',
    policy: `keys:\n  - { name: bot, type: rsa, bits: 2048, scope: trade:read_write }\n`,
    cause: async () => {},
    planned: ['rotate bot'],
    after: (house) => expect(house.record('bot')).toMatchObject({ algorithm: 'rsa', bits: 2048 }),
  },
  {
    what: 'a rotation that was interrupted',
    cause: async (house) => {
      house.sandbox.setFaults(['cut-after@private/create_api_keyx1']);
      expect((await house.run('rotate', 'bot', '--as', 'admin')).exitCode).toBe(4);
    },
    planned: ['rotate bot'],
  },
  {
    what: 'a registration that was interrupted',
    policy: `keys:\n  - { name: late, scope: trade:read }\n`,
    cause: async (house) => {
      await house.run('generate', 'late');
      house.sandbox.setFaults(['cut-after@private/create_api_keyx1']);
      const login = ['--as', 'admin', '--url', house.sandbox.wsUrl];
      expect((await house.run('register', 'late', '--scope', 'trade:read', ...login)).exitCode).toBe(4);
    },
    planned: ['register late'],
  },
  {
    what: 'a registration that was started with another scope',
    policy: `keys:\n  - { name: late, scope: trade:read_write, label: later }\n`,
    cause: async (house) => {
      await house.run('generate', 'late');
      house.sandbox.setFaults(['cut-before@private/create_api_keyx1']);
      const login = ['--as', 'admin', '--url', house.sandbox.wsUrl];
      expect((await house.run('register', 'late', '--scope', 'trade:read', ...login)).exitCode).toBe(4);
    },
    planned: ['register late', 'edit late'],
    after: (house) => expect(shown(house, 'late')).toMatchObject({ max_scope: 'trade:read_write', name: 'later' }),
  },
  {
    what: 'a key that was made here and never registered',
    policy: `keys:\n  - { name: local, scope: trade:read }\n`,
    cause: (house) => house.run('generate', 'local'),
    planned: ['register local'],
  },
  {
    what: 'a key that was pasted into the web page and never linked',
    policy: `keys:\n  - { name: pasted, scope: trade:read, label: pasted }\n`,
    cause: async (house) => {
      const { publicKey } = (await house.run('generate', 'pasted', '--json')).json<{ publicKey: string }>();
      house.sandbox.addKey({ publicKey, maxScope: 'trade:read_write', name: 'by_hand' });
    },
    planned: ['link pasted', 'edit pasted'],
    after: (house) => expect(shown(house, 'pasted')).toMatchObject({ max_scope: 'trade:read', name: 'pasted' }),
  },
  {
    what: 'a record that does not know of a change which the policy asks for',
    policy: `keys:\n  - { name: bot, scope: trade:read }\n`,
    cause: (house) => webPage(house, 'bot', 'edit_api_key', { max_scope: 'trade:read' }),
    planned: ['record bot'],
    after: (house) => expect(house.record('bot').scope).toBe('trade:read'),
  },
];

describe('Applying brings back', () => {
  for (const { what, cause, planned, policy = POLICY, after } of DRIFTS) {
    it(what, async () => {
      const house = await openHouse();
      await cause(house);
      const stranger = `stranger ${house.sandbox.clientId}`;
      const names = (result: Result) =>
        said(result).filter((one) => one !== stranger && one !== 'stranger admin' && one !== 'stranger bot');
      expect(names(await plan(house, policy))).toEqual(planned);
      const first = await apply(house, policy);
      expect(names(first)).toEqual(planned);
      expect(first.applied).toBe(true);
      after?.(house);
      for (const { name } of first.changes.filter(({ action }) => action !== 'stranger')) {
        expect((await house.run('auth', name)).exitCode).toBe(0);
      }
      const calls = changing(house);
      const second = await apply(house, policy);
      expect(names(second)).toEqual([]);
      expect(second.applied).toBe(false);
      expect(changing(house)).toBe(calls);
      const verdict = await house.asRoot('doctor', '--json');
      expect(verdict.json<{ findings: { ok: boolean }[] }>().findings.filter(({ ok }) => ok === false)).toEqual([]);
    });
  }

  it('a key that should be encrypted and is not', async () => {
    const house = await openHouse();
    const secret = join(house.folder, 'secret');
    writeFileSync(secret, 'correct horse');
    const policy = `keys:\n  - { name: bot, scope: trade:read_write, encrypt: true }\n`;
    const only = (result: Result) => said(result).filter((one) => one.endsWith(' bot'));
    expect(only(await apply(house, policy, '--new-passphrase-file', secret))).toEqual(['encrypt bot']);
    expect(house.record('bot').encrypted).toBe(true);
    expect(only(await apply(house, policy))).toEqual([]);
    expect((await house.run('auth', 'bot', '--passphrase-file', secret)).exitCode).toBe(0);
  });
});

describe('A replaced key', () => {
  it('keeps its old files, in the folder of retired keys', async () => {
    const house = await openHouse();
    const before = house.record('bot');
    await webPage(house, 'bot', 'remove_api_key', {});
    await apply(house, POLICY);
    expect(house.record('bot').fingerprint).not.toBe(before.fingerprint);
    const day = new Date().toISOString().slice(0, 10);
    expect(house.record(`retired/${day}/bot`)).toMatchObject({ fingerprint: before.fingerprint, state: 'retired' });
  });
});

describe('Strangers', () => {
  const STRANGER = { maxScope: 'trade:read', name: 'intruder' };

  it('are shown and not changed', async () => {
    const house = await openHouse();
    const { client_id } = house.sandbox.addKey(STRANGER);
    const result = await house.asRoot('apply', write(house, POLICY), '--json', '--yes');
    expect(said(result.json<Result>())).toEqual([`stranger ${client_id}`]);
    expect(result.json<Result>().applied).toBe(false);
    expect(house.sandbox.keys().find((key) => key.client_id === client_id)?.enabled).toBe(true);
  });

  it('are disabled with --prune, never removed, and not again', async () => {
    const house = await openHouse();
    const { client_id } = house.sandbox.addKey(STRANGER);
    const result = await house.asRoot('apply', write(house, POLICY), '--json', '--yes', '--prune');
    expect(said(result.json<Result>())).toEqual([`disable ${client_id}`]);
    expect(house.sandbox.keys().find((key) => key.client_id === client_id)?.enabled).toBe(false);
    const again = await house.asRoot('apply', write(house, POLICY), '--json', '--prune');
    expect(again.json()).toEqual({ changes: [], applied: false });
  });

  it('are keys of the keystore as well, where the policy does not name them; the login is none', async () => {
    const house = await openHouse();
    const result = await house.run('plan', write(house, `keys: []`), '--as', 'admin', '--json', '--prune');
    expect(said(result.json<Result>())).toEqual([`disable ${house.sandbox.clientId}`, 'disable bot']);
  });

  it('are not the two keys of a rotation in its grace', async () => {
    const house = await openHouse();
    expect((await house.run('rotate', 'bot', '--as', 'admin', '--grace', '1h')).exitCode).toBe(0);
    const result = await house.asRoot('apply', write(house, POLICY), '--json', '--yes', '--prune');
    expect(result.json()).toEqual({ changes: [], applied: false });
    expect(house.sandbox.keys().filter(({ enabled }) => enabled)).toHaveLength(4);
  });
});

describe('A yes', () => {
  it('is wanted before a key is disabled, enabled, replaced or rotated', async () => {
    for (const cause of [
      (house: House) => webPage(house, 'bot', 'disable_api_key', {}),
      (house: House) => webPage(house, 'bot', 'remove_api_key', {}),
      async (house: House) => house.alter('bot', { registeredAt: '2020-01-01T00:00:00Z' }),
    ]) {
      const house = await openHouse();
      await cause(house);
      const before = changing(house);
      const result = await house.run('apply', write(house, POLICY), '--as', 'admin', '--json');
      expect(result.exitCode).toBe(2);
      expect(result.error().hint).toContain('--yes');
      expect(changing(house)).toBe(before);
    }
  });

  it('is not wanted for a key that is made or edited', async () => {
    const house = await openHouse();
    await webPage(house, 'bot', 'edit_api_key', { max_scope: 'trade:read' });
    const file = write(house, `${POLICY}\n  - { name: fresh, scope: trade:read }\n`);
    expect((await house.run('apply', file, '--as', 'admin')).exitCode).toBe(0);
    expect(house.record('fresh').state).toBe('registered');
  });
});

describe('A policy that contradicts how things are', () => {
  const refused = async (house: House, text: string, code: string, message: RegExp, ...argv: readonly string[]) => {
    const before = changing(house);
    const result = await house.run('apply', write(house, text), '--as', 'admin', '--yes', '--json', ...argv);
    expect(result.error()).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(changing(house)).toBe(before);
  };

  it('is refused where it is for the other environment', async () => {
    const house = await openHouse();
    await refused(house, 'environment: prod\nkeys: []', 'ERR_USAGE', /for prod, the login is on test/);
  });

  it('is refused where a key that was never registered is of another kind', async () => {
    const house = await openHouse();
    await house.run('generate', 'local');
    const text = 'keys:\n  - { name: fresh, scope: trade:read }\n  - { name: local, type: rsa, scope: trade:read }';
    await refused(house, text, 'ERR_STATE', /local: it is ed25519 and should be rsa/);
    expect(() => house.record('fresh')).toThrow(/ENOENT/);
  });

  it('is refused where a file without a record has the name', async () => {
    const house = await openHouse();
    writeFileSync(house.path('lost.pem'), 'x', { mode: 0o600 });
    await refused(house, 'keys:\n  - { name: lost, scope: trade:read }', 'ERR_STATE', /lost: it cannot be made/);
  });

  it('is refused where the key logs in and is not of this account', async () => {
    const house = await openHouse();
    const [, subaccount] = house.sandbox.accountIds;
    const { publicKey } = (await house.run('generate', 'sub', '--json')).json<{ publicKey: string }>();
    const { client_id } = house.sandbox.addKey({ publicKey, maxScope: 'trade:read', accountId: subaccount ?? 0 });
    await house.run('link', 'sub', '--client-id', client_id, '--url', house.sandbox.wsUrl);
    await refused(
      house,
      'keys:\n  - { name: sub, scope: trade:read }',
      'ERR_STATE',
      /logs in, but is not among the keys/,
    );
  });

  it('is refused where the exchange has another public key under its client id', async () => {
    const house = await openHouse();
    house.alter('bot', { clientId: house.record('admin').clientId });
    await refused(house, POLICY, 'ERR_STATE', /another public key/);
  });

  it('is refused where the account has the key under another client id', async () => {
    const house = await openHouse();
    house.alter('bot', { clientId: 'XxXxXxXx' });
    await refused(house, POLICY, 'ERR_STATE', /the account has it as/);
  });

  it('is refused where a record is damaged', async () => {
    const house = await openHouse();
    writeFileSync(house.path('bot.json'), '{', { mode: 0o600 });
    await refused(house, POLICY, 'ERR_RECORD_DAMAGED', /bot\.json/);
  });

  it('is refused where a key is registered on another exchange', async () => {
    const house = await openHouse();
    house.alter('bot', { url: 'ws://127.0.0.1:9/ws/api/v2' });
    await refused(house, POLICY, 'ERR_STATE', /it belongs to 127\.0\.0\.1:9/);
  });
});

describe('The plan', () => {
  it('exits with 1 under --check where there are changes, and only there', async () => {
    const house = await openHouse();
    const changed = write(house, `keys:\n  - { name: fresh, scope: trade:read }\n`);
    const check = (file: string, ...argv: readonly string[]) =>
      house.run('plan', file, '--as', 'admin', '--json', ...argv);
    const result = await check(changed, '--check');
    expect([result.exitCode, result.stderr]).toEqual([1, '']);
    expect(result.json<Result>().changes).not.toEqual([]);
    expect((await check(changed)).exitCode).toBe(0);
    const fulfilled = await house.asRoot('plan', write(house, POLICY), '--check', '--json');
    expect([fulfilled.exitCode, fulfilled.json<Result>().changes]).toEqual([0, []]);
    house.sandbox.addKey({ name: 'by_hand' });
    const unmanaged = await check(write(house, POLICY), '--check');
    expect(unmanaged.json<Result>().changes).toContainEqual(expect.objectContaining({ action: 'stranger' }));
    expect(unmanaged.exitCode).toBe(0);
    expect((await check(write(house, POLICY), '--check', '--prune')).exitCode).toBe(1);
  });

  it('tells people what apply would do', async () => {
    const house = await openHouse();
    await webPage(house, 'bot', 'edit_api_key', { max_scope: 'trade:read' });
    const { stdout } = await house.run(
      'plan',
      write(house, `${POLICY}  - { name: fresh, scope: trade:read }\n`),
      '--as',
      'admin',
    );
    expect(stdout).toMatch(/^~ edit bot: scope: is trade:read, should be trade:read_write$/m);
    expect(stdout).toMatch(/^\+ create fresh: missing: ed25519, trade:read$/m);
    expect(stdout).toMatch(/^\? stranger \S+: the policy does not name \S+ \(bootstrap\)/m);
  });

  it('is read from the standard input, and from JSON', async () => {
    const house = await openHouse();
    const stdin = JSON.stringify({ keys: [{ name: 'fresh', scope: ['trade:read'] }] });
    const result = await cli(['--keys-dir', house.keys, 'plan', '-', '--as', 'admin', '--json'], { stdin });
    expect(said(result.json<Result>())).toContain('create fresh');
  });

  it('names the likely reasons where the login is refused', async () => {
    const house = await openHouse();
    house.sandbox.setFaults(['refuse-login']);
    const result = await house.run('plan', write(house, POLICY), '--as', 'admin', '--json');
    expect(result.exitCode).toBe(5);
    expect(result.error().hint).toMatch(/the key may be disabled/);
  });
});

describe('Applying that is cut off', () => {
  const policy = `keys:
  - { name: bot, scope: trade:read, whitelist: [127.0.0.0/8] }
  - { name: fresh, scope: trade:read, label: fresh_one }
  - { name: old, scope: trade:read, maxAge: 90d }
`;

  async function open(options: SandboxOptions = {}): Promise<House> {
    const house = await openHouse(options);
    expect((await house.run('generate', 'old')).exitCode).toBe(0);
    const login = ['--as', 'admin', '--url', house.sandbox.wsUrl];
    expect((await house.run('register', 'old', '--scope', 'trade:read', ...login)).exitCode).toBe(0);
    house.alter('old', { registeredAt: '2020-01-01T00:00:00Z' });
    return house;
  }

  /** Opens copies of one such exchange and keystore, as often as it is called. */
  async function copies(): Promise<() => Promise<House>> {
    const stateFile = join(temporaryFolder(), 'exchange.json');
    const first = await open({ stateFile });
    await first.sandbox.close();
    return async () => {
      const folder = temporaryFolder();
      cpSync(first.keys, join(folder, 'keys'), { recursive: true });
      const copied = join(folder, 'exchange.json');
      copyFileSync(stateFile, copied);
      const sandbox = await openExchange({ faultApi: true, stateFile: copied, port: 0 });
      const house = houseOn(sandbox, folder);
      for (const name of ['admin', 'bot', 'old']) house.alter(name, { url: sandbox.wsUrl });
      return house;
    };
  }

  const mine = (result: Result) => result.changes.filter(({ action }) => action !== 'stranger');

  for (const fault of ['cut-before', 'cut-after']) {
    it(`anywhere (${fault}) goes on with the same command`, async () => {
      const openCopy = await copies();
      let at = 0;
      for (; at < 60; at += 1) {
        const house = await openCopy();
        house.sandbox.setFaults([`${fault}+${at}x1`]);
        const cut = await house.run('apply', write(house, policy), '--as', 'admin', '--yes', '--json');
        house.sandbox.clearFaults();
        if (cut.exitCode === 0) {
          expect(mine(cut.json<Result>()).map(({ action }) => action)).toEqual(['edit', 'create', 'rotate']);
        } else {
          expect(cut.exitCode).toBe(4);
          expect(cut.error().hint).toMatch(/again|goes on|connect/);
        }
        await apply(house, policy);
        const done = await apply(house, policy);
        expect(mine(done)).toEqual([]);
        for (const name of ['bot', 'fresh', 'old']) {
          expect((await house.run('auth', name)).exitCode).toBe(0);
          const { fingerprint } = house.record(name);
          const keys = house.sandbox.keys().filter((key) => key.client_secret === fingerprint);
          expect(keys).toMatchObject([{ enabled: true }]);
        }
        // bootstrap, admin and the three of the policy: nothing that is unexplained
        expect(house.sandbox.keys()).toHaveLength(5);
        await house.sandbox.close();
        if (cut.exitCode === 0) break;
      }
      expect(at).toBeGreaterThan(10);
      expect(at).toBeLessThan(60);
    }, 120_000);
  }

  it('says how far it came', async () => {
    const house = await open();
    house.sandbox.setFaults(['error@private/create_api_key:13403']);
    const result = await house.run('apply', write(house, policy), '--as', 'admin', '--yes', '--json');
    expect(result.exitCode).toBe(5);
    expect(result.error()).toMatchObject({
      message: expect.stringMatching(/^create fresh: .*13403/),
      hint: expect.stringMatching(/1 of 3 changes were made; the same command continues$/),
      rpc: { code: 13403 },
    });
    house.sandbox.clearFaults();
    expect(said(await apply(house, policy))).toEqual(expect.arrayContaining(['register fresh', 'rotate old']));
  });
});

describe('A policy file that is no such file', () => {
  it.each([
    ['missing', async (path: string) => void path, /there is no file/],
    ['binary', async (path: string) => writeFileSync(path, Buffer.from([0xff, 0xfe, 0x00])), /cannot be read as text/],
    ['huge', async (path: string) => writeFileSync(path, 'x'.repeat(100_000)), /100000 bytes/],
  ])('but %s is wrong usage', async (_what, make, message) => {
    const house = await openHouse();
    const path = join(house.folder, 'own.yaml');
    await make(path);
    const result = await house.run('plan', path, '--as', 'admin', '--json');
    expect(result.exitCode).toBe(2);
    expect(result.error()).toMatchObject({ code: 'ERR_USAGE', message: expect.stringMatching(message) });
  });
});

describe('The login of a policy', () => {
  it('that is itself too old is rotated last', async () => {
    const house = await openHouse();
    house.alter('admin', { registeredAt: '2020-01-01T00:00:00Z' });
    const policy = `keys:
  - { name: admin, scope: account:read_write trade:read_write wallet:read, maxAge: 90d }
  - { name: fresh, scope: trade:read }
`;
    const first = await apply(house, policy);
    expect(said(first).filter((one) => !one.startsWith('stranger'))).toEqual(['create fresh', 'rotate admin']);
    expect(said(await apply(house, policy)).filter((one) => !one.startsWith('stranger'))).toEqual([]);
  });

  it('follows the environment of the policy where nothing else says where to go', async () => {
    const house = await openHouse();
    const file = write(house, 'environment: prod\nkeys: []');
    const result = await cli(['--keys-dir', house.keys, 'plan', file, '--client-id', 'XxXxXxXx', '--json'], {
      env: { DERIBIT_CLIENT_SECRET: 'x', HTTPS_PROXY: 'http://127.0.0.1:9' },
    });
    expect(result.exitCode).toBe(4);
    expect(result.error().message).toContain('www.deribit.com');
  });

  it('may act on a subaccount', async () => {
    const house = await openHouse();
    const subaccount = String(house.sandbox.accountIds[1]);
    const policy = 'keys:\n  - { name: sub, scope: trade:read }\n';
    expect(said(await apply(house, policy, '--subaccount', subaccount))).toEqual(['create sub']);
    expect(said(await apply(house, policy, '--subaccount', subaccount))).toEqual([]);
    const elsewhere = await plan(house, policy);
    expect(elsewhere.changes.find(({ name }) => name === 'sub')).toMatchObject({ action: 'conflict' });
  });
});

describe('With a second factor', () => {
  const SEED = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';

  it('the plan ends with 6 where no code can be had', async () => {
    const house = await openHouse({ tfaSecret: SEED });
    const result = await house.run('plan', write(house, POLICY), '--as', 'admin', '--json');
    expect(result.exitCode).toBe(6);
    expect(result.error().code).toBe('ERR_SECOND_FACTOR_REQUIRED');
  });

  it('a seed is enough to apply what is different', async () => {
    const house = await openHouse({ tfaSecret: SEED });
    const { publicKey } = (await house.run('generate', 'pasted', '--json')).json<{ publicKey: string }>();
    house.sandbox.addKey({ publicKey, maxScope: 'trade:read', name: 'pasted' });
    const seed = join(house.folder, 'seed');
    writeFileSync(seed, SEED);
    const file = write(house, `keys:${ADMIN}\n  - { name: pasted, scope: trade:read }\n`);
    const result = await house.run('apply', file, '--as', 'admin', '--json', '--tfa-secret-file', seed);
    expect(result).toMatchObject({ exitCode: 0, stderr: '' });
    expect(said(result.json<Result>())).toContain('link pasted');
    expect(house.record('pasted').state).toBe('registered');
  });
});

describe('The help of plan and apply', () => {
  it('shows a policy that is one', async () => {
    const { parsePolicy } = await import('../../../src/workflows/policy/parse-policy.js');
    for (const command of ['plan', 'apply']) {
      const { stdout } = await cli([command, '--help']);
      const example = /^ {2}environment: test[\s\S]*?encrypt: true.*$/m.exec(stdout)?.[0] ?? '';
      expect(parsePolicy(example)).toMatchObject({
        environment: 'test',
        keys: [{ name: 'bot', bits: 3072, encrypt: true }],
      });
    }
  });
});

it('The confirmation of apply shows the changes without escape codes', async () => {
  const house = await openHouse();
  house.sandbox.addKey({ name: 'spare', maxScope: 'trade:read' });
  const argv = ['apply', write(house, 'keys: []'), '--prune', '--as', 'admin', '--keys-dir', house.keys];
  const { stderr } = await onTerminal(argv, { NO_COLOR: '' }, () => 'n');
  expect(stderr).toMatch(/^- disable /m);
  expect(stderr).not.toMatch(/\\u001b|\\x1b|\[\d+m/i);
});

describe('Several runs of apply at the same moment', () => {
  it('make each key once, and move no key away that another run has just registered', async () => {
    const house = await openHouse();
    const text = `keys:\n  - { name: fresh, scope: trade:read }\n  - { name: gone, scope: trade:read }\n`;
    await apply(house, text);
    const { clientId } = house.record('gone');
    await webPage(house, 'gone', 'remove_api_key', {});
    const file = write(house, text);
    const runs = await Promise.all(
      Array.from({ length: 4 }, () => house.run('apply', file, '--as', 'admin', '--json', '--yes')),
    );
    for (const run of runs) {
      if (run.exitCode !== 0) expect(['ERR_STATE', 'ERR_LOCKED']).toContain(run.error().code);
    }
    expect(runs.map(({ exitCode }) => exitCode)).toContain(0);
    const record = house.record('gone');
    expect(record).toMatchObject({ state: 'registered' });
    expect(record.clientId).not.toBe(clientId);
    const enabled = house.sandbox.keys().filter((key) => key.enabled && ['gone', 'fresh'].includes(key.name));
    expect(enabled.map((key) => key.client_id).sort()).toEqual(
      [record.clientId, house.record('fresh').clientId].sort(),
    );
    expect((await plan(house, text)).changes.filter(({ action }) => action !== 'stranger')).toEqual([]);
  });
});
