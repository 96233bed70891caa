import { describe, expect, it } from 'vitest';
import { encodePublicKeyPem } from '../../../src/crypto/index.js';
import { disableApiKey } from '../../../src/deribit/api-keys.js';
import { openPrivateKey } from '../../../src/keystore/open-key.js';
import { readPublicKey, storeKey } from '../../../src/keystore/stored-keys.js';
import { withAccount } from '../../../src/workflows/account/account.js';
import type { Registration } from '../../../src/workflows/registration/register.js';
import { codeOf, errorOf } from '../../support/outcomes.js';
import { openWorld, type Via, type World, withRequests } from '../../support/world.js';

const CREATE = 'private/create_api_key';
const LIST = 'private/list_api_keys';
const VIAS: readonly Via[] = ['ws', 'http'];

/** Every way in which the list can hide what would show a key. */
const HIDINGS = ['absent', 'empty', 'masked', 'absent-others', 'empty-others', 'masked-others'].map(
  (how) => `hide-key@${LIST}:${how}`,
);

const ours = (world: World) => world.keys().filter((key) => key.client_secret === world.fingerprint);

async function expectOneKey(world: World, registration: Registration): Promise<void> {
  expect(ours(world)).toHaveLength(1);
  expect(registration).toMatchObject({ loginVerified: true, clientId: ours(world)[0]?.client_id });
  expect(await world.store.read('bot')).toMatchObject({
    state: 'registered',
    clientId: registration.clientId,
    uncertainUntil: null,
  });
}

describe.each(VIAS)('after an answer that was lost over %s', (via) => {
  it.each(HIDINGS)('the key is found by a login where the list hides it (%s)', async (hiding) => {
    const world = await openWorld(via, { faults: [`cut-after@${CREATE}x1`] });
    // three more keys that show as little, and the bootstrap key
    for (const name of ['bot', 'other', 'bot']) world.sandbox.addKey({ name });
    await errorOf(world.register());
    world.sandbox.setFaults([hiding]);
    const registration = await world.register();
    expect(registration).toMatchObject({ adopted: true, fingerprintVerified: null, publicKeyVerified: null });
    await expectOneKey(world, registration);
    expect(world.keys()).toHaveLength(4);
  });

  it.each(HIDINGS)('one key is created where none came of it, and the list hides the others (%s)', async (hiding) => {
    const world = await openWorld(via, { faults: [`cut-before@${CREATE}x1`] });
    world.sandbox.addKey({ name: 'bot' });
    await errorOf(world.register());
    world.sandbox.setFaults([hiding]);
    await expectOneKey(world, await world.register());
    expect(world.keys()).toHaveLength(2);
  });

  it.each(['late-cut', 'late-502', 'late-silent'])(
    'a request that is carried out late is waited for (%s)',
    async (late) => {
      const world = await openWorld(via, { faults: [`${late}@${CREATE}:2000x1`], timeoutMs: 600 });
      const patient = { uncertainMs: 8_000 };
      await errorOf(world.register({}, patient));
      expect(ours(world)).toHaveLength(0);
      const sentUntil = (await world.store.read('bot')).uncertainUntil;
      expect(sentUntil).not.toBeNull();
      const registration = await world.register({}, patient);
      expect(registration).toMatchObject({ adopted: true });
      await expectOneKey(world, registration);
      expect(world.notes.join()).toMatch(/not answered.*looking for the key for \d+ s/);
    },
  );

  it('a request that is carried out later than it is waited for leaves one key', async () => {
    const world = await openWorld(via, { faults: [`late-cut@${CREATE}:1500x1`] });
    await errorOf(world.register({}, { uncertainMs: 1 }));
    // the second creation is answered after the first one was carried out
    world.sandbox.addFault(`delay@${CREATE}:1700x1`);
    const registration = await world.register({}, { uncertainMs: 1 });
    await expectOneKey(world, registration);
    expect(world.notes.join()).toContain('twice');
    expect(world.keys()).toHaveLength(1);
  });
});

describe('whether the key was created', () => {
  it('cannot be decided where a key of its label shows nothing and may not log in: nothing is created then', async () => {
    const world = await openWorld('ws', { faults: [`cut-after@${CREATE}x1`] });
    await errorOf(world.register());
    const [key] = ours(world);
    await withAccount(world.context, { login: world.login, level: 'read_write' }, (account) =>
      disableApiKey(account, { keyId: key?.id ?? 0 }),
    );
    world.sandbox.setFaults([`hide-key@${LIST}`]);
    const error = await errorOf(world.register());
    expect(error).toMatchObject({ code: 'ERR_OUTCOME_UNKNOWN', maybeSent: true });
    expect(error.hint).toContain('nothing was created');
    expect(world.keys()).toHaveLength(1);
  });

  it('is uncertain from before the request was sent, and no longer after a refusal', async () => {
    const world = await openWorld('http');
    const seen: (string | null)[] = [];
    const context = withRequests(world.context, async (method, send) => {
      if (method === CREATE) seen.push((await world.store.read('bot')).uncertainUntil);
      return send();
    });
    world.sandbox.setFaults([`error@${CREATE}:13403x1`]);
    expect(await codeOf(world.register({}, { ...context, uncertainMs: 60_000 }))).toBe('ERR_RPC');
    expect(seen).toEqual([expect.any(String)]);
    expect(await world.store.read('bot')).toMatchObject({ state: 'local', uncertainUntil: null });
  });

  it('is waited for no longer once the user interrupts', async () => {
    const world = await openWorld('http', { faults: [`cut-before@${CREATE}x1`] });
    await errorOf(world.register({}, { uncertainMs: 60_000 }));
    const controller = new AbortController();
    const running = errorOf(
      world.register(
        {},
        {
          uncertainMs: 60_000,
          signal: controller.signal,
          onNote: (note) => {
            if (note.includes('looking for the key')) controller.abort();
          },
        },
      ),
    );
    expect(await running).toMatchObject({ code: 'ERR_INTERRUPTED', maybeSent: false });
    expect(world.keys()).toEqual([]);
    expect(await world.store.read('bot')).toMatchObject({ state: 'pending', uncertainUntil: expect.any(String) });
  });
});

describe('one key pair', () => {
  it('under two names, registered at the same moment, is registered once', async () => {
    const world = await openWorld('ws');
    const key = await openPrivateKey(world.store, await world.store.read('bot'));
    await storeKey(world.store, { name: 'twin', key, action: 'import' });
    const outcomes = await Promise.allSettled([world.register(), world.register({ name: 'twin' })]);
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(ours(world)).toHaveLength(1);
  });

  it('that the account has already is adopted where it is as asked, and named where it is not', async () => {
    const world = await openWorld('ws');
    const publicKey = encodePublicKeyPem(await readPublicKey(world.store, await world.store.read('bot')));
    world.sandbox.addKey({ publicKey, maxScope: 'wallet:read', name: 'byhand' });
    const error = await errorOf(world.register());
    expect(error).toMatchObject({ code: 'ERR_PROOF_FAILED', hint: expect.stringContaining('link bot') });
    expect(await world.store.read('bot')).toMatchObject({ state: 'local', clientId: null });
    expect(await world.register({ scope: 'wallet:read' })).toMatchObject({ adopted: true });
    expect(ours(world)).toHaveLength(1);
  });
});

describe('what the exchange does not show', () => {
  it.each([
    'hide-secret',
    'hide-public-key',
    'hide-key',
    'hide-enabled',
    'fingerprint-form:upper',
    'fingerprint-form:bare',
    'fingerprint-form:spaced',
  ])('or shows otherwise (%s) is no mismatch: the rest and the login prove the key', async (fault) => {
    const world = await openWorld('ws', { faults: [fault] });
    const registration = await world.register();
    expect(registration).toMatchObject({
      fingerprintVerified: fault.startsWith('hide-secret') || fault === 'hide-key' ? null : true,
      publicKeyVerified: fault === 'hide-public-key' || fault === 'hide-key' ? null : true,
      loginVerified: true,
    });
    expect(ours(world)).toHaveLength(1);
  });
});

describe('the scope proof', () => {
  it.each(['wallet:withdraw', 'withdrawals', 'WALLET:READ_WRITE', 'wallet2:read_write'])(
    'refuses a key that was also granted %s, and removes it',
    async (word) => {
      const world = await openWorld('http');
      const context = withRequests(world.context, async (method, send) => {
        const result = (await send()) as Record<string, unknown>;
        return method === CREATE ? { ...result, max_scope: `${result.max_scope} ${word}` } : result;
      });
      const error = await errorOf(world.register({}, context));
      expect(error).toMatchObject({ code: 'ERR_PROOF_FAILED', message: expect.stringContaining(word) });
      expect(world.keys()).toEqual([]);
    },
  );
});
