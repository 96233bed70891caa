import { execFileSync } from 'node:child_process';
import { createPublicKey, type KeyObject } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { generateInToken } from '../../src/signers/pkcs11/generate-in-token.js';
import { pkcs11Signer } from '../../src/signers/pkcs11/pkcs11-signer.js';
import { ckr, FakeToken, object, tokenPair } from './fake-token.js';
import { bytes, folder } from './support.js';

const GOOD = '1234';
const open = (token: FakeToken, more: object = { pin: GOOD }) =>
  pkcs11Signer({ module: token.module, load: token.load, token: 'fake', label: 'bot', ...more });
const make = (token: FakeToken, more: object = {}) =>
  generateInToken({ module: token.module, load: token.load, token: 'fake', label: 'new', pin: GOOD, ...more });
const refuses = (promise: Promise<unknown>, code: string, words: RegExp, hint = /./) =>
  expect(promise).rejects.toMatchObject({
    code,
    message: expect.stringMatching(words),
    hint: expect.stringMatching(hint),
  });

const WRONG = ckr('CKR_PIN_INCORRECT', 0xa0);
const LOCKED_FLAG = 0x40000;
const refusePin = (token: FakeToken, flags = 0) => {
  token.before.C_Login = () => {
    token.logins.push('refused');
    token.flags |= flags;
    throw WRONG;
  };
};

describe('the login of a token', () => {
  it.each([
    [0x20000, /ONE try is left before the PIN is locked/],
    [0x10000, /more than one try is left/],
    [0, /does not report how many tries are left/],
  ])('tells the tries left by the flags %s', async (flags, words) => {
    const token = new FakeToken();
    refusePin(token, flags);
    await refuses(open(token), 'ERR_PASSPHRASE_WRONG', words);
    expect(token.logins).toEqual(['refused']);
    expect(token.open.size).toBe(0);
  });

  it('tells that the PIN is locked: before a login, after it, or by its answer', async () => {
    const before = new FakeToken();
    before.flags |= LOCKED_FLAG;
    await refuses(open(before), 'ERR_SIGNER', /the PIN of the token "fake" is locked/, /PUK/);
    expect(before.logins).toEqual([]);
    const after = new FakeToken();
    refusePin(after, LOCKED_FLAG);
    await refuses(open(after), 'ERR_SIGNER', /is locked/);
    const answered = new FakeToken();
    answered.before.C_Login = () => {
      throw ckr('CKR_PIN_LOCKED', 0xa4);
    };
    await refuses(open(answered), 'ERR_SIGNER', /is locked/);
  });

  it('tells that no PIN was ever set', async () => {
    const token = new FakeToken();
    token.flags &= ~0x8;
    await refuses(open(token), 'ERR_SIGNER', /has no user PIN yet/);
  });

  it('sends no PIN to a token with a keypad of its own, and does not ask the user for one', async () => {
    const token = new FakeToken();
    token.flags |= 0x100;
    await open(token, {});
    expect(token.logins).toEqual([undefined]);
  });

  it('is left out where the token wants none', async () => {
    const token = new FakeToken();
    token.flags &= ~0x4;
    await open(token, {});
    expect(token.logins).toEqual([]);
  });

  it('accepts a login that another program made meanwhile', async () => {
    const token = new FakeToken();
    token.before.C_Login = () => {
      throw ckr('CKR_USER_ALREADY_LOGGED_IN', 0x100);
    };
    expect((await open(token)).algorithm).toBe('ed25519');
  });

  it('names what else the token answers', async () => {
    const token = new FakeToken();
    token.before.C_Login = () => {
      throw ckr('CKR_FUNCTION_FAILED', 6);
    };
    await refuses(open(token), 'ERR_SIGNER', /refused the login \(CKR_FUNCTION_FAILED\)/);
  });
});

describe('a token that loses its sessions', () => {
  it('is logged in again', async () => {
    const token = new FakeToken();
    const signer = await open(token);
    token.lose();
    expect(await signer.sign(bytes('m'))).toHaveLength(64);
    expect(token.logins).toEqual([GOOD, GOOD]);
  });

  it('gets a PIN that it refuses now once, and never again', async () => {
    const token = new FakeToken();
    const signer = await open(token);
    token.lose();
    refusePin(token);
    for (let i = 0; i < 5; i += 1) await refuses(signer.sign(bytes('m')), 'ERR_PASSPHRASE_WRONG', /wrong PIN/);
    expect(token.logins).toEqual([GOOD, 'refused']);
  });

  it('is tried again at the next signature where it was away for longer', async () => {
    const token = new FakeToken();
    const signer = await open(token);
    token.lose();
    token.label = 'another';
    await refuses(signer.sign(bytes('m')), 'ERR_SIGNER', /there is no token "fake"/, /"another"/);
    token.label = 'fake';
    expect(await signer.sign(bytes('m'))).toHaveLength(64);
  });

  it('must not come back with another key', async () => {
    const token = new FakeToken();
    const signer = await open(token);
    const swapped = tokenPair();
    token.lose();
    token.objects = [swapped.privateObject, swapped.publicObject];
    token.key = swapped.pair.privateKey;
    await refuses(signer.sign(bytes('m')), 'ERR_SIGNER', /now holds a different key/);
  });

  it('is given up where it loses them at once again', async () => {
    const token = new FakeToken();
    const signer = await open(token);
    token.before.C_SignInit = () => {
      throw ckr('CKR_DEVICE_REMOVED', 0x32);
    };
    await refuses(signer.sign(bytes('m')), 'ERR_SIGNER', /failed to sign \(CKR_DEVICE_REMOVED\)/);
  });
});

describe('a token that cannot sign', () => {
  it.each([
    ['ed25519', 'CKM_EDDSA', 0x1057, /RSA key/],
    ['rsa', 'CKM_SHA256_RSA_PKCS', 0x40, /use a token that offers it/],
  ] as const)('is named where it lacks the mechanism for %s', async (type, name, number, hint) => {
    const token = new FakeToken(type);
    token.mechanisms = token.mechanisms.filter((mechanism) => mechanism !== number);
    await refuses(open(token), 'ERR_SIGNER', new RegExp(`does not offer ${name}`), hint);
    expect(token.open.size).toBe(0);
  });

  it('is named where it refuses', async () => {
    const token = new FakeToken();
    const signer = await open(token);
    token.before.C_SignInit = () => {
      throw ckr('CKR_KEY_FUNCTION_NOT_PERMITTED', 0x68);
    };
    await refuses(signer.sign(bytes('m')), 'ERR_SIGNER', /failed to sign \(CKR_KEY_FUNCTION_NOT_PERMITTED\)/);
    token.before.C_SignInit = () => {
      throw new TypeError('of the library');
    };
    await refuses(signer.sign(bytes('m')), 'ERR_SIGNER', /failed to sign \(no PKCS#11 error\)/);
  });

  it('is found out where it signs wrongly', async () => {
    const token = new FakeToken();
    token.signature = () => Buffer.alloc(64);
    await refuses(open(token), 'ERR_SIGNER', /does not verify/);
    expect(token.open.size).toBe(0);
    token.signature = () => Buffer.alloc(63);
    await expect(open(token)).rejects.toMatchObject({ message: expect.stringMatching(/63 bytes/) });
  });

  it('is named where it opens no session, or its module does not start', async () => {
    const full = new FakeToken();
    full.before.C_OpenSession = () => {
      throw ckr('CKR_SESSION_COUNT', 0xb1);
    };
    await refuses(open(full), 'ERR_SIGNER', /opens no session \(CKR_SESSION_COUNT\)/);
    const stuck = new FakeToken();
    stuck.before.C_Initialize = () => {
      throw ckr('CKR_GENERAL_ERROR', 5);
    };
    await refuses(open(stuck), 'ERR_SIGNER', /does not start \(CKR_GENERAL_ERROR\)/);
  });

  it('is told of by its first failure, not by a session that cannot be closed after it', async () => {
    const token = new FakeToken();
    token.before.C_CloseSession = () => {
      throw ckr('CKR_SESSION_HANDLE_INVALID', 0xb3);
    };
    refusePin(token);
    await refuses(open(token), 'ERR_PASSPHRASE_WRONG', /wrong PIN/);
    await refuses(make(token), 'ERR_PASSPHRASE_WRONG', /wrong PIN/);
  });

  it('is named where nothing is plugged in', async () => {
    const token = new FakeToken();
    token.slots = [];
    await refuses(open(token), 'ERR_SIGNER', /no token "fake": the module has none at all/, /plug it in/);
  });

  it('is named where it is not initialised, with the commands that do it', async () => {
    const token = new FakeToken();
    token.flags &= ~0x400;
    const initialise = /pkcs11-tool --module <file> --slot 9 --init-token .*--init-pin/;
    await refuses(open(token), 'ERR_SIGNER', /the one in slot 9 is not initialised/, initialise);
  });

  it('is one token where the module shows it in two slots', async () => {
    const token = new FakeToken();
    token.slots = [9, 10];
    expect(await (await open(token)).sign(bytes('m'))).toHaveLength(64);
  });

  it('is named where it has no private key at all', async () => {
    const token = new FakeToken();
    token.objects = [];
    await refuses(open(token), 'ERR_SIGNER', /no private key labelled "bot"/, /it has no private key at all/);
  });

  it('gets one signature at a time where it has one session', async () => {
    const token = new FakeToken();
    token.maxSessionCount = 1;
    const signer = await open(token);
    await Promise.all(Array.from({ length: 20 }, () => signer.sign(bytes('m'))));
    expect(token.open.size).toBe(1);
  });

  it('tells of a wrong PIN for a key that wants one each time', async () => {
    const token = new FakeToken();
    token.objects[0]?.set(0x202, Buffer.of(1));
    const signer = await open(token);
    refusePin(token);
    await refuses(signer.sign(bytes('m')), 'ERR_PASSPHRASE_WRONG', /wrong PIN/);
  });
});

describe('the public half of a key in a token', () => {
  it.each(['ed25519', 'rsa'] as const)('may stand in the private object (%s)', async (type) => {
    const token = new FakeToken(type);
    const { pair, privateObject, numbers } = tokenPair(type);
    token.key = pair.privateKey;
    token.objects = [new Map([...privateObject, ...object(numbers)])];
    expect((await open(token)).algorithm).toBe(type);
  });

  it('may be found by its label only', async () => {
    const token = new FakeToken();
    for (const one of token.objects) one.delete(258);
    expect(await open(token)).toMatchObject({ id: null, label: 'bot' });
  });

  it('may stand in a certificate with the same id', async () => {
    const home = folder();
    const token = new FakeToken('rsa');
    const key = join(home, 'key.pem');
    writeFileSync(key, (token.key as KeyObject).export({ type: 'pkcs8', format: 'pem' }));
    const words = ['req', '-x509', '-new', '-key', key, '-subj', '/CN=bot', '-outform', 'der'];
    const der = execFileSync('openssl', words, { stdio: ['ignore', 'pipe', 'ignore'] });
    token.objects = [token.objects[0] ?? new Map(), object({ 0: 1, 258: Buffer.of(7), 17: der })];
    const signer = await open(token);
    expect(Buffer.from(signer.publicKey.spki)).toEqual(
      createPublicKey(token.key).export({ type: 'spki', format: 'der' }),
    );
  });

  it('may be nowhere: then the key cannot be used', async () => {
    const token = new FakeToken();
    token.objects.pop();
    await refuses(open(token), 'ERR_SIGNER', /shows no public key for this private key/, /certificate/);
    token.objects[0]?.delete(258);
    await refuses(open(token), 'ERR_SIGNER', /shows no public key for this private key/);
  });

  it('is not taken from an elliptic curve of another name', async () => {
    const token = new FakeToken();
    token.objects[1]?.set(384, Buffer.from('06032b6571', 'hex'));
    await refuses(open(token), 'ERR_KEY_UNSUPPORTED', /neither RSA nor Ed25519/);
  });
});

describe('making a pair in a token', () => {
  it('says where the token makes no such keys', async () => {
    const token = new FakeToken();
    token.mechanisms = [];
    await refuses(make(token), 'ERR_SIGNER', /cannot make Ed25519 keys/, /--type rsa/);
    await refuses(make(token, { type: 'rsa' }), 'ERR_SIGNER', /cannot make RSA keys/, /another token/);
  });

  it.each([{ 354: true }, { 259: false }])('destroys a pair that could be read out (%o)', async (generated) => {
    const token = new FakeToken();
    token.generated = generated;
    await refuses(make(token), 'ERR_SIGNER', /can be extracted: it was destroyed again/);
    expect(token.objects.slice(2).every((one) => one.size === 0)).toBe(true);
    expect(token.objects).toHaveLength(4);
  });

  it('writes the curve as a name where the token does not take its OID', async () => {
    const token = new FakeToken();
    const seen: string[] = [];
    token.before.C_GenerateKeyPairAsync = (_session, _mechanism, template: { type: number; value: Buffer }[]) => {
      const params = template.find(({ type }) => type === 384)?.value.toString('hex') ?? '';
      seen.push(params);
      if (params.startsWith('06')) throw ckr('CKR_CURVE_NOT_SUPPORTED', 0x140);
    };
    expect(await make(token)).toMatchObject({
      token: 'fake',
      label: 'new',
      id: expect.stringMatching(/^[0-9a-f]{32}$/),
    });
    expect(seen).toEqual(['06032b6570', '130c656477617264733235353139']);
  });

  it('names the failure of the token', async () => {
    const token = new FakeToken();
    token.before.C_GenerateKeyPairAsync = () => {
      throw ckr('CKR_DEVICE_MEMORY', 0x31);
    };
    await refuses(make(token), 'ERR_SIGNER', /failed to make the key \(CKR_DEVICE_MEMORY\)/);
    expect(token.open.size).toBe(0);
  });
});
