import { copyFileSync, cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { SandboxOptions } from '../../../src/sandbox/index.js';
import { cli, temporaryFolder } from '../../support/cli.js';
import { type DoctorWorld, doctorWorldOn, openDoctorWorld } from '../../support/doctor-world.js';
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

function write(world: DoctorWorld, text: string): string {
  const path = join(world.folder, 'keys.yaml');
  writeFileSync(path, text);
  return path;
}

async function plan(world: DoctorWorld, text: string, ...argv: readonly string[]): Promise<Result> {
  const result = await world.run('plan', write(world, text), '--as', 'admin', '--json', ...argv);
  expect(result).toMatchObject({ exitCode: 0, stderr: '' });
  return result.json<Result>();
}

async function apply(world: DoctorWorld, text: string, ...argv: readonly string[]): Promise<Result> {
  const result = await world.run('apply', write(world, text), '--as', 'admin', '--json', '--yes', ...argv);
  expect(result).toMatchObject({ exitCode: 0, stderr: '' });
  return result.json<Result>();
}

const said = ({ changes }: Result) => changes.map(({ action, name }) => `${action} ${name}`);
const changing = ({ sandbox }: DoctorWorld) =>
  sandbox.calls.filter(({ method }) => /(create|edit|enable|disable|remove|change|reset)/.test(method)).length;

/** The account's key of the main account that a name stands for. */
function shown(world: DoctorWorld, name: string) {
  const { clientId } = world.record(name);
  return world.sandbox.keys().find((key) => key.client_id === clientId);
}

async function webPage(world: DoctorWorld, name: string, method: string, params: Readonly<Record<string, unknown>>) {
  const { sandbox } = world;
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
  await call(`private/${method}`, { id: world.record(name).keyId, ...params }, access_token);
}

describe('A policy that is fulfilled', () => {
  it('changes nothing, however often it is applied', async () => {
    const world = await openDoctorWorld();
    const before = changing(world);
    const result = await world.asRoot('apply', write(world, POLICY), '--json');
    expect(result.json()).toEqual({ changes: [], applied: false });
    const again = await world.asRoot('apply', write(world, POLICY), '--prune', '--json');
    expect(again.json()).toEqual({ changes: [], applied: false });
    expect(changing(world)).toBe(before);
  });
});

describe('A key that is missing', () => {
  it('is made, registered and proved; the second time nothing is done', async () => {
    const world = await openDoctorWorld();
    const policy = `${POLICY}
  - name: fresh
    type: rsa
    bits: 2048
    scope: [trade:read, account:read]
    label: fresh_one
    features: [restricted_block_trades]
    whitelist: [127.0.0.0/8, 203.0.113.7]
`;
    const planned = await plan(world, policy);
    expect(planned.applied).toBe(false);
    expect(said(planned)).toContain('create fresh');
    expect(() => world.record('fresh')).toThrow(/ENOENT/);
    expect(said(await apply(world, policy))).toContain('create fresh');
    expect(world.record('fresh')).toMatchObject({ state: 'registered', algorithm: 'rsa', bits: 2048 });
    expect(shown(world, 'fresh')).toMatchObject({
      name: 'fresh_one',
      max_scope: 'account:read trade:read',
      enabled_features: ['restricted_block_trades'],
      ip_whitelist: ['127.0.0.0/8', '203.0.113.7'],
    });
    const calls = changing(world);
    const second = await apply(world, policy);
    expect(said(second)).toEqual([`stranger ${world.sandbox.clientId}`]);
    expect(second.applied).toBe(false);
    expect(changing(world)).toBe(calls);
  });

  it('is told to people as done, after the notes on the way', async () => {
    const world = await openDoctorWorld();
    const policy = 'keys:\n  - { name: fresh, scope: trade:read }\n';
    const { stdout, stderr } = await world.asRoot('apply', write(world, policy), '--url', world.sandbox.wsUrl);
    expect(stderr).toContain('done: create fresh');
    expect(stdout).toMatch(/^applied:\n\+ create fresh: .*\nleft as it is:\n\? stranger /);
  });

  it('is encrypted where the policy says so', async () => {
    const world = await openDoctorWorld();
    const secret = join(world.folder, 'secret');
    writeFileSync(secret, 'correct horse');
    const policy = `keys:\n  - { name: vault, scope: trade:read, encrypt: true }\n`;
    await apply(world, policy, '--new-passphrase-file', secret);
    expect(world.record('vault')).toMatchObject({ encrypted: true, state: 'registered' });
    expect((await world.run('auth', 'vault', '--passphrase-file', secret)).exitCode).toBe(0);
  });

  it('without a passphrase at hand for it, leaves everything as it was', async () => {
    const world = await openDoctorWorld();
    const file = write(
      world,
      `keys:\n  - { name: plain, scope: trade:read }\n  - { name: vault, scope: trade:read, encrypt: true }\n`,
    );
    const { exitCode, stderr } = await world.run('apply', file, '--as', 'admin', '--yes');
    expect(exitCode).toBe(3);
    expect(stderr).toContain('--new-passphrase-file');
    expect(() => world.record('plain')).toThrow(/ENOENT/);
  });

  it('is not made where the account has no room, and nothing else is either', async () => {
    const world = await openDoctorWorld();
    for (let i = world.sandbox.keys().length; i < 7; i += 1)
      world.sandbox.addKey({ maxScope: 'trade:read', name: `k${i}` });
    const file = write(world, `keys:\n  - { name: one, scope: trade:read }\n  - { name: two, scope: trade:read }\n`);
    const result = await world.run('apply', file, '--as', 'admin', '--yes', '--json');
    expect(result.exitCode).toBe(1);
    expect(result.error()).toMatchObject({
      code: 'ERR_STATE',
      message: expect.stringMatching(/room for 1 .* needs 2/),
    });
    expect(() => world.record('one')).toThrow(/ENOENT/);
    expect(world.sandbox.keys()).toHaveLength(7);
  });
});

interface Drift {
  readonly what: string;
  readonly cause: (world: DoctorWorld) => Promise<unknown>;
  readonly planned: readonly string[];
  readonly policy?: string;
  readonly after?: (world: DoctorWorld) => void;
}

const DRIFTS: readonly Drift[] = [
  {
    what: 'another scope',
    cause: (world) => webPage(world, 'bot', 'edit_api_key', { max_scope: 'trade:read' }),
    planned: ['edit bot'],
    after: (world) => expect(shown(world, 'bot')?.max_scope).toBe('trade:read_write'),
  },
  {
    what: 'a wider scope',
    cause: (world) => webPage(world, 'bot', 'edit_api_key', { max_scope: 'trade:read_write account:read' }),
    planned: ['edit bot'],
    after: (world) => expect(shown(world, 'bot')?.max_scope).toBe('trade:read_write'),
  },
  {
    what: 'a feature that nobody asked for',
    cause: (world) =>
      webPage(world, 'bot', 'edit_api_key', {
        max_scope: 'trade:read_write',
        enabled_features: ['block_trade_approval'],
      }),
    planned: ['edit bot'],
    after: (world) => expect(shown(world, 'bot')?.enabled_features).toEqual([]),
  },
  {
    what: 'a whitelist',
    cause: (world) =>
      webPage(world, 'bot', 'edit_api_key', { max_scope: 'trade:read_write', ip_whitelist: ['203.0.113.7'] }),
    planned: ['edit bot'],
    after: (world) => expect(shown(world, 'bot')?.ip_whitelist).toEqual([]),
  },
  {
    what: 'another label',
    cause: (world) => webPage(world, 'bot', 'change_api_key_name', { name: 'renamed' }),
    planned: ['edit bot'],
    after: (world) => expect(shown(world, 'bot')?.name).toBe('bot'),
  },
  {
    what: 'a key that was disabled',
    cause: (world) => webPage(world, 'bot', 'disable_api_key', {}),
    planned: ['enable bot'],
    after: (world) => expect(shown(world, 'bot')?.enabled).toBe(true),
  },
  {
    what: 'a key that was disabled and changed',
    cause: (world) => webPage(world, 'bot', 'edit_api_key', { max_scope: 'trade:none', enabled: false, name: 'x' }),
    planned: ['enable bot', 'edit bot'],
    after: (world) =>
      expect(shown(world, 'bot')).toMatchObject({ enabled: true, max_scope: 'trade:read_write', name: 'bot' }),
  },
  {
    what: 'a key that was removed from the exchange',
    cause: (world) => webPage(world, 'bot', 'remove_api_key', {}),
    planned: ['replace bot'],
    after: (world) => expect(shown(world, 'bot')).toMatchObject({ enabled: true, max_scope: 'trade:read_write' }),
  },
  {
    what: 'a key that was removed by api-keys',
    cause: (world) => world.run('api-keys', 'remove', 'bot', '--as', 'admin', '--yes'),
    planned: ['replace bot'],
  },
  {
    what: 'a key that is too old',
    cause: async (world) => world.alter('bot', { registeredAt: new Date(Date.now() - 91 * 86_400_000).toISOString() }),
    planned: ['rotate bot'],
  },
  {
    what: 'a key of another type',
    policy: `keys:\n  - { name: bot, type: rsa, bits: 2048, scope: trade:read_write }\n`,
    cause: async () => {},
    planned: ['rotate bot'],
    after: (world) => expect(world.record('bot')).toMatchObject({ algorithm: 'rsa', bits: 2048 }),
  },
  {
    what: 'a rotation that was interrupted',
    cause: async (world) => {
      world.sandbox.setFaults(['cut-after@private/create_api_keyx1']);
      expect((await world.run('rotate', 'bot', '--as', 'admin')).exitCode).toBe(4);
    },
    planned: ['rotate bot'],
  },
  {
    what: 'a registration that was interrupted',
    policy: `keys:\n  - { name: late, scope: trade:read }\n`,
    cause: async (world) => {
      await world.run('generate', 'late');
      world.sandbox.setFaults(['cut-after@private/create_api_keyx1']);
      const login = ['--as', 'admin', '--url', world.sandbox.wsUrl];
      expect((await world.run('register', 'late', '--scope', 'trade:read', ...login)).exitCode).toBe(4);
    },
    planned: ['register late'],
  },
  {
    what: 'a registration that was started with another scope',
    policy: `keys:\n  - { name: late, scope: trade:read_write, label: later }\n`,
    cause: async (world) => {
      await world.run('generate', 'late');
      world.sandbox.setFaults(['cut-before@private/create_api_keyx1']);
      const login = ['--as', 'admin', '--url', world.sandbox.wsUrl];
      expect((await world.run('register', 'late', '--scope', 'trade:read', ...login)).exitCode).toBe(4);
    },
    planned: ['register late', 'edit late'],
    after: (world) => expect(shown(world, 'late')).toMatchObject({ max_scope: 'trade:read_write', name: 'later' }),
  },
  {
    what: 'a key that was made here and never registered',
    policy: `keys:\n  - { name: local, scope: trade:read }\n`,
    cause: (world) => world.run('generate', 'local'),
    planned: ['register local'],
  },
  {
    what: 'a key that was pasted into the web page and never linked',
    policy: `keys:\n  - { name: pasted, scope: trade:read, label: pasted }\n`,
    cause: async (world) => {
      const { publicKey } = (await world.run('generate', 'pasted', '--json')).json<{ publicKey: string }>();
      world.sandbox.addKey({ publicKey, maxScope: 'trade:read_write', name: 'by_hand' });
    },
    planned: ['link pasted', 'edit pasted'],
    after: (world) => expect(shown(world, 'pasted')).toMatchObject({ max_scope: 'trade:read', name: 'pasted' }),
  },
  {
    what: 'a record that does not know of a change which the policy asks for',
    policy: `keys:\n  - { name: bot, scope: trade:read }\n`,
    cause: (world) => webPage(world, 'bot', 'edit_api_key', { max_scope: 'trade:read' }),
    planned: ['record bot'],
    after: (world) => expect(world.record('bot').scope).toBe('trade:read'),
  },
];

describe('Applying brings back', () => {
  for (const { what, cause, planned, policy = POLICY, after } of DRIFTS) {
    it(what, async () => {
      const world = await openDoctorWorld();
      await cause(world);
      const stranger = `stranger ${world.sandbox.clientId}`;
      const names = (result: Result) =>
        said(result).filter((one) => one !== stranger && one !== 'stranger admin' && one !== 'stranger bot');
      expect(names(await plan(world, policy))).toEqual(planned);
      const first = await apply(world, policy);
      expect(names(first)).toEqual(planned);
      expect(first.applied).toBe(true);
      after?.(world);
      for (const { name } of first.changes.filter(({ action }) => action !== 'stranger')) {
        expect((await world.run('auth', name)).exitCode).toBe(0);
      }
      const calls = changing(world);
      const second = await apply(world, policy);
      expect(names(second)).toEqual([]);
      expect(second.applied).toBe(false);
      expect(changing(world)).toBe(calls);
      const verdict = await world.asRoot('doctor', '--json');
      expect(verdict.json<{ findings: { ok: boolean }[] }>().findings.filter(({ ok }) => ok === false)).toEqual([]);
    });
  }

  it('a key that should be encrypted and is not', async () => {
    const world = await openDoctorWorld();
    const secret = join(world.folder, 'secret');
    writeFileSync(secret, 'correct horse');
    const policy = `keys:\n  - { name: bot, scope: trade:read_write, encrypt: true }\n`;
    const only = (result: Result) => said(result).filter((one) => one.endsWith(' bot'));
    expect(only(await apply(world, policy, '--new-passphrase-file', secret))).toEqual(['encrypt bot']);
    expect(world.record('bot').encrypted).toBe(true);
    expect(only(await apply(world, policy))).toEqual([]);
    expect((await world.run('auth', 'bot', '--passphrase-file', secret)).exitCode).toBe(0);
  });
});

describe('A replaced key', () => {
  it('keeps its old files, in the folder of retired keys', async () => {
    const world = await openDoctorWorld();
    const before = world.record('bot');
    await webPage(world, 'bot', 'remove_api_key', {});
    await apply(world, POLICY);
    expect(world.record('bot').fingerprint).not.toBe(before.fingerprint);
    const day = new Date().toISOString().slice(0, 10);
    expect(world.record(`retired/${day}/bot`)).toMatchObject({ fingerprint: before.fingerprint, state: 'retired' });
  });
});

describe('Strangers', () => {
  const STRANGER = { maxScope: 'trade:read', name: 'intruder' };

  it('are shown and not changed', async () => {
    const world = await openDoctorWorld();
    const { client_id } = world.sandbox.addKey(STRANGER);
    const result = await world.asRoot('apply', write(world, POLICY), '--json', '--yes');
    expect(said(result.json<Result>())).toEqual([`stranger ${client_id}`]);
    expect(result.json<Result>().applied).toBe(false);
    expect(world.sandbox.keys().find((key) => key.client_id === client_id)?.enabled).toBe(true);
  });

  it('are disabled with --prune, never removed, and not again', async () => {
    const world = await openDoctorWorld();
    const { client_id } = world.sandbox.addKey(STRANGER);
    const result = await world.asRoot('apply', write(world, POLICY), '--json', '--yes', '--prune');
    expect(said(result.json<Result>())).toEqual([`disable ${client_id}`]);
    expect(world.sandbox.keys().find((key) => key.client_id === client_id)?.enabled).toBe(false);
    const again = await world.asRoot('apply', write(world, POLICY), '--json', '--prune');
    expect(again.json()).toEqual({ changes: [], applied: false });
  });

  it('are keys of the keystore as well, where the policy does not name them; the login is none', async () => {
    const world = await openDoctorWorld();
    const result = await world.run('plan', write(world, `keys: []`), '--as', 'admin', '--json', '--prune');
    expect(said(result.json<Result>())).toEqual([`disable ${world.sandbox.clientId}`, 'disable bot']);
  });

  it('are not the two keys of a rotation in its grace', async () => {
    const world = await openDoctorWorld();
    expect((await world.run('rotate', 'bot', '--as', 'admin', '--grace', '1h')).exitCode).toBe(0);
    const result = await world.asRoot('apply', write(world, POLICY), '--json', '--yes', '--prune');
    expect(result.json()).toEqual({ changes: [], applied: false });
    expect(world.sandbox.keys().filter(({ enabled }) => enabled)).toHaveLength(4);
  });
});

describe('A yes', () => {
  it('is wanted before a key is disabled, enabled, replaced or rotated', async () => {
    for (const cause of [
      (world: DoctorWorld) => webPage(world, 'bot', 'disable_api_key', {}),
      (world: DoctorWorld) => webPage(world, 'bot', 'remove_api_key', {}),
      async (world: DoctorWorld) => world.alter('bot', { registeredAt: '2020-01-01T00:00:00Z' }),
    ]) {
      const world = await openDoctorWorld();
      await cause(world);
      const before = changing(world);
      const result = await world.run('apply', write(world, POLICY), '--as', 'admin', '--json');
      expect(result.exitCode).toBe(2);
      expect(result.error().hint).toContain('--yes');
      expect(changing(world)).toBe(before);
    }
  });

  it('is not wanted for a key that is made or edited', async () => {
    const world = await openDoctorWorld();
    await webPage(world, 'bot', 'edit_api_key', { max_scope: 'trade:read' });
    const file = write(world, `${POLICY}\n  - { name: fresh, scope: trade:read }\n`);
    expect((await world.run('apply', file, '--as', 'admin')).exitCode).toBe(0);
    expect(world.record('fresh').state).toBe('registered');
  });
});

describe('A policy that contradicts how things are', () => {
  const refused = async (
    world: DoctorWorld,
    text: string,
    code: string,
    message: RegExp,
    ...argv: readonly string[]
  ) => {
    const before = changing(world);
    const result = await world.run('apply', write(world, text), '--as', 'admin', '--yes', '--json', ...argv);
    expect(result.error()).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(changing(world)).toBe(before);
  };

  it('is refused where it is for the other environment', async () => {
    const world = await openDoctorWorld();
    await refused(world, 'environment: prod\nkeys: []', 'ERR_USAGE', /for prod, the login is on test/);
  });

  it('is refused where a key that was never registered is of another kind', async () => {
    const world = await openDoctorWorld();
    await world.run('generate', 'local');
    const text = 'keys:\n  - { name: fresh, scope: trade:read }\n  - { name: local, type: rsa, scope: trade:read }';
    await refused(world, text, 'ERR_STATE', /local: it is ed25519 and should be rsa/);
    expect(() => world.record('fresh')).toThrow(/ENOENT/);
  });

  it('is refused where a file without a record has the name', async () => {
    const world = await openDoctorWorld();
    writeFileSync(world.path('lost.pem'), 'x', { mode: 0o600 });
    await refused(world, 'keys:\n  - { name: lost, scope: trade:read }', 'ERR_STATE', /lost: it cannot be made/);
  });

  it('is refused where the key logs in and is not of this account', async () => {
    const world = await openDoctorWorld();
    const [, subaccount] = world.sandbox.accountIds;
    const { publicKey } = (await world.run('generate', 'sub', '--json')).json<{ publicKey: string }>();
    const { client_id } = world.sandbox.addKey({ publicKey, maxScope: 'trade:read', accountId: subaccount ?? 0 });
    await world.run('link', 'sub', '--client-id', client_id, '--url', world.sandbox.wsUrl);
    await refused(
      world,
      'keys:\n  - { name: sub, scope: trade:read }',
      'ERR_STATE',
      /logs in, but is not among the keys/,
    );
  });

  it('is refused where the exchange has another public key under its client id', async () => {
    const world = await openDoctorWorld();
    world.alter('bot', { clientId: world.record('admin').clientId });
    await refused(world, POLICY, 'ERR_STATE', /another public key/);
  });

  it('is refused where the account has the key under another client id', async () => {
    const world = await openDoctorWorld();
    world.alter('bot', { clientId: 'XxXxXxXx' });
    await refused(world, POLICY, 'ERR_STATE', /the account has it as/);
  });

  it('is refused where a record is damaged', async () => {
    const world = await openDoctorWorld();
    writeFileSync(world.path('bot.json'), '{', { mode: 0o600 });
    await refused(world, POLICY, 'ERR_RECORD_DAMAGED', /bot\.json/);
  });

  it('is refused where a key is registered on another exchange', async () => {
    const world = await openDoctorWorld();
    world.alter('bot', { url: 'ws://127.0.0.1:9/ws/api/v2' });
    await refused(world, POLICY, 'ERR_STATE', /it belongs to 127\.0\.0\.1:9/);
  });
});

describe('The plan', () => {
  it('exits with 1 under --check where there are changes, and only there', async () => {
    const world = await openDoctorWorld();
    const changed = write(world, `keys:\n  - { name: fresh, scope: trade:read }\n`);
    const check = (file: string, ...argv: readonly string[]) =>
      world.run('plan', file, '--as', 'admin', '--json', ...argv);
    const result = await check(changed, '--check');
    expect([result.exitCode, result.stderr]).toEqual([1, '']);
    expect(result.json<Result>().changes).not.toEqual([]);
    expect((await check(changed)).exitCode).toBe(0);
    const fulfilled = await world.asRoot('plan', write(world, POLICY), '--check', '--json');
    expect([fulfilled.exitCode, fulfilled.json<Result>().changes]).toEqual([0, []]);
    world.sandbox.addKey({ name: 'by_hand' });
    const unmanaged = await check(write(world, POLICY), '--check');
    expect(unmanaged.json<Result>().changes).toContainEqual(expect.objectContaining({ action: 'stranger' }));
    expect(unmanaged.exitCode).toBe(0);
    expect((await check(write(world, POLICY), '--check', '--prune')).exitCode).toBe(1);
  });

  it('tells people what apply would do', async () => {
    const world = await openDoctorWorld();
    await webPage(world, 'bot', 'edit_api_key', { max_scope: 'trade:read' });
    const { stdout } = await world.run(
      'plan',
      write(world, `${POLICY}  - { name: fresh, scope: trade:read }\n`),
      '--as',
      'admin',
    );
    expect(stdout).toMatch(/^~ edit bot: scope: is trade:read, should be trade:read_write$/m);
    expect(stdout).toMatch(/^\+ create fresh: missing: ed25519, trade:read$/m);
    expect(stdout).toMatch(/^\? stranger \S+: the policy does not name \S+ \(bootstrap\)/m);
  });

  it('is read from the standard input, and from JSON', async () => {
    const world = await openDoctorWorld();
    const stdin = JSON.stringify({ keys: [{ name: 'fresh', scope: ['trade:read'] }] });
    const result = await cli(['--keys-dir', world.keys, 'plan', '-', '--as', 'admin', '--json'], { stdin });
    expect(said(result.json<Result>())).toContain('create fresh');
  });

  it('names the likely reasons where the login is refused', async () => {
    const world = await openDoctorWorld();
    world.sandbox.setFaults(['refuse-login']);
    const result = await world.run('plan', write(world, POLICY), '--as', 'admin', '--json');
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

  async function open(options: SandboxOptions = {}): Promise<DoctorWorld> {
    const world = await openDoctorWorld(options);
    expect((await world.run('generate', 'old')).exitCode).toBe(0);
    const login = ['--as', 'admin', '--url', world.sandbox.wsUrl];
    expect((await world.run('register', 'old', '--scope', 'trade:read', ...login)).exitCode).toBe(0);
    world.alter('old', { registeredAt: '2020-01-01T00:00:00Z' });
    return world;
  }

  /** Opens copies of one such exchange and keystore, as often as it is called. */
  async function copies(): Promise<() => Promise<DoctorWorld>> {
    const stateFile = join(temporaryFolder(), 'exchange.json');
    const first = await open({ stateFile });
    await first.sandbox.close();
    return async () => {
      const folder = temporaryFolder();
      cpSync(first.keys, join(folder, 'keys'), { recursive: true });
      const copied = join(folder, 'exchange.json');
      copyFileSync(stateFile, copied);
      const sandbox = await openExchange({ faultApi: true, stateFile: copied, port: 0 });
      const world = doctorWorldOn(sandbox, folder);
      for (const name of ['admin', 'bot', 'old']) world.alter(name, { url: sandbox.wsUrl });
      return world;
    };
  }

  const mine = (result: Result) => result.changes.filter(({ action }) => action !== 'stranger');

  for (const fault of ['cut-before', 'cut-after']) {
    it(`anywhere (${fault}) goes on with the same command`, async () => {
      const openCopy = await copies();
      let at = 0;
      for (; at < 60; at += 1) {
        const world = await openCopy();
        world.sandbox.setFaults([`${fault}+${at}x1`]);
        const cut = await world.run('apply', write(world, policy), '--as', 'admin', '--yes', '--json');
        world.sandbox.clearFaults();
        if (cut.exitCode === 0) {
          expect(mine(cut.json<Result>()).map(({ action }) => action)).toEqual(['edit', 'create', 'rotate']);
        } else {
          expect(cut.exitCode).toBe(4);
          expect(cut.error().hint).toMatch(/again|goes on|connect/);
        }
        await apply(world, policy);
        const done = await apply(world, policy);
        expect(mine(done)).toEqual([]);
        for (const name of ['bot', 'fresh', 'old']) {
          expect((await world.run('auth', name)).exitCode).toBe(0);
          const { fingerprint } = world.record(name);
          const keys = world.sandbox.keys().filter((key) => key.client_secret === fingerprint);
          expect(keys).toMatchObject([{ enabled: true }]);
        }
        // bootstrap, admin and the three of the policy: nothing that is unexplained
        expect(world.sandbox.keys()).toHaveLength(5);
        await world.sandbox.close();
        if (cut.exitCode === 0) break;
      }
      expect(at).toBeGreaterThan(10);
      expect(at).toBeLessThan(60);
    }, 120_000);
  }

  it('says how far it came', async () => {
    const world = await open();
    world.sandbox.setFaults(['error@private/create_api_key:13403']);
    const result = await world.run('apply', write(world, policy), '--as', 'admin', '--yes', '--json');
    expect(result.exitCode).toBe(5);
    expect(result.error()).toMatchObject({
      message: expect.stringMatching(/^create fresh: .*13403/),
      hint: expect.stringMatching(/1 of 3 changes were made; the same command continues$/),
      rpc: { code: 13403 },
    });
    world.sandbox.clearFaults();
    expect(said(await apply(world, policy))).toEqual(expect.arrayContaining(['register fresh', 'rotate old']));
  });
});

describe('A policy file that is no such file', () => {
  it.each([
    ['missing', async (path: string) => void path, /there is no file/],
    ['binary', async (path: string) => writeFileSync(path, Buffer.from([0xff, 0xfe, 0x00])), /cannot be read as text/],
    ['huge', async (path: string) => writeFileSync(path, 'x'.repeat(100_000)), /100000 bytes/],
  ])('but %s is wrong usage', async (_what, make, message) => {
    const world = await openDoctorWorld();
    const path = join(world.folder, 'own.yaml');
    await make(path);
    const result = await world.run('plan', path, '--as', 'admin', '--json');
    expect(result.exitCode).toBe(2);
    expect(result.error()).toMatchObject({ code: 'ERR_USAGE', message: expect.stringMatching(message) });
  });
});

describe('The login of a policy', () => {
  it('that is itself too old is rotated last', async () => {
    const world = await openDoctorWorld();
    world.alter('admin', { registeredAt: '2020-01-01T00:00:00Z' });
    const policy = `keys:
  - { name: admin, scope: account:read_write trade:read_write wallet:read, maxAge: 90d }
  - { name: fresh, scope: trade:read }
`;
    const first = await apply(world, policy);
    expect(said(first).filter((one) => !one.startsWith('stranger'))).toEqual(['create fresh', 'rotate admin']);
    expect(said(await apply(world, policy)).filter((one) => !one.startsWith('stranger'))).toEqual([]);
  });

  it('follows the environment of the policy where nothing else says where to go', async () => {
    const world = await openDoctorWorld();
    const file = write(world, 'environment: prod\nkeys: []');
    const result = await cli(['--keys-dir', world.keys, 'plan', file, '--client-id', 'XxXxXxXx', '--json'], {
      env: { DERIBIT_CLIENT_SECRET: 'x', HTTPS_PROXY: 'http://127.0.0.1:9' },
    });
    expect(result.exitCode).toBe(4);
    expect(result.error().message).toContain('www.deribit.com');
  });

  it('may act on a subaccount', async () => {
    const world = await openDoctorWorld();
    const subaccount = String(world.sandbox.accountIds[1]);
    const policy = 'keys:\n  - { name: sub, scope: trade:read }\n';
    expect(said(await apply(world, policy, '--subaccount', subaccount))).toEqual(['create sub']);
    expect(said(await apply(world, policy, '--subaccount', subaccount))).toEqual([]);
    const elsewhere = await plan(world, policy);
    expect(elsewhere.changes.find(({ name }) => name === 'sub')).toMatchObject({ action: 'conflict' });
  });
});

describe('With a second factor', () => {
  const SEED = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';

  it('the plan ends with 6 where no code can be had', async () => {
    const world = await openDoctorWorld({ tfaSecret: SEED });
    const result = await world.run('plan', write(world, POLICY), '--as', 'admin', '--json');
    expect(result.exitCode).toBe(6);
    expect(result.error().code).toBe('ERR_SECOND_FACTOR_REQUIRED');
  });

  it('a seed is enough to apply what is different', async () => {
    const world = await openDoctorWorld({ tfaSecret: SEED });
    const { publicKey } = (await world.run('generate', 'pasted', '--json')).json<{ publicKey: string }>();
    world.sandbox.addKey({ publicKey, maxScope: 'trade:read', name: 'pasted' });
    const seed = join(world.folder, 'seed');
    writeFileSync(seed, SEED);
    const file = write(world, `keys:${ADMIN}\n  - { name: pasted, scope: trade:read }\n`);
    const result = await world.run('apply', file, '--as', 'admin', '--json', '--tfa-secret-file', seed);
    expect(result).toMatchObject({ exitCode: 0, stderr: '' });
    expect(said(result.json<Result>())).toContain('link pasted');
    expect(world.record('pasted').state).toBe('registered');
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
  const world = await openDoctorWorld();
  world.sandbox.addKey({ name: 'spare', maxScope: 'trade:read' });
  const argv = ['apply', write(world, 'keys: []'), '--prune', '--as', 'admin', '--keys-dir', world.keys];
  const { stderr } = await onTerminal(argv, { NO_COLOR: '' }, () => 'n');
  expect(stderr).toMatch(/^- disable /m);
  expect(stderr).not.toMatch(/\\u001b|\\x1b|\[\d+m/i);
});

describe('Several runs of apply at the same moment', () => {
  it('make each key once, and move no key away that another run has just registered', async () => {
    const world = await openDoctorWorld();
    const text = `keys:\n  - { name: fresh, scope: trade:read }\n  - { name: gone, scope: trade:read }\n`;
    await apply(world, text);
    const { clientId } = world.record('gone');
    await webPage(world, 'gone', 'remove_api_key', {});
    const file = write(world, text);
    const runs = await Promise.all(
      Array.from({ length: 4 }, () => world.run('apply', file, '--as', 'admin', '--json', '--yes')),
    );
    for (const run of runs) {
      if (run.exitCode !== 0) expect(['ERR_STATE', 'ERR_LOCKED']).toContain(run.error().code);
    }
    expect(runs.map(({ exitCode }) => exitCode)).toContain(0);
    const record = world.record('gone');
    expect(record).toMatchObject({ state: 'registered' });
    expect(record.clientId).not.toBe(clientId);
    const enabled = world.sandbox.keys().filter((key) => key.enabled && ['gone', 'fresh'].includes(key.name));
    expect(enabled.map((key) => key.client_id).sort()).toEqual(
      [record.clientId, world.record('fresh').clientId].sort(),
    );
    expect((await plan(world, text)).changes.filter(({ action }) => action !== 'stranger')).toEqual([]);
  });
});
