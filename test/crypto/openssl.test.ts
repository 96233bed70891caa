import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { decodePkcs8, decodeSpki } from '../../src/crypto/asn1/spki-pkcs8.js';
import { fingerprint } from '../../src/crypto/fingerprint.js';
import { generateKeyPair } from '../../src/crypto/generate.js';
import type { PrivateKey } from '../../src/crypto/keys.js';
import { decodePem, encodePrivateKeyPem, encodePublicKeyPem, loadPkcs8Pem } from '../../src/crypto/pem.js';
import { localSigner } from '../../src/crypto/signer.js';
import { ENGINES, has, keyFile, opensslFolder, rsaKey, utf8 } from './support.js';

const MESSAGE = utf8('1576074319000\n1iqt2wls\n');
const KINDS = ['ed25519', 'rsa 2048', 'rsa 3072', 'rsa 4096'] as const;
type Kind = (typeof KINDS)[number];

let folder: ReturnType<typeof opensslFolder>;
beforeEach(() => {
  folder = opensslFolder();
});
afterEach(() => folder.remove());

function text(name: string): string {
  return new TextDecoder().decode(folder.read(name));
}

const generated = new Map<Kind, readonly [privatePem: string, publicPem: string]>();

/** Writes a key that openssl wrote: one of each kind, which the tests share; the longer ones are not generated anew. */
function opensslWrites(kind: Kind): void {
  const [type = '', bits] = kind.split(' ');
  const options = bits === undefined ? [] : ['-pkeyopt', `rsa_keygen_bits:${bits}`];
  if (!generated.has(kind)) {
    if (bits === '3072' || bits === '4096') {
      folder.write('stored.pem', keyFile(`rsa-${bits}.pem`));
      folder.openssl('pkey', '-in', 'stored.pem', '-out', 'private.pem');
    } else folder.openssl('genpkey', '-algorithm', type, ...options, '-out', 'private.pem');
    folder.openssl('pkey', '-in', 'private.pem', '-pubout', '-out', 'public.pem');
    generated.set(kind, [text('private.pem'), text('public.pem')]);
  }
  const [privatePem = '', publicPem = ''] = generated.get(kind) ?? [];
  folder.write('private.pem', privatePem);
  folder.write('public.pem', publicPem);
}

function opensslVerifies(kind: Kind): string {
  return kind === 'ed25519'
    ? folder.openssl(
        'pkeyutl',
        '-verify',
        '-pubin',
        '-inkey',
        'public.pem',
        '-rawin',
        '-in',
        'message',
        '-sigfile',
        'signature',
      )
    : folder.openssl('dgst', '-sha256', '-verify', 'public.pem', '-signature', 'signature', 'message');
}

function opensslSigns(kind: Kind): void {
  if (kind === 'ed25519') {
    folder.openssl('pkeyutl', '-sign', '-inkey', 'private.pem', '-rawin', '-in', 'message', '-out', 'signature');
  } else {
    folder.openssl('dgst', '-sha256', '-sign', 'private.pem', '-out', 'signature', 'message');
  }
}

function ourKey(kind: Kind, engine: (typeof ENGINES)[number]): Promise<PrivateKey> {
  if (kind === 'ed25519') return generateKeyPair({}, engine);
  return kind === 'rsa 2048'
    ? generateKeyPair({ type: 'rsa', bits: 2048 }, engine)
    : rsaKey(kind === 'rsa 3072' ? 3072 : 4096);
}

describe.skipIf(!has('openssl', 'version')).each(ENGINES)('on the $name engine', (engine) => {
  test.each(KINDS)('openssl reads our %s PEMs as they stand, and accepts our signature', async (kind) => {
    const key = await ourKey(kind, engine);
    folder.write('private.pem', encodePrivateKeyPem(key));
    folder.write('public.pem', encodePublicKeyPem(key.publicKey));
    folder.write('message', MESSAGE);
    folder.write('signature', await localSigner(key, engine).sign(MESSAGE));
    expect(folder.openssl('pkey', '-in', 'private.pem', '-check', '-noout')).toContain('is valid');
    expect(folder.openssl('pkey', '-in', 'private.pem')).toBe(encodePrivateKeyPem(key));
    expect(folder.openssl('pkey', '-in', 'private.pem', '-pubout')).toBe(encodePublicKeyPem(key.publicKey));
    expect(folder.openssl('pkey', '-pubin', '-in', 'public.pem')).toBe(encodePublicKeyPem(key.publicKey));
    expect(opensslVerifies(kind)).toMatch(/Verified/);
    folder.write('message', utf8('another'));
    expect(() => opensslVerifies(kind)).toThrow();
  });

  test.each(KINDS)('we read the %s PEMs of openssl, and accept its signature', async (kind) => {
    opensslWrites(kind);
    folder.write('message', MESSAGE);
    opensslSigns(kind);
    const key = await loadPkcs8Pem(text('private.pem'), engine);
    const [block] = decodePem(text('public.pem'));
    const publicKey = decodeSpki(block?.bytes ?? new Uint8Array());
    expect(key.publicKey.equals(publicKey)).toBe(true);
    expect(encodePrivateKeyPem(key)).toBe(text('private.pem'));
    expect(key.bits).toBe(kind === 'ed25519' ? null : Number(kind.slice(4)));
    expect(await engine.verify(publicKey, MESSAGE, folder.read('signature'))).toBe(true);
    expect(await engine.verify(publicKey, utf8('another'), folder.read('signature'))).toBe(false);
    const [privateBlock] = decodePem(text('private.pem'));
    const slowly = await decodePkcs8(privateBlock?.bytes ?? new Uint8Array(), engine);
    expect(slowly.exposePkcs8()).toEqual(key.exposePkcs8());
  });
});

test.skipIf(!has('openssl', 'version')).each(['ed25519', 'rsa 2048'] as const)(
  'the fingerprint of an %s key is the MD5 that openssl computes of its SPKI',
  (kind) => {
    opensslWrites(kind);
    folder.openssl('pkey', '-pubin', '-in', 'public.pem', '-outform', 'DER', '-out', 'public.der');
    const md5 = folder.openssl('dgst', '-md5', '-c', 'public.der').trim().split('= ')[1];
    expect(fingerprint(decodeSpki(folder.read('public.der')))).toBe(md5);
  },
);
