import { readFile, writeFile } from 'node:fs/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Registration } from '../../../src/workflows/registration/register.js';
import { type Desk, filesOf, openDesk, recordOf } from '../../support/desk.js';
import { openExchange } from '../../support/world.js';

const ADMIN = 'account:read_write trade:read_write';
const NO_LOGIN = { login: null } as const;

let desk: Desk;
beforeEach(async () => {
  desk = openDesk(await openExchange());
  await desk.register('first', ADMIN);
});

/** Registers `w` by the key `first`, whose connection is cut; what was not answered is not waited for any more. */
async function interrupt(fault: 'cut-before' | 'cut-after'): Promise<void> {
  await desk.json(['generate', 'w']);
  desk.sandbox.setFaults([`${fault}@private/create_api_key x1`.replace(' ', '')]);
  expect((await desk.run(['register', 'w', '--scope', 'trade:read', '--as', 'first'], NO_LOGIN)).exitCode).not.toBe(0);
  desk.sandbox.clearFaults();
  const { record } = filesOf(desk.folder, 'w');
  await writeFile(record, JSON.stringify({ ...JSON.parse(await readFile(record, 'utf8')), uncertainUntil: null }));
}

const finish = (login: readonly string[], call: Parameters<Desk['json']>[1]) =>
  desk.json<Registration>(['register', 'w', '--scope', 'trade:read', ...login], call);
const keysOfW = async () => {
  const { fingerprint } = await recordOf(desk.folder, 'w');
  return desk.sandbox.keys().filter((key) => key.client_secret === fingerprint);
};

describe.each([
  ['by itself', ['--as', 'first'], NO_LOGIN],
  ['by another login', [], {}],
] as const)('A registration that was begun by a key that is rotated since, %s,', (_how, login, call) => {
  it.each([
    ['cut-before', false],
    ['cut-after', true],
  ] as const)('is finished by its successor (%s)', async (fault, adopted) => {
    await interrupt(fault);
    for (let count = 0; count < 2; count++) await desk.json(['rotate', 'first', ...login], call);
    expect(await finish(['--as', 'first'], NO_LOGIN)).toMatchObject({ adopted });
    expect(await keysOfW()).toHaveLength(1);
  });

  it('is finished by any other login of the account', async () => {
    await interrupt('cut-before');
    await desk.json(['rotate', 'first', ...login], call);
    expect(await finish([], {})).toMatchObject({ adopted: false });
    expect(await keysOfW()).toHaveLength(1);
  });

  it('is not finished in another account', async () => {
    await interrupt('cut-before');
    await desk.json(['rotate', 'first', ...login], call);
    const [, accountId] = desk.sandbox.accountIds;
    if (accountId === undefined) throw new Error('the sandbox has no subaccount');
    const other = desk.sandbox.addKey({ accountId });
    const env = { DERIBIT_CLIENT_ID: other.client_id, DERIBIT_CLIENT_SECRET: other.client_secret };
    const { code, hint } = await desk.fails(['register', 'w', '--scope', 'trade:read'], { env });
    expect(code).toBe('ERR_STATE');
    expect(hint).toContain('deribit-keys remove w --as');
    expect(await keysOfW()).toHaveLength(0);
  });
});

describe('A registration whose account is not known any more', () => {
  it('is given up as the hint says', async () => {
    await interrupt('cut-before');
    const { record } = filesOf(desk.folder, 'w');
    await writeFile(record, JSON.stringify({ ...JSON.parse(await readFile(record, 'utf8')), registrar: 'gone1234' }));
    const { hint } = await desk.fails(['register', 'w', '--scope', 'trade:read', '--as', 'first'], NO_LOGIN);
    expect(hint).toContain('deribit-keys remove w --as');
    await desk.json(['remove', 'w', '--as', 'first', '--yes'], NO_LOGIN);
    await desk.json(['generate', 'w']);
    expect(await finish(['--as', 'first'], NO_LOGIN)).toMatchObject({ adopted: false });
  });
});
