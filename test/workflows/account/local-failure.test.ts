import { describe, expect, it } from 'vitest';
import { DeribitKeysError } from '../../../src/errors.js';
import type { Keystore } from '../../../src/keystore/keystore.js';
import { listAccountKeys } from '../../../src/workflows/account/api-keys.js';
import { changeKey, type KeyChange } from '../../../src/workflows/account/change-api-key.js';
import type { WorkflowContext } from '../../../src/workflows/context.js';
import { openDesk } from '../../support/desk.js';
import { errorOf } from '../../support/outcomes.js';
import { openRotationWorld } from '../../support/rotation-world.js';
import { openWorld, type World } from '../../support/world.js';

/** The disk is full from the moment when the exchange has carried out `method`. */
function fullAfter(context: WorkflowContext, method: string): WorkflowContext {
  let full = false;
  const check = () => {
    if (full)
      throw new DeribitKeysError('ERR_KEYSTORE_IO', 'no space left on the device', { hint: 'nothing was changed' });
  };
  const limited = (locked: Parameters<Parameters<Keystore['withLock']>[1]>[0]) => ({
    ...locked,
    save: async (...args: Parameters<typeof locked.save>) => {
      check();
      await locked.save(...args);
    },
    change: async (...args: Parameters<typeof locked.change>) => {
      check();
      await locked.change(...args);
    },
  });
  const { store } = context;
  return {
    ...context,
    store: {
      ...store,
      withLock: (name, work) => store.withLock(name, (locked) => work(limited(locked))),
      withLocks: (names, work) => store.withLocks(names, (locked) => work(locked.map(limited))),
      async audit(note) {
        check();
        await store.audit(note);
      },
    },
    async connect(endpoint, options) {
      const transport = await context.connect(endpoint, options);
      return {
        kind: transport.kind,
        url: transport.url,
        close: () => transport.close(),
        async request(asked, params, requestOptions) {
          const result = await transport.request(asked, params, requestOptions);
          if (asked === method) full = true;
          return result;
        },
      };
    },
  };
}

async function change(world: World, context: WorkflowContext, wanted: KeyChange) {
  const target = (await listAccountKeys(world.context, world.login)).find((key) => key.name === 'bot');
  if (target === undefined) throw new Error('the key is not on the list');
  return changeKey(context, { login: world.login, target, change: wanted });
}

describe('a disk that is full when the exchange answers', () => {
  it.each([
    [{ do: 'rename', label: 'other' }, 'private/change_api_key_name'],
    [{ do: 'disable' }, 'private/disable_api_key'],
    [{ do: 'scope', scope: 'trade:read' }, 'private/change_scope_in_api_key'],
  ] satisfies [KeyChange, string][])(
    'does not hide that the exchange did %j, and the next run records it',
    async (wanted, method) => {
      const world = await openWorld('http');
      await world.register();
      const error = await errorOf(change(world, fullAfter(world.context, method), wanted));
      expect(error).toMatchObject({ code: 'ERR_KEYSTORE_IO', maybeSent: true });
      expect(error.message).toMatch(/^the exchange did as asked .* but the keystore could not be brought up to date/);
      expect(error.hint).not.toContain('nothing was changed');
      const now = await change(world, world.context, wanted);
      expect(await world.store.read('bot')).toMatchObject({ label: now.label, scope: now.scope });
    },
  );

  it('does not hide that a key was removed, and the same command then retires its record', async () => {
    const world = await openWorld('http');
    await world.register({ ipWhitelist: ['203.0.113.7'] });
    const error = await errorOf(change(world, fullAfter(world.context, 'private/remove_api_key'), { do: 'remove' }));
    expect(error.message).toContain('the exchange did as asked (remove');
    expect(await world.store.read('bot')).toMatchObject({ state: 'registered' });
    const desk = openDesk(world.sandbox, world.store.folder);
    expect(await desk.json(['api-keys', 'remove', 'bot', '--yes'])).toMatchObject({ name: 'bot', removed: true });
    expect(await world.store.read('bot')).toMatchObject({ state: 'retired', removedAt: expect.any(String) });
  });

  it('does not hide that a rotation removed the old key, and the next run finishes it', async () => {
    const world = await openWorld('http');
    await world.register();
    const rotations = openRotationWorld(world.sandbox, world.store.folder);
    const full = openRotationWorld(world.sandbox, world.store.folder, {
      around: (context) => fullAfter(context, 'private/remove_api_key'),
    });
    const error = await errorOf(full.rotate('bot'));
    expect(error.message).toMatch(/^the old key of "bot" \(.*\) is removed from the exchange, but the keystore/);
    expect(error.hint).toContain('run the same command again');
    expect(await rotations.rotate('bot')).toMatchObject({ state: 'done' });
    expect(world.keys()).toHaveLength(1);
  });

  it('does not hide that a key was created, and the next run adopts it', async () => {
    const world = await openWorld('http');
    const context = fullAfter(world.context, 'private/create_api_key');
    const error = await errorOf(world.register({}, context));
    expect(error.message).toMatch(/^the exchange has the key "bot" as .*, but the keystore could not be brought up/);
    expect(error).toMatchObject({ code: 'ERR_KEYSTORE_IO', maybeSent: true });
    expect(await world.register()).toMatchObject({ adopted: true });
    expect(world.keys()).toHaveLength(1);
  });

  it('does not hide an outcome that is unknown', async () => {
    const world = await openWorld('http');
    await world.register();
    world.sandbox.setFaults(['cut-after@private/disable_api_key']);
    const error = await errorOf(change(world, fullAfter(world.context, 'public/auth'), { do: 'disable' }));
    expect(error.message).toContain('it may have been carried out nevertheless');
    expect(error.maybeSent).toBe(true);
  });
});
