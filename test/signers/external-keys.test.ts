import { describe, expect, it } from 'vitest';
import { serialisePublicKey } from '../../src/crypto/formats/index.js';
import { generateKeyPair } from '../../src/crypto/index.js';
import { DeribitKeysError } from '../../src/errors.js';
import { type Keystore, openKeystore } from '../../src/keystore/keystore.js';
import { kindOf } from '../../src/signers/kinds.js';
import { addExternalKey, generateExternalKey, successorAnywhere } from '../../src/workflows/external-keys.js';
import { FakeToken, tokenPair } from './fake-token.js';
import { fakeAgent, folder, identitiesAnswer, load, noAgent, startAgent } from './support.js';

/** A token that makes the key of `pair`, whatever it is asked for. */
function maker(): FakeToken {
  const token = new FakeToken();
  const { pair, numbers } = tokenPair();
  token.objects = [];
  token.generated = numbers;
  token.key = pair.privateKey;
  return token;
}
const targetOf = ({ module }: FakeToken) => ({ kind: 'pkcs11', module, token: 'fake' }) as const;
const accessOf = (token: FakeToken) => ({ env: {}, secret: async () => '1234', load: token.load });
const agentAccess = (socket: string) => ({ env: { SSH_AUTH_SOCK: socket }, load });
const AGENT = { kind: 'ssh-agent', socket: null } as const;
const BOT = { name: 'bot' };

/** A keystore whose disk is full when a key is stored. */
function fullStore(): Keystore {
  const store = openKeystore(folder());
  const fail = () => Promise.reject(new DeribitKeysError('ERR_KEYSTORE_IO', 'the disk is full'));
  return { ...store, withLock: fail };
}

describe('a key that was made in a token', () => {
  it('is stored with where it lives', async () => {
    const token = maker();
    const store = openKeystore(folder());
    const record = await generateExternalKey(store, { key: BOT, target: targetOf(token), access: accessOf(token) });
    expect(record).toMatchObject({ algorithm: 'ed25519', signer: { token: 'fake', label: 'bot' } });
    expect(token.open.size).toBe(0);
    expect(await store.read('bot')).toEqual(record);
  });

  it('is destroyed again where it does not sign', async () => {
    const token = maker();
    token.signature = () => Buffer.alloc(64);
    const store = openKeystore(folder());
    await expect(
      generateExternalKey(store, { key: BOT, target: targetOf(token), access: accessOf(token) }),
    ).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: expect.stringMatching(/does not verify/),
    });
    expect(token.objects).toHaveLength(2);
    expect(token.objects.every((one) => one.size === 0)).toBe(true);
    expect((await store.list()).records).toEqual([]);
  });

  it('is not lost where it cannot be stored: the error says how to take it over', async () => {
    const token = maker();
    const failure = generateExternalKey(fullStore(), { key: BOT, target: targetOf(token), access: accessOf(token) });
    await expect(failure).rejects.toMatchObject({
      code: 'ERR_KEYSTORE_IO',
      message: 'the disk is full',
      hint: expect.stringMatching(
        /the key pair is in the token: deribit-keys add-token <name> --module \S+ --token "fake" --id/,
      ),
    });
    const record = await addExternalKey(openKeystore(folder()), {
      name: 'bot',
      kind: kindOf(targetOf(token)),
      values: { module: token.module, token: 'fake', label: 'bot' },
      access: accessOf(token),
    });
    expect(record.signer).toMatchObject({ kind: 'pkcs11', label: 'bot' });
  });

  it('needs no PIN where the token wants none', async () => {
    const token = maker();
    token.flags &= ~0x4;
    const access = { env: {}, load: token.load };
    await generateExternalKey(openKeystore(folder()), { key: BOT, target: targetOf(token), access });
    expect(token.logins).toEqual([]);
  });
});

describe.skipIf(noAgent)('a key that was made in an agent', () => {
  it('is taken out again where it does not sign', async () => {
    let blob: Buffer | null = null;
    const removed: Buffer[] = [];
    const socket = await fakeAgent((request) => {
      if (request[0] === 11) return identitiesAnswer(...(blob === null ? [] : [{ blob, comment: 'bot' }]));
      if (request[0] === 17) {
        // the public half is the second string of what is added
        const type = request.readUInt32BE(1);
        const end = 5 + type + 4 + request.readUInt32BE(5 + type);
        blob = Buffer.from(request.subarray(1, end));
        return Buffer.of(6);
      }
      if (request[0] === 18) removed.push(request.subarray(5));
      return request[0] === 18 ? Buffer.of(6) : Buffer.of(5);
    });
    const store = openKeystore(folder());
    const made = generateExternalKey(store, { key: BOT, target: AGENT, access: agentAccess(socket) });
    await expect(made).rejects.toMatchObject({ code: 'ERR_SIGNER', message: expect.stringMatching(/refuses to sign/) });
    expect(removed).toEqual([blob]);
    expect((await store.list()).records).toEqual([]);
  });

  it('is not lost where it cannot be stored: the error says how to take it over', async () => {
    const agent = await startAgent();
    const access = agentAccess(agent.socket);
    await expect(generateExternalKey(fullStore(), { key: BOT, target: AGENT, access })).rejects.toMatchObject({
      code: 'ERR_KEYSTORE_IO',
      hint: expect.stringMatching(/the key is in the agent: deribit-keys add-agent <name> --fingerprint SHA256:/),
    });
    const record = await addExternalKey(openKeystore(folder()), {
      name: 'bot',
      kind: kindOf(AGENT),
      values: { comment: 'bot' },
      access,
    });
    expect(record.signer).toMatchObject({ kind: 'ssh-agent', comment: 'bot' });
  });
});

describe('the successor of a key', () => {
  const old = {} as Parameters<ReturnType<typeof successorAnywhere>>[1];
  const inFile = () => Promise.reject(new Error('made a file'));

  it('is a file where nothing else is said', async () => {
    const make = successorAnywhere(openKeystore(folder()), inFile, { env: {} });
    await expect(make('bot', old, { type: 'ed25519', bits: null })).rejects.toThrow('made a file');
  });

  it('is not made in another place when its own fails', async () => {
    const token = maker();
    token.mechanisms = [];
    const make = successorAnywhere(openKeystore(folder()), inFile, accessOf(token));
    const kind = { type: 'ed25519', bits: null, target: targetOf(token) } as const;
    await expect(make('bot', old, kind)).rejects.toMatchObject({ code: 'ERR_SIGNER' });
  });

  it.skipIf(noAgent)('is not guessed where the agent has two keys of its name', async () => {
    const pairs = [await generateKeyPair(), await generateKeyPair()];
    const blobs = await Promise.all(
      pairs.map(async ({ publicKey }) => {
        const line = await serialisePublicKey(publicKey, { format: 'ssh' });
        return { blob: Buffer.from(line.split(' ')[1] ?? '', 'base64'), comment: 'bot' };
      }),
    );
    const socket = await fakeAgent(() => identitiesAnswer(...blobs));
    const make = successorAnywhere(openKeystore(folder()), inFile, agentAccess(socket));
    const kind = { type: 'ed25519', bits: null, target: AGENT } as const;
    await expect(make('bot', old, kind)).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });
});
