import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parsePublicKey } from '../../src/crypto/formats/index.js';
import { generateKeyPair } from '../../src/crypto/generate.js';
import { loadKeyIntoAgent, removeKeyFromAgent, sshFingerprint } from '../../src/signers/ssh-agent/identities.js';
import { sshAgentSigner } from '../../src/signers/ssh-agent/ssh-agent-signer.js';
import { bytes, folder, load, noAgent, opensslVerifies, sshString, startAgent } from './support.js';

const refuses = (promise: Promise<unknown>, code: string, words: RegExp, hint = /./) =>
  expect(promise).rejects.toMatchObject({
    code,
    message: expect.stringMatching(words),
    hint: expect.stringMatching(hint),
  });

describe.skipIf(noAgent)('sshAgentSigner with an agent of OpenSSH', () => {
  it.each(['ed25519', 'rsa'] as const)('signs with %s what openssl verifies', async (type) => {
    const agent = await startAgent();
    const { fingerprint, file } = agent.addKey(type, 'bot@desk');
    const signer = await sshAgentSigner({ socket: agent.socket, fingerprint, load });
    expect(signer).toMatchObject({ algorithm: type, sshFingerprint: fingerprint, comment: 'bot@desk' });
    expect(signer.publicKey.equals(await parsePublicKey(readFileSync(`${file}.pub`, 'utf8')))).toBe(true);
    for (const text of ['1760000000000\nabcd\n', 'x'.repeat(5000)]) {
      const signature = await signer.sign(bytes(text));
      expect(opensslVerifies(signer.publicKey, bytes(text), signature)).toBe(true);
      expect(opensslVerifies(signer.publicKey, bytes(`${text}.`), signature)).toBe(false);
    }
  });

  it('finds a key by its comment, by its public key, and by SSH_AUTH_SOCK', async () => {
    const agent = await startAgent();
    agent.addKey('rsa', 'other');
    const { file, fingerprint } = agent.addKey('ed25519', 'bot');
    const publicKey = await parsePublicKey(readFileSync(`${file}.pub`, 'utf8'));
    const found = [
      await sshAgentSigner({ socket: agent.socket, comment: 'bot', load }),
      await sshAgentSigner({ socket: agent.socket, publicKey, load }),
      await sshAgentSigner({ socket: agent.socket, fingerprint: `${fingerprint}=`, load }),
    ];
    for (const signer of found) expect(signer.publicKey.equals(publicKey)).toBe(true);
    const before = process.env.SSH_AUTH_SOCK;
    process.env.SSH_AUTH_SOCK = agent.socket;
    try {
      expect((await sshAgentSigner({ comment: 'bot', load })).sshFingerprint).toBe(fingerprint);
    } finally {
      if (before === undefined) delete process.env.SSH_AUTH_SOCK;
      else process.env.SSH_AUTH_SOCK = before;
    }
  });

  it('keeps hundreds of signatures at once apart', async () => {
    const agent = await startAgent();
    agent.addKey('ed25519', 'bot');
    const signer = await sshAgentSigner({ socket: agent.socket, comment: 'bot', load });
    const messages = Array.from({ length: 300 }, (_, i) => bytes(`${i}\nnonce\n`));
    const signatures = await Promise.all(messages.map((message) => signer.sign(message)));
    const again = await Promise.all(messages.map((message) => signer.sign(message)));
    expect(signatures).toEqual(again);
    expect(new Set(signatures.map((signature) => Buffer.from(signature).toString('hex'))).size).toBe(300);
  });

  it('says that there is no agent', async () => {
    const agent = await startAgent();
    await refuses(sshAgentSigner({ socket: '', comment: 'x', load }), 'ERR_SIGNER', /SSH_AUTH_SOCK is not set/);
    const nowhere = join(agent.home, 'nowhere.sock');
    await refuses(sshAgentSigner({ socket: nowhere, comment: 'x', load }), 'ERR_SIGNER', /is not a socket/);
    const file = join(agent.home, 'file');
    writeFileSync(file, '');
    await refuses(sshAgentSigner({ socket: file, comment: 'x', load }), 'ERR_SIGNER', /is not a socket/);
  });

  it('says that the agent went away between two signatures', async () => {
    const agent = await startAgent();
    agent.addKey('ed25519', 'bot');
    const signer = await sshAgentSigner({ socket: agent.socket, comment: 'bot', load });
    await agent.stop();
    await refuses(signer.sign(bytes('m')), 'ERR_SIGNER', /there is no ssh-agent|no ssh-agent answers/);
  });

  it('says that the agent is locked, and signs again when it is unlocked', async () => {
    const agent = await startAgent();
    agent.addKey('ed25519', 'bot');
    const signer = await sshAgentSigner({ socket: agent.socket, comment: 'bot', load });
    agent.lock('-x');
    await refuses(signer.sign(bytes('m')), 'ERR_SIGNER', /was locked or emptied/, /ssh-add -X/);
    await refuses(
      sshAgentSigner({ socket: agent.socket, comment: 'bot', load }),
      'ERR_SIGNER',
      /shows no keys.*empty or locked/,
      /ssh-add -X/,
    );
    agent.lock('-X');
    expect(opensslVerifies(signer.publicKey, bytes('m'), await signer.sign(bytes('m')))).toBe(true);
  });

  it('says that the key is gone, or was never there', async () => {
    const agent = await startAgent();
    const { file } = agent.addKey('ed25519', 'bot');
    agent.addKey('rsa', 'other');
    const signer = await sshAgentSigner({ socket: agent.socket, comment: 'bot', load });
    agent.sshAdd(['-d', file]);
    await refuses(signer.sign(bytes('m')), 'ERR_SIGNER', /no longer in the ssh-agent/, /lifetime/);
    await refuses(
      sshAgentSigner({ socket: agent.socket, comment: 'bot', load }),
      'ERR_SIGNER',
      /no key with the comment "bot"/,
      /it has: SHA256:\S+ other \(ssh-rsa\)/,
    );
    await refuses(sshAgentSigner({ socket: agent.socket, publicKey: signer.publicKey, load }), 'ERR_SIGNER', /no key/);
  });

  it('says that the user denied the confirmation', async () => {
    const agent = await startAgent({ SSH_ASKPASS: '/bin/false', SSH_ASKPASS_REQUIRE: 'force', DISPLAY: ':0' });
    agent.addKey('ed25519', 'bot', '-c');
    await refuses(
      sshAgentSigner({ socket: agent.socket, comment: 'bot', load }),
      'ERR_SIGNER',
      /refuses to sign with SHA256:/,
      /confirmation was denied/,
    );
  });

  it('signs when the user confirms', async () => {
    const agent = await startAgent({ SSH_ASKPASS: '/bin/true', SSH_ASKPASS_REQUIRE: 'force', DISPLAY: ':0' });
    agent.addKey('ed25519', 'bot', '-c');
    const signer = await sshAgentSigner({ socket: agent.socket, comment: 'bot', load });
    expect(opensslVerifies(signer.publicKey, bytes('m'), await signer.sign(bytes('m')))).toBe(true);
  });

  it('refuses a comment that two keys have, and names them', async () => {
    const agent = await startAgent();
    const [one, two] = [agent.addKey('ed25519', 'bot'), agent.addKey('rsa', 'bot')];
    await refuses(
      sshAgentSigner({ socket: agent.socket, comment: 'bot', load }),
      'ERR_USAGE',
      /2 keys with the comment "bot"/,
      new RegExp(`${one.fingerprint.replaceAll('+', '\\+')}.*${two.fingerprint.replaceAll('+', '\\+')}`),
    );
  });

  it('names keys of FIDO devices and other algorithms as unusable, and why', async () => {
    const agent = await startAgent();
    const sk = Buffer.concat([
      Buffer.of(17),
      sshString('sk-ssh-ed25519@openssh.com'),
      sshString((await generateKeyPair()).publicKey.spki.slice(12)),
      sshString('ssh:'),
      Buffer.of(1),
      sshString('handle'),
      sshString(''),
      sshString('fido'),
    ]);
    execFileSync(
      process.execPath,
      [
        '-e',
        `const s=require('net').connect(process.argv[1]);s.end(Buffer.from(process.argv[2],'hex'));s.on('data',(d)=>process.exit(d[4]===6?0:1))`,
        agent.socket,
        sshString(sk).toString('hex'),
      ],
      { stdio: 'pipe' },
    );
    expect(agent.sshAdd(['-l'])).toContain('ED25519-SK');
    await refuses(
      sshAgentSigner({ socket: agent.socket, comment: 'fido', load }),
      'ERR_KEY_UNSUPPORTED',
      /FIDO security key \(sk-ssh-ed25519@openssh\.com\): its device signs a wrapped message/,
      /generate/,
    );
    agent.addKey('ecdsa', 'p256');
    await refuses(sshAgentSigner({ socket: agent.socket, comment: 'p256', load }), 'ERR_KEY_UNSUPPORTED', /P-256/);
    agent.addKey('ed25519', 'good');
    expect((await sshAgentSigner({ socket: agent.socket, comment: 'good', load })).algorithm).toBe('ed25519');
  });

  it('passes over certificates beside the key, and says what they are', async () => {
    const agent = await startAgent();
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(agent.home, 'ca')]);
    const { file } = agent.addKey('ed25519', 'bot');
    execFileSync('ssh-keygen', ['-q', '-s', join(agent.home, 'ca'), '-I', 'id', '-n', 'me', `${file}.pub`], {
      stdio: 'pipe',
    });
    agent.sshAdd([file]);
    expect(agent.sshAdd(['-l'])).toContain('ED25519-CERT');
    expect((await sshAgentSigner({ socket: agent.socket, comment: 'bot', load })).algorithm).toBe('ed25519');
    const certificate = agent
      .sshAdd(['-L'])
      .split('\n')
      .find((line) => line.includes('-cert-v01@openssh.com'));
    const blob = Buffer.from((certificate ?? '').split(' ')[1] ?? '', 'base64');
    expect(blob.length).toBeGreaterThan(200);
    await refuses(
      sshAgentSigner({ socket: agent.socket, fingerprint: sshFingerprint(blob), load }),
      'ERR_KEY_UNSUPPORTED',
      /is a certificate/,
    );
  });

  it('does not take other text for a fingerprint', async () => {
    const agent = await startAgent();
    await refuses(
      sshAgentSigner({ socket: agent.socket, fingerprint: 'MD5:00:11', load }),
      'ERR_USAGE',
      /text of 9 characters is not a SHA-256 fingerprint/,
      /ssh-add -l/,
    );
  });

  it('names the package that is missing', async () => {
    const missing = (name: string) => Promise.reject(new Error(`Cannot find package '${name}'`));
    const agent = await startAgent();
    await refuses(
      sshAgentSigner({ socket: agent.socket, comment: 'bot', load: missing }),
      'ERR_SIGNER',
      /needs the package ssh2, which is not installed/,
      /npm install ssh2/,
    );
  });
});

describe.skipIf(noAgent)('loadKeyIntoAgent with an agent of OpenSSH', () => {
  it.each([
    ['ed25519', undefined],
    ['rsa', 2048],
  ] as const)('loads %s, which then signs', async (type, bits) => {
    const agent = await startAgent();
    const key = await generateKeyPair({ type, ...(bits === undefined ? {} : { bits }) });
    const loaded = await loadKeyIntoAgent(key, { socket: agent.socket, comment: 'from here', load });
    expect(agent.sshAdd(['-l'])).toContain(`${loaded.fingerprint} from here`);
    const signer = await sshAgentSigner({ socket: agent.socket, fingerprint: loaded.fingerprint, load });
    expect(signer.publicKey.equals(key.publicKey)).toBe(true);
    expect(opensslVerifies(key.publicKey, bytes('m'), await signer.sign(bytes('m')))).toBe(true);
    await removeKeyFromAgent(loaded, { socket: agent.socket, load });
    await refuses(signer.sign(bytes('m')), 'ERR_SIGNER', /locked or emptied/);
  });

  it('sets a confirmation, which the agent asks for', async () => {
    const agent = await startAgent({ SSH_ASKPASS: '/bin/false', SSH_ASKPASS_REQUIRE: 'force', DISPLAY: ':0' });
    await loadKeyIntoAgent(await generateKeyPair(), { socket: agent.socket, comment: 'asked', confirm: true, load });
    await refuses(sshAgentSigner({ socket: agent.socket, comment: 'asked', load }), 'ERR_SIGNER', /refuses to sign/);
  });

  it('sets a lifetime, after which the agent has forgotten the key', async () => {
    const agent = await startAgent();
    const key = await generateKeyPair();
    await loadKeyIntoAgent(key, { socket: agent.socket, comment: 'brief', lifetimeS: 3, load });
    const signer = await sshAgentSigner({ socket: agent.socket, comment: 'brief', load });
    const signs = () => signer.sign(bytes('m')).then(Boolean, () => false);
    while (await signs()) await sleep(100);
    await refuses(signer.sign(bytes('m')), 'ERR_SIGNER', /locked or emptied/);
  });

  it('says that a locked agent takes no key', async () => {
    const agent = await startAgent();
    agent.lock('-x');
    const key = await generateKeyPair();
    await refuses(
      loadKeyIntoAgent(key, { socket: agent.socket, comment: 'x', lifetimeS: 5, load }),
      'ERR_SIGNER',
      /does not accept the key/,
      /may be locked.*lifetimes/,
    );
  });

  it.each([0, -1, 1.5, 2 ** 32, Number.NaN])('refuses a lifetime of %s s', async (lifetimeS) => {
    const key = await generateKeyPair();
    const promise = loadKeyIntoAgent(key, { socket: '/nowhere', comment: 'x', lifetimeS, load });
    await expect(promise).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });

  it('refuses a comment of several lines', async () => {
    const key = await generateKeyPair();
    const promise = loadKeyIntoAgent(key, { socket: '/nowhere', comment: 'a\nb', load });
    await expect(promise).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });
});

const noGpgAgent = noAgent || !hasGpgAgent();
if (noGpgAgent) process.stderr.write('skipped, tests of gpg-agent: there is no gpg-agent\n');

function hasGpgAgent(): boolean {
  try {
    execFileSync('gpg-agent', ['--version'], { stdio: 'ignore' });
    execFileSync('gpgconf', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

describe.skipIf(noGpgAgent)('sshAgentSigner with gpg-agent', () => {
  it.each(['ed25519', 'rsa'] as const)('signs with %s what openssl verifies', async (type) => {
    const home = folder();
    const env = { PATH: process.env.PATH, GNUPGHOME: home };
    const pinentry = join(home, 'pinentry');
    const script = 'echo OK; while read -r word rest; do [ "$word" = GETPIN ] && echo "D secret"; echo OK; done';
    writeFileSync(pinentry, `#!/bin/sh\n${script}\n`, { mode: 0o700 });
    writeFileSync(join(home, 'gpg-agent.conf'), `enable-ssh-support\ns2k-count 65536\npinentry-program ${pinentry}\n`);
    execFileSync('gpg-agent', ['--daemon'], { env, stdio: 'ignore' });
    onTestFinished(() => void execFileSync('gpgconf', ['--kill', 'gpg-agent'], { env, stdio: 'ignore' }));
    const socket = execFileSync('gpgconf', ['--list-dirs', 'agent-ssh-socket'], { env, encoding: 'utf8' }).trim();
    const key = join(home, 'key');
    execFileSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', 'bot', '-f', key]);
    execFileSync('ssh-add', [key], { env: { ...env, SSH_AUTH_SOCK: socket }, stdio: 'ignore' });
    const signer = await sshAgentSigner({ socket, comment: 'bot', load });
    expect(signer.publicKey.equals(await parsePublicKey(readFileSync(`${key}.pub`, 'utf8')))).toBe(true);
    expect(opensslVerifies(signer.publicKey, bytes('m'), await signer.sign(bytes('m')))).toBe(true);
  });
});
