import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { inspectKey, parsePrivateKey, parsePublicKey } from '../../../src/crypto/formats/index.js';
import { encodePem } from '../../../src/crypto/pem.js';
import { errorOf } from '../../support/outcomes.js';
import { expectRefusal } from './support.js';

const utf8 = (text: string) => new TextEncoder().encode(text);
const pem = (label: string, body = 'AAAA') => `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
const der = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

const P256 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const SECP256K1 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey;
const ED448 = generateKeyPairSync('ed448').privateKey;
const SHORT_RSA = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
const jwkOf = (key: typeof P256) => JSON.stringify(key.export({ format: 'jwk' }));

const SSH_ED25519 = 'AAAAC3NzaC1lZDI1NTE5AAAAI';

describe('what is no key that Deribit takes is refused by its name', () => {
  const unsupported: readonly (readonly [name: string, input: string | Uint8Array, message: string])[] = [
    [
      'an EC key in PKCS#8',
      P256.export({ type: 'pkcs8', format: 'pem' }),
      'EC key (P-256): Deribit accepts Ed25519 or RSA',
    ],
    [
      'an EC key in SEC 1',
      P256.export({ type: 'sec1', format: 'pem' }),
      'EC key (P-256): Deribit accepts Ed25519 or RSA',
    ],
    [
      'a Bitcoin key',
      SECP256K1.export({ type: 'sec1', format: 'der' }),
      'EC key (secp256k1): Deribit accepts Ed25519 or RSA',
    ],
    ['an EC key as JWK', jwkOf(P256), 'EC key (P-256): Deribit accepts Ed25519 or RSA'],
    ['an Ed448 key', ED448.export({ type: 'pkcs8', format: 'pem' }), 'Ed448 key: Deribit accepts Ed25519 or RSA'],
    ['an Ed448 key as JWK', jwkOf(ED448), 'Ed448 key: Deribit accepts Ed25519 or RSA'],
    ['a short RSA key', SHORT_RSA.export({ type: 'pkcs1', format: 'pem' }), 'RSA 1024 bits: at least 2048'],
    ['a short RSA key as JWK', jwkOf(SHORT_RSA), 'RSA 1024 bits: at least 2048'],
    ['a symmetric JWK', '{"kty":"oct","k":"AAAA"}', 'symmetric key (kty oct): Deribit accepts Ed25519 or RSA'],
    ['a JWK of a strange kind', '{"kty":"<b>"}', 'JWK of kty a string: Deribit accepts Ed25519 or RSA'],
    ['a JWK without kind', '{"kty":7}', 'JWK of kty a number: Deribit accepts Ed25519 or RSA'],
    ['an OKP JWK without curve', '{"kty":"OKP"}', 'OKP key without a curve: Deribit accepts Ed25519 or RSA'],
    ['an encryption JWK', '{"kty":"RSA","use":"enc"}', 'JWK for encryption (use is enc)'],
    ['an encrypted JWK', 'eyJhbGciOiJSU0EifQ.aaaa.bbbb.cccc.dddd', 'this is an encrypted JWK (JWE)'],
    [
      'a COSE key',
      der(`a4 0101 2006 215820 ${'11'.repeat(32)} 235820 ${'22'.repeat(32)}`),
      'this is a COSE key (CBOR)',
    ],
    [
      'a COSE key in base64',
      Buffer.from(`a301012006215820${'11'.repeat(32)}`, 'hex').toString('base64'),
      'this is a COSE',
    ],
    ['a PGP key in binary', der(`9458 04 6553f100 16${'11'.repeat(80)}`), 'this is a PGP key'],
    ['a PGP public key in binary', der(`c633 04 6553f100 16${'11'.repeat(80)}`), 'this is a PGP key'],
    ['a Tor onion key', utf8(`== ed25519v1-public: type0 ==\0\0\0${'x'.repeat(32)}`), 'this is a key of a Tor onion'],
    [
      "a key of Tor's clients",
      `${'b'.repeat(56)}:descriptor:x25519:${'A'.repeat(52)}`,
      "this is a key of Tor's client",
    ],
    ['an extended wallet key', `xprv9s21ZrQH143K${'3'.repeat(96)}`, 'this is an extended key of a wallet (BIP 32)'],
    ['a NATS seed', `SUA${'C'.repeat(55)}`, 'this is a key of NATS (nkey)'],
    ['a DID', `did:key:z6Mk${'h'.repeat(44)}`, 'this is a key in multibase (did:key)'],
    ['a PDF document', utf8('%PDF-1.7\n'), 'this is a PDF document'],
    ['a picture', der('89504e470d0a1a0a'), 'this is a picture'],
    [
      'a PuTTY key of version 1',
      'PuTTY-User-Key-File-1: ssh-rsa\n',
      'PuTTY key of version 1: only 2 and 3 are supported',
    ],
    ['a PGP key', pem('PGP PRIVATE KEY BLOCK', 'Version: 1\n\nlQ==\n=abcd'), 'this is a PGP key'],
    [
      'an SSH2 public key',
      '---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----',
      'this is an SSH2 public key (RFC 4716)',
    ],
    ['an ssh.com private key', '---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n', 'this is an ssh.com private key'],
    ['an SSH version 1 key', 'SSH PRIVATE KEY FILE FORMAT 1.1\n\0', 'this is an SSH version 1 key'],
    ['an age identity', '# created: today\n# public key: age1x\nAGE-SECRET-KEY-1QQ', 'this is an age key'],
    ['an age recipient', 'age1qqqq', 'this is an age key'],
    ['an age file', pem('AGE ENCRYPTED FILE'), 'this is a file that age encrypted'],
    ['a hex dump', '00000000: 2d2d 2d2d 2d42 4547 494e 2050  -----BEGIN P\n', 'this is a hex dump'],
    ['a minisign key', 'untrusted comment: minisign secret key\nRWQ=', 'this is a minisign or signify key'],
    ['a .NET key', '<RSAKeyValue><Modulus>AA==</Modulus></RSAKeyValue>', 'this is an XML key of .NET'],
    ['a .NET key with a namespace', '<ds:RSAKeyValue><ds:Modulus/></ds:RSAKeyValue>', 'this is an XML key of .NET'],
    ['a .NET key with escapes', '&lt;RSAKeyValue&gt;&lt;Modulus&gt;', 'this is an XML key of .NET'],
    ['a .NET key in JSON', '{"Modulus":"AA==","Exponent":"AQAB"}', 'this is a key of .NET in JSON'],
    ['a certificate in SAML', '<?xml version="1.0"?><ds:X509Certificate>AA==', 'this is a certificate in XML'],
    ['a second-factor seed', 'otpauth://totp/x?secret=JBSWY3DPEHPK3PXP', 'this is a second-factor seed'],
    ['a PKCS#11 URI', 'pkcs11:token=x;object=bot', 'this is a reference to a key in a PKCS#11 token'],
    ['a key of gpg-agent', 'Key: (protected-private-key (ecc', 'this is a key of gpg-agent'],
    ['a key of gpg-agent in its old form', '(11:private-key(3:ecc(5:curve', 'this is a key of gpg-agent'],
    ['a ciphertext of Vault', 'vault:v1:AAAA', 'this is a text that Vault encrypted'],
    ['a key that openssl printed as text', 'ED25519 Private-Key:\npriv:\n    aa:bb', 'this is what openssl prints'],
    ['a public key that openssl printed', 'RSA Public-Key: (2048 bit)\n', 'this is what openssl prints'],
    ['a PKCS#12 file in PEM', pem('PKCS12'), 'this is a PKCS#12 file in PEM'],
    ['an HTML page', '<!DOCTYPE html><html><body>Not found</body></html>', 'this is an HTML or XML page, not a key'],
    ['a Java keystore', der('feedfeed 00000002'), 'this is a Java keystore'],
    ['a JCEKS keystore', der('cececece 00000002'), 'this is a Java keystore'],
    ['a gzip file', der('1f8b0800'), 'this is a gzip file'],
    ['a zip file', der('504b0304'), 'this is a zip file'],
    ['a PKCS#12 file', der('3012 020103 300d 06092a864886f70d010701 a000'), 'this is a PKCS#12 file'],
    ['a PKCS#7 bundle', der('300d 06092a864886f70d010702 a000'), 'this is a PKCS#7 bundle'],
    ['a PKCS#7 bundle in PEM', pem('PKCS7'), 'this is a PKCS#7 bundle'],
    ['a trusted certificate', pem('TRUSTED CERTIFICATE'), "this is a certificate with OpenSSL's trust settings"],
    ['EC parameters', pem('EC PARAMETERS', 'BggqhkjOPQMBBw=='), 'EC parameters: Deribit accepts Ed25519 or RSA'],
    ['DH parameters', der('3006 020117 020102'), 'DH or DSA parameters: Deribit accepts Ed25519 or RSA'],
    ['a DSA public key', pem('DSA PUBLIC KEY'), 'DSA key: Deribit accepts Ed25519 or RSA'],
    ['an EC public key', pem('EC PUBLIC KEY'), 'EC key: Deribit accepts Ed25519 or RSA'],
    ['newer DH parameters', pem('X9.42 DH PARAMETERS'), 'DH parameters: Deribit accepts Ed25519 or RSA'],
    ['an SSH signature', pem('SSH SIGNATURE'), 'this is an SSH signature'],
    ['a revocation list', pem('X509 CRL'), 'this is a certificate revocation list'],
    ['a request of old label', pem('NEW CERTIFICATE REQUEST'), 'this is a certificate request'],
    ['an unknown PEM block', pem('SOMETHING ELSE'), 'this is a PEM block "SOMETHING ELSE", which is not a key'],
    [
      'a FIDO key',
      'sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t',
      'FIDO security key (sk-ssh-ed25519@openssh.com)',
    ],
    [
      'an EC SSH key',
      'ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQ=',
      'EC key (P-384): Deribit accepts Ed25519 or RSA',
    ],
    ['a DSA SSH key', 'ssh-dss AAAAB3NzaC1kc3M= me@host', 'DSA key: Deribit accepts Ed25519 or RSA'],
    ['an Ed448 SSH key', 'ssh-ed448 AAAACXNzaC1lZDQ0OA==', 'Ed448 key: Deribit accepts Ed25519 or RSA'],
    ['an unknown SSH key', 'ssh-xmss AAAACHNzaC14bXNz', 'SSH key of type ssh-xmss: Deribit accepts Ed25519 or RSA'],
  ];
  test.each(unsupported)('%s', async (_, input, message) => {
    const error = await errorOf(parsePublicKey(input));
    expect(error.message.slice(0, message.length)).toBe(message);
    expect(error.code).toBe('ERR_KEY_UNSUPPORTED');
    expect(error.hint).toMatch(/\S/);
  });

  test('a PKCS#12 file as a value of a document, with a hint to decode the value', async () => {
    const value = Buffer.from(`3028020103300d06092a864886f70d010701a0003014${'00'.repeat(20)}`, 'hex').toString(
      'base64',
    );
    for (const input of [JSON.stringify({ value }), `VALUE=${value}`]) {
      const { hint } = await errorOf(parsePrivateKey(input));
      expect(hint).toBe(
        'decode its value first, with base64 --decode; then extract the key: openssl pkcs12 -in <decoded file> -nocerts -out <new file>',
      );
    }
  });

  test('a certificate and a public key, where a private key is needed', async () => {
    const spki = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' });
    await expectRefusal(
      parsePrivateKey(spki),
      'ERR_KEY_UNSUPPORTED',
      /^this is a public key; a private key is needed$/,
    );
    const jwk = JSON.stringify(generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }));
    await expectRefusal(parsePrivateKey(jwk), 'ERR_KEY_UNSUPPORTED', /JWK without d/);
    await expectRefusal(parsePrivateKey('{"kty":"oct","k":"AAAA"}'), 'ERR_KEY_UNSUPPORTED', /^symmetric key/);
  });
});

describe('what is broken or unknown is refused as unreadable', () => {
  const unreadable: readonly (readonly [name: string, input: string | Uint8Array, message: RegExp])[] = [
    ['empty text', '', /^the input is empty$/],
    ['empty bytes', new Uint8Array(), /^the input is empty$/],
    ['white space', ' \r\n\t\uFEFF', /^the input is empty$/],
    ['a lone byte order mark', der('efbbbf'), /^the input is empty$/],
    ['prose', 'hello world', /^not recognised as a key: text of 11 characters$/],
    ['noise', der('8081828384'), /^not recognised as a key: 5 bytes$/],
    ['a raw seed', new Uint8Array(32).fill(7), /^not recognised as a key: 32 bytes without a format$/],
    ['a raw seed in hexadecimal', '07'.repeat(32), /^not recognised as a key: 32 bytes without a format$/],
    ['too much', 'A'.repeat(65_537), /too large for a key: 65537, at most 65536/],
    ['a PEM block without end', '-----BEGIN PRIVATE KEY-----\nAAAA', /no END line/],
    [
      'a PEM block of a strange label',
      '-----BEGIN private/key-----\nAAAA\n-----END private/key-----',
      /^the BEGIN line of the key is damaged$/,
    ],
    [
      'a PEM block of another thing',
      encodePem('PUBLIC KEY', P256.export({ type: 'pkcs8', format: 'der' })),
      /holds something else/,
    ],
    ['DER of another thing', der('3003 0101ff'), /^the data is DER, but of no key or certificate$/],
    ['broken JSON', '{"kty":', /^it begins like JSON, but is not valid JSON \(7 characters\)$/],
    ['a URL', 'https://example.com/key', /^this is the address of a key/],
    ['a reference of a password manager', 'op://vault/item/key', /^this is the address of a key/],
    ['an ARN', 'arn:aws:kms:eu-west-1:1:key/aa', /^this is the address of a key/],
    ['other JSON', '{"a":1}', /has neither kty nor keys/],
    ['a JWK set without keys', '{"keys":[]}', /^JWK set without keys$/],
    ['a JWK set of strings', '{"keys":["a"]}', /member that is not an object/],
    ['an SSH line of broken base64', `ssh-ed25519 ${SSH_ED25519}*`, /not canonical base64/],
    ['an SSH line of another type', 'ssh-rsa AAAAC3NzaC1lZDI1NTE5', /a different type than its line says/],
    ['an SSH line cut short', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5', /runs past the end/],
    ['an SSH line with a nameless type', 'ssh-ed25519 AAAAAA==', /is not a name|runs past the end/],
  ];
  test.each(unreadable)('%s', async (_, input, message) => {
    await expectRefusal(parsePublicKey(input), 'ERR_KEY_UNREADABLE', message);
    await expectRefusal(parsePrivateKey(input), 'ERR_KEY_UNREADABLE', message).catch(async () => {
      // A public line is recognised before its key is read.
      await expectRefusal(parsePrivateKey(input), 'ERR_KEY_UNSUPPORTED', /^this is a public key/);
    });
  });

  test('errors never repeat the input', async () => {
    const secret = 'c2VjcmV0LXNlY3JldC1zZWNyZXQ';
    for (const input of [
      secret,
      `{"kty":"OKP","crv":"Ed25519","x":"${secret}","d":"${secret}"}`,
      `{"${secret}`,
      pem('PRIVATE KEY', secret),
    ]) {
      const error = await errorOf(parsePrivateKey(input));
      const shown = [error.message, error.hint, String(error.cause), error.stack, JSON.stringify(error)].join();
      expect(shown).not.toContain(secret);
    }
  });

  test('inspectKey refuses the same things', async () => {
    await expectRefusal(inspectKey('hello'), 'ERR_KEY_UNREADABLE', /^not recognised/);
    await expectRefusal(inspectKey(utf8('age1qqqq')), 'ERR_KEY_UNSUPPORTED', /age/);
  });
});
