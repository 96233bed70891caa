// A sandbox of its own process: it is sent a public key, and answers where it runs and under which client id.
import { startSandbox } from '../../dist/sandbox/index.js';

process.once('message', async ({ publicKey }) => {
  const sandbox = await startSandbox({ callLimit: 0 });
  const key = sandbox.addKey({ publicKey, maxScope: 'account:read trade:read_write' });
  process.send({ wsUrl: sandbox.wsUrl, clientId: key.client_id });
});
