import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateKeyPair } from '../../src/crypto/index.js';
import { encodePrivateKeyPem } from '../../src/crypto/pem.js';
import type { Cryptoki, Handle } from '../../src/signers/pkcs11/cryptoki.js';
import { generateInToken } from '../../src/signers/pkcs11/generate-in-token.js';
import { pkcs11Signer } from '../../src/signers/pkcs11/pkcs11-signer.js';
import { bytes, FIXTURE, load, noToken, opensslVerifies, PIN, SOFTHSM_MODULE, softHsm } from './support.js';

const module = SOFTHSM_MODULE;
const refuses = (promise: Promise<unknown>, code: string, words: RegExp, hint = /./) =>
  expect(promise).rejects.toMatchObject({
    code,
    message: expect.stringMatching(words),
    hint: expect.stringMatching(hint),
  });

describe.skipIf(noToken)('pkcs11Signer with SoftHSM', () => {
  const home = mkdtempSync(join(tmpdir(), 'dk-softhsm-'));
  const bots = { module, token: 'bots', pin: PIN, load };
  /** The same library, as a program of others in this process would use it. */
  let other: Cryptoki;
  const slotOf = (label: string): Handle =>
    other.C_GetSlotList(true).find((slot) => other.C_GetTokenInfo(slot).label.trimEnd() === label) ?? Buffer.alloc(8);
  const flagsOf = (label: string) => other.C_GetTokenInfo(slotOf(label)).flags;

  beforeAll(async () => {
    softHsm(home, ['bots', 'twin', 'twin', 'empty', 'wrong-pin']);
    other = new (createRequire(join(FIXTURE, 'package.json'))('pkcs11js') as { PKCS11: new () => Cryptoki }).PKCS11();
    other.load(module);
    await generateInToken({ ...bots, label: 'ed' });
    await generateInToken({ ...bots, label: 'rsa', type: 'rsa', bits: 2048 });
  });
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  it.each(['ed', 'rsa'])('signs with a key made in the token what openssl verifies (%s)', async (label) => {
    const signer = await pkcs11Signer({ ...bots, label });
    expect(signer).toMatchObject({ algorithm: label === 'ed' ? 'ed25519' : 'rsa', label });
    expect(signer.publicKey.bits).toBe(label === 'ed' ? null : 2048);
    for (const text of ['1760000000000\nabcd\n', 'x'.repeat(5000)]) {
      const signature = await signer.sign(bytes(text));
      expect(opensslVerifies(signer.publicKey, bytes(text), signature)).toBe(true);
      expect(opensslVerifies(signer.publicKey, bytes(`${text}.`), signature)).toBe(false);
    }
    await signer.close();
  });

  it('makes keys that never leave the token', async () => {
    const signer = await pkcs11Signer({ ...bots, label: 'ed' });
    const session = other.C_OpenSession(slotOf('bots'), 4);
    other.C_FindObjectsInit(session, [
      { type: 0, value: 3 },
      { type: 0x102, value: Buffer.from(signer.id ?? '', 'hex') },
    ]);
    const [key] = other.C_FindObjects(session, 1);
    other.C_FindObjectsFinal(session);
    expect(key).toBeDefined();
    const read = (type: number) => other.C_GetAttributeValue(session, key as Handle, [{ type }])[0]?.value;
    expect(read(0x162)).toEqual(Buffer.of(0)); // CKA_EXTRACTABLE
    expect(read(0x164)).toEqual(Buffer.of(1)); // CKA_NEVER_EXTRACTABLE
    expect(read(0x103)).toEqual(Buffer.of(1)); // CKA_SENSITIVE
    expect(read(0x163)).toEqual(Buffer.of(1)); // CKA_LOCAL: made there
    expect(() => read(0x11)).toThrow(/CKR_ATTRIBUTE_SENSITIVE/); // CKA_VALUE
    other.C_CloseSession(session);
    await signer.close();
  });

  it('finds a key by its id, and a token by its serial number or its slot', async () => {
    const first = await pkcs11Signer({ ...bots, label: 'ed' });
    const { serialNumber } = other.C_GetTokenInfo(slotOf('bots'));
    const slot = slotOf('bots').readUIntLE(0, 6);
    const id = first.id ?? '';
    const colons = id.toUpperCase().replace(/..(?=.)/g, '$&:');
    const found = [
      await pkcs11Signer({ ...bots, id }),
      await pkcs11Signer({ ...bots, id: colons, label: 'ed' }),
      await pkcs11Signer({ ...bots, token: serialNumber.trim(), label: 'ed' }),
      await pkcs11Signer({ module, slot, pin: PIN, load, label: 'ed' }),
    ];
    for (const signer of [first, ...found]) {
      expect(signer.publicKey.equals(first.publicKey)).toBe(true);
      await signer.close();
    }
  });

  it('takes a key that was brought in by others', async () => {
    const key = await generateKeyPair({ type: 'rsa', bits: 2048 });
    const pem = join(home, 'imported.pem');
    writeFileSync(pem, encodePrivateKeyPem(key));
    const words = ['--import', pem, '--token', 'bots', '--label', 'imported', '--id', 'beef', '--pin', PIN];
    execFileSync('softhsm2-util', words, { stdio: 'pipe' });
    const signer = await pkcs11Signer({ ...bots, id: 'beef' });
    expect(signer.publicKey.equals(key.publicKey)).toBe(true);
    expect(opensslVerifies(key.publicKey, bytes('m'), await signer.sign(bytes('m')))).toBe(true);
    await signer.close();
  });

  it('keeps a thousand signatures at once apart, in a handful of sessions, and leaks none', async () => {
    const open = new Set<string>();
    let most = 0;
    const counted = async (name: string) => {
      const { PKCS11 } = (await load(name)) as { PKCS11: new () => Cryptoki };
      return {
        PKCS11: class extends (PKCS11 as new () => Cryptoki & Record<string, never>) {
          constructor() {
            super();
            const [openSession, closeSession] = [this.C_OpenSession, this.C_CloseSession];
            this.C_OpenSession = (slot: Handle, flags: number) => {
              const session = openSession.call(this, slot, flags);
              open.add(session.toString('hex'));
              most = Math.max(most, open.size);
              return session;
            };
            this.C_CloseSession = (session: Handle) => {
              open.delete(session.toString('hex'));
              closeSession.call(this, session);
            };
          }
        },
      };
    };
    const copy = join(home, 'copy.so');
    copyFileSync(module, copy);
    const signer = await pkcs11Signer({ ...bots, module: copy, label: 'ed', load: counted });
    const messages = Array.from({ length: 1000 }, (_, i) => bytes(`${i}\nnonce\n`));
    const signatures = await Promise.all(messages.map((message) => signer.sign(message)));
    for (const i of [0, 1, 499, 998, 999]) {
      expect(await signer.sign(messages[i] as Uint8Array)).toEqual(signatures[i]);
    }
    expect(new Set(signatures.map((signature) => Buffer.from(signature).toString('hex'))).size).toBe(1000);
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(4);
    await signer.close();
    expect(open.size).toBe(0);
  });

  it('opens its sessions again when they are lost, also under load, and when the library was restarted', async () => {
    const signer = await pkcs11Signer({ ...bots, label: 'ed' });
    const message = bytes('m');
    const signature = await signer.sign(message);
    const closeAll = (other as unknown as { C_CloseAllSessions(slot: Handle): void }).C_CloseAllSessions.bind(other);
    closeAll(slotOf('bots'));
    expect(await signer.sign(message)).toEqual(signature);
    closeAll(slotOf('bots'));
    const many = await Promise.all(Array.from({ length: 50 }, () => signer.sign(message)));
    expect(many).toEqual(many.map(() => signature));
    (other as unknown as { C_Finalize(): void }).C_Finalize();
    expect(await signer.sign(message)).toEqual(signature);
    await signer.close();
  });

  it('signs no more once it is closed', async () => {
    const signer = await pkcs11Signer({ ...bots, label: 'ed' });
    const last = signer.sign(bytes('m'));
    await signer.close();
    await expect(last).resolves.toHaveLength(64);
    await refuses(signer.sign(bytes('m')), 'ERR_SIGNER', /was closed/);
    await signer.close();
  });

  it('signs with a key that wants the PIN for each signature', async () => {
    const session = other.C_OpenSession(slotOf('bots'), 6);
    other.C_Login(session, 1, PIN);
    const common = [
      { type: 1, value: true },
      { type: 3, value: 'careful' },
    ];
    await other.C_GenerateKeyPairAsync(
      session,
      { mechanism: 0x1055, parameter: null },
      [...common, { type: 0x180, value: Buffer.from('130c656477617264733235353139', 'hex') }],
      [...common, { type: 2, value: true }, { type: 0x108, value: true }, { type: 0x202, value: true }],
    );
    other.C_CloseSession(session);
    let asked = 0;
    const pin = async () => {
      asked += 1;
      return PIN;
    };
    const signer = await pkcs11Signer({ ...bots, label: 'careful', pin });
    expect(opensslVerifies(signer.publicKey, bytes('m'), await signer.sign(bytes('m')))).toBe(true);
    expect(asked).toBeGreaterThanOrEqual(2);
    await signer.close();
  });

  it('asks for the PIN only when it is needed', async () => {
    const one = await pkcs11Signer({ ...bots, label: 'ed' });
    const two = await pkcs11Signer({ ...bots, label: 'rsa', pin: () => Promise.reject(new Error('asked')) });
    await one.close();
    await two.close();
  });

  it('tries a wrong PIN once, tells of the tries left, and stays usable with the right one', async () => {
    const place = { module, token: 'wrong-pin', label: 'x', load };
    const before = flagsOf('wrong-pin');
    expect(before & 0x10000).toBe(0);
    await refuses(
      pkcs11Signer({ ...place, pin: '0000' }),
      'ERR_PASSPHRASE_WRONG',
      /wrong PIN for the token "wrong-pin": more than one try is left/,
      /tried only once/,
    );
    await refuses(pkcs11Signer({ ...place, pin: 'x' }), 'ERR_PASSPHRASE_WRONG', /wrong PIN/);
    await refuses(pkcs11Signer(place), 'ERR_PASSPHRASE_REQUIRED', /needs a PIN, and none was given/, /--pin-file/);
    await refuses(pkcs11Signer({ ...place, pin: PIN }), 'ERR_SIGNER', /no private key labelled "x"/, /no private key/);
  });

  it('says that the token is absent, and which are there', async () => {
    await refuses(
      pkcs11Signer({ ...bots, token: 'elsewhere', label: 'ed' }),
      'ERR_SIGNER',
      /there is no token "elsewhere"/,
      /the module has .*"bots"/,
    );
    await refuses(pkcs11Signer({ module, slot: 12345, load, label: 'ed' }), 'ERR_SIGNER', /no token in slot 12345/);
  });

  it('refuses a label that two tokens have, and names their serial numbers', async () => {
    await refuses(
      pkcs11Signer({ ...bots, token: 'twin', label: 'ed' }),
      'ERR_USAGE',
      /there are 2 tokens "twin"/,
      /[0-9a-f]{16}, [0-9a-f]{16}/,
    );
  });

  it('says that the module is not found, or is not a PKCS#11 module', async () => {
    await refuses(
      pkcs11Signer({ ...bots, module: '/nowhere/p11.so', label: 'ed' }),
      'ERR_SIGNER',
      /there is no PKCS#11 module \/nowhere\/p11\.so/,
    );
    const text = join(home, 'text.so');
    writeFileSync(text, 'hello');
    await refuses(pkcs11Signer({ ...bots, module: text, label: 'ed' }), 'ERR_SIGNER', /not a PKCS#11 module/);
  });

  it('says that the key is not there, and which are', async () => {
    await refuses(
      pkcs11Signer({ ...bots, label: 'gone' }),
      'ERR_SIGNER',
      /no private key labelled "gone"/,
      /"ed" \(id [0-9a-f]{32}\)/,
    );
    await refuses(pkcs11Signer({ ...bots, id: '00' }), 'ERR_SIGNER', /no private key with the id 00/);
  });

  it('refuses a choice that names no key, or is no hexadecimal', async () => {
    await refuses(pkcs11Signer(bots), 'ERR_USAGE', /the key of the token was not named/);
    await expect(pkcs11Signer({ ...bots, id: 'xyz' })).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });

  it('refuses a label that two keys have', async () => {
    const session = other.C_OpenSession(slotOf('bots'), 6);
    try {
      other.C_Login(session, 1, PIN);
    } catch {
      // logged in already
    }
    for (let i = 0; i < 2; i += 1) {
      const common = [
        { type: 1, value: true },
        { type: 3, value: 'double' },
        { type: 0x102, value: Buffer.of(0xd0, i) },
      ];
      await other.C_GenerateKeyPairAsync(
        session,
        { mechanism: 0x1055, parameter: null },
        [...common, { type: 0x180, value: Buffer.from('06032b6570', 'hex') }],
        common,
      );
    }
    other.C_CloseSession(session);
    await refuses(
      pkcs11Signer({ ...bots, label: 'double' }),
      'ERR_USAGE',
      /2 keys labelled "double"/,
      /d00[01], d00[01]/,
    );
    const signer = await pkcs11Signer({ ...bots, label: 'double', id: 'd001' });
    expect(signer.id).toBe('d001');
    await signer.close();
  });

  it('refuses keys that Deribit does not take', async () => {
    const session = other.C_OpenSession(slotOf('bots'), 6);
    try {
      other.C_Login(session, 1, PIN);
    } catch {
      // logged in already
    }
    const named = (label: string) => [
      { type: 1, value: true },
      { type: 3, value: label },
    ];
    const curve = (hex: string) => ({ type: 0x180, value: Buffer.from(hex, 'hex') });
    await other.C_GenerateKeyPairAsync(
      session,
      { mechanism: 0x1040, parameter: null },
      [...named('p256'), curve('06082a8648ce3d030107')],
      named('p256'),
    );
    await other.C_GenerateKeyPairAsync(
      session,
      { mechanism: 0, parameter: null },
      [...named('small'), { type: 0x121, value: 1024 }, { type: 0x122, value: Buffer.of(1, 0, 1) }],
      named('small'),
    );
    other.C_CloseSession(session);
    await refuses(pkcs11Signer({ ...bots, label: 'p256' }), 'ERR_KEY_UNSUPPORTED', /neither RSA nor Ed25519/);
    await refuses(pkcs11Signer({ ...bots, label: 'small' }), 'ERR_KEY_UNSUPPORTED', /1024/);
  });

  it('makes no second key of a label that the token has', async () => {
    await refuses(generateInToken({ ...bots, label: 'ed' }), 'ERR_NAME_TAKEN', /has a key labelled "ed" already/);
  });

  it('destroys a pair that it made when it is told to', async () => {
    const pair = await generateInToken({ ...bots, label: 'unwanted' });
    await pair.destroy();
    await refuses(pkcs11Signer({ ...bots, label: 'unwanted' }), 'ERR_SIGNER', /no private key/);
  });

  it('makes nothing with a wrong PIN', async () => {
    await refuses(
      generateInToken({ module, token: 'empty', pin: '1111', label: 'x', load }),
      'ERR_PASSPHRASE_WRONG',
      /wrong PIN/,
    );
  });

  it('names the package that is missing', async () => {
    const missing = (name: string) => Promise.reject(new Error(`Cannot find package '${name}'`));
    await refuses(
      pkcs11Signer({ module, token: 'bots', label: 'ed', load: missing }),
      'ERR_SIGNER',
      /needs the package pkcs11js, which is not installed/,
      /npm install pkcs11js/,
    );
  });
});
