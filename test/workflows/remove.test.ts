import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Secret } from '../../src/crypto/secret.js';
import { disableApiKey, removeApiKey } from '../../src/deribit/api-keys.js';
import { DeribitKeysError } from '../../src/errors.js';
import { withAccount } from '../../src/workflows/account/account.js';
import { removeKey } from '../../src/workflows/remove.js';
import { filesOf, filesOfKey } from '../keystore/support.js';
import { errorOf } from '../support/outcomes.js';
import { openWorld, type World } from '../support/world.js';

const remove = (world: World, options: Partial<Parameters<typeof removeKey>[2]> = {}) =>
  removeKey(world.context, 'bot', { purge: false, login: null, ...options });

const onExchange = async (world: World, work: typeof disableApiKey | typeof removeApiKey) => {
  const { keyId } = await world.store.read('bot');
  await withAccount<unknown>(world.context, { login: world.login, level: 'read_write' }, (account) =>
    work(account, { keyId: keyId ?? -1 }),
  );
};

describe('removing a key', () => {
  it('that was never sent moves it away', async () => {
    const world = await openWorld('http');
    const { folder } = await remove(world);
    expect(folder).toContain(join(world.store.folder, 'retired'));
    expect(filesOf(world.store)).toEqual(['retired']);
    expect(world.asked()).toEqual([]);
  });

  it('that is registered is refused without a login, and with one that shows it enabled', async () => {
    const world = await openWorld('http');
    await world.register();
    for (const purge of [false, true]) {
      expect(await errorOf(remove(world, { purge }))).toMatchObject({ code: 'ERR_STATE' });
      const shown = await errorOf(remove(world, { purge, login: world.login }));
      expect(shown).toMatchObject({ code: 'ERR_STATE' });
      expect(shown.message).toContain('enabled');
      expect(shown.hint).toContain('api-keys remove');
    }
    expect(filesOf(world.store)).toEqual(filesOfKey('bot'));
  });

  it.each([
    ['disabled', disableApiKey],
    ['gone', removeApiKey],
  ] as const)('that the account’s list shows to be %s works', async (_what, work) => {
    const world = await openWorld('ws');
    await world.register();
    await onExchange(world, work as typeof removeApiKey);
    expect((await remove(world, { login: world.login, purge: true })).folder).toBe(null);
    expect(filesOf(world.store)).toEqual([]);
  });

  it('that is another account’s is not taken for gone: it still logs in', async () => {
    const world = await openWorld('http');
    await world.register();
    const [, subaccount] = world.sandbox.accountIds;
    const foreign = world.sandbox.addKey({ accountId: subaccount ?? 0, maxScope: 'account:read_write' });
    const credentials = { clientId: foreign.client_id, clientSecret: new Secret(foreign.client_secret) };
    const error = await errorOf(remove(world, { login: { ...world.login, credentials } }));
    expect(error).toMatchObject({ code: 'ERR_STATE' });
    // with the private key lost, the list is all that there is
    rmSync(world.store.files('bot').privateKey);
    expect(await remove(world, { login: { ...world.login, credentials } })).not.toBe(null);
  });

  it('that is unfinished is refused, unless the account’s list does not show it', async () => {
    const world = await openWorld('http', { faults: ['cut-after@private/create_api_keyx1'] });
    await errorOf(world.register());
    const blind = await errorOf(remove(world));
    expect(blind.hint).toContain('finish the registration');
    expect(await errorOf(remove(world, { login: world.login }))).toMatchObject({ code: 'ERR_STATE' });
    const [made] = world.keys();
    await withAccount(world.context, { login: world.login, level: 'read_write' }, (account) =>
      removeApiKey(account, { keyId: made?.id ?? -1 }),
    );
    expect(await remove(world, { login: world.login })).not.toBe(null);
  });

  it('that is local here, but pasted into the web page and enabled there, is refused with a login', async () => {
    const world = await openWorld('http');
    const { readFileSync } = await import('node:fs');
    world.sandbox.addKey({ publicKey: readFileSync(world.store.files('bot').publicKey, 'utf8') });
    expect(await errorOf(remove(world, { login: world.login, purge: true }))).toMatchObject({ code: 'ERR_STATE' });
    expect(existsSync(world.store.files('bot').privateKey)).toBe(true);
  });

  it('asks once all is proved, and a no changes nothing', async () => {
    const world = await openWorld('http');
    await world.register();
    let asked = 0;
    const confirm = async () => {
      asked += 1;
      throw new DeribitKeysError('ERR_CANCELLED', 'no');
    };
    await errorOf(remove(world, { purge: true, confirm }));
    expect(asked).toBe(0);
    await onExchange(world, disableApiKey as unknown as typeof removeApiKey);
    expect(await errorOf(remove(world, { purge: true, login: world.login, confirm }))).toMatchObject({
      code: 'ERR_CANCELLED',
    });
    expect(asked).toBe(1);
    expect(filesOf(world.store)).toEqual(filesOfKey('bot'));
  });

  it('looks once at the account: one code of the second factor does', async () => {
    const world = await openWorld('ws', { tfaSecret: 'JBSWY3DPEHPK3PXP' });
    let codes = 0;
    const { totpSecondFactor } = await import('../../src/deribit/second-factor.js');
    const seed = totpSecondFactor(new Secret('JBSWY3DPEHPK3PXP'));
    const context = {
      ...world.context,
      secondFactor: (challenge: Parameters<typeof seed>[0]) => {
        codes += 1;
        return seed(challenge);
      },
    };
    await removeKey(context, 'bot', { purge: false, login: world.login });
    expect(codes).toBe(1);
  });

  it('that cannot be tried, for want of its passphrase or of an answer', async () => {
    const world = await openWorld('http');
    await world.register();
    await onExchange(world, removeApiKey as never);
    const failing = (code: 'ERR_PASSPHRASE_REQUIRED' | 'ERR_NETWORK') => ({
      ...world.context,
      signerOf: async () => {
        throw new DeribitKeysError(code, 'no');
      },
    });
    const options = { purge: false, login: world.login };
    expect(await errorOf(removeKey(failing('ERR_NETWORK'), 'bot', options))).toMatchObject({ code: 'ERR_NETWORK' });
    expect((await removeKey(failing('ERR_PASSPHRASE_REQUIRED'), 'bot', options)).folder).not.toBe(null);
  });

  it('that nobody can ask about keeps it', async () => {
    const world = await openWorld('http');
    await world.register();
    world.sandbox.setFaults(['cut-before@private/list_api_keys']);
    await errorOf(remove(world, { login: world.login }));
    expect(filesOf(world.store)).toEqual(filesOfKey('bot'));
  });
});
