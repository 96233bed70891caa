import { describe, expect, test } from 'vitest';
import { rawEd25519PublicKey } from '../../src/crypto/asn1/key-der.js';
import { decodeSpki } from '../../src/crypto/asn1/spki-pkcs8.js';
import { privateKeyFromEd25519Seed, publicKeyFromEd25519 } from '../../src/crypto/build-keys.js';
import { bytesToHex } from '../../src/crypto/bytes.js';
import { fingerprint } from '../../src/crypto/fingerprint.js';
import { decodePem, encodePublicKeyPem } from '../../src/crypto/pem.js';
import { localSigner } from '../../src/crypto/signer.js';
import { ENGINES, hex, utf8 } from './support.js';

// RFC 8032 §7.1, tests 1, 2, 3 and SHA(abc): seed, public key, message, signature.
const RFC_8032 = [
  [
    '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    '',
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  ],
  [
    '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
    '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    '72',
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  ],
  [
    'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
    'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    'af82',
    '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
  ],
  [
    '833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42',
    'ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf',
    'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f',
    'dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704',
  ],
] as const;

describe.each(ENGINES)('on the $name engine', (engine) => {
  test.each(RFC_8032)('the Ed25519 vector of RFC 8032 with the seed %s is signed and verified', async (...vector) => {
    const [seed, publicKey, message, signature] = vector.map(hex) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    const key = await privateKeyFromEd25519Seed(seed, publicKey, engine);
    expect(bytesToHex(rawEd25519PublicKey(key.publicKey.spki))).toBe(vector[1]);
    expect(publicKeyFromEd25519(publicKey).equals(key.publicKey)).toBe(true);
    expect(bytesToHex(await localSigner(key, engine).sign(message))).toBe(vector[3]);
    expect(await engine.verify(key.publicKey, message, signature)).toBe(true);
  });

  test('HMAC-SHA-256 computes the documented signature of a symmetric key', async () => {
    const mac = await engine.hmacSha256(utf8('AMANDASECRECT'), utf8('1576074319000\n1iqt2wls\n'));
    expect(bytesToHex(mac)).toBe('56590594f97921b09b18f166befe0d1319b198bbcdad7ca73382de2f88fe9aa1');
  });

  test('SHA-256 computes the answer of FIPS 180-4', async () => {
    const digest = await engine.sha256(utf8('abc'));
    expect(bytesToHex(digest)).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });

  test('PBKDF2 computes the answer of RFC 7914 §11', async () => {
    const key = await engine.pbkdf2(utf8('passwd'), { hash: 'sha256', salt: utf8('salt'), iterations: 1, length: 64 });
    expect(bytesToHex(key)).toBe(
      '55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783',
    );
  });

  test('scrypt computes the answer of RFC 7914 §12', async () => {
    const cost = { cost: 1024, blockSize: 8, parallelization: 16 };
    const key = await engine.scrypt(utf8('password'), { ...cost, salt: utf8('NaCl'), length: 64 });
    expect(bytesToHex(key)).toBe(
      'fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640',
    );
  });
});

const KNOWN_PEM = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAM7FWhKquNqLmTOV4hfYT5r3AjrYiORTT6Tn5HIfFNV8=
-----END PUBLIC KEY-----
`;

test('the fingerprint of the key that Deribit is known to have taken is the one it returned', () => {
  const [block] = decodePem(KNOWN_PEM);
  const key = decodeSpki(block?.bytes ?? new Uint8Array());
  expect(fingerprint(key)).toBe('9c:6d:c9:02:fd:9f:75:6e:14:bb:71:c5:74:95:86:c8');
  expect(fingerprint(key.spki)).toBe(fingerprint(key));
  expect(encodePublicKeyPem(key)).toBe(KNOWN_PEM);
});

test('the fingerprint of a private key is that of its public half', async () => {
  const key = await privateKeyFromEd25519Seed(hex(RFC_8032[0][0]));
  expect(fingerprint(key)).toBe(fingerprint(key.publicKey));
});

test.each([
  ['', 'd41d8cd98f00b204e9800998ecf8427e'],
  ['message digest', 'f96b697d7cb7938d525a2f31aaf161d0'],
])('the fingerprint of the bytes of "%s" is the MD5 of RFC 1321 §A.5', (text, md5) => {
  expect(fingerprint(utf8(text)).replaceAll(':', '')).toBe(md5);
});
