// Sessions of a fleet.

import { openWebSocket } from '../../../dist/deribit/websocket-transport.js';
import { loadSigner, memoryTokenStore, openFleet, openSession } from '../../../dist/index.js';
import { meter } from './meter.mjs';

const LOGINS = 15;
let fleet;

async function open({ url, clientId, privateKey, sessions, sharesToken }) {
  const signer = await loadSigner({ pem: privateKey });
  const startMs = performance.now();
  const tokenStore = sharesToken ? memoryTokenStore() : undefined;
  const most = { maxConnections: sessions, maxSessionsPerKey: sessions, connectsAtOnce: 64, rate: null };
  fleet = openFleet({ ...most, tokenStore });
  await Promise.all(Array.from({ length: sessions }, () => fleet.openSession({ url, clientId, signer })));
  return { openedMs: performance.now() - startMs };
}

async function awaitReturn() {
  const back = [...fleet.sessions].map(
    (session) =>
      new Promise((resolve) => {
        const stop = session.on('reconnect', () => {
          stop();
          resolve();
        });
      }),
  );
  const stop = meter();
  await Promise.all(back);
  return stop();
}

/** From the moment at which the socket is open to the one at which the session is. */
async function logIn({ url, clientId, privateKey }) {
  const signer = await loadSigner({ pem: privateKey });
  const loginMs = [];
  for (let i = 0; i < LOGINS; i += 1) {
    let openMs = 0;
    const connectWebSocket = async (...connection) => {
      const transport = await openWebSocket(...connection);
      openMs = performance.now();
      return transport;
    };
    const session = await openSession({ url, clientId, signer, connectWebSocket });
    loginMs.push(performance.now() - openMs);
    await session.close();
  }
  return { loginMs };
}

const work = { open, 'await-return': awaitReturn, 'log-in': logIn };
process.on('message', async (message) => process.send(await work[message.do](message)));
