import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { localSigner } from '../../src/crypto/signer.js';
import { DeribitKeysError } from '../../src/errors.js';
import { withSigner } from '../../src/integrations/ccxt/with-signer.js';
import { openKeystore } from '../../src/keystore/keystore.js';
import { openPrivateKey } from '../../src/keystore/open-key.js';
import { openFleet, openSession } from '../../src/session/index.js';
import type { FollowedKeystore } from '../../src/session/key-source.js';
import { afterTest } from '../support/after-test.js';
import { type BotDesk, openBotDesk } from '../support/desk.js';
import { thrownBy } from '../support/outcomes.js';
import { hasCcxt, loadCcxt, pointAt } from './ccxt-package.js';

/** The keystore as the library opens it. */
function keystoreOf(s: BotDesk): FollowedKeystore {
  const store = openKeystore(s.keysDir);
  return {
    get: (name) => store.read(name),
    signer: async (name) => localSigner(await openPrivateKey(store, await store.read(name))),
  };
}

async function rotate(s: BotDesk, ...words: string[]): Promise<void> {
  const env = { DERIBIT_CLIENT_SECRET: s.sandbox.clientSecret };
  const { exitCode, stderr } = await s.run(['rotate', 'bot', '--yes', '--client-id', s.sandbox.clientId, ...words], {
    env,
  });
  expect(stderr).not.toContain('error');
  expect(exitCode).toBe(0);
}

/** Asks all the time until it is stopped; counts answers and failures. */
function asker(ask: () => Promise<unknown>) {
  const failures: unknown[] = [];
  let answers = 0;
  let isOver = false;
  const running = (async () => {
    while (!isOver) {
      try {
        await ask();
        answers += 1;
      } catch (error) {
        failures.push(error);
      }
      await sleep(5);
    }
  })();
  return {
    failures,
    get answers() {
      return answers;
    },
    async stop() {
      isOver = true;
      await running;
    },
  };
}

describe.each(['ws', 'http'] as const)('A session on a keystore over %s', (kind) => {
  const open = async (s: BotDesk) => {
    const url = kind === 'ws' ? s.sandbox.wsUrl : s.sandbox.httpUrl;
    const session = await openSession({ keystore: keystoreOf(s), name: 'bot', url });
    afterTest(() => session.close());
    return session;
  };

  it('logs in with the successor while the old key is in its grace, and answers every request', async () => {
    const s = await openBotDesk();
    const session = await open(s);
    const before = session.clientId;
    const bot = asker(() => session.request('private/get_account_summary', { currency: 'BTC' }));
    await rotate(s, '--grace', '1h');
    await expect.poll(() => session.clientId, { timeout: 60_000 }).not.toBe(before);
    await bot.stop();
    expect(bot.failures).toEqual([]);
    expect(s.sandbox.keys().find(({ client_id: id }) => id === before)?.enabled).toBe(true);
  });

  it('goes on with the successor when the old key is disabled at once', async () => {
    const s = await openBotDesk();
    const session = await open(s);
    const before = session.clientId;
    const bot = asker(() => session.request('private/get_account_summary', { currency: 'BTC' }));
    await rotate(s);
    await expect.poll(() => session.clientId, { timeout: 60_000 }).not.toBe(before);
    const { answers } = bot;
    await expect.poll(() => bot.answers, { timeout: 60_000 }).toBeGreaterThan(answers + 3);
    await bot.stop();
    expect(bot.failures).toEqual([]);
    expect(await session.accessToken()).toEqual(expect.any(String));
  });
});

describe('A fleet on a keystore', () => {
  it('follows a rotation with all its sessions, opens each key once, and counts the sessions of the successor', async () => {
    const s = await openBotDesk();
    const keystore = keystoreOf(s);
    let opened = 0;
    const counting: FollowedKeystore = {
      get: keystore.get,
      signer: (name) => {
        opened += 1;
        return keystore.signer(name);
      },
    };
    const fleet = openFleet({ maxSessionsPerKey: 4, rate: null });
    afterTest(() => fleet.close());
    const key = { keystore: counting, name: 'bot' };
    const urls = [s.sandbox.wsUrl, s.sandbox.httpUrl, undefined, s.sandbox.httpUrl];
    const sessions = await Promise.all(urls.map((url) => fleet.openSession({ ...key, url })));
    expect(sessions.map(({ kind }) => kind)).toEqual(['websocket', 'http', 'websocket', 'http']);
    expect(opened).toBe(1);
    const bots = sessions.map((session) =>
      asker(() => session.request('private/get_account_summary', { currency: 'BTC' })),
    );
    await rotate(s, '--grace', '1h');
    const { clientId } = await keystore.get('bot');
    expect(clientId).not.toBe(s.clientId);
    await expect
      .poll(() => sessions.map((session) => session.clientId), { timeout: 60_000 })
      .toEqual(Array.from(sessions, () => clientId));
    expect(opened).toBe(2);
    expect((await thrownBy(fleet.openSession(key))).message).toContain(`the key ${clientId} has 4 sessions already`);
    await Promise.all(bots.map((bot) => bot.stop()));
    expect(bots.flatMap((bot) => bot.failures)).toEqual([]);
    await expect(fleet.openSession({ ...key, name: 'nobody' })).rejects.toMatchObject({ code: 'ERR_NO_SUCH_NAME' });
  });
});

describe('A session', () => {
  it('opens its key again where that failed for a successor', async () => {
    const s = await openBotDesk();
    const keystore = keystoreOf(s);
    let fails = 0;
    const away: FollowedKeystore = {
      get: keystore.get,
      signer: async (name) => {
        if (fails-- > 0) throw new DeribitKeysError('ERR_SIGNER', 'the signer is away');
        return keystore.signer(name);
      },
    };
    const session = await openSession({ keystore: away, name: 'bot', url: s.sandbox.wsUrl });
    afterTest(() => session.close());
    fails = 1;
    await rotate(s, '--grace', '1h');
    await expect.poll(() => session.clientId, { timeout: 60_000 }).not.toBe(s.clientId);
    expect(await session.request('private/get_account_summary', { currency: 'BTC' })).toMatchObject({
      currency: 'BTC',
    });
  });

  it('takes its endpoint from the record', async () => {
    const s = await openBotDesk();
    const session = await openSession({ keystore: keystoreOf(s), name: 'bot' });
    afterTest(() => session.close());
    expect(session.url).toBe(s.sandbox.wsUrl);
  });

  it('logs in again with the key that it has, while its record cannot be read', async () => {
    const s = await openBotDesk();
    const session = await openSession({ keystore: keystoreOf(s), name: 'bot' });
    afterTest(() => session.close());
    const file = join(s.keysDir, 'bot.json');
    const record = readFileSync(file);
    writeFileSync(file, 'garbage');
    s.sandbox.setFaults(['cut-before@private/get_positionsx1']);
    await session.request('private/get_positions', {}).catch(() => {});
    expect(await session.request('private/get_account_summary', { currency: 'BTC' })).toMatchObject({
      currency: 'BTC',
    });
    // what happens to the key later is noticed as ever
    writeFileSync(file, record);
    const before = session.clientId;
    await rotate(s, '--grace', '1h');
    await expect.poll(() => session.clientId, { timeout: 60_000 }).not.toBe(before);
  });

  it('does not open for a key that is not registered', async () => {
    const s = await openBotDesk();
    await s.run(['generate', 'fresh']);
    const url = s.sandbox.wsUrl;
    await expect(openSession({ keystore: keystoreOf(s), name: 'fresh', url })).rejects.toMatchObject({
      code: 'ERR_STATE',
    });
    await expect(openSession({ keystore: keystoreOf(s), name: 'nobody', url })).rejects.toMatchObject({
      code: 'ERR_NO_SUCH_NAME',
    });
  });
});

describe.skipIf(!hasCcxt)('ccxt on a keystore', () => {
  it('follows a rotation without a failed request', async () => {
    const s = await openBotDesk();
    const ccxt = await loadCcxt();
    const exchange = withSigner(new ccxt.deribit(), { keystore: keystoreOf(s), name: 'bot' });
    await pointAt(exchange, s.sandbox);
    const bot = asker(() => exchange.fetchBalance());
    await expect.poll(() => bot.answers, { timeout: 60_000 }).toBeGreaterThan(1);
    await rotate(s);
    const { answers } = bot;
    await expect.poll(() => bot.answers, { timeout: 60_000 }).toBeGreaterThan(answers + 2);
    await bot.stop();
    expect(bot.failures).toEqual([]);
  });
});
