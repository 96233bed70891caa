import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KeyAlgorithm } from '../../crypto/keys.js';
import { Secret } from '../../crypto/secret.js';
import type { Endpoint } from '../../deribit/endpoints.js';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import type { Sandbox } from '../../sandbox/index.js';
import type { AccountLogin, WorkflowContext } from '../../workflows/context.js';
import { type Context, createContext } from '../context.js';
import type { Printer, Style } from '../output.js';
import type { Define } from '../program.js';

const SCOPE = 'account:read trade:read_write';

interface Stage {
  readonly out: Printer;
  readonly workflow: WorkflowContext;
  readonly sandbox: Sandbox;
  readonly login: (endpoint: Endpoint) => AccountLogin;
}

const step = (out: Printer, text: string, ...styles: readonly Style[]) =>
  out.line(`  ${out.style('✓', 'green')} ${out.style(text, ...styles)}`);

/** Generate, register, prove, log in. What is shown as returned is read from the exchange itself. */
async function tell({ out, workflow, sandbox, login }: Stage, algorithm: KeyAlgorithm, endpoint: Endpoint) {
  const { generate } = await import('../../keystore/stored-keys.js');
  const { register } = await import('../../workflows/registration/register.js');
  const { authenticate, withTransport } = await import('../../workflows/account/account.js');
  const transport = endpoint.url.startsWith('ws') ? 'WebSocket' : 'HTTP';
  const kind = algorithm === 'rsa' ? ({ type: 'rsa', bits: 2048 } as const) : ({ type: 'ed25519' } as const);
  out.line('');
  out.line(out.style(`${algorithm === 'rsa' ? 'RSA-2048' : 'Ed25519'} over ${transport}`, 'bold'));

  const name = `demo-${algorithm}`;
  const record = await generate(workflow.store, name, kind);
  step(out, `generated ${record.name}: the private key is in ${workflow.store.files(name).privateKey} (0600)`);
  const registration = await register(workflow, { name, scope: SCOPE, login: login(endpoint) });
  step(out, `registered by private/create_api_key as ${registration.clientId}`);
  const returned = sandbox.keys().find((key) => key.client_id === registration.clientId)?.client_secret ?? '';
  const match = returned === record.fingerprint;
  out.line(`      fingerprint here      ${record.fingerprint}`);
  out.line(
    `      fingerprint returned  ${returned}  ${match ? out.style('the same', 'green') : out.style('ANOTHER', 'red')}`,
  );
  step(out, `verified: fingerprint, public key, scope (${registration.scope}), and a signed login`);

  const registered = await workflow.store.read(name);
  const { clientId, login: made } = await authenticate(workflow, registered, { endpoint, outlives: true });
  const equity = await withTransport(workflow, endpoint, async (bot) => {
    const options = { accessToken: made.accessToken };
    const summary = await bot.request('private/get_account_summary', { currency: 'BTC' }, options);
    return Number((summary as { equity?: unknown }).equity);
  });
  step(out, `logged in by client_signature; private/get_account_summary answers: equity ${equity} BTC`);
  const { loginVerified, scope } = registration;
  return {
    algorithm,
    transport,
    localFingerprint: record.fingerprint,
    returnedFingerprint: returned,
    match,
    clientId,
    scope,
    loginVerified,
    equity,
  };
}

/** An exchange that records another key than was sent: registering must fail, and leave nothing behind. */
async function catchSwap({ out, workflow, sandbox, login }: Stage, endpoint: Endpoint) {
  const { generate } = await import('../../keystore/stored-keys.js');
  const { register } = await import('../../workflows/registration/register.js');
  out.line('');
  out.line(out.style('A swapped key', 'bold'));
  await generate(workflow.store, 'demo-swapped', { type: 'ed25519' });
  const before = sandbox.keys().length;
  sandbox.setFaults(['swap-key@private/create_api_key']);
  try {
    await register(workflow, { name: 'demo-swapped', scope: SCOPE, login: login(endpoint) });
    return { caught: false, removed: false };
  } catch (error) {
    if (!isDeribitKeysError(error, 'ERR_PROOF_FAILED')) throw error;
    step(out, 'caught: the exchange recorded a different public key from the one it was sent');
    out.line(`      ${error.message.replaceAll('; ', '\n      ')}`);
  } finally {
    sandbox.clearFaults();
  }
  const removed = sandbox.keys().length === before;
  if (removed) step(out, 'the wrong key was removed from the exchange; the local key is unchanged');
  return { caught: true, removed };
}

async function play(cx: Context, folder: string, sandbox: Sandbox): Promise<void> {
  const { resolveEndpoint } = await import('../../deribit/endpoints.js');
  const { workflow } = createContext(cx.host, {
    out: cx.out,
    options: { ...cx.options, keysDir: join(folder, 'keys') },
  });
  const { clientId, clientSecret } = sandbox;
  const credentials = { clientId, clientSecret: new Secret(clientSecret) };
  const stage: Stage = { out: cx.out, workflow, sandbox, login: (endpoint) => ({ credentials, endpoint }) };
  const websocket = resolveEndpoint({ url: sandbox.wsUrl });
  const http = resolveEndpoint({ url: sandbox.httpUrl });

  cx.out.line(`A local exchange runs on ${sandbox.wsUrl}; the keys are in a folder that is deleted at the end.`);
  const stories = [await tell(stage, 'ed25519', websocket), await tell(stage, 'rsa', http)];
  const swapped = await catchSwap(stage, websocket);
  const ok = stories.every(({ match, loginVerified }) => match && loginVerified) && swapped.caught && swapped.removed;
  cx.out.result({ ok, keys: stories, swappedKey: swapped }, () => [
    '',
    ok ? cx.out.style('Everything worked.', 'bold') : '',
  ]);
  if (!ok) throw new DeribitKeysError('ERR_CHECK_FAILED', 'the demo failed');
}

export const define: Define = (command, { look }) => {
  command.examples('demo', 'demo --json | jq .').action(
    look(async (cx) => {
      const { startSandbox } = await import('../../sandbox/index.js');
      const folder = await mkdtemp(join(tmpdir(), 'deribit-keys-demo-'));
      try {
        const sandbox = await startSandbox();
        try {
          await play(cx, folder, sandbox);
        } finally {
          await sandbox.close();
        }
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    }),
  );
};
