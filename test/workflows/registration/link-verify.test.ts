import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { resolveEndpoint } from '../../../src/deribit/endpoints.js';
import { generate } from '../../../src/keystore/stored-keys.js';
import { type Verification, verify } from '../../../src/workflows/checks/verify.js';
import { link } from '../../../src/workflows/registration/link.js';
import { errorOf, until } from '../../support/outcomes.js';
import { openWorld, SCOPE, type Via, type World } from '../../support/world.js';

const VIAS: readonly Via[] = ['ws', 'http'];

/** What the user does in Deribit's web page with the public half of "bot". */
function pasteKey(world: World, maxScope = SCOPE, accountId?: number) {
  const publicKey = readFileSync(world.store.files('bot').publicKey, 'utf8');
  return world.sandbox.addKey({ publicKey, maxScope, ...(accountId === undefined ? {} : { accountId }) });
}

const linkTo = (world: World, clientId: string, more: { subaccount?: number } = {}) =>
  link(world.context, { name: 'bot', clientId, endpoint: world.endpoint, ...more });

describe.each(VIAS)('linking over %s', (via) => {
  it('proves a key of the web page by a login, looks at it where it may, and records it', async () => {
    const world = await openWorld(via);
    const pasted = pasteKey(world);
    const linked = await linkTo(world, pasted.client_id);
    expect(linked).toMatchObject({
      clientId: pasted.client_id,
      keyId: pasted.id,
      loginVerified: true,
      publicKeyVerified: true,
      scope: SCOPE,
      adopted: true,
    });
    expect(await world.store.read('bot')).toMatchObject({
      state: 'registered',
      environment: 'test',
      clientId: pasted.client_id,
      keyId: pasted.id,
      scope: SCOPE,
      url: world.endpoint.url,
    });
  });

  it('works with a clock that is wrong', async () => {
    const world = await openWorld(via, { faults: ['clock:-600000'] });
    const { client_id: clientId } = pasteKey(world);
    expect(await linkTo(world, clientId)).toMatchObject({ clientId, loginVerified: true });
    expect(world.notes.join()).toContain('ahead of the exchange');
  });

  it('works for a key that may not look at the account', async () => {
    const world = await openWorld(via);
    const pasted = pasteKey(world, 'trade:read_write');
    const linked = await linkTo(world, pasted.client_id);
    expect(linked).toMatchObject({
      keyId: null,
      fingerprintVerified: null,
      publicKeyVerified: null,
      scope: 'trade:read_write',
    });
    expect((await world.store.read('bot')).scope).toBe('trade:read_write');
  });

  it.each<[string, readonly string[], string]>([
    ['a client id that is another key’s', [], 'ERR_UNAUTHORIZED'],
    ['a login that is refused', ['refuse-login'], 'ERR_UNAUTHORIZED'],
    ['an exchange that shows another public key', ['wrong-public-key'], 'ERR_PROOF_FAILED'],
    ['the other environment', ['wrong-testnet'], 'ERR_WRONG_ENVIRONMENT'],
    ['a connection that is cut', ['cut-after@public/auth'], 'ERR_CONNECTION_CLOSED|ERR_NETWORK'],
  ])('records nothing for %s', async (what, faults, codes) => {
    const world = await openWorld(via, { faults });
    const pasted = pasteKey(world);
    const clientId = what.startsWith('a client id') ? world.sandbox.clientId : pasted.client_id;
    expect((await errorOf(linkTo(world, clientId))).code).toMatch(new RegExp(`^(${codes})$`));
    expect(await world.store.read('bot')).toMatchObject({ state: 'local', clientId: null });
  });
});

describe('linking', () => {
  it('again is harmless, and to another client id is refused', async () => {
    const world = await openWorld('http');
    const pasted = pasteKey(world);
    await linkTo(world, pasted.client_id);
    const { registeredAt } = await world.store.read('bot');
    await linkTo(world, pasted.client_id);
    expect((await world.store.read('bot')).registeredAt).toBe(registeredAt);
    const error = await errorOf(linkTo(world, 'AbCdEf12'));
    expect(error.code).toBe('ERR_STATE');
    expect(error.message).toContain(pasted.client_id);
  });

  it('goes without a look where the second factor is wanted', async () => {
    const world = await openWorld('ws', { tfaSecret: 'JBSWY3DPEHPK3PXP' });
    expect(await linkTo(world, pasteKey(world).client_id)).toMatchObject({
      loginVerified: true,
      publicKeyVerified: null,
    });
  });

  it('ends a registration that was interrupted, for the key that it made', async () => {
    const world = await openWorld('http', { faults: ['cut-after@private/create_api_keyx1'] });
    await errorOf(world.register());
    const [made] = world.keys();
    await linkTo(world, made?.client_id ?? '');
    expect(await world.store.read('bot')).toMatchObject({ state: 'registered', keyId: made?.id });
  });
});

/** The checks of a key in one line, failures in capitals. */
const inShort = ({ checks }: Verification) =>
  checks.map(({ check, ok }) => (ok ? check : check.toUpperCase())).join(' ');
const detailOf = (results: readonly Verification[], check: string) =>
  results.flatMap(({ checks }) => checks).find((one) => one.check === check)?.detail ?? '';

describe.each(VIAS)('verifying over %s', (via) => {
  const registered = async (faults: readonly string[] = []) => {
    const world = await openWorld(via);
    await world.register();
    world.sandbox.setFaults(faults);
    return { world, record: await world.store.read('bot') };
  };

  it('proves files, login and scope, and with a login of the account the exchange’s record', async () => {
    const { world, record } = await registered();
    const [alone] = await verify(world.context, [record]);
    expect(alone).toMatchObject({ name: 'bot', ok: true });
    expect(alone && inShort(alone)).toBe('public-key private-key login scope');
    const [seen] = await verify(world.context, [record], { account: world.login });
    expect(seen?.ok).toBe(true);
    expect(seen && inShort(seen)).toBe('public-key private-key login scope exchange enabled max-scope');
  });

  it.each<[string, string]>([
    ['refuse-login', 'LOGIN'],
    ['other-scope@public/auth', 'SCOPE'],
    ['cut-before@public/auth', 'LOGIN'],
    ['wrong-testnet', 'LOGIN'],
    ['garbage', 'LOGIN'],
  ])('finds %s', async (fault, check) => {
    const { world, record } = await registered([fault]);
    const [result] = await verify(world.context, [record]);
    expect(result?.ok).toBe(false);
    expect(result && inShort(result)).toContain(check);
  });

  it.each<[string, string]>([
    ['wrong-fingerprint', 'EXCHANGE'],
    ['wrong-public-key', 'EXCHANGE'],
    ['other-scope', 'MAX-SCOPE'],
  ])('finds %s in the account’s list', async (fault, check) => {
    const { world, record } = await registered([fault]);
    const [result] = await verify(world.context, [record], { account: world.login });
    expect(result?.ok).toBe(false);
    expect(result && inShort(result)).toContain(check);
  });
});

describe('verifying', () => {
  it('finds a key that is disabled, and one that is gone', async () => {
    const world = await openWorld('http');
    await world.register();
    const record = await world.store.read('bot');
    const { keyId } = record;
    const { login, disableApiKey, removeApiKey } = await exchangeTools();
    await login(world, (account) => disableApiKey(account, { keyId: keyId ?? 0 }));
    const disabled = await verify(world.context, [record], { account: world.login });
    expect(disabled[0] && inShort(disabled[0])).toMatch(/LOGIN.*ENABLED/);
    await login(world, (account) => removeApiKey(account, { keyId: keyId ?? 0 }));
    const gone = await verify(world.context, [record], { account: world.login });
    expect(gone[0] && inShort(gone[0])).toMatch(/LOGIN EXCHANGE$/);
  });

  it('finds files that are missing or another key’s, and looks at the other keys all the same', async () => {
    const world = await openWorld('http');
    await generate(world.store, 'other', { type: 'ed25519' });
    await generate(world.store, 'third', { type: 'ed25519' });
    const [bot, other] = [world.store.files('bot'), world.store.files('other')];
    writeFileSync(bot.privateKey, readFileSync(other.privateKey));
    rmSync(other.publicKey);
    const { records } = await world.store.list();
    const results = await verify(world.context, records);
    expect(results.map((result) => `${result.name} ${result.ok} ${inShort(result)}`)).toEqual([
      'bot false public-key PRIVATE-KEY',
      'other false PUBLIC-KEY private-key',
      'third true public-key private-key',
    ]);
    expect(detailOf(results, 'private-key')).toContain('bot.pem');
  });

  it('finds a registration that is unfinished', async () => {
    const world = await openWorld('http', { faults: ['cut-after@private/create_api_keyx1'] });
    await errorOf(world.register());
    const [result] = await verify(world.context, [await world.store.read('bot')]);
    expect(result && inShort(result)).toBe('public-key private-key REGISTRATION');
  });

  it('leaves out of the account’s list what is registered elsewhere', async () => {
    const [here, elsewhere] = [await openWorld('http'), await openWorld('http')];
    await here.register();
    await elsewhere.register();
    const results = await verify(here.context, [await here.store.read('bot'), await elsewhere.store.read('bot')], {
      account: here.login,
    });
    expect(results[0] && inShort(results[0])).toContain('exchange');
    expect(results[1] && inShort(results[1]).toLowerCase()).not.toContain('exchange');
  });

  it('is broken off by the user, and that is no finding', async () => {
    const world = await openWorld('ws');
    await world.register();
    world.sandbox.setFaults(['silent']);
    const abort = new AbortController();
    const running = errorOf(verify({ ...world.context, signal: abort.signal }, [await world.store.read('bot')]));
    await until(() => world.sandbox.calls.at(-1)?.outcome === 'silent');
    abort.abort();
    expect(await running).toMatchObject({ code: 'ERR_INTERRUPTED' });
  });

  it('goes to another endpoint where it is told to', async () => {
    const world = await openWorld('http');
    await world.register();
    const endpointFor = () => resolveEndpoint({ url: world.sandbox.wsUrl });
    const [result] = await verify(world.context, [await world.store.read('bot')], { endpointFor });
    expect(result?.ok).toBe(true);
    expect(world.sandbox.calls.at(-1)?.transport).toBe('websocket');
  });
});

async function exchangeTools() {
  const { disableApiKey, removeApiKey } = await import('../../../src/deribit/api-keys.js');
  const { withAccount } = await import('../../../src/workflows/account/account.js');
  type Work = Parameters<typeof withAccount<unknown>>[2];
  return {
    disableApiKey,
    removeApiKey,
    login: (world: World, work: Work) => withAccount(world.context, { login: world.login, level: 'read_write' }, work),
  };
}
