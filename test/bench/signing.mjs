// Signed parameters for public/auth beside bare crypto.sign; the portable engine beside noble and forge called bare.
import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto';
import * as noble from '@noble/ed25519';
import forge from 'node-forge';
import { engine as portable } from '../../dist/crypto/engine/portable.js';
import { localSigner } from '../../dist/crypto/index.js';
import { loadPkcs8Pem } from '../../dist/crypto/pem.js';
import { buildAuthParams } from '../../dist/deribit/auth.js';
import { row, speedRatio } from './measure.mjs';

const message = Buffer.from('1576074319000\n1iqt2wls\n');
const us = (ns) => `${(ns / 1000).toFixed(1)} µs`;

async function authParams(type, options, calls, atLeast) {
  const pem = generateKeyPairSync(type, options).privateKey.export({ type: 'pkcs8', format: 'pem' });
  const key = createPrivateKey(pem);
  const signer = localSigner(await loadPkcs8Pem(pem));
  const algorithm = type === 'ed25519' ? null : 'sha256';
  const credentials = { clientId: 'AbCdEf12', signer };
  const { ratio, bareNs, oursNs } = await speedRatio(
    () => buildAuthParams(credentials),
    async () => sign(algorithm, message, key),
    { calls },
  );
  const name = type === 'ed25519' ? 'Ed25519' : 'RSA-2048';
  return row(`auth params, ${name}, beside bare crypto.sign`, ratio, { atLeast }, `${us(oursNs)} : ${us(bareNs)}`);
}

const loadPkcs8 = (der) =>
  loadPkcs8Pem(`-----BEGIN PRIVATE KEY-----\n${der.toString('base64')}\n-----END PRIVATE KEY-----\n`);

async function portableEngine() {
  const rows = [];
  const seed = noble.utils.randomSecretKey();
  const pkcs8 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  const signEd = portable.signer(await loadPkcs8(pkcs8));
  const ed = await speedRatio(
    () => signEd(message),
    () => noble.signAsync(message, seed),
    { calls: 40, rounds: 9 },
  );
  rows.push(
    row('portable engine, Ed25519, beside noble', ed.ratio, { atLeast: 0.9 }, `${us(ed.oursNs)} : ${us(ed.bareNs)}`),
  );

  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const signRsa = portable.signer(await loadPkcs8(rsa.export({ type: 'pkcs8', format: 'der' })));
  const forgeKey = forge.pki.privateKeyFromPem(rsa.export({ type: 'pkcs8', format: 'pem' }));
  const bare = async () => {
    const digest = forge.md.sha256.create();
    digest.update(message.toString('binary'));
    return forgeKey.sign(digest);
  };
  const rs = await speedRatio(() => signRsa(message), bare, { calls: 3, rounds: 9 });
  rows.push(
    row('portable engine, RSA-2048, beside forge', rs.ratio, { atLeast: 0.9 }, `${us(rs.oursNs)} : ${us(rs.bareNs)}`),
  );
  return rows;
}

export async function bench() {
  return [
    await authParams('ed25519', {}, 3000, 0.9),
    await authParams('rsa', { modulusLength: 2048 }, 150, 0.95),
    ...(await portableEngine()),
  ];
}
