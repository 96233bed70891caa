import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Secret } from '../../src/crypto/secret.js';
import {
  type AccountLogin,
  abortRotation,
  createContext,
  isDeribitKeysError,
  link,
  openKeystore,
  register,
  resolveEndpoint,
  rotate,
  verify,
} from '../../src/index.js';
import { type Sandbox, startSandbox } from '../../src/sandbox/index.js';
import { temporaryFolder } from '../support/cli.js';
import { codeOf } from '../support/outcomes.js';

let sandbox: Sandbox;
let login: AccountLogin;
beforeEach(async () => {
  sandbox = await startSandbox();
  const credentials = { clientId: sandbox.clientId, clientSecret: new Secret(sandbox.clientSecret) };
  login = { endpoint: resolveEndpoint({ url: sandbox.wsUrl }), credentials };
});
afterEach(() => sandbox.close());

it('A program generates, registers and rotates a key without the command line', async () => {
  const keystore = openKeystore({ dir: join(temporaryFolder(), 'keys'), passphrase: 'correct horse' });
  const notes: string[] = [];
  const context = createContext({ keystore, timeoutMs: 5_000, onNote: (note) => void notes.push(note) });
  const made = await keystore.generate('bot');
  expect(made).toMatchObject({ name: 'bot', state: 'local', encrypted: true });
  const registration = await register(context, { name: 'bot', scope: 'account:read trade:read_write', login });
  expect(registration).toMatchObject({ fingerprintVerified: true, loginVerified: true, adopted: false });
  expect(await keystore.get('bot')).toMatchObject({ state: 'registered', clientId: registration.clientId });
  expect((await keystore.signer('bot')).algorithm).toBe('ed25519');

  const begun = await rotate(context, { name: 'bot', graceMs: 60_000, login });
  expect(begun).toMatchObject({ state: 'grace', previousClientId: registration.clientId });
  expect(await abortRotation(context, { name: 'bot', login })).toMatchObject({ state: 'aborted' });
  const done = await rotate(context, { name: 'bot', login });
  expect(done).toMatchObject({ state: 'done', previousClientId: registration.clientId });
  expect((await keystore.list()).map(({ state }) => state).sort()).toEqual(['registered', 'retired']);
  expect(await keystore.get('bot')).toMatchObject({ encrypted: true });

  const wrong = openKeystore({ dir: keystore.dir, passphrase: () => 'another' });
  expect(await codeOf(wrong.signer('bot'))).toBe('ERR_PASSPHRASE_WRONG');
  expect(await codeOf(openKeystore({ dir: keystore.dir }).signer('bot'))).toBe('ERR_PASSPHRASE_REQUIRED');
  expect(await codeOf(keystore.get('nobody'))).toBe('ERR_NO_SUCH_NAME');
});

it('A program links a key whose public half was pasted into the web page', async () => {
  const keystore = openKeystore({ dir: join(temporaryFolder(), 'keys') });
  const { publicKey } = await keystore.generate('bot', { type: 'rsa', bits: 2048 });
  const pasted = sandbox.addKey({ publicKey: publicKey ?? '', maxScope: 'account:read' });
  const linked = await link(createContext({ keystore }), {
    name: 'bot',
    clientId: pasted.client_id,
    endpoint: login.endpoint,
  });
  expect(linked).toMatchObject({ clientId: pasted.client_id, fingerprintVerified: true, adopted: true });
  const [verified] = await verify(createContext({ keystore }));
  expect(verified).toMatchObject({ name: 'bot', ok: true });
  expect(verified?.checks.map(({ check }) => check)).toContain('login');
});

it('A context is refused for a keystore that this package did not open', () => {
  const keystore = openKeystore({ dir: 'keys' });
  let thrown: unknown;
  try {
    createContext({ keystore: { ...keystore } });
  } catch (error) {
    thrown = error;
  }
  expect(isDeribitKeysError(thrown, 'ERR_USAGE')).toBe(true);
});
