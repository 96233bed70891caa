import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { encodePublicKeyPem, type PublicKey } from '../../src/crypto/index.js';

/** The folder with the optional packages: `npm ci --omit=optional --prefix test/fixtures/signers`. */
export const FIXTURE = fileURLToPath(new URL('../fixtures/signers/', import.meta.url));
const fixtureRequire = createRequire(join(FIXTURE, 'package.json'));

const works = (command: string, ...words: string[]) => {
  try {
    execFileSync(command, words, { stdio: 'ignore' });
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT';
  }
};
const has = (name: string) => existsSync(join(FIXTURE, 'node_modules', name, 'package.json'));

export const SOFTHSM_MODULE =
  [
    '/usr/lib/softhsm/libsofthsm2.so',
    '/usr/lib64/softhsm/libsofthsm2.so',
    '/usr/local/lib/softhsm/libsofthsm2.so',
  ].find(existsSync) ?? '';

const missing = (what: string, ...context: readonly (readonly [boolean, string])[]) => {
  const lacks = context.filter(([there]) => !there).map(([, name]) => name);
  if (lacks.length > 0) process.stderr.write(`skipped, ${what}: there is no ${lacks.join(', no ')}\n`);
  return lacks.length > 0;
};

/** Whether what the tests with a real agent need is missing; says so. */
export const noAgent = missing(
  'tests of a real ssh-agent',
  [works('ssh-agent', '-k'), 'ssh-agent'],
  [works('ssh-add', '-l'), 'ssh-add'],
  [has('ssh2'), 'ssh2 in test/fixtures/signers (npm ci)'],
);

/** Whether what the tests with SoftHSM need is missing; says so. */
export const noToken = missing(
  'tests of a PKCS#11 token',
  [SOFTHSM_MODULE !== '', 'SoftHSM (apt-get install softhsm2)'],
  [works('softhsm2-util', '--version'), 'softhsm2-util'],
  [has('pkcs11js'), 'pkcs11js in test/fixtures/signers (npm ci)'],
);

/** Whether pkcs11-tool is missing; says so. */
export const noPkcs11Tool = missing('tests of hints for tokens', [
  works('pkcs11-tool', '--help'),
  'pkcs11-tool (apt-get install opensc)',
]);

export const TPM_MODULE =
  [
    '/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so',
    '/usr/lib/aarch64-linux-gnu/pkcs11/libtpm2_pkcs11.so',
    '/usr/lib64/pkcs11/libtpm2_pkcs11.so',
  ].find(existsSync) ?? '';

/** Whether what the tests with a TPM need is missing; says so. */
export const noTpm = missing(
  'tests of a TPM 2.0',
  [TPM_MODULE !== '', 'tpm2-pkcs11 (apt-get install libtpm2-pkcs11-1)'],
  [works('swtpm', '--version'), 'swtpm (apt-get install swtpm)'],
  [works('tpm2_ptool', '--help'), 'tpm2_ptool (apt-get install libtpm2-pkcs11-tools)'],
  [works('tpm2_flushcontext', '--version'), 'tpm2-tools (apt-get install tpm2-tools)'],
  [has('pkcs11js'), 'pkcs11js in test/fixtures/signers (npm ci)'],
);

/** Whether the SDKs of the cloud services are missing; says so. */
export const noCloudSdk = missing(
  'tests of the cloud services',
  ...['@aws-sdk/client-kms', '@google-cloud/kms', '@azure/keyvault-keys', '@azure/identity'].map(
    (name) => [has(name), `${name} in test/fixtures/signers (npm ci)`] as const,
  ),
);

/** Loads an optional package from the fixture. */
export const load = async (name: string): Promise<unknown> => fixtureRequire(name);

export const bytes = (text: string) => new TextEncoder().encode(text);

/** A new folder, gone after the test. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'dk-signers-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** An agent of OpenSSH that ends with the test. */
export async function startAgent(env: Readonly<Record<string, string>> = {}) {
  const home = folder();
  const socket = join(home, 'agent.sock');
  const child = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore', env: { PATH: process.env.PATH, ...env } });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const stop = async () => {
    child.kill();
    await ended;
  };
  onTestFinished(stop);
  for (let i = 0; i < 500 && !existsSync(socket); i += 1) await sleep(10);
  const sshAdd = (words: readonly string[], input?: string, more: Readonly<Record<string, string>> = {}) =>
    execFileSync('ssh-add', words, {
      env: { PATH: process.env.PATH, SSH_AUTH_SOCK: socket, ...more },
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'pipe'],
      input,
    });
  /** Makes a key by ssh-keygen, loads it, and gives what is known of it; its file is gone after the test. */
  const addKey = (type: 'ed25519' | 'rsa' | 'ecdsa', comment: string, ...flags: string[]) => {
    const file = join(home, `key-${comment}-${type}`);
    execFileSync('ssh-keygen', [
      '-q',
      '-t',
      type,
      ...(type === 'rsa' ? ['-b', '2048'] : []),
      '-N',
      '',
      '-C',
      comment,
      '-f',
      file,
    ]);
    sshAdd([...flags, file]);
    const fingerprint = execFileSync('ssh-keygen', ['-l', '-f', file], { encoding: 'utf8' }).split(' ')[1] ?? '';
    return { file, fingerprint, pem: readFileSync(file, 'utf8') };
  };
  /** Locks or unlocks the agent. */
  const lock = (flag: '-x' | '-X') => {
    const askpass = join(home, 'askpass');
    writeFileSync(askpass, '#!/bin/sh\necho secret\n', { mode: 0o700 });
    sshAdd([flag], '', { SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: 'force', DISPLAY: ':0' });
  };
  return { home, socket, stop, sshAdd, addKey, lock };
}

/** Something that is reached as an agent is: `answer` gives what goes back for each request. */
export async function fakeAgent(answer: (request: Buffer, socket: Socket) => Uint8Array | null): Promise<string> {
  const socket = join(folder(), 'fake.sock');
  const open = new Set<Socket>();
  const server: Server = createServer((client) => {
    open.add(client);
    let received = Buffer.alloc(0);
    client.on('error', () => {});
    client.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 4 && received.length >= 4 + received.readUInt32BE()) {
        const length = received.readUInt32BE();
        const request = received.subarray(4, 4 + length);
        received = received.subarray(4 + length);
        const reply = answer(request, client);
        if (reply !== null) client.write(framed(reply));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  onTestFinished(async () => {
    for (const client of open) client.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return socket;
}

/** A text or bytes after their length, as SSH writes them. */
export function sshString(value: string | Uint8Array): Buffer {
  const content = Buffer.from(value as string);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(content.length);
  return Buffer.concat([length, content]);
}

const framed = (message: Uint8Array) => sshString(message);

/** SSH_AGENT_IDENTITIES_ANSWER with these keys. */
export function identitiesAnswer(...keys: readonly { readonly blob: Uint8Array; readonly comment: string }[]): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(keys.length);
  return Buffer.concat([
    Buffer.of(12),
    count,
    ...keys.flatMap(({ blob, comment }) => [sshString(blob), sshString(comment)]),
  ]);
}

/** Whether openssl finds the signature valid. */
export function opensslVerifies(publicKey: PublicKey, message: Uint8Array, signature: Uint8Array): boolean {
  const home = folder();
  const file = (name: string, content: string | Uint8Array) => {
    writeFileSync(join(home, name), content);
    return join(home, name);
  };
  const key = file('pub.pem', encodePublicKeyPem(publicKey));
  const [data, sig] = [file('message', message), file('signature', signature)];
  const words =
    publicKey.algorithm === 'rsa'
      ? ['dgst', '-sha256', '-verify', key, '-signature', sig, data]
      : ['pkeyutl', '-verify', '-pubin', '-inkey', key, '-rawin', '-in', data, '-sigfile', sig];
  try {
    return /Verified OK|Verified Successfully/.test(
      execFileSync('openssl', words, { encoding: 'utf8', stdio: 'pipe' }),
    );
  } catch {
    return false;
  }
}

/** The PIN of all tokens here. */
export const PIN = '271828';

/** Tokens of SoftHSM in a folder; the module reads it in this process, once: call it before it is loaded. */
export function softHsm(home: string, labels: readonly string[], extra = ''): { readonly conf: string } {
  const tokens = join(home, 'tokens');
  mkdirSync(tokens);
  const conf = join(home, 'softhsm2.conf');
  writeFileSync(conf, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n${extra}`);
  process.env.SOFTHSM2_CONF = conf;
  for (const label of labels) {
    const words = ['--init-token', '--free', '--label', label, '--so-pin', '31415926', '--pin', PIN];
    execFileSync('softhsm2-util', words, { stdio: 'pipe', env: { ...process.env, SOFTHSM2_CONF: conf } });
  }
  return { conf };
}
