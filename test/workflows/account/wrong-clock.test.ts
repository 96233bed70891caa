import { describe, expect, test } from 'vitest';
import { Secret } from '../../../src/crypto/secret.js';
import { DeribitKeysError } from '../../../src/errors.js';
import { authenticate } from '../../../src/workflows/account/account.js';
import { explainRefusal } from '../../../src/workflows/checks/refusal.js';
import { openWorld, withRequests } from '../../support/world.js';

describe.each(['ws', 'http'] as const)('with a clock that is wrong (over %s)', (via) => {
  test.each([600_000, -600_000])('by %i ms, a key is registered, proved and used all the same', async (offsetMs) => {
    const w = await openWorld(via, { faults: [`clock:${offsetMs}`] });
    expect(await w.register()).toMatchObject({ loginVerified: true, fingerprintVerified: true });
    const refused = w.sandbox.calls.filter(({ outcome }) => outcome === '13004');
    // the first login shows what is wrong, the later ones go by it
    expect(refused).toHaveLength(1);
    const { login } = await authenticate(w.context, await w.store.read('bot'), { endpoint: w.endpoint });
    expect(login.scope).toContain('trade:read');
    expect(w.sandbox.calls.filter(({ outcome }) => outcome === '13004')).toHaveLength(1);
    const [note] = w.notes.filter((text) => text.includes('clock'));
    expect(note).toMatch(
      offsetMs > 0 ? /^the clock here is (599|600)\d{3} ms behind/ : /^the clock here is (599|600)\d{3} ms ahead/,
    );
  });

  test('a refusal that has another reason stays one, and is not blamed on the clock', async () => {
    const w = await openWorld(via, { faults: ['clock:600000'] });
    const login = {
      ...w.login,
      credentials: { clientId: w.sandbox.clientId, clientSecret: new Secret('not-this-one') },
    };
    const error = await w.register({ login }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'ERR_UNAUTHORIZED', rpc: { code: 13004 } });
    const attempt = { endpoint: w.endpoint, clientId: w.sandbox.clientId, record: null, secret: null };
    expect(await explainRefusal(w.context, error, attempt)).toMatchObject({
      hint: expect.not.stringContaining('clock'),
    });
  });

  test('an interrupt while the clocks are compared stays one', async () => {
    const w = await openWorld(via, { faults: ['clock:600000'] });
    const context = withRequests(w.context, async (method, send) => {
      if (method === 'public/get_time') throw new DeribitKeysError('ERR_INTERRUPTED', 'interrupted');
      return send();
    });
    expect(await w.register({ login: w.login }, context).catch((thrown: unknown) => thrown)).toMatchObject({
      code: 'ERR_INTERRUPTED',
    });
  });

  test('that could not be compared at first is still named as the likely reason', async () => {
    const w = await openWorld(via, { faults: ['clock:600000'] });
    const refusal = new DeribitKeysError('ERR_UNAUTHORIZED', 'refused', { rpc: { code: 13004, message: 'x' } });
    const attempt = { endpoint: w.endpoint, clientId: w.sandbox.clientId, record: null, secret: null };
    expect(await explainRefusal(w.context, refusal, attempt)).toMatchObject({
      hint: expect.stringMatching(/^the clock here is \d+ ms behind the exchange's, so that the signature is too old/),
    });
  });

  test('that is set right meanwhile, the correction is dropped', async () => {
    const w = await openWorld(via, { faults: ['clock:600000'] });
    await w.register();
    w.sandbox.setFaults([]);
    await authenticate(w.context, await w.store.read('bot'), { endpoint: w.endpoint });
    expect(Math.abs(w.context.clock.correctionMs)).toBeLessThan(2_000);
  });
});
