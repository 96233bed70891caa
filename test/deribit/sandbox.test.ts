import { expect, it, onTestFinished } from 'vitest';
import { fingerprint } from '../../src/crypto/fingerprint.js';
import { generateKeyPair } from '../../src/crypto/generate.js';
import { encodePublicKeyPem } from '../../src/crypto/pem.js';
import { Secret } from '../../src/crypto/secret.js';
import { localSigner } from '../../src/crypto/signer.js';
import * as apiKeys from '../../src/deribit/api-keys.js';
import { accountOf, login, logout, refreshLogin } from '../../src/deribit/auth.js';
import { connect } from '../../src/deribit/connect.js';
import { resolveEndpoint } from '../../src/deribit/endpoints.js';
import { scopesEqual } from '../../src/deribit/scope.js';
import { totpSecondFactor } from '../../src/deribit/second-factor.js';
import { startSandbox } from '../../src/sandbox/index.js';
import { failure } from './servers.js';

const SEED = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';

it.each([
  ['wsUrl', null],
  ['httpUrl', null],
  ['wsUrl', SEED],
  ['httpUrl', SEED],
] as const)('the whole life of a key runs on the sandbox, over its %s, second factor %s', async (url, tfaSecret) => {
  let nowMs = Date.now();
  const now = () => nowMs;
  const sandbox = await startSandbox({ now, ...(tfaSecret === null ? {} : { tfaSecret }) });
  const endpoint = resolveEndpoint({ url: sandbox[url] });
  const [transport, bot] = [await connect(endpoint), await connect(endpoint)];
  onTestFinished(async () => {
    await Promise.all([transport.close(), bot.close()]);
    await sandbox.close();
  });

  const clientSecret = new Secret(sandbox.clientSecret);
  const account = accountOf(
    transport,
    await login(transport, { clientId: sandbox.clientId, clientSecret }, { nowMs: now }),
  );
  const sleep = async (ms: number) => {
    nowMs += ms;
  };
  const notes: string[] = [];
  const onNote = (text: string) => notes.push(text);
  const options =
    tfaSecret === null ? {} : { secondFactor: totpSecondFactor(tfaSecret, { nowMs: now, sleep }), onNote };

  const key = await generateKeyPair();
  const scope = 'trade:read_write account:read';
  const created = await apiKeys.createApiKey(
    account,
    { scope, label: 'bot', publicKey: encodePublicKeyPem(key.publicKey) },
    options,
  );
  expect(created).toMatchObject({ fingerprint: fingerprint(key), enabled: true, label: 'bot' });
  expect(scopesEqual(scope, created.maxScope)).toBe(true);

  const credentials = { clientId: created.clientId, signer: localSigner(key) };
  const first = await login(bot, credentials, { scope: 'trade:read', state: 'st', nowMs: now });
  expect(first).toMatchObject({ state: 'st', scope: expect.stringContaining('trade:read') });
  const second = await refreshLogin(bot, first.refreshToken);
  expect(second.accessToken.reveal()).not.toBe(first.accessToken.reveal());

  const id = { keyId: created.keyId };
  expect((await apiKeys.listApiKeys(account, options)).map(({ keyId }) => keyId)).toContain(created.keyId);
  expect((await apiKeys.disableApiKey(account, id, options)).enabled).toBe(false);
  await failure(login(bot, credentials, { nowMs: now }), 'ERR_UNAUTHORIZED');
  expect((await apiKeys.enableApiKey(account, id, options)).enabled).toBe(true);
  expect((await apiKeys.renameApiKey(account, { ...id, label: 'other' }, options)).label).toBe('other');
  expect((await apiKeys.changeApiKeyScope(account, { ...id, scope: 'trade:read' }, options)).maxScope).toBe(
    'trade:read',
  );
  const ipWhitelist = ['203.0.113.0/24'];
  const edited = await apiKeys.editApiKey(account, { ...id, scope: 'trade:read', ipWhitelist }, options);
  expect(edited.ipWhitelist).toEqual(ipWhitelist);
  await apiKeys.removeApiKey(account, id, options);
  await failure(login(bot, credentials, { nowMs: now }), 'ERR_UNAUTHORIZED');
  expect(notes).toHaveLength(tfaSecret === null ? 0 : 4);

  if (url === 'wsUrl') await logout(account);
});
