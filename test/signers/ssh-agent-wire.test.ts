import { generateKeyPairSync, sign } from 'node:crypto';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parsePublicKey, serialisePublicKey } from '../../src/crypto/formats/index.js';
import { generateKeyPair, type PublicKey, verifySignature } from '../../src/crypto/index.js';
import { DeribitKeysError } from '../../src/errors.js';
import {
  chooseIdentity,
  loadKeyIntoAgent,
  parseIdentities,
  sshFingerprint,
} from '../../src/signers/ssh-agent/identities.js';
import { sshAgentSigner } from '../../src/signers/ssh-agent/ssh-agent-signer.js';
import { cli, temporaryFolder } from '../support/cli.js';
import { bytes, fakeAgent, identitiesAnswer, load, noAgent, sshString } from './support.js';

const blobOf = async (key: PublicKey) =>
  Buffer.from((await serialisePublicKey(key, { format: 'ssh' })).split(' ')[1] ?? '', 'base64');

const LIST = 11;
const SIGN = 13;
const FAILURE = Buffer.of(5);

/** An answer to a sign request: the signature inside its SSH form. */
const signed = (name: string, signature: Uint8Array) =>
  Buffer.concat([Buffer.of(14), sshString(Buffer.concat([sshString(name), sshString(signature)]))]);

/** The data of a sign request. */
function dataOf(request: Buffer): Buffer {
  const blobEnd = 5 + request.readUInt32BE(1);
  return request.subarray(blobEnd + 4, blobEnd + 4 + request.readUInt32BE(blobEnd));
}
const flagsOf = (request: Buffer) => request.readUInt32BE(request.length - 4);

describe.skipIf(noAgent)('agents that misbehave', () => {
  async function agentOf(answer: Parameters<typeof fakeAgent>[0]) {
    const { publicKey } = await generateKeyPair();
    const blob = await blobOf(publicKey);
    return fakeAgent((request, socket) =>
      request[0] === LIST ? identitiesAnswer({ blob, comment: 'bot' }) : answer(request, socket),
    );
  }
  const open = (socket: string, timeoutMs?: number) => sshAgentSigner({ socket, comment: 'bot', load, timeoutMs });

  it.each([
    ['a signature of another key', () => signed('ssh-ed25519', Buffer.alloc(64)), /does not verify/],
    ['a signature that is too long', () => signed('ssh-ed25519', Buffer.alloc(65)), /signature of 65 bytes/],
    ['an empty signature', () => signed('ssh-ed25519', Buffer.alloc(0)), /signature of 0 bytes/],
    ['a refusal', () => FAILURE, /refuses to sign/],
    ['an answer of another type', () => Buffer.of(12, 0, 0, 0, 0), /does not speak|without an answer/],
    [
      'half a signature',
      () => Buffer.concat([Buffer.of(14), Buffer.of(0, 0, 1, 0)]),
      /does not speak|without an answer/,
    ],
  ])('are found out: %s', async (_what, answer, message) => {
    await expect(open(await agentOf(answer))).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringMatching(message),
    });
  });

  it('are found out: a connection that is closed without an answer', async () => {
    const socket = await agentOf((_request, client) => {
      client.destroy();
      return null;
    });
    await expect(open(socket)).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringMatching(/closed the connection without an answer/),
    });
  });

  it('are not waited for longer than was said', async () => {
    await expect(open(await agentOf(() => null), 50)).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringMatching(/did not answer within 0\.05 s/),
    });
  });

  it('are not waited for longer than was said where they do not list their keys either', async () => {
    await expect(open(await fakeAgent(() => null), 50)).rejects.toMatchObject({
      message: expect.stringMatching(/did not answer within 0\.05 s/),
      hint: expect.stringContaining('--timeout'),
    });
  });

  it('are not waited for longer than --timeout says by the commands that use them', async () => {
    const socket = await fakeAgent(() => null);
    const folder = temporaryFolder();
    for (const argv of [
      ['add-agent', 'bot', '--comment', 'bot'],
      ['generate', 'bot', '--in-agent'],
    ]) {
      const call = [...argv, '--socket', socket, '--timeout', '60', '--keys-dir', join(folder, 'keys')];
      const { exitCode, stderr } = await cli(call, { load });
      expect(stderr).toContain('did not answer within 0.06 s');
      expect(exitCode).toBe(3);
    }
  });

  it.each([
    ['no list', Buffer.of(6)],
    ['half a list', identitiesAnswer({ blob: Buffer.alloc(40), comment: 'x' }).subarray(0, 20)],
    ['a key that is none', identitiesAnswer({ blob: Buffer.alloc(2), comment: 'x' })],
    ['a thousand keys announced, none there', Buffer.of(12, 0, 0, 4, 0)],
  ])('are found out: %s', async (_what, answer) => {
    await expect(open(await fakeAgent(() => answer))).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringMatching(/does not speak the ssh-agent protocol/),
    });
  });

  it.each([5, 28, 30, 102])('that refuse to list their keys (type %s) are said to be locked', async (type) => {
    await expect(open(await fakeAgent(() => Buffer.of(type)))).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringMatching(/refuses to list its keys: it may be locked/),
      hint: expect.stringContaining('ssh-add -X'),
    });
  });

  it('may list a key several times: it is one key', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const key = await parsePublicKey(publicKey.export({ type: 'spki', format: 'pem' }) as string);
    const identity = { blob: await blobOf(key), comment: 'bot' };
    const socket = await fakeAgent((request) =>
      request[0] === LIST
        ? identitiesAnswer(identity, { ...identity, comment: 'again' }, identity)
        : signed('ssh-ed25519', sign(null, dataOf(request), privateKey)),
    );
    for (const choice of [{ comment: 'bot' }, { fingerprint: sshFingerprint(identity.blob) }, { publicKey: key }]) {
      expect((await sshAgentSigner({ socket, load, ...choice })).publicKey.equals(key)).toBe(true);
    }
  });

  it.each([0, 300_000])('are found out: an answer of %s bytes', async (length) => {
    const head = Buffer.alloc(4);
    head.writeUInt32BE(length);
    const socket = await fakeAgent((_request, client) => {
      client.write(head);
      return null;
    });
    await expect(open(socket)).rejects.toMatchObject({ code: 'ERR_SIGNER' });
  });

  it('may cut their answers anywhere', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const key = await parsePublicKey(publicKey.export({ type: 'spki', format: 'pem' }) as string);
    const blob = await blobOf(key);
    const socket = await fakeAgent((request, client) => {
      const reply =
        request[0] === LIST
          ? identitiesAnswer({ blob, comment: 'bot' })
          : signed('ssh-ed25519', sign(null, dataOf(request), privateKey));
      for (const byte of sshString(reply)) client.write(Buffer.of(byte));
      return null;
    });
    expect((await open(socket)).publicKey.equals(key)).toBe(true);
  });
});

describe.skipIf(noAgent)('RSA in an agent', () => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const keyOf = () => parsePublicKey(publicKey.export({ type: 'spki', format: 'pem' }) as string);

  it('is asked for with SHA-256, and a signature without its leading zeros is padded', async () => {
    const key = await keyOf();
    const blob = await blobOf(key);
    let shortened = 0;
    const socket = await fakeAgent((request) => {
      if (request[0] === LIST) return identitiesAnswer({ blob, comment: 'bot' });
      expect(request[0]).toBe(SIGN);
      expect(flagsOf(request)).toBe(2);
      const signature = sign('sha256', dataOf(request), privateKey);
      const zeros = signature.findIndex((byte) => byte !== 0);
      shortened += zeros > 0 ? 1 : 0;
      return signed('rsa-sha2-256', signature.subarray(zeros));
    });
    const signer = await sshAgentSigner({ socket, comment: 'bot', load });
    for (let i = 0; shortened === 0 && i < 20_000; i += 1) {
      const message = bytes(`message ${i}`);
      const signature = await signer.sign(message);
      expect(signature).toHaveLength(256);
      if (shortened > 0) expect(await verifySignature(key, message, signature)).toBe(true);
    }
    expect(shortened).toBeGreaterThan(0);
  });

  it('is refused from an agent that signs with SHA-1 whatever it is asked', async () => {
    const blob = await blobOf(await keyOf());
    const socket = await fakeAgent((request) =>
      request[0] === LIST
        ? identitiesAnswer({ blob, comment: 'bot' })
        : signed('ssh-rsa', sign('sha1', dataOf(request), privateKey)),
    );
    await expect(sshAgentSigner({ socket, comment: 'bot', load })).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringMatching(/does not verify/),
      hint: expect.stringMatching(/SHA-256/),
    });
  });

  it('is refused below 2048 bits', async () => {
    const small = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' });
    const mpint = (part: string | undefined) => {
      const raw = Buffer.from(part ?? '', 'base64url');
      return sshString((raw[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), raw]) : raw);
    };
    const blob = Buffer.concat([sshString('ssh-rsa'), mpint(small.e), mpint(small.n)]);
    const socket = await fakeAgent(() => identitiesAnswer({ blob, comment: 'bot' }));
    await expect(sshAgentSigner({ socket, comment: 'bot', load })).rejects.toMatchObject({
      code: 'ERR_KEY_UNSUPPORTED',
    });
  });
});

describe.skipIf(noAgent)('loading into an agent that takes nothing', () => {
  it.each([
    [undefined, /accept no keys from outside/],
    [60, /may not support lifetimes/],
  ])('says what may be the reason (lifetime %s)', async (lifetimeS, hint) => {
    const other = await generateKeyPair();
    const blob = await blobOf(other.publicKey);
    const socket = await fakeAgent((request) =>
      request[0] === LIST ? identitiesAnswer({ blob, comment: 'x' }) : FAILURE,
    );
    const key = await generateKeyPair();
    await expect(loadKeyIntoAgent(key, { socket, comment: 'bot', lifetimeS, load })).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringMatching(/does not accept the key/),
      hint: expect.stringMatching(hint),
    });
  });
});

describe('lists of keys', () => {
  const identity = fc.record({ type: fc.stringMatching(/^[a-z][a-z0-9@.-]{0,20}$/), comment: fc.string() });

  it('are read back as they were written', () => {
    fc.assert(
      fc.property(fc.array(identity, { maxLength: 5 }), (keys) => {
        const written = keys.map(({ type, comment }) => ({ blob: sshString(type), comment, type }));
        const read = parseIdentities(identitiesAnswer(...written));
        expect(read.map(({ type, comment }) => ({ type, comment }))).toEqual(
          // what is not valid UTF-16 cannot be sent
          keys.map(({ type, comment }) => ({ type, comment: Buffer.from(comment).toString() })),
        );
      }),
    );
  });

  it('never fail but with an error of ours', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
        try {
          parseIdentities(Buffer.concat([Buffer.of(12), noise]));
        } catch (error) {
          expect(error).toBeInstanceOf(DeribitKeysError);
        }
      }),
    );
  });

  it('are shortened where they are long', async () => {
    const keys = await Promise.all(Array.from({ length: 12 }, () => generateKeyPair()));
    const identities = await Promise.all(
      keys.map(async ({ publicKey }) => {
        const blob = await blobOf(publicKey);
        return { blob, type: 'ssh-ed25519', fingerprint: sshFingerprint(blob), comment: 'many' };
      }),
    );
    const failure = (choose: () => unknown) => {
      try {
        choose();
        return null;
      } catch (error) {
        return error as DeribitKeysError;
      }
    };
    expect(failure(() => chooseIdentity(identities, { comment: 'none' }))?.hint).toMatch(/, and 4 more$/);
    expect(failure(() => chooseIdentity(identities, { comment: 'many' }))).toMatchObject({
      code: 'ERR_USAGE',
      message: expect.stringMatching(/12 keys/),
    });
  });
});
