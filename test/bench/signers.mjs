// Signatures by a key in OpenSSH's agent and in SoftHSM, beside a bare client of the same package (ssh2, pkcs11js).
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { generateInToken } from '../../dist/signers/pkcs11/generate-in-token.js';
import { pkcs11Signer } from '../../dist/signers/pkcs11/pkcs11-signer.js';
import { sshAgentSigner } from '../../dist/signers/ssh-agent/ssh-agent-signer.js';
import { row, speedRatio } from './measure.mjs';

const SOFTHSM = '/usr/lib/softhsm/libsofthsm2.so';
const PIN = '1234';
const message = Buffer.from('1576074319000\n1iqt2wls\n');
const fixture = createRequire(new URL('../fixtures/signers/package.json', import.meta.url));
const load = async (name) => fixture(name);
const perSecond = (ns) => `${Math.round(1e9 / ns)}/s`;

function missing(name, ...files) {
  try {
    fixture.resolve(name);
    if (files.every(existsSync)) return false;
  } catch {
    // said below
  }
  process.stderr.write(`  left out: ${name} or ${files.join(', ') || 'its program'} is not installed\n`);
  return true;
}

async function compare(what, signer, bare, calls) {
  const { ratio, bareNs, oursNs } = await speedRatio(() => signer.sign(message), bare, { calls });
  return row(what, ratio, { atLeast: 0.9 }, `${perSecond(oursNs)} : ${perSecond(bareNs)}`);
}

async function agentRows(home) {
  if (missing('ssh2')) return [];
  const socket = join(home, 'agent.sock');
  const agent = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' });
  try {
    for (let i = 0; i < 500 && !existsSync(socket); i += 1) await sleep(10);
    const rows = [];
    for (const [type, name] of [
      ['ed25519', 'Ed25519'],
      ['rsa', 'RSA-2048'],
    ]) {
      const file = join(home, type);
      execFileSync('ssh-keygen', [
        '-q',
        '-t',
        type,
        ...(type === 'rsa' ? ['-b', '2048'] : []),
        '-N',
        '',
        '-C',
        type,
        '-f',
        file,
      ]);
      execFileSync('ssh-add', ['-q', file], { env: { ...process.env, SSH_AUTH_SOCK: socket } });
      const signer = await sshAgentSigner({ socket, comment: type, load });
      const bareAgent = fixture('ssh2').createAgent(socket);
      const keys = await promisify(bareAgent.getIdentities.bind(bareAgent))();
      const key = keys.find(({ comment }) => comment === type);
      const signBare = promisify(bareAgent.sign.bind(bareAgent));
      const options = type === 'rsa' ? { hash: 'sha256' } : {};
      rows.push(
        await compare(
          `key in ssh-agent, ${name}, beside bare ssh2`,
          signer,
          () => signBare(key, message, options),
          120,
        ),
      );
    }
    return rows;
  } finally {
    agent.kill();
  }
}

async function tokenRows(home) {
  if (missing('pkcs11js', SOFTHSM)) return [];
  const conf = join(home, 'softhsm2.conf');
  mkdirSync(join(home, 'tokens'));
  writeFileSync(conf, `directories.tokendir = ${join(home, 'tokens')}\nlog.level = ERROR\n`);
  process.env.SOFTHSM2_CONF = conf;
  const words = ['--init-token', '--free', '--label', 'bench', '--so-pin', '12345678', '--pin', PIN];
  execFileSync('softhsm2-util', words, { stdio: 'pipe' });
  const place = { module: SOFTHSM, token: 'bench', pin: PIN, load };
  const { PKCS11 } = fixture('pkcs11js');
  const bare = new PKCS11();
  bare.load(SOFTHSM);
  const rows = [];
  for (const [type, name, mechanism, length] of [
    ['ed25519', 'Ed25519', 0x1057, 64],
    ['rsa', 'RSA-2048', 0x40, 256],
  ]) {
    await generateInToken({ ...place, label: type, type, ...(type === 'rsa' ? { bits: 2048 } : {}) });
    const signer = await pkcs11Signer({ ...place, label: type });
    const [slot] = bare.C_GetSlotList(true).filter((one) => bare.C_GetTokenInfo(one).label.startsWith('bench'));
    const session = bare.C_OpenSession(slot, 4);
    bare.C_FindObjectsInit(session, [
      { type: 0, value: 3 },
      { type: 3, value: type },
    ]);
    const [key] = bare.C_FindObjects(session, 1);
    bare.C_FindObjectsFinal(session);
    const signBare = () => {
      bare.C_SignInit(session, { mechanism, parameter: null }, key);
      return bare.C_SignAsync(session, message, Buffer.alloc(length));
    };
    rows.push(await compare(`key in SoftHSM, ${name}, beside bare pkcs11js`, signer, signBare, 300));
  }
  return rows;
}

export async function bench() {
  const home = mkdtempSync(join(tmpdir(), 'dk-bench-signers-'));
  try {
    return [...(await agentRows(home)), ...(await tokenRows(home))];
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}
