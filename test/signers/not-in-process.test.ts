import { execFileSync, spawn } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parsePrivateKey } from '../../src/crypto/formats/index.js';
import { encodePublicKeyPem } from '../../src/crypto/index.js';
import { encodePrivateKeyPem } from '../../src/crypto/pem.js';
import { installProgram } from '../support/program.js';
import { openDesk } from './desk.js';
import { FIXTURE, folder, noAgent, noToken, PIN, SOFTHSM_MODULE, softHsm, startAgent } from './support.js';

const noMemory = !existsSync('/proc/self/mem');
if (noMemory) process.stderr.write('skipped, tests of what is in memory: there is no /proc/<pid>/mem\n');

/** The secret numbers of a key: an Ed25519 seed, or d, p and q. */
function secretsOf(pem: string): Buffer[] {
  const { d, p, q } = createPrivateKey(pem).export({ format: 'jwk' });
  return [d, p, q].flatMap((part) => (part === undefined ? [] : [Buffer.from(part, 'base64url')]));
}

/** Texts in which a secret could stand: hexadecimal, and base64 whatever stands before it. */
function textsOf(secret: Buffer): string[] {
  const hex = secret.toString('hex');
  const shifted = [0, 1, 2].map((by) =>
    Buffer.concat([Buffer.alloc(by), secret])
      .toString('base64')
      .slice(4, 36),
  );
  return [
    hex.slice(0, 32),
    hex.slice(0, 32).toUpperCase(),
    ...shifted,
    ...shifted.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')),
  ];
}

/** Which of the secrets, as bytes or as text, stand in the bytes. */
const found = (haystack: Buffer, secrets: readonly Buffer[]) =>
  secrets.some((secret) => haystack.includes(secret) || textsOf(secret).some((text) => haystack.includes(text)));

/** Whether any readable memory of a process holds one of the secrets. */
function memoryHolds(pid: number, secrets: readonly Buffer[]): boolean {
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    return readFileSync(`/proc/${pid}/maps`, 'utf8')
      .split('\n')
      .some((line) => {
        const [, from = '0', to = '0', flags = ''] = /^([0-9a-f]+)-([0-9a-f]+) (\S+)/.exec(line) ?? [];
        const length = Number(BigInt(`0x${to}`) - BigInt(`0x${from}`));
        if (!flags.startsWith('rw') || length > 512 * 1024 * 1024) return false;
        const content = Buffer.alloc(length);
        try {
          readSync(memory, content, 0, length, BigInt(`0x${from}`) as unknown as number);
        } catch {
          return false;
        }
        return secrets.some((secret) => content.includes(secret));
      });
  } finally {
    closeSync(memory);
  }
}

/** Runs a bot until it has logged in, and says where the secrets are to be seen. */
async function look(
  kind: 'agent' | 'token' | 'file',
  place: object,
  pem: string,
  env: Readonly<Record<string, string>> = {},
) {
  const home = folder();
  const bundle = join(home, 'bot.cjs');
  await installProgram(bundle, 'test/signers/bot-process.ts');
  const desk = await openDesk();
  const { publicKey } = await parsePrivateKey(pem);
  const { client_id } = desk.sandbox.addKey({ publicKey: encodePublicKeyPem(publicKey), maxScope: 'account:read' });
  const snapshot = join(home, 'bot.heapsnapshot');
  const words = [bundle, kind, JSON.stringify(place), join(FIXTURE, 'x.js'), desk.sandbox.wsUrl, client_id, snapshot];
  const child = spawn(process.execPath, words, {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const ready = await new Promise<boolean>((resolve) => {
    child.stdout.once('data', () => resolve(true));
    child.once('exit', () => resolve(false));
  });
  expect(ready).toBe(true);
  const secrets = secretsOf(pem);
  const pid = child.pid ?? 0;
  const seen = {
    memory: memoryHolds(pid, secrets),
    heap: found(readFileSync(snapshot), secrets),
    environment: found(readFileSync(`/proc/${pid}/environ`), secrets),
  };
  child.stdin.end('go\n');
  await new Promise((resolve) => child.once('exit', resolve));
  return seen;
}

describe.skipIf(noMemory)('the private bytes of a key', () => {
  it('are in the process of a bot that reads them from a file: so these tests would find them', async () => {
    const file = join(folder(), 'key.pem');
    execFileSync('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', file], { stdio: 'pipe' });
    const pem = readFileSync(file, 'utf8');
    const env = { KEY: secretsOf(pem)[0]?.toString('base64') ?? '' };
    expect(await look('file', { file }, pem, env)).toEqual({ memory: true, heap: true, environment: true });
  });

  it.skipIf(noAgent).each(['ed25519', 'rsa'] as const)(
    'are nowhere in a bot whose key an agent holds (%s)',
    async (type) => {
      const agent = await startAgent();
      const { file, fingerprint, pem } = agent.addKey(type, 'bot');
      rmSync(file);
      const pkcs8 = encodePrivateKeyPem(await parsePrivateKey(pem));
      expect(await look('agent', { socket: agent.socket, fingerprint }, pkcs8)).toEqual({
        memory: false,
        heap: false,
        environment: false,
      });
    },
  );

  it.skipIf(noToken)('are neither in the heap nor in the environment of a bot whose key a token holds', async () => {
    const home = folder();
    const { conf } = softHsm(home, ['bots']);
    const file = join(home, 'key.pem');
    execFileSync('openssl', ['genpkey', '-algorithm', 'rsa', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', file], {
      stdio: 'pipe',
    });
    const pem = readFileSync(file, 'utf8');
    execFileSync('softhsm2-util', ['--import', file, '--token', 'bots', '--label', 'bot', '--id', '01', '--pin', PIN], {
      stdio: 'pipe',
    });
    rmSync(file);
    const pinFile = join(home, 'pin');
    writeFileSync(pinFile, PIN);
    const place = { module: SOFTHSM_MODULE, token: 'bots', label: 'bot', pinFile };
    // SoftHSM is a library in the process and decrypts keys there: what is in its own memory is not ours to say
    expect(await look('token', place, pem, { SOFTHSM2_CONF: conf })).toMatchObject({ heap: false, environment: false });
  });

  it.skipIf(noAgent)('are in no file of the keystore when the key lives in an agent', async () => {
    const agent = await startAgent();
    const desk = await openDesk({ SSH_AUTH_SOCK: agent.socket });
    const { pem, file } = agent.addKey('ed25519', 'bot');
    rmSync(file);
    const secrets = secretsOf(encodePrivateKeyPem(await parsePrivateKey(pem)));
    await desk.json(['generate', 'control']);
    await desk.json(['add-agent', 'bot', '--comment', 'bot']);
    await desk.json(['register', 'bot', '--scope', 'account:read']);
    await desk.json(['generate', 'made', '--in-agent']);
    const files = readdirSync(desk.keys, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
    expect(files.length).toBeGreaterThanOrEqual(8);
    for (const path of files) expect(found(readFileSync(path), secrets)).toBe(false);
    const privateFiles = files.filter((path) => readFileSync(path, 'utf8').includes('PRIVATE'));
    expect(privateFiles).toEqual([join(desk.keys, 'control.pem')]);
  });
});
