// As many bare ws clients: connect, sign, send the login, read its answer; after a cut the same again.
import { createPrivateKey, randomBytes, sign } from 'node:crypto';
import WebSocket from 'ws';
import { meter } from './meter.mjs';

const RETRY_MS = 250;
let back = () => {};

function client({ url, clientId, key }, onLogin) {
  let id = 0;
  const connect = () => {
    const socket = new WebSocket(url, { perMessageDeflate: false });
    socket.on('open', () => {
      const timestamp = Date.now();
      const nonce = randomBytes(12).toString('hex');
      const signature = sign(null, Buffer.from(`${timestamp}\n${nonce}\n`), key).toString('base64url');
      const params = { grant_type: 'client_signature', client_id: clientId, timestamp, nonce, data: '', signature };
      id += 1;
      socket.send(JSON.stringify({ jsonrpc: '2.0', id, method: 'public/auth', params }));
    });
    socket.on('message', (data) => {
      const { id: answered, result } = JSON.parse(data.toString());
      if (answered === id && result?.access_token !== undefined) onLogin();
    });
    socket.on('error', () => {});
    socket.on('close', () => setTimeout(connect, RETRY_MS * (0.5 + Math.random() / 2)));
  };
  connect();
}

async function open({ url, clientId, privateKey, sessions }) {
  const key = createPrivateKey(privateKey);
  const startMs = performance.now();
  let count = 0;
  await new Promise((resolve) => {
    const onLogin = () => {
      count += 1;
      if (count % sessions !== 0) return;
      if (count === sessions) resolve();
      else back();
    };
    for (let i = 0; i < sessions; i += 1) client({ url, clientId, key }, onLogin);
  });
  return { openedMs: performance.now() - startMs };
}

async function awaitReturn() {
  const stop = meter();
  await new Promise((resolve) => {
    back = resolve;
  });
  return stop();
}

const work = { open, 'await-return': awaitReturn };
process.on('message', async (message) => process.send(await work[message.do](message)));
