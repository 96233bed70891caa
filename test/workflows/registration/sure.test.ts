import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodePublicKeyPem } from '../../../src/crypto/index.js';
import { Secret } from '../../../src/crypto/secret.js';
import { writeBackup } from '../../../src/keystore/backup.js';
import { openKeystore } from '../../../src/keystore/keystore.js';
import { openPrivateKey } from '../../../src/keystore/open-key.js';
import { restoreBackup } from '../../../src/keystore/restore.js';
import { readPublicKey, storeKey } from '../../../src/keystore/stored-keys.js';
import type { AccountLogin } from '../../../src/workflows/context.js';
import { removeKey } from '../../../src/workflows/remove.js';
import { temporaryFolder } from '../../support/cli.js';
import { codeOf, errorOf } from '../../support/outcomes.js';
import { openWorld, SCOPE, type World, withRequests } from '../../support/world.js';

const CREATE = 'private/create_api_key';

/** A login of a subaccount, with all that a scope can give. */
function otherAccount(world: World): AccountLogin {
  const [, subaccount] = world.sandbox.accountIds;
  if (subaccount === undefined) throw new Error('the sandbox has no subaccount');
  const key = world.sandbox.addKey({ accountId: subaccount });
  return {
    endpoint: world.endpoint,
    credentials: { clientId: key.client_id, clientSecret: new Secret(key.client_secret) },
  };
}

const purge = (world: World, login: AccountLogin | null) => removeKey(world.context, 'bot', { purge: true, login });

describe('a private key is not deleted for good', () => {
  it.each(['cut-after', 'cut-before'])(
    'where another account does not show a registration that was lost (%s)',
    async (fault) => {
      const world = await openWorld('ws', { faults: [`${fault}@${CREATE}x1`] });
      await world.register().catch(() => {});
      expect(await codeOf(purge(world, otherAccount(world)))).toBe('ERR_STATE');
      expect(existsSync(world.store.files('bot').privateKey)).toBe(true);
    },
  );

  it('where another account does not show a key with a whitelist', async () => {
    const world = await openWorld('ws');
    await world.register({ ipWhitelist: ['203.0.113.7'] });
    expect(await codeOf(purge(world, otherAccount(world)))).toBe('ERR_STATE');
  });

  it('where the list hides what would show it', async () => {
    const world = await openWorld('ws', { faults: [`cut-after@${CREATE}x1`] });
    await world.register().catch(() => {});
    const reader = world.sandbox.addKey({ maxScope: 'account:read' });
    world.sandbox.setFaults(['hide-public-key@private/list_api_keys']);
    const credentials = { clientId: reader.client_id, clientSecret: new Secret(reader.client_secret) };
    expect(await codeOf(purge(world, { endpoint: world.endpoint, credentials }))).toBe('ERR_STATE');
  });

  it('where a backup brought back a record of before the registration', async () => {
    const world = await openWorld('ws');
    const backup = join(temporaryFolder(), 'keys.age');
    await writeBackup(world.store, { path: backup, passphrase: new Secret('backup') });
    await world.register();
    const store = openKeystore(join(temporaryFolder(), 'restored'));
    await restoreBackup(store, { path: backup, passphrase: new Secret('backup') });
    expect(await store.read('bot')).toMatchObject({ state: 'local', clientId: null });
    const removing = (login: AccountLogin | null, options = { purge: true }) =>
      removeKey({ ...world.context, store }, 'bot', { login, ...options });
    expect((await errorOf(removing(null))).message).toContain('it was restored from a backup');
    expect((await errorOf(removing(world.login))).message).toContain('the exchange shows it enabled');
    expect(await codeOf(removing(otherAccount(world)))).toBe('ERR_STATE');
    expect(existsSync(store.files('bot').privateKey)).toBe(true);
    expect((await removing(null, { purge: false })).folder).toContain('retired');
  });

  it('but may be put away, and is deleted once the account shows it disabled', async () => {
    const world = await openWorld('ws');
    await world.register();
    const record = await world.store.read('bot');
    await world.store.withLock('bot', (locked) => locked.save({ ...record, state: 'retired' }));
    expect(await codeOf(purge(world, null))).toBe('ERR_STATE');
    expect(await codeOf(purge(world, world.login))).toBe('ERR_STATE');
  });
});

describe('a registration', () => {
  it('that was started in one account is not ended in another', async () => {
    const world = await openWorld('ws', { faults: [`cut-after@${CREATE}x1`] });
    await world.register().catch(() => {});
    expect(await codeOf(world.register({ login: otherAccount(world) }))).toBe('ERR_STATE');
    expect(world.keys().filter((key) => key.client_secret === world.fingerprint)).toHaveLength(1);
    expect(await world.register()).toMatchObject({ adopted: true });
  });

  it('may be ended by another login of the same account', async () => {
    const world = await openWorld('ws', { faults: [`cut-before@${CREATE}x1`] });
    await world.register().catch(() => {});
    const second = world.sandbox.addKey({});
    const credentials = { clientId: second.client_id, clientSecret: new Secret(second.client_secret) };
    expect(await world.register({ login: { endpoint: world.endpoint, credentials } })).toMatchObject({
      adopted: false,
    });
  });

  it('is refused for a keypair that is registered under another name', async () => {
    const world = await openWorld('ws');
    const key = await openPrivateKey(world.store, await world.store.read('bot'));
    await storeKey(world.store, { name: 'twin', key, action: 'import' });
    await world.register();
    expect(await codeOf(world.register({ name: 'twin' }))).toBe('ERR_STATE');
    expect(world.keys()).toHaveLength(1);
  });

  it('does not touch a key that another login made of the same public half', async () => {
    const world = await openWorld('ws', { faults: [`cut-before@${CREATE}x1`] });
    await world.register().catch(() => {});
    const publicKey = encodePublicKeyPem(await readPublicKey(world.store, await world.store.read('bot')));
    world.sandbox.addKey({ publicKey, maxScope: 'wallet:read', name: 'byhand' });
    expect(await codeOf(world.register({ scope: SCOPE }))).toBe('ERR_PROOF_FAILED');
    expect(world.keys()).toHaveLength(1);
  });

  it('is not believed without a login, whatever whitelist the answer shows', async () => {
    const world = await openWorld('ws');
    const context = withRequests(world.context, async (method, send) => {
      const result = await send();
      if (method === CREATE) {
        world.sandbox.setFaults(['refuse-login']);
        return { ...(result as object), ip_whitelist: ['203.0.113.9'] };
      }
      return result;
    });
    expect(await codeOf(world.register({}, context))).toBe('ERR_PROOF_FAILED');
    expect((await world.store.read('bot')).state).not.toBe('registered');
  });
});
