import { describe, expect, test } from 'vitest';
import { privateKeyFromEd25519Seed } from '../../../src/crypto/build-keys.js';
import { encryptPkcs8 } from '../../../src/crypto/formats/encrypted-pkcs8.js';
import { inspectKey, parsePrivateKey, parsePublicKey } from '../../../src/crypto/formats/index.js';
import { encodePem } from '../../../src/crypto/pem.js';
import { errorOf } from '../../support/outcomes.js';
import { ENGINES, expectRefusal, native } from './support.js';

const key = await privateKeyFromEd25519Seed(Uint8Array.from({ length: 32 }, (_, i) => i + 1));
const raw = Buffer.from(key.publicKey.spki.slice(-32));
const seed = Buffer.from(key.exposePkcs8().slice(-32));
const der = (hex: string) => new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
const text = (bytes: Uint8Array | string) => Buffer.from(bytes).toString('latin1');
const seedHex = seed.toString('hex');

const RING_V2 = der(`3053 020101 3005 0603 2b6570 0422 0420 ${seedHex} a123 0321 00 ${raw.toString('hex')}`);
const PEM = encodePem('PRIVATE KEY', key.exposePkcs8());
const JWK = { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url'), d: seed.toString('base64url') };
const PAIR = der(`304e 020100 3005 0603 2b6570 0442 0440 ${seedHex} ${raw.toString('hex')}`);

describe('a private key that another tool wrote in its own way is read:', () => {
  const encrypted = `-----BEGIN ED25519 PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-256-CBC,789ccf86e864efd0a7cda7346d360c78

NRe2/w2rwUF9OrTec0rpXqIJQvrtgwf8boT0oaKQnhO13sqUVFub1lgRQTfQfCLn
vFJFaMZfwFY/zKbzBc973A==
-----END ED25519 PRIVATE KEY-----
`;

  test.each([
    ['PKCS#8 version 2 of ring before 0.17', RING_V2],
    ['the same in PEM', encodePem('PRIVATE KEY', RING_V2)],
    ['PKCS#8 with the public key behind the seed', encodePem('PRIVATE KEY', PAIR)],
    ['PKCS#8 under the label ED25519 PRIVATE KEY', encodePem('ED25519 PRIVATE KEY', key.exposePkcs8())],
    ['PKCS#8 under the label ANY PRIVATE KEY', encodePem('ANY PRIVATE KEY', key.exposePkcs8())],
    ['PKCS#8 under the label of OpenSSH', encodePem('OPENSSH PRIVATE KEY', key.exposePkcs8())],
    ['PKCS#8 whose BEGIN line was pasted twice', PEM.replace(/^(.*\n)/, '$1$1')],
    ['a JWK inside another document', JSON.stringify({ name: 'bot', jwk: JWK })],
    ['a JWK deeper inside', JSON.stringify({ data: { data: { value: JWK } } })],
    ['a JWK as a string in JSON', JSON.stringify({ SecretString: JSON.stringify(JWK) })],
    ['a Kubernetes secret in YAML', `kind: Secret\ndata:\n  tls.key: ${Buffer.from(PEM).toString('base64')}\n`],
  ])('%s', async (_, input) => {
    for (const engine of ENGINES) {
      expect((await parsePrivateKey(input, { engine })).exposePkcs8()).toEqual(key.exposePkcs8());
    }
  });

  test('PKCS#8 under the label ED25519 PRIVATE KEY, encrypted in the old way', async () => {
    expect(await inspectKey(encrypted)).toEqual({ kind: 'private', format: 'pkcs8', encrypted: true });
    for (const engine of ENGINES) {
      expect((await parsePrivateKey(encrypted, { passphrase: 'pw', engine })).algorithm).toBe('ed25519');
      await expectRefusal(parsePrivateKey(encrypted, { passphrase: 'x', engine }), 'ERR_PASSPHRASE_WRONG', /^wrong/);
    }
  });
});

describe('what cannot be read inside an encrypted file is named by its own reason, under the right passphrase:', () => {
  const seal = async (inside: Uint8Array) =>
    encodePem('ENCRYPTED PRIVATE KEY', await encryptPkcs8(inside, { passphrase: 'right', iterations: 1_000 }, native));

  test.each([
    ['an Ed25519 key with parameters', der(`3030 020100 3007 0603 2b6570 0500 0422 0420 ${seedHex}`), /has parameters/],
    ['a seed that is wrapped once', der(`302c 020100 3005 0603 2b6570 0420 ${seedHex}`), /one OCTET STRING/],
    [
      'a public half under version 1',
      der(`3051 020100 3005 0603 2b6570 0422 0420 ${seedHex} 8121 00 ${raw.toString('hex')}`),
      /version does not allow/,
    ],
    ['a key cut short', key.exposePkcs8().slice(0, -3), /not valid DER/],
    ['data behind the key', new Uint8Array([...key.exposePkcs8(), 0]), /data follows it/],
  ])('%s', async (_, inside, message) => {
    await expectRefusal(parsePrivateKey(await seal(inside), { passphrase: 'right' }), 'ERR_KEY_UNREADABLE', message);
    await expectRefusal(parsePrivateKey(await seal(inside), { passphrase: 'wrong' }), 'ERR_PASSPHRASE_WRONG', /^wrong/);
  });

  test('keys that other tools wrote in their own way are read', async () => {
    for (const inside of [RING_V2, PAIR]) {
      const opened = await parsePrivateKey(await seal(inside), { passphrase: 'right' });
      expect(opened.exposePkcs8()).toEqual(key.exposePkcs8());
    }
  });

  test('noise is a wrong passphrase', async () => {
    for (const inside of [new Uint8Array(48).fill(0x30), new Uint8Array(64), der('3005 020100 0500')]) {
      await expectRefusal(
        parsePrivateKey(await seal(inside), { passphrase: 'right' }),
        'ERR_PASSPHRASE_WRONG',
        /^wrong/,
      );
    }
  });
});

describe('a public key as a cloud service shows it is read:', () => {
  const spki = Buffer.from(key.publicKey.spki).toString('base64');
  const pem = encodePem('PUBLIC KEY', key.publicKey.spki);
  test.each([
    ['AWS KMS, get-public-key', { KeyId: 'x', PublicKey: spki, KeySpec: 'ECC_NIST_EDWARDS25519' }],
    ['Google Cloud KMS', { pem, algorithm: 'EC_SIGN_ED25519', name: 'projects/p/locations/global' }],
    [
      'Vault, transit/keys',
      { data: { keys: { 1: { name: 'ed25519', public_key: raw.toString('base64') } }, type: 'ed25519' } },
    ],
    ['Vault, in base64 only', raw.toString('base64')],
    ['Azure Key Vault', { key: { kid: 'https://x', kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64') } }],
    ['a Kubernetes secret', { kind: 'Secret', data: { 'key.pem': Buffer.from(pem).toString('base64') } }],
  ])('%s', async (_, value) => {
    const input = typeof value === 'string' ? value : JSON.stringify(value, null, 2);
    expect((await parsePublicKey(input)).equals(key.publicKey)).toBe(true);
  });

  test('but several versions of a key are refused', async () => {
    const other = (await privateKeyFromEd25519Seed(new Uint8Array(32).fill(2))).publicKey.spki.slice(-32);
    const keys = [raw, Buffer.from(other)].map((each) => ({ public_key: each.toString('base64') }));
    await expectRefusal(
      parsePublicKey(JSON.stringify({ keys: { ...keys } })),
      'ERR_KEY_UNSUPPORTED',
      /several different/,
    );
  });
});

describe('a file that is no key of ours is named:', () => {
  test.each([
    [
      'PKCS#12 in BER, as NSS writes it',
      der('3080 020103 3080 06092a864886f70d010701 a080 2480 0401'),
      /^this is a PKCS#12 file$/,
    ],
    ['PKCS#12 cut short', der('3082 0900 020103 3082 0800 06092a864886f70d010701 a082'), /^this is a PKCS#12 file$/],
    ['PKCS#7 in BER', der('3080 06092a864886f70d010702 a080 3080'), /^this is a PKCS#7 bundle$/],
    [
      'a Dropbear key of Ed25519',
      text(der(`0000000b ${Buffer.from('ssh-ed25519').toString('hex')} 00000040`)) + 'x'.repeat(64),
      /^this is a Dropbear key$/,
    ],
    [
      'a Dropbear key of RSA',
      der(`00000007 ${Buffer.from('ssh-rsa').toString('hex')} 00000003010001 0000000103 0000000105 0000000107`),
      /^this is a Dropbear key$/,
    ],
    [
      'a public key of SSH without its line',
      der(`0000000b ${Buffer.from('ssh-ed25519').toString('hex')} 00000020 ${raw.toString('hex')}`),
      /SSH's wire format/,
    ],
    ['a database of NSS', 'SQLite format 3\0...', /^this is a database of NSS/],
    ['an old database of NSS', der('00061561 00000002 000004d2'), /^this is a database of NSS/],
    [
      'a WireGuard configuration',
      '[Interface]\nPrivateKey = AQID\nAddress = 10.0.0.2/32',
      /^this is a WireGuard configuration$/,
    ],
    [
      'a WireGuard configuration with a comment',
      '# home\n[Interface]\nPrivateKey = AQID',
      /^this is a WireGuard configuration$/,
    ],
    ['a key of cosign', encodePem('ENCRYPTED SIGSTORE PRIVATE KEY', der('7b7d')), /^this is a key of sigstore/],
    ['an older key of cosign', encodePem('ENCRYPTED COSIGN PRIVATE KEY', der('7b7d')), /^this is a key of sigstore/],
    ['a key in a TPM', encodePem('TSS2 PRIVATE KEY', der('3009 0606 67810501 0a01 0103')), /bound to a TPM/],
    [
      'Ed25519 under its draft OID',
      der(`302e 020100 3005 0603 2b6564 0422 0420 ${seedHex}`),
      /^Ed25519 under its old draft OID 1\.3\.101\.100$/,
    ],
    [
      'an XML key with a declaration',
      '<?xml version="1.0"?>\n<RSAKeyValue><Modulus>AA==</Modulus></RSAKeyValue>',
      /^this is an XML key of \.NET$/,
    ],
    [
      'XML of RSAParameters',
      '<RSAParameters xmlns:xsd="x"><Exponent>AQAB</Exponent></RSAParameters>',
      /^this is an XML key of \.NET$/,
    ],
    [
      'an encrypted JWK in JSON',
      '{"protected":"eyJ","ciphertext":"AA","iv":"AA","tag":"AA"}',
      /^this is an encrypted JWK/,
    ],
    ['a token', 'eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2ln', /^this is a token \(JWT\)/],
    ['an Ethereum keystore', '{"version":3,"crypto":{"kdf":"scrypt"}}', /^this is an Ethereum keystore$/],
    ['a DNSSEC key', 'Private-key-format: v1.3\nAlgorithm: 15 (ED25519)\nPrivateKey: AAAA', /^this is a DNSSEC key/],
    ['a Tor key', `== ed25519v1-secret: type0 ==\0\0\0${'x'.repeat(64)}`, /^this is a key of a Tor/],
    ['a recovery phrase', `${'abandon '.repeat(11)}about`, /^this is a recovery phrase/],
    ['a file of Ansible Vault', '$ANSIBLE_VAULT;1.1;AES256\n6162', /^this is a file of Ansible Vault$/],
    ['a file of SOPS', '{"key":"ENC[AES256_GCM,data:AAAA,iv:AAAA,tag:AAAA,type:str]"}', /^this is a file of SOPS$/],
    ['a Git LFS pointer', 'version https://git-lfs.github.com/spec/v1\noid sha256:00', /^this is a Git LFS pointer/],
    ['a CNG blob', text(der('52534132 00080000')), /^this is a key blob of Windows CNG$/],
  ])('%s', async (_, input, message) => {
    const bytes = typeof input === 'string' ? new Uint8Array(Buffer.from(input, 'latin1')) : input;
    for (const each of [bytes, Buffer.from(bytes).toString('base64')]) {
      const error = await errorOf(parsePrivateKey(each));
      if (each !== bytes && bytes.length < 24) continue;
      expect(error.message).toMatch(message);
      expect(error.code).toBe('ERR_KEY_UNSUPPORTED');
      expect(error.hint).toMatch(/\S/);
    }
  });
});
