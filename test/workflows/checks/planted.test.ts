import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { culprit, type DoctorWorld, finding, hasOpenssl, openDoctorWorld } from '../../support/doctor-world.js';

interface Fault {
  readonly what: string;
  readonly plant: (world: DoctorWorld) => Promise<void> | void;
  readonly check: string;
  readonly name?: string | null;
  readonly fix: RegExp;
  /** How the doctor is called; `--as admin bot` by default. */
  readonly argv?: (world: DoctorWorld) => readonly string[];
  /** Whether running the fix makes all well again. */
  readonly mends?: true;
  readonly skip?: boolean;
}

/** Planted, or mended, by openssl. */
const OPENSSL_FAULTS = new Set([
  'an RSA key that is too short',
  'a public half that is gone',
  "another key's public half",
  'a key file without a record',
  'a certificate that nobody vouches for',
]);

const openssl = (...argv: readonly string[]) => execFileSync('openssl', argv, { stdio: 'pipe' });

const write = (world: DoctorWorld, file: string, content: string) =>
  writeFileSync(world.path(file), content, { mode: 0o600 });

async function must(result: Promise<{ exitCode: number; stderr: string }>): Promise<void> {
  const { exitCode, stderr } = await result;
  if (exitCode !== 0) throw new Error(stderr);
}

const everything = () => ['--as', 'admin'];

const FAULTS: readonly Fault[] = [
  {
    what: 'a name that the keystore does not have',
    plant: () => {},
    argv: () => ['--as', 'admin', 'nobody'],
    check: 'record',
    name: 'nobody',
    fix: /deribit-keys list/,
  },
  {
    what: 'a record that was cut short',
    plant: (world) => write(world, 'bot.json', readFileSync(world.path('bot.json'), 'utf8').slice(0, 40)),
    check: 'record',
    fix: /^mkdir -p .* && mv .*bot\.json.* && deribit-keys import bot .*bot\.pem$/,
    mends: true,
  },
  {
    what: 'a record of a later version',
    plant: (world) => world.alter('bot', { schema: 99 }),
    check: 'record',
    fix: /newer version/,
  },
  {
    what: 'a private key that is gone',
    plant: (world) => rmSync(world.path('bot.pem')),
    check: 'file',
    fix: /bot\.pem back from a backup/,
  },
  {
    what: 'a folder in the place of the private key',
    plant: (world) => {
      rmSync(world.path('bot.pem'));
      mkdirSync(world.path('bot.pem'), { mode: 0o700 });
    },
    check: 'file',
    fix: /bot\.pem back from a backup/,
  },
  {
    what: 'a private key that others can read',
    plant: (world) => chmodSync(world.path('bot.pem'), 0o644),
    check: 'permissions',
    fix: /^chmod 600 .*bot\.pem$/,
    mends: true,
  },
  {
    what: 'a folder in which anybody can replace files',
    plant: (world) => chmodSync(world.keys, 0o777),
    check: 'folder-permissions',
    name: null,
    fix: /^chmod 700 /,
    mends: true,
  },
  {
    what: 'a folder in which the group can replace files',
    plant: (world) => chmodSync(world.keys, 0o770),
    check: 'folder-permissions',
    name: null,
    fix: /^chmod 700 /,
    mends: true,
  },
  {
    what: 'a private key that was cut short',
    plant: (world) => write(world, 'bot.pem', readFileSync(world.path('bot.pem'), 'utf8').slice(0, 60)),
    check: 'format',
    fix: /bot\.pem back from a backup/,
  },
  {
    what: 'a passphrase that does not open the key',
    plant: async (world) => {
      const [right, wrong] = [join(world.folder, 'right'), join(world.folder, 'wrong')];
      writeFileSync(right, 'correct horse');
      writeFileSync(wrong, 'battery staple');
      await must(world.run('passphrase', 'bot', '--new-passphrase-file', right));
    },
    argv: (world) => ['--as', 'admin', 'bot', '--passphrase-file', join(world.folder, 'wrong')],
    check: 'passphrase',
    fix: /deribit-keys doctor bot --passphrase-file <file>/,
  },
  {
    what: 'an RSA key that is too short',
    plant: (world) => {
      openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024', '-out', world.path('bot.pem'));
      chmodSync(world.path('bot.pem'), 0o600);
    },
    check: 'strength',
    fix: /deribit-keys generate/,
  },
  {
    what: "another key's file in the place of the private key",
    plant: (world) => write(world, 'bot.pem', readFileSync(world.path('admin.pem'), 'utf8')),
    check: 'record-matches',
    fix: /bot\.pem back from a backup/,
  },
  {
    what: "another key's pair in the place of both halves",
    plant: (world) => {
      for (const half of ['pem', 'pub.pem'])
        write(world, `bot.${half}`, readFileSync(world.path(`admin.${half}`), 'utf8'));
    },
    check: 'record-matches',
    fix: /bot\.pem back from a backup/,
  },
  {
    what: 'a record that calls an open key encrypted',
    plant: (world) => world.alter('bot', { encrypted: true }),
    check: 'record-matches',
    fix: /^perl -pi -e .* .*bot\.json$/,
    mends: true,
  },
  {
    what: 'a public half that is gone',
    plant: (world) => rmSync(world.path('bot.pub.pem')),
    check: 'public-key',
    fix: /^openssl pkey -in .*bot\.pem -pubout -out .*bot\.pub\.pem$/,
    mends: true,
  },
  {
    what: "another key's public half",
    plant: (world) => write(world, 'bot.pub.pem', readFileSync(world.path('admin.pub.pem'), 'utf8')),
    check: 'public-key',
    fix: /^openssl pkey -in .*bot\.pem -pubout -out .*bot\.pub\.pem$/,
    mends: true,
  },
  {
    what: 'a key file without a record',
    plant: (world) => void openssl('genpkey', '-algorithm', 'ED25519', '-out', world.path('lost.pem')),
    argv: everything,
    check: 'stray-files',
    name: null,
    fix: /^mkdir -p .* && mv .*lost\.pem .* && deribit-keys import lost .*lost\.pem$/,
    mends: true,
  },
  {
    what: 'a public key file without a record',
    plant: (world) => write(world, 'lost.pub.pem', readFileSync(world.path('bot.pub.pem'), 'utf8')),
    argv: everything,
    check: 'stray-files',
    name: null,
    fix: /^rm .*lost\.pub\.pem$/,
    mends: true,
  },
  {
    what: 'a temporary file that no command clears up',
    plant: (world) => write(world, '.half.tmp', 'x'),
    check: 'leftovers',
    name: null,
    fix: /^rm -r .*\.half\.tmp$/,
    mends: true,
  },
  {
    what: 'an unfinished change that cannot be completed',
    plant: (world) => {
      mkdirSync(world.path('.bot.commit'), { mode: 0o700 });
      write(world, '.bot.commit/steps.json', '[{"do":');
    },
    check: 'leftovers',
    name: null,
    fix: /rm -r .*\.bot\.commit$/,
  },
  {
    what: 'a registration that was interrupted',
    plant: async (world) => {
      await must(world.run('generate', 'late'));
      world.sandbox.setFaults(['drop-answer@private/create_api_keyx1']);
      const { exitCode } = await world.run(
        ...['register', 'late', '--scope', 'trade:read', '--as', 'admin', '--url', world.sandbox.wsUrl],
        ...['--timeout', '500'],
      );
      expect(exitCode).toBe(4);
    },
    argv: () => ['--as', 'admin', 'late'],
    check: 'registration',
    name: 'late',
    fix: /^deribit-keys register late --scope trade:read --as admin$/,
    mends: true,
  },
  {
    what: 'a rotation that was interrupted',
    plant: async (world) => {
      world.sandbox.setFaults(['cut-before@private/create_api_keyx1']);
      const { exitCode } = await world.run('rotate', 'bot', '--as', 'admin');
      expect(exitCode).toBe(4);
    },
    check: 'rotation',
    fix: /^deribit-keys rotate bot --as admin$/,
    mends: true,
  },
  {
    what: 'a rotation whose grace is over',
    plant: async (world) => {
      await must(world.run('rotate', 'bot', '--as', 'admin', '--grace', '1h'));
      const journal = JSON.parse(readFileSync(world.path('.bot.rotation.json'), 'utf8')) as object;
      write(world, '.bot.rotation.json', JSON.stringify({ ...journal, promotedAt: '2026-01-01T00:00:00Z' }));
    },
    check: 'rotation',
    fix: /^deribit-keys rotate bot --as admin$/,
    mends: true,
  },
  {
    what: 'an abort of a rotation that was interrupted',
    plant: async (world) => {
      await must(world.run('rotate', 'bot', '--as', 'admin', '--grace', '1h'));
      world.sandbox.setFaults(['cut-before@private/remove_api_keyx1']);
      const { exitCode } = await world.run('rotate', 'bot', '--abort', '--as', 'admin');
      expect(exitCode).toBe(4);
    },
    check: 'rotation',
    fix: /^deribit-keys rotate bot --abort --as admin$/,
    mends: true,
  },
  {
    what: 'a journal of a rotation that was cut short',
    plant: (world) => write(world, '.bot.rotation.json', '{"schema":'),
    argv: everything,
    check: 'rotation',
    name: null,
    fix: /journal away/,
  },
  {
    what: 'a key in an agent that does not run',
    plant: (world) => {
      const signer = { kind: 'ssh-agent', fingerprint: 'SHA256:x', comment: null, socket: join(world.folder, 'none') };
      world.alter('bot', { signer });
    },
    check: 'signer',
    fix: /./,
  },
  {
    what: 'a record of another kind of key',
    plant: (world) => world.alter('bot', { algorithm: 'rsa', bits: 2048 }),
    check: 'record-matches',
    fix: /bot\.pem back from a backup/,
  },
  {
    what: 'a record that is alone',
    plant: (world) => {
      for (const file of ['bot.pem', 'bot.pub.pem']) rmSync(world.path(file));
      write(world, 'bot.json', '{}');
    },
    check: 'record',
    fix: /^mv .*bot\.json .*bot\.json\.damaged$/,
  },
  {
    what: 'a folder of another user (needs root)',
    plant: (world) => chownSync(world.keys, 12_345, 12_345),
    check: 'folder-permissions',
    name: null,
    fix: /^chown -R 0 /,
    skip: process.geteuid?.() !== 0,
  },
  {
    what: 'a test key that is asked for on production',
    plant: () => {},
    argv: () => ['bot', '--env', 'prod'],
    check: 'environment',
    fix: /leave out --env and --url/,
  },
  {
    what: 'a record that says production where the test exchange answers',
    plant: (world) => world.alter('bot', { environment: 'prod' }),
    argv: () => ['bot'],
    check: 'environment',
    name: null,
    fix: /--env/,
  },
  {
    what: 'a record whose URL is that of the other environment',
    plant: (world) => world.alter('bot', { environment: 'prod', url: 'wss://test.deribit.com/ws/api/v2' }),
    argv: () => ['bot', '--offline'],
    check: 'environment',
    fix: /deribit-keys link bot-2 --client-id \S+ --env test$/,
  },
  {
    what: 'an exchange that does not run',
    plant: (world) => world.sandbox.close(),
    argv: () => ['bot'],
    check: 'reachable',
    name: null,
    fix: /check the host and the port/,
  },
  {
    what: 'a host that has no address',
    plant: (world) => world.alter('bot', { url: 'wss://exchange.invalid/ws/api/v2' }),
    argv: () => ['bot'],
    check: 'reachable',
    name: null,
    fix: /DNS/,
  },
  {
    what: 'a certificate that nobody vouches for',
    plant: async (world) => {
      const [key, cert] = [join(world.folder, 'tls.key'), join(world.folder, 'tls.crt')];
      const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'];
      openssl('req', '-x509', '-newkey', 'ed25519', '-nodes', '-keyout', key, '-out', cert, ...subject);
      const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      onTestFinished(() => void server.close());
      world.alter('bot', { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/api/v2` });
    },
    argv: () => ['bot'],
    check: 'reachable',
    name: null,
    fix: /check the clock and the host name/,
  },
  {
    what: 'a clock that is two minutes behind',
    plant: (world) => world.sandbox.setFaults(['clock:120000']),
    argv: () => ['bot'],
    check: 'clock',
    name: null,
    fix: /timedatectl|sntp|w32tm/,
  },
  {
    what: 'a clock that is two minutes ahead',
    plant: (world) => world.sandbox.setFaults(['clock:-120000']),
    argv: () => ['bot'],
    check: 'clock',
    name: null,
    fix: /timedatectl|sntp|w32tm/,
  },
  {
    what: 'a login whose secret is wrong',
    plant: (world) => writeFileSync(join(world.folder, 'secret'), 'not the secret'),
    argv: ({ sandbox, folder }) => [
      ...['bot', '--client-id', sandbox.clientId, '--client-secret-file', join(folder, 'secret')],
    ],
    check: 'account',
    name: null,
    fix: /./,
  },
  {
    what: 'a login that may not see keys',
    plant: () => {},
    argv: () => ['--as', 'bot', 'admin'],
    check: 'account',
    name: null,
    fix: /account:read/,
  },
  {
    what: 'an account that has all the keys that it may have',
    plant: ({ sandbox }) => {
      for (let i = sandbox.keys().length; i < 8; i += 1) sandbox.addKey({ maxScope: 'trade:read', name: `spare_${i}` });
    },
    check: 'key-limit',
    name: null,
    fix: /^decide which key is not needed: deribit-keys api-keys list --as admin, then deribit-keys api-keys remove --as admin <which>$/,
  },
  {
    what: 'the same, where keys that are disabled could go, which is for the user to say',
    plant: async ({ sandbox, run }) => {
      for (let i = sandbox.keys().length; i < 8; i += 1) sandbox.addKey({ maxScope: 'trade:read', name: `spare_${i}` });
      const { client_id: spare = '' } = sandbox.keys().at(-1) ?? {};
      await must(run('api-keys', 'disable', spare, '--as', 'admin', '--yes'));
    },
    argv: () => ['--as', 'admin'],
    check: 'key-limit',
    name: null,
    fix: /^decide which key is not needed \(disabled, but perhaps needed: [\w-]+\): deribit-keys api-keys list --as admin, then /,
  },
  {
    what: 'a key that was removed from the exchange',
    plant: async (world) => {
      const { clientId } = world.record('bot');
      await must(world.run('api-keys', 'remove', 'bot', '--as', 'admin', '--yes'));
      world.alter('bot', { state: 'registered', clientId });
    },
    check: 'client-id',
    fix: /^deribit-keys generate bot-2 && deribit-keys register bot-2 --scope trade:read_write --as admin$/,
  },
  {
    what: 'a client id that is not the one of this key',
    plant: (world) => world.alter('bot', { clientId: 'XxXxXxXx' }),
    check: 'client-id',
    fix: /^deribit-keys import bot-2 .*bot\.pem && deribit-keys link bot-2 --client-id \S{8,}$/,
  },
  {
    what: 'a key that was disabled',
    plant: (world) => must(world.run('api-keys', 'disable', 'bot', '--as', 'admin', '--yes')),
    check: 'enabled',
    fix: /^deribit-keys api-keys enable bot --as admin$/,
    mends: true,
  },
  {
    what: "the client id of another of the account's keys",
    plant: (world) =>
      world.alter('bot', { clientId: world.record('admin').clientId, scope: world.record('admin').scope }),
    check: 'exchange-key',
    fix: /deribit-keys rotate bot --as admin$/,
  },
  {
    what: 'a scope that was changed on the web page',
    plant: (world) => edit(world, { max_scope: 'trade:read' }),
    check: 'scope',
    fix: /^deribit-keys api-keys scope bot trade:read_write --as admin$/,
    mends: true,
  },
  {
    what: 'a whitelist without the address of this machine',
    plant: (world) => edit(world, { max_scope: 'trade:read_write', ip_whitelist: ['203.0.113.7'] }),
    check: 'whitelist',
    fix: /^deribit-keys api-keys edit bot --ip .* --as admin$/,
  },
  {
    what: 'a whitelist that is not the one on record',
    plant: (world) => edit(world, { max_scope: 'trade:read_write', ip_whitelist: ['127.0.0.0/8'] }),
    check: 'whitelist',
    fix: /^deribit-keys link bot --client-id /,
  },
  {
    what: 'a whitelist that somebody took away',
    plant: async (world) => {
      await must(world.run('api-keys', 'edit', 'bot', '--ip', '127.0.0.0/8', '--as', 'admin', '--yes'));
      await edit(world, { max_scope: 'trade:read_write', ip_whitelist: [] });
    },
    check: 'whitelist',
    fix: /^deribit-keys api-keys edit bot --ip 127\.0\.0\.0\/8 --as admin$/,
    mends: true,
  },
  {
    what: 'an exchange that refuses the login without a reason that can be seen',
    plant: (world) => world.sandbox.setFaults(['refuse-login@public/auth']),
    argv: () => ['bot'],
    check: 'login',
    fix: /^deribit-keys doctor bot --as /,
  },
  {
    what: 'a key that is older than a year',
    plant: (world) => world.alter('bot', { registeredAt: new Date(Date.now() - 400 * 86_400_000).toISOString() }),
    check: 'age',
    fix: /^deribit-keys rotate bot --as admin$/,
    mends: true,
  },
  {
    what: 'a key that is older than was asked for',
    plant: (world) => world.alter('bot', { registeredAt: new Date(Date.now() - 40 * 86_400_000).toISOString() }),
    argv: () => ['bot', '--as', 'admin', '--max-age', '30d'],
    check: 'age',
    fix: /^deribit-keys rotate bot --as admin$/,
  },
];

/** What somebody does to the bot's key in Deribit's web page. */
async function edit(world: DoctorWorld, change: Readonly<Record<string, unknown>>): Promise<void> {
  const { sandbox } = world;
  const call = async (method: string, params: Readonly<Record<string, unknown>>, token?: string) => {
    const response = await fetch(`${sandbox.httpUrl}/${method}`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    });
    const { result, error } = (await response.json()) as { result?: { access_token?: string }; error?: unknown };
    if (result === undefined) throw new Error(JSON.stringify(error));
    return result;
  };
  const credentials = { client_id: sandbox.clientId, client_secret: sandbox.clientSecret };
  const { access_token } = await call('public/auth', { grant_type: 'client_credentials', ...credentials });
  await call('private/edit_api_key', { id: world.record('bot').keyId, ...change }, access_token);
}

describe('The doctor finds', () => {
  for (const fault of FAULTS) {
    const needsOpenssl = OPENSSL_FAULTS.has(fault.what) ? ' (needs openssl)' : '';
    const skip = fault.skip === true || (needsOpenssl !== '' && !hasOpenssl);
    it.skipIf(skip)(`${fault.what}${needsOpenssl}`, async () => {
      const world = await openDoctorWorld();
      const argv = fault.argv?.(world) ?? ['--as', 'admin', 'bot'];
      await fault.plant(world);
      const diagnosis = await world.doctor(...argv);
      expect(diagnosis).toMatchObject({ ok: false, exitCode: 1 });
      const found = finding(diagnosis, fault.check, fault.name === undefined ? 'bot' : fault.name);
      expect(found.ok, JSON.stringify(diagnosis.findings, null, 1)).toBe(false);
      expect(found.fix).toMatch(fault.fix);
      expect(culprit(diagnosis)?.check).toBe(fault.check);
      if (fault.mends === undefined) return;
      world.sandbox.clearFaults();
      await world.applyFix(found.fix ?? '');
      const after = await world.doctor(...argv);
      expect(after.findings.filter(({ ok }) => ok === false)).toEqual([]);
      expect(after).toMatchObject({ ok: true, exitCode: 0 });
    });
  }
});

describe('The table of faults', () => {
  it('plants each of at least fifteen kinds', () => {
    expect(new Set(FAULTS.map(({ check }) => check)).size).toBeGreaterThanOrEqual(15);
  });
});
