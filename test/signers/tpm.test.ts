import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateInToken } from '../../src/signers/pkcs11/generate-in-token.js';
import { pkcs11Signer } from '../../src/signers/pkcs11/pkcs11-signer.js';
import { live, openDesk, type Stored } from './desk.js';
import { bytes, load, noTpm, opensslVerifies, PIN, TPM_MODULE } from './support.js';

const isFree = (port: number) =>
  new Promise<boolean>((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });

const answers = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('close', () => socket.destroy());
    socket.once('connect', () => socket.destroy());
  });

/** Tools that leave their objects in the TPM, which has no room for many; a kernel's resource manager removes them. */
const TOOLS = ['create', 'createprimary', 'load', 'import', 'changeauth', 'evictcontrol', 'sign', 'unseal'].map(
  (name) => `tpm2_${name}`,
);

describe.skipIf(noTpm)('a TPM 2.0 through tpm2-pkcs11, as swtpm emulates it', () => {
  const home = mkdtempSync(join(tmpdir(), 'dk-tpm-'));
  let tpm: ChildProcess | undefined;
  const token = { module: TPM_MODULE, token: 'bots', pin: PIN, load };

  beforeAll(async () => {
    for (const name of ['state', 'store', 'bin']) mkdirSync(join(home, name));
    let port = 20_000 + (process.pid % 20_000);
    // the module expects the control channel at the next port
    while (!((await isFree(port)) && (await isFree(port + 1)))) port += 2;
    const channel = (name: string, at: number) => [`--${name}`, `type=tcp,port=${at},bindaddr=127.0.0.1`];
    const words = ['socket', '--tpm2', '--tpmstate', `dir=${join(home, 'state')}`];
    const more = [...channel('server', port), ...channel('ctrl', port + 1), '--flags', 'not-need-init,startup-clear'];
    tpm = spawn('swtpm', [...words, ...more], { stdio: 'ignore' });
    while (!(await answers(port + 1))) await sleep(20);
    const tcti = `swtpm:host=127.0.0.1,port=${port}`;
    Object.assign(process.env, { TPM2_PKCS11_TCTI: tcti, TPM2_PKCS11_STORE: join(home, 'store') });
    for (const tool of TOOLS) {
      const script = `#!/bin/sh\ntpm2_flushcontext -t >/dev/null 2>&1\nPATH=\${PATH#*:}\nexec ${tool} "$@"\n`;
      writeFileSync(join(home, 'bin', tool), script, { mode: 0o755 });
    }
    const env = { ...process.env, TPM2TOOLS_TCTI: tcti, PATH: `${join(home, 'bin')}:${process.env.PATH}` };
    const ptool = (...argv: string[]) => execFileSync('tpm2_ptool', argv, { env, stdio: 'pipe' });
    ptool('init');
    ptool('addtoken', '--pid=1', '--label=bots', `--userpin=${PIN}`, '--sopin=31415926');
    ptool('addkey', '--label=bots', `--userpin=${PIN}`, '--algorithm=rsa2048', '--key-label=theirs');
    execFileSync('tpm2_flushcontext', ['-t'], { env, stdio: 'pipe' });
  });
  afterAll(() => {
    tpm?.kill();
    rmSync(home, { recursive: true, force: true });
  });

  // first, since a login holds for the whole process
  it('says that a PIN is wrong', async () => {
    await expect(pkcs11Signer({ ...token, pin: '000000', label: 'theirs' })).rejects.toMatchObject({
      code: 'ERR_PASSPHRASE_WRONG',
      message: expect.stringContaining('wrong PIN for the token "bots"'),
    });
  });

  it('signs with an RSA key that tpm2_ptool made, several times at once', async () => {
    const signer = await pkcs11Signer({ ...token, label: 'theirs' });
    expect(signer.publicKey.bits).toBe(2048);
    const messages = ['a', 'b', 'c'].map(bytes);
    const signatures = await Promise.all(messages.map((message) => signer.sign(message)));
    for (const [index, message] of messages.entries()) {
      expect(opensslVerifies(signer.publicKey, message, signatures[index] ?? new Uint8Array())).toBe(true);
    }
    await signer.close();
  });

  it('makes an RSA key, which lives its life there', async () => {
    const env = { DERIBIT_KEYS_PIN: PIN };
    const desk = await openDesk(env);
    const place = ['--in-token', '--module', TPM_MODULE, '--token', 'bots', '--type', 'rsa', '--bits', '2048'];
    await live(desk, await desk.json<Stored>(['generate', 'bot', ...place]), env);
  });

  it('makes no Ed25519 key, and says what to do', async () => {
    await expect(generateInToken({ ...token, label: 'ed' })).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: 'the token "bots" cannot make Ed25519 keys',
      hint: expect.stringContaining('--type rsa'),
    });
  });

  it('says that a token is absent, and that the TPM is gone', async () => {
    await expect(pkcs11Signer({ ...token, token: 'other', label: 'theirs' })).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringContaining('there is no token "other"'),
      hint: expect.stringContaining('"bots"'),
    });
    const signer = await pkcs11Signer({ ...token, label: 'theirs' });
    tpm?.kill();
    await new Promise((resolve) => tpm?.once('exit', resolve));
    await expect(signer.sign(bytes('m'))).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringMatching(/the token "bots" .*CKR_/),
    });
  });
});
