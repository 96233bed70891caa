// Signed logins, pipelined over one WebSocket by this process to a sandbox in another, beside bare crypto.verify.
import { fork } from 'node:child_process';
import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';
import { roundsOf, row } from './measure.mjs';

const LOGINS = 6000;
const ROUNDS = roundsOf(5);
const host = fileURLToPath(new URL('./sandbox-process.mjs', import.meta.url));

function verifiesPerSecond({ privateKey, publicKey }) {
  const message = Buffer.from('1576074319000\n1iqt2wls\n');
  const signature = sign(null, message, privateKey);
  const start = process.hrtime.bigint();
  for (let i = 0; i < LOGINS; i += 1) verify(null, message, publicKey, signature);
  return LOGINS / (Number(process.hrtime.bigint() - start) / 1e9);
}

function frames(clientId, privateKey) {
  return Array.from({ length: LOGINS }, (_, id) => {
    const timestamp = Date.now();
    const nonce = `${timestamp}-${id}-${Math.random()}`;
    const signature = sign(null, Buffer.from(`${timestamp}\n${nonce}\n`), privateKey).toString('base64url');
    const params = { grant_type: 'client_signature', client_id: clientId, timestamp, nonce, data: '', signature };
    return JSON.stringify({ jsonrpc: '2.0', id, method: 'public/auth', params });
  });
}

async function loginsPerSecond(url, prepared) {
  const socket = new WebSocket(url, { perMessageDeflate: false });
  await once(socket, 'open');
  let answers = 0;
  const done = new Promise((resolve, reject) => {
    socket.on('message', (data) => {
      if (!data.includes('access_token')) reject(new Error('a login was refused'));
      answers += 1;
      if (answers === prepared.length) resolve();
    });
  });
  const start = process.hrtime.bigint();
  for (const frame of prepared) socket.send(frame);
  await done;
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  socket.terminate();
  return prepared.length / seconds;
}

export async function bench() {
  const pair = generateKeyPairSync('ed25519');
  const child = fork(host, [], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  try {
    child.send({ publicKey: pair.publicKey.export({ type: 'spki', format: 'pem' }) });
    const [{ wsUrl, clientId }] = await once(child, 'message');
    const results = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const bare = verifiesPerSecond(pair);
      results.push({ bare, logins: await loginsPerSecond(wsUrl, frames(clientId, pair.privateKey)) });
    }
    results.sort((a, b) => a.logins / a.bare - b.logins / b.bare);
    const { bare, logins } = results[Math.floor(ROUNDS / 2)];
    const detail = `${Math.round(logins)}/s : ${Math.round(bare)}/s`;
    return [row('signed logins on the sandbox, beside crypto.verify', logins / bare, { atLeast: 0.4 }, detail)];
  } finally {
    child.kill();
  }
}
