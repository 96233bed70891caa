import type { DeribitKeysError } from '../../errors.js';
import { refuseAlgorithm, refuseKind } from '../key-errors.js';

type Refusal = () => DeribitKeysError;

const GIVE_KEY = 'give the file that holds the key itself';

const refusePgp: Refusal = () =>
  refuseKind('this is a PGP key or message', 'Deribit takes no PGP keys: make one with deribit-keys generate <name>');
export const refusePkcs12: Refusal = () =>
  refuseKind('this is a PKCS#12 file', 'take the key out of it: openssl pkcs12 -in <file> -nocerts -out key.pem');
export const refusePkcs7: Refusal = () =>
  refuseKind('this is a PKCS#7 bundle', 'take the certificates out of it: openssl pkcs7 -print_certs -in <file>');
export const refuseCrl: Refusal = () => refuseKind('this is a certificate revocation list', GIVE_KEY);
const refuseJks: Refusal = () =>
  refuseKind(
    'this is a Java keystore',
    'convert it: keytool -importkeystore -srckeystore <file> -destkeystore key.p12 -deststoretype PKCS12, then openssl pkcs12 -nocerts',
  );
const refuseAge: Refusal = () =>
  refuseKind(
    'this is an age key or file',
    'an age key only encrypts: make a signing key with deribit-keys generate <name>',
  );
const refuseSsh2Public: Refusal = () =>
  refuseKind('this is an SSH2 public key (RFC 4716)', 'convert it: ssh-keygen -i -f <file>');

/** The refusal of a certificate request (PKCS#10). */
export const refuseRequest: Refusal = () =>
  refuseKind(
    'this is a certificate request',
    'take its public key out: openssl req -in <file> -pubkey -noout; the private key is in a file of its own',
  );

const LABELS: ReadonlyMap<string, Refusal> = new Map<string, Refusal>([
  ['CERTIFICATE REQUEST', refuseRequest],
  ['NEW CERTIFICATE REQUEST', refuseRequest],
  [
    'TRUSTED CERTIFICATE',
    () =>
      refuseKind(
        "this is a certificate with OpenSSL's trust settings",
        'convert it: openssl x509 -in <file> -out cert.pem',
      ),
  ],
  ['X509 CRL', refuseCrl],
  ['PKCS7', refusePkcs7],
  ['PKCS #7 SIGNED DATA', refusePkcs7],
  ['CMS', refusePkcs7],
  ['PKCS12', refusePkcs12],
  ['AGE ENCRYPTED FILE', refuseAge],
  ['SSH2 PUBLIC KEY', refuseSsh2Public],
  ['EC PARAMETERS', () => refuseAlgorithm('EC parameters')],
  ['DSA PARAMETERS', () => refuseAlgorithm('DSA parameters')],
  ['DH PARAMETERS', () => refuseAlgorithm('DH parameters')],
  ['X9.42 DH PARAMETERS', () => refuseAlgorithm('DH parameters')],
  ['DSA PUBLIC KEY', () => refuseAlgorithm('DSA key')],
  ['EC PUBLIC KEY', () => refuseAlgorithm('EC key')],
  ['SSH SIGNATURE', () => refuseKind('this is an SSH signature', GIVE_KEY)],
]);

/** The refusal of a PEM block that holds no key of ours. */
export function refuseLabel(label: string): DeribitKeysError {
  if (label.startsWith('PGP ')) return refusePgp();
  return LABELS.get(label)?.() ?? refuseKind(`this is a PEM block "${label}", which is no key`, GIVE_KEY);
}

/** What a text begins with, or has in it, that makes it some other well-known thing. */
const TEXTS: readonly (readonly [RegExp, Refusal])[] = [
  [/-----BEGIN PGP /, refusePgp],
  [/^---- BEGIN SSH2 PUBLIC KEY ----/m, refuseSsh2Public],
  [
    /^---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----/m,
    () => refuseKind('this is an ssh.com private key', 'convert it: puttygen <file> -O private-openssh -o <new file>'),
  ],
  [
    /^PuTTY-User-Key-File-/,
    () => refuseKind('this is a PuTTY key (.ppk)', 'convert it: puttygen <file> -O private-openssh -o <new file>'),
  ],
  [
    /^SSH PRIVATE KEY FILE FORMAT/,
    () => refuseKind('this is an SSH version 1 key', 'make a new key: deribit-keys generate <name>'),
  ],
  [/^AGE-(?:SECRET-KEY|PLUGIN)-|^age1[0-9a-z]+$|^age-encryption\.org\//m, refuseAge],
  [
    /^untrusted comment:/,
    () => refuseKind('this is a minisign or signify key', 'make a key: deribit-keys generate <name>'),
  ],
  [
    /^ey[\w-]+\.[\w-]*\.[\w-]*\.[\w-]*\.[\w-]*$/,
    () => refuseKind('this is an encrypted JWK (JWE)', 'decrypt it first with the tool that made it'),
  ],
  [
    /^<RSAKeyValue\b/i,
    () => refuseKind('this is an XML key of .NET', 'export it as PEM: RSA.ExportPkcs8PrivateKeyPem()'),
  ],
  [
    /^<(?:!doctype|html|head|body|\?xml)\b/i,
    () => refuseKind('this is an HTML or XML page, not a key', 'the download may have failed: fetch the file again'),
  ],
];

/** The refusal of a text (without white space around it) that is some other well-known thing; null for all else. */
export function refuseText(text: string): DeribitKeysError | null {
  return TEXTS.find(([pattern]) => pattern.test(text))?.[1]() ?? null;
}

const MAGICS: readonly (readonly [readonly number[], Refusal])[] = [
  [[0xfe, 0xed, 0xfe, 0xed], refuseJks],
  [[0xce, 0xce, 0xce, 0xce], refuseJks],
  [[0x1f, 0x8b], () => refuseKind('this is a gzip file', 'unpack it first: gunzip <file>')],
  [[0x50, 0x4b, 3, 4], () => refuseKind('this is a zip file', 'unpack it first: unzip <file>')],
];

/** The refusal of bytes that are some other well-known thing than DER; null for all else. */
export function refuseMagic(bytes: Uint8Array): DeribitKeysError | null {
  return MAGICS.find(([magic]) => magic.every((byte, i) => bytes[i] === byte))?.[1]() ?? null;
}
