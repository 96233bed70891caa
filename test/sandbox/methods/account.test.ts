import { expect, it } from 'vitest';
import { startSandbox } from '../../../src/sandbox/index.js';
import { bootstrap, post, record, token } from '../client.js';

it('keeps an access log of the logins with a key of the account, refused ones too', async () => {
  const sandbox = await startSandbox();
  const access = await token(sandbox);
  await post(sandbox, 'public/auth', { ...bootstrap(sandbox), client_secret: 'wrong' });
  await post(sandbox, 'public/auth', { ...bootstrap(sandbox), client_id: 'somebody_else' });
  const log = record((await post(sandbox, 'private/get_access_log', { count: 1 }, access)).result);
  expect(log).toMatchObject({ records_total: 2, data: [{ ip: '127.0.0.1', result: 'failure' }] });
  expect(record((await post(sandbox, 'private/get_access_log', { offset: 1 }, access)).result).data).toMatchObject([
    { result: 'success', data: { client_id: sandbox.clientId } },
  ]);
  await sandbox.close();
});
