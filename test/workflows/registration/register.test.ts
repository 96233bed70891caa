import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { generateKeyPair } from '../../../src/crypto/generate.js';
import { Secret } from '../../../src/crypto/secret.js';
import { localSigner } from '../../../src/crypto/signer.js';
import { totpSecondFactor } from '../../../src/deribit/second-factor.js';
import { certainlyNotDone, DeribitKeysError, isDeribitKeysError } from '../../../src/errors.js';
import { readAudit } from '../../../src/keystore/audit-log.js';
import { generate } from '../../../src/keystore/stored-keys.js';
import { labelFor } from '../../../src/workflows/registration/register.js';
import { errorOf, until } from '../../support/outcomes.js';
import { contextOn, openWorld, SCOPE, type Via, type World, withRequests } from '../../support/world.js';

const CREATE = 'private/create_api_key';
const LIST = 'private/list_api_keys';
const VIAS: readonly Via[] = ['ws', 'http'];

/** Everything is as it should be after a registration that worked. */
async function expectRegistered(world: World): Promise<void> {
  const record = await world.store.read('bot');
  const keys = world.keys();
  expect(keys.map(({ client_secret }) => client_secret)).toEqual([world.fingerprint]);
  expect(record).toMatchObject({
    state: 'registered',
    clientId: keys[0]?.client_id,
    keyId: keys[0]?.id,
    scope: SCOPE,
    fingerprint: world.fingerprint,
  });
  expect(record.registeredAt).not.toBe(null);
}

/** The key is as it was before anything was sent. */
async function expectUntouched(world: World): Promise<void> {
  expect(world.keys()).toEqual([]);
  expect(await world.store.read('bot')).toMatchObject({
    state: 'local',
    clientId: null,
    keyId: null,
    scope: null,
    url: null,
  });
}

describe.each(VIAS)('registering over %s', (via) => {
  it('creates the key, proves each part of it, and records it', async () => {
    const world = await openWorld(via);
    const registration = await world.register();
    expect(registration).toMatchObject({
      name: 'bot',
      environment: 'test',
      fingerprint: world.fingerprint,
      fingerprintVerified: true,
      publicKeyVerified: true,
      loginVerified: true,
      scope: SCOPE,
      adopted: false,
    });
    await expectRegistered(world);
    expect(world.asked()).toEqual(['public/auth', LIST, CREATE, LIST, 'public/auth']);
    const { entries } = await readAudit(world.store.folder);
    expect(entries.map(({ action, outcome }) => `${action} ${outcome}`)).toEqual([
      'generate ok',
      'create ok',
      'register ok',
    ]);
    expect(entries.at(-1)).toMatchObject({ clientId: registration.clientId, environment: 'test' });
  });

  it('works for RSA', async () => {
    const world = await openWorld(via);
    await generate(world.store, 'rsa', { type: 'rsa', bits: 2048 });
    expect(await world.register({ name: 'rsa' })).toMatchObject({ loginVerified: true, publicKeyVerified: true });
  });

  it.each<[string, string, RegExp]>([
    ['wrong-fingerprint', 'fingerprint', /the fingerprint: the exchange says [0-9a-f:]+, the local key has [0-9a-f:]+/],
    ['wrong-public-key', 'public key', /the public key: the exchange shows a different one/],
    ['swap-key', 'fingerprint and public key', /the fingerprint.*the public key/],
    ['other-scope', 'scope', /the scope: trade:read_write was asked for and not granted/],
    [
      'other-scope@private/create_api_key:account:read_write trade:read_write',
      'wider scope',
      /account:read_write was granted/,
    ],
    ['refuse-login@public/auth+1x1', 'login', /refuses a login signed with the private key/],
    ['other-scope@public/auth:trade:read+1x1', 'scope of the login', /the login: the scope/],
  ])('where the exchange answers with %s removes the new key and names the %s', async (fault, _what, message) => {
    const world = await openWorld(via, { faults: [fault] });
    const error = await errorOf(world.register());
    expect(error.code).toBe('ERR_PROOF_FAILED');
    expect(error.message).toMatch(message);
    expect(error.hint).toContain('removed');
    await expectUntouched(world);
    expect((await readAudit(world.store.folder)).entries.at(-1)).toMatchObject({ action: 'remove', outcome: 'ok' });
    world.sandbox.clearFaults();
    await world.register();
    await expectRegistered(world);
  });

  it('where the exchange hides the public key goes by the fingerprint', async () => {
    const world = await openWorld(via, { faults: ['hide-public-key'] });
    expect(await world.register()).toMatchObject({
      fingerprintVerified: true,
      publicKeyVerified: null,
      loginVerified: true,
    });
    await expectRegistered(world);
  });

  it.each([
    ['cut-after', 'private/remove_api_key'],
    ['cut-before', 'private/remove_api_key'],
    ['drop-answer', 'private/remove_api_key'],
    ['garbage', 'private/remove_api_key'],
  ])('removes a wrong key for sure, also where %s strikes the removal', async (fault, method) => {
    const world = await openWorld(via, { faults: ['wrong-fingerprint', `${fault}@${method}x1`], timeoutMs: 1_500 });
    expect((await errorOf(world.register())).code).toBe('ERR_PROOF_FAILED');
    await expectUntouched(world);
  });

  it('that cannot remove a wrong key says which, keeps it in mind, and the next run removes it', async () => {
    const world = await openWorld(via, { faults: ['wrong-fingerprint', 'error@private/remove_api_key:13028'] });
    const error = await errorOf(world.register());
    expect(error.code).toBe('ERR_PROOF_FAILED');
    expect(error.message).toContain('could not be removed');
    const [key] = world.keys();
    expect(error.hint).toContain(String(key?.id));
    expect(await world.store.read('bot')).toMatchObject({ state: 'pending', keyId: key?.id });
    world.sandbox.setFaults(['wrong-fingerprint']);
    expect((await errorOf(world.register())).hint).toContain('removed again');
    await expectUntouched(world);
  });
});

/*
 * Every fault that loses a request or an answer, at every request of a registration: whatever comes of the first run, a
 * second one ends with one key, proved.
 */
const LOSSES = [
  'cut-before',
  'cut-after',
  'drop-answer',
  'silent',
  'garbage',
  'wrong-testnet',
  'error:10040',
  'error:10028',
];
const STEPS = [
  ['the login', 'public/auth', 0],
  ['the creation', CREATE, 0],
  ['the proving login', 'public/auth', 1],
  ['the whitelist', 'private/edit_api_key', 0],
] as const;
const MATRIX = VIAS.flatMap((via) =>
  LOSSES.flatMap((fault) => STEPS.map(([what, method, skip]) => ({ via, fault, what, method, skip }))),
);

describe('a registration that is hit', () => {
  it.each(MATRIX)('by $fault at $what over $via ends with one proved key when it is run again', async (hit) => {
    const { via, fault, method, skip } = hit;
    const world = await openWorld(via, { timeoutMs: 250 });
    const [name, arg] = fault.split(':');
    world.sandbox.setFaults([
      `${name}@${method}${arg === undefined ? '' : `:${arg}`}${skip === 0 ? '' : `+${skip}`}x1`,
    ]);
    const ipWhitelist = ['127.0.0.1'];
    const first = await world.register({ ipWhitelist }).catch((error: unknown) => error);
    expect(isDeribitKeysError(first)).toBe(true);
    const between = await world.store.read('bot');
    expect(['local', 'pending']).toContain(between.state);
    // what may be on the exchange is known here
    if (world.keys().length > 0) expect(between.state).toBe('pending');
    world.sandbox.clearFaults();
    world.asked();
    // nothing is lost any more: as much time as a busy machine needs
    const second = await world.register({ ipWhitelist }, contextOn(world.store, world.notes));
    expect(second).toMatchObject({ loginVerified: true, fingerprintVerified: true });
    await expectRegistered(world);
    expect(world.keys()[0]?.ip_whitelist).toEqual(ipWhitelist);
    expect(await errorOf(world.register())).toMatchObject({ code: 'ERR_STATE' });
  });

  it.each(VIAS)(
    'by losing the answer over %s says that the key may be there, and the next run takes it over',
    async (via) => {
      const world = await openWorld(via, { faults: [`cut-after@${CREATE}x1`] });
      const error = await errorOf(world.register());
      expect(error.maybeSent).toBe(true);
      expect(error.message).toContain('may have been created');
      expect(error.hint).toContain('run the same command again');
      expect(await world.store.read('bot')).toMatchObject({ state: 'pending', clientId: null, scope: SCOPE });
      expect(world.keys()).toHaveLength(1);
      world.asked();
      expect(await world.register()).toMatchObject({ adopted: true, loginVerified: true });
      expect(world.asked()).not.toContain(CREATE);
      await expectRegistered(world);
      const { entries } = await readAudit(world.store.folder);
      expect(entries.map(({ action, outcome }) => `${action} ${outcome}`)).toEqual([
        'generate ok',
        `create ${error.code}`,
        'adopt ok',
        'register ok',
      ]);
    },
  );

  it('by losing the answer of a key that was recorded wrongly removes that key on the next run', async () => {
    const world = await openWorld('http', { faults: [`cut-after@${CREATE}x1`] });
    await errorOf(world.register());
    world.sandbox.setFaults(['wrong-fingerprint']);
    expect(await errorOf(world.register())).toMatchObject({ code: 'ERR_PROOF_FAILED' });
    await expectUntouched(world);
  });

  it.each([
    ['error:13403', 'ERR_RPC', 13403],
    ['error:-32602', 'ERR_RPC', -32602],
    ['error:13009', 'ERR_UNAUTHORIZED', 13009],
  ])('by a refusal (%s) is told what Deribit said, and is local again', async (fault, code, rpc) => {
    const [name, number] = fault.split(':');
    const world = await openWorld('ws', { faults: [`${name}@${CREATE}:${number}`] });
    const error = await errorOf(world.register());
    expect(error).toMatchObject({ code, rpc: { code: rpc } });
    await expectUntouched(world);
    expect((await readAudit(world.store.folder)).entries.at(-1)).toMatchObject({ action: 'create', outcome: code });
  });

  it('by the limit of eight keys is told so', async () => {
    const world = await openWorld('http', { keyLimit: 1 });
    const error = await errorOf(world.register());
    expect(error.rpc).toBeDefined();
    await expectUntouched(world);
  });

  it('by the user breaking it off is pending only where the request was sent', async () => {
    for (const [fault, state] of [
      ['silent@public/auth', 'local'],
      [`silent@${CREATE}`, 'pending'],
    ] as const) {
      const world = await openWorld('ws', { faults: [fault] });
      const abort = new AbortController();
      const running = world.register({}, { signal: abort.signal });
      await until(() => world.sandbox.calls.some(({ outcome }) => outcome === 'silent'));
      abort.abort();
      expect(await errorOf(running)).toMatchObject({ code: 'ERR_INTERRUPTED' });
      expect((await world.store.read('bot')).state).toBe(state);
    }
  });

  it('by nobody answering at all is local', async () => {
    const world = await openWorld('http');
    await world.sandbox.close();
    expect(await errorOf(world.register())).toMatchObject({ code: 'ERR_NETWORK' });
    await expect(world.store.read('bot')).resolves.toMatchObject({ state: 'local' });
  });
});

describe('an unfinished registration', () => {
  const unfinished = async () => {
    const world = await openWorld('http', { faults: [`cut-after@${CREATE}x1`] });
    await errorOf(world.register());
    world.asked();
    return world;
  };

  it('is ended with the scope that it was started with, and no other', async () => {
    const world = await unfinished();
    const error = await errorOf(world.register({ scope: 'account:read' }));
    expect(error).toMatchObject({ code: 'ERR_STATE' });
    expect(error.hint).toContain(SCOPE);
    expect(world.asked()).toEqual([]);
    await world.register({ scope: 'trade:read_write account:read wallet:none' });
    await expectRegistered(world);
  });

  it('is ended where it was started, and nowhere else', async () => {
    const world = await unfinished();
    const elsewhere = await openWorld('http');
    expect(await errorOf(world.register({ login: elsewhere.login }))).toMatchObject({ code: 'ERR_USAGE' });
    expect(elsewhere.asked()).toEqual([]);
    const subaccount = { ...world.login, subaccount: 99 };
    expect(await errorOf(world.register({ login: subaccount }))).toMatchObject({ code: 'ERR_USAGE' });
  });

  it('is ended over the other transport', async () => {
    const world = await unfinished();
    const { resolveEndpoint } = await import('../../../src/deribit/endpoints.js');
    const login = { ...world.login, endpoint: resolveEndpoint({ url: world.sandbox.wsUrl }) };
    expect(await world.register({ login })).toMatchObject({ adopted: true });
  });

  it('finds its key by the public key, where the exchange hides fingerprints', async () => {
    const world = await unfinished();
    world.sandbox.setFaults(['wrong-fingerprint@private/list_api_keys']);
    const error = await errorOf(world.register());
    expect(error).toMatchObject({ code: 'ERR_PROOF_FAILED' });
    await expectUntouched(world);
  });

  it('makes a key where none came of it', async () => {
    const world = await openWorld('http', { faults: [`silent@${CREATE}x1`], timeoutMs: 600 });
    const patient = { uncertainMs: 2_000 };
    await errorOf(world.register({}, patient));
    expect(world.keys()).toEqual([]);
    world.asked();
    expect(await world.register({}, patient)).toMatchObject({ adopted: false });
    // looked for at once, while and after the time in which the request may still be carried out, and for a twin
    expect(world.asked().join()).toMatch(new RegExp(`^public/auth(,${LIST}){3,},${CREATE},${LIST},public/auth$`));
    expect(world.notes.join()).toContain('the exchange may still carry it out');
    await expectRegistered(world);
  });
});

describe('a whitelist', () => {
  it('is set after the proof, and recorded', async () => {
    const world = await openWorld('ws');
    await world.register({ ipWhitelist: ['203.0.113.7', '198.51.100.0/24'] });
    expect(world.asked()).toEqual(['public/auth', LIST, CREATE, LIST, 'public/auth', 'private/edit_api_key']);
    expect(world.keys()[0]?.ip_whitelist).toEqual(['203.0.113.7', '198.51.100.0/24']);
    expect((await world.store.read('bot')).ipWhitelist).toEqual(['203.0.113.7', '198.51.100.0/24']);
  });

  it('that the exchange sets otherwise is told, and tried again by the next run', async () => {
    const world = await openWorld('ws');
    const context = withRequests(world.context, async (method, send) => {
      const result = await send();
      return method === 'private/edit_api_key' ? { ...(result as object), ip_whitelist: [] } : result;
    });
    const error = await errorOf(world.register({ ipWhitelist: ['127.0.0.1'] }, context));
    expect(error).toMatchObject({ code: 'ERR_PROOF_FAILED' });
    expect(error.message).toContain('whitelist');
    expect(await world.register({ ipWhitelist: ['127.0.0.1'] })).toMatchObject({ adopted: true });
    await expectRegistered(world);
  });

  it('that keeps this very address out does not cost the key when the run is repeated', async () => {
    const world = await openWorld('ws', { faults: ['cut-after@private/edit_api_key x1'.replace(' ', '')] });
    const ipWhitelist = ['203.0.113.7'];
    await errorOf(world.register({ ipWhitelist }));
    expect(await world.store.read('bot')).toMatchObject({ state: 'pending' });
    const again = await world.register({ ipWhitelist });
    expect(again).toMatchObject({ adopted: true, loginVerified: false });
    expect(world.notes.join()).toContain('whitelist');
    await expectRegistered(world);
  });
});

describe('a keystore that cannot be written', () => {
  const spoilLog = (world: World) => {
    rmSync(join(world.store.folder, 'audit.jsonl'));
    mkdirSync(join(world.store.folder, 'audit.jsonl'));
  };
  const mendLog = (world: World) => rmSync(join(world.store.folder, 'audit.jsonl'), { recursive: true });

  it('once the key is made leaves it pending, says so, and the next run takes it over', async () => {
    const world = await openWorld('http');
    spoilLog(world);
    const error = await errorOf(world.register());
    expect(error).toMatchObject({ code: 'ERR_KEYSTORE_IO', maybeSent: true });
    expect(error.hint).toContain('run the same command again');
    expect(await world.store.read('bot')).toMatchObject({ state: 'pending' });
    mendLog(world);
    expect(await world.register()).toMatchObject({ adopted: true });
    await expectRegistered(world);
  });

  it('once all is proved leaves it pending, too', async () => {
    const world = await openWorld('http');
    let connections = 0;
    const connect: World['context']['connect'] = async (endpoint) => {
      connections += 1;
      if (connections === 2) spoilLog(world);
      return world.context.connect(endpoint);
    };
    expect(await errorOf(world.register({}, { connect }))).toMatchObject({ code: 'ERR_KEYSTORE_IO', maybeSent: true });
    mendLog(world);
    expect(await world.register()).toMatchObject({ adopted: true });
    await expectRegistered(world);
  });

  it('does not hide what the exchange refused', async () => {
    const world = await openWorld('http', { faults: [`error@${CREATE}:13403`] });
    spoilLog(world);
    expect(await errorOf(world.register())).toMatchObject({ code: 'ERR_RPC', rpc: { code: 13403 } });
    expect(world.notes.join()).toContain('audit.jsonl');
    mendLog(world);
    world.sandbox.clearFaults();
    expect(await world.register()).toMatchObject({ adopted: false });
    await expectRegistered(world);
  });
});

describe('what is wrong beforehand', () => {
  it.each([
    [{ scope: 'trade:everything' }, 'ERR_USAGE'],
    [{ scope: '' }, 'ERR_USAGE'],
    [{ label: 'a label that is much too long' }, 'ERR_USAGE'],
    [{ features: ['telepathy'] }, 'ERR_USAGE'],
    [{ ipWhitelist: ['not an address'] }, 'ERR_USAGE'],
    [{ name: 'nobody' }, 'ERR_NO_SUCH_NAME'],
    [{ name: '../bot' }, 'ERR_USAGE'],
  ])('%j is refused with nothing sent', async (request, code) => {
    const world = await openWorld('http');
    expect(await errorOf(world.register(request))).toMatchObject({ code });
    expect(world.asked()).toEqual([]);
    await expectUntouched(world);
  });

  it('a login that may not manage keys is told its scope, with nothing sent', async () => {
    const world = await openWorld('http');
    await world.register();
    await generate(world.store, 'second', { type: 'ed25519' });
    const { clientId } = await world.store.read('bot');
    const signer = await world.context.signerOf(await world.store.read('bot'));
    const login = { ...world.login, credentials: { clientId: clientId ?? '', signer } };
    const error = await errorOf(world.register({ name: 'second', login }));
    expect(error).toMatchObject({ code: 'ERR_UNAUTHORIZED' });
    expect(error.message).toContain('account:read');
    expect(world.keys()).toHaveLength(1);
  });

  it('a key whose files were swapped is not sent', async () => {
    const world = await openWorld('http');
    await generate(world.store, 'other', { type: 'ed25519' });
    const [bot, other] = [world.store.files('bot'), world.store.files('other')];
    writeFileSync(bot.publicKey, readFileSync(other.publicKey));
    expect(await errorOf(world.register())).toMatchObject({ code: 'ERR_KEY_MISMATCH' });
    rmSync(bot.publicKey);
    expect(await errorOf(world.register())).toMatchObject({ code: 'ERR_KEY_UNREADABLE' });
    expect(world.asked()).toEqual([]);
  });

  it('a signer that is another key’s is found out by the login, and the key removed', async () => {
    const world = await openWorld('http');
    const stranger = localSigner(await generateKeyPair({ type: 'ed25519' }));
    expect(await errorOf(world.register({}, { signerOf: async () => stranger }))).toMatchObject({
      code: 'ERR_PROOF_FAILED',
    });
    await expectUntouched(world);
  });

  it('a retired key is not registered again', async () => {
    const world = await openWorld('http');
    const record = await world.store.read('bot');
    await world.store.withLock('bot', (locked) => locked.save({ ...record, state: 'retired' }));
    expect(await errorOf(world.register())).toMatchObject({ code: 'ERR_STATE', hint: 'generate a new key' });
  });
});

describe('the second factor', () => {
  const SEED = 'JBSWY3DPEHPK3PXP';

  it('is proved once for the creation and once for the whitelist', async () => {
    const world = await openWorld('ws', { tfaSecret: SEED });
    const secondFactor = totpSecondFactor(new Secret(SEED));
    await world.register({}, { secondFactor });
    await expectRegistered(world);
  });

  it('that is missing leaves the key local', async () => {
    const world = await openWorld('ws', { tfaSecret: SEED });
    expect(await errorOf(world.register())).toMatchObject({ code: 'ERR_SECOND_FACTOR_REQUIRED' });
    await expectUntouched(world);
  });

  it('that is refused leaves the key local', async () => {
    const world = await openWorld('ws', { tfaSecret: SEED });
    const error = await errorOf(
      world.register(
        {},
        {
          secondFactor: async ({ refusal }) => {
            if (refusal !== null) throw refusal;
            return '000000';
          },
        },
      ),
    );
    expect(error).toMatchObject({ code: 'ERR_SECOND_FACTOR_REFUSED' });
    await expectUntouched(world);
  });
});

describe('two at the same time', () => {
  it('register one key once: one wins, the other says so', async () => {
    const world = await openWorld('ws');
    const outcomes = await Promise.allSettled([world.register(), world.register()]);
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') expect(['ERR_STATE', 'ERR_LOCKED']).toContain(outcome.reason.code);
    }
    await expectRegistered(world);
  });

  it.each(['the login', 'another key'])(
    'an answer that speaks of %s does not touch that, and the next run adopts',
    async (whose) => {
      const world = await openWorld('ws');
      const other = world.sandbox.addKey({ name: 'other' });
      const [{ id, client_id } = other] = world.sandbox
        .keys()
        .filter((key) => key.client_id === (whose === 'the login' ? world.sandbox.clientId : other.client_id));
      const context = withRequests(world.context, async (method, send) => {
        const result = await send();
        return method === CREATE ? { ...(result as object), id, client_id } : result;
      });
      const error = await errorOf(world.register({}, context));
      expect(error).toMatchObject({ code: 'ERR_PROTOCOL', maybeSent: true });
      expect(error.message).toContain(`answered with the key ${id}`);
      const { clientId } = await world.register();
      const enabled = world.sandbox.keys().filter((key) => key.enabled);
      expect(enabled.map((key) => key.client_id).sort()).toEqual(
        [world.sandbox.clientId, other.client_id, clientId].sort(),
      );
    },
  );

  it('a lock that is lost while the exchange answers leaves what the next run needs', async () => {
    const world = await openWorld('ws');
    const secondRun = join(world.store.folder, '.bot.lock');
    const context = withRequests(world.context, async (method, send) => {
      const result = await send();
      if (method === CREATE) writeFileSync(secondRun, 'another’s');
      return result;
    });
    const error = await errorOf(world.register({}, context));
    expect(error).toMatchObject({ code: 'ERR_LOCK_LOST', maybeSent: true });
    expect(await world.store.read('bot')).toMatchObject({ state: 'pending' });
    rmSync(secondRun);
    expect(await world.register()).toMatchObject({ adopted: true });
    await expectRegistered(world);
  });
});

describe('small things', () => {
  it('a label is made from the name as the exchange takes it', () => {
    expect(labelFor('bot-1.next')).toBe('bot_1_next');
    expect(labelFor('x'.repeat(64))).toBe('x'.repeat(16));
  });

  it('it is certain that nothing was done only where the exchange or the user refused', () => {
    const error = (details: object, code: 'ERR_RPC' | 'ERR_NETWORK' | 'ERR_USAGE' = 'ERR_RPC') =>
      new DeribitKeysError(code, 'x', details);
    expect(certainlyNotDone(error({ rpc: { code: 1, message: '' } }))).toBe(true);
    expect(certainlyNotDone(error({ rpc: { code: 1, message: '' }, maybeSent: true }))).toBe(false);
    expect(certainlyNotDone(error({ maybeSent: false }, 'ERR_NETWORK'))).toBe(true);
    expect(certainlyNotDone(error({}, 'ERR_NETWORK'))).toBe(false);
    expect(certainlyNotDone(error({}, 'ERR_USAGE'))).toBe(true);
    expect(certainlyNotDone(new Error('x'))).toBe(false);
  });
});
