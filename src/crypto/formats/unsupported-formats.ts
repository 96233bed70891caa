import type { DeribitKeysError } from '../../errors.js';
import { concatBytes, equalBytes, hexToBytes, utf8Bytes } from '../bytes.js';
import { refuseAlgorithm, refuseKind } from '../key-errors.js';

type Refusal = () => DeribitKeysError;

const GIVE_KEY = 'give the file that holds the key itself';
const MAKE_KEY = 'make a key for Deribit: deribit-keys generate <name>';
const OUT = '-out <new file>';

/** A refusal by name, with a hint. Every command in a hint is run by a test against the file that it is for. */
const named =
  (what: string, hint: string): Refusal =>
  () =>
    refuseKind(`this is ${what}`, hint);

const refusePgp = named('a PGP key', 'Deribit does not accept PGP keys: make a key with deribit-keys generate <name>');
export const refuseCrl = named('a certificate revocation list', GIVE_KEY);
const refuseJks = named(
  'a Java keystore',
  `convert it: keytool -importkeystore -srckeystore <file> -destkeystore key.p12 -deststoretype PKCS12, then: openssl pkcs12 -in key.p12 -nocerts ${OUT}`,
);
const refusePgpMessage = named(
  'a file that PGP encrypted',
  'decrypt it first: gpg --output <new file> --decrypt <file>',
);
const refuseAgeFile = named('a file that age encrypted', 'decrypt it first: age --decrypt --output <new file> <file>');
const refuseAge = named('an age key', 'an age key only encrypts: make a signing key with deribit-keys generate <name>');
const refuseNss = named(
  'a database of NSS (Firefox, Thunderbird)',
  `extract the key: pk12util -o key.p12 -d sql:<folder> -n <name of the key>, then: openssl pkcs12 -in key.p12 -nocerts ${OUT}`,
);
const refuseSigstore = named(
  'a key of sigstore (cosign)',
  'it has a format of its own and holds an EC key: make a key with deribit-keys generate <name>',
);
const refuseTpm = named(
  'a key that is bound to a TPM',
  'it works only on that machine, through its TPM: make a key with deribit-keys generate <name>',
);
const EXPORT_DOTNET = 'export it as PEM: RSA.ExportPkcs8PrivateKeyPem()';
export const refuseDotnetJson = named('a key of .NET in JSON', EXPORT_DOTNET);
const refuseCose = named('a COSE key (CBOR)', 'export it as a JWK or in PEM with the tool that made it');
const refuseTokenUri = named(
  'a reference to a key in a PKCS#11 token',
  'add it with: deribit-keys add-token <name> --module <file> --token <label> --label <text>',
);
const refuseSsh2Public = named('an SSH2 public key (RFC 4716)', 'convert it: ssh-keygen -i -f <file> > <new file>');

/** OIDs of RC2 and RC4 in PKCS#12 (RFC 7292 §C), which OpenSSL 3 reads only with its legacy provider. */
const LEGACY_PBE = ['01', '02', '05', '06'].map((last) => hexToBytes(`060a2a864886f70d010c01${last}`));

/** The refusal of a PKCS#12 file; its bytes tell how OpenSSL reads it. */
export function refusePkcs12(bytes: Uint8Array): DeribitKeysError {
  const legacy = LEGACY_PBE.some((oid) => includesBytes(bytes, oid)) ? '-legacy ' : '';
  return named('a PKCS#12 file', `extract the key: openssl pkcs12 ${legacy}-in <file> -nocerts ${OUT}`)();
}

function includesBytes(bytes: Uint8Array, part: Uint8Array): boolean {
  return bytes.some((_, at) => equalBytes(bytes.subarray(at, at + part.length), part));
}

/** How a document is written, as openssl's `-inform` has it. */
type Armour = 'PEM' | 'DER';

export function refusePkcs7(form: Armour): DeribitKeysError {
  const hint = `extract the certificates: openssl pkcs7 -inform ${form} -in <file> -print_certs ${OUT}`;
  return named('a PKCS#7 bundle', hint)();
}

/** The refusal of a certificate request (PKCS#10). */
export function refuseRequest(form: Armour): DeribitKeysError {
  const hint = `extract its public key: openssl req -inform ${form} -in <file> -pubkey -noout ${OUT}; the private key is in a file of its own`;
  return named('a certificate request', hint)();
}

const LABELS: ReadonlyMap<string, Refusal> = new Map<string, Refusal>([
  ['CERTIFICATE REQUEST', () => refuseRequest('PEM')],
  ['NEW CERTIFICATE REQUEST', () => refuseRequest('PEM')],
  [
    'TRUSTED CERTIFICATE',
    named("a certificate with OpenSSL's trust settings", `convert it: openssl x509 -in <file> ${OUT}`),
  ],
  ['X509 CRL', refuseCrl],
  ['PKCS7', () => refusePkcs7('PEM')],
  ['PKCS #7 SIGNED DATA', () => refusePkcs7('PEM')],
  ['CMS', () => refusePkcs7('PEM')],
  [
    'PKCS12',
    named(
      'a PKCS#12 file in PEM',
      `extract the key: grep -v -e ----- <file> | base64 --decode > key.p12, then: openssl pkcs12 -in key.p12 -nocerts ${OUT}`,
    ),
  ],
  ['AGE ENCRYPTED FILE', refuseAgeFile],
  ['SSH2 PUBLIC KEY', refuseSsh2Public],
  ['EC PARAMETERS', () => refuseAlgorithm('EC parameters')],
  ['DSA PARAMETERS', () => refuseAlgorithm('DSA parameters')],
  ['DH PARAMETERS', () => refuseAlgorithm('DH parameters')],
  ['X9.42 DH PARAMETERS', () => refuseAlgorithm('DH parameters')],
  ['DSA PUBLIC KEY', () => refuseAlgorithm('DSA key')],
  ['EC PUBLIC KEY', () => refuseAlgorithm('EC key')],
  ['SSH SIGNATURE', named('an SSH signature', GIVE_KEY)],
  ['ENCRYPTED SIGSTORE PRIVATE KEY', refuseSigstore],
  ['ENCRYPTED COSIGN PRIVATE KEY', refuseSigstore],
  ['TSS2 PRIVATE KEY', refuseTpm],
  ['TSS2 KEY BLOB', refuseTpm],
  ['TENDERMINT PRIVATE KEY', named('an encrypted key of Tendermint (Cosmos)', MAKE_KEY)],
  ['OPENVPN STATIC KEY V1', named('a symmetric key of OpenVPN', MAKE_KEY)],
  ['OPENSSL ENGINE KEY', named('a reference to a key in an OpenSSL engine', GIVE_KEY)],
  ['PKCS#11 PROVIDER URI', refuseTokenUri],
]);

/** The refusal of a PEM block that is well known and holds no key of ours; null for any other label. */
export function refuseLabel(label: string): DeribitKeysError | null {
  if (label === 'PGP MESSAGE') return refusePgpMessage();
  return label.startsWith('PGP ') ? refusePgp() : (LABELS.get(label)?.() ?? null);
}

/** The refusal of a PEM block of a label that is not known, and whose content is no key. */
export function refuseUnknownLabel(label: string): DeribitKeysError {
  return named(`a PEM block "${label}", which is not a key`, GIVE_KEY)();
}

const PUTTYGEN = 'puttygen <file> -O private-openssh-new -o <new file>';

/** What a text begins with, or has in it, that makes it some other well-known thing. */
const TEXTS: readonly (readonly [RegExp, Refusal])[] = [
  [/-----BEGIN PGP MESSAGE/, refusePgpMessage],
  [/-----BEGIN PGP /, refusePgp],
  [/^---- BEGIN SSH2 PUBLIC KEY ----/m, refuseSsh2Public],
  [/^---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----/m, named('an ssh.com private key', `convert it: ${PUTTYGEN}`)],
  [/^SSH PRIVATE KEY FILE FORMAT/, named('an SSH version 1 key', 'make a new key: deribit-keys generate <name>')],
  [/^AGE-(?:SECRET-KEY|PLUGIN)-|^age1[0-9a-z]+$/m, refuseAge],
  [/^age-encryption\.org\//, refuseAgeFile],
  [
    /^[0-9a-f]{8}:? +(?:[0-9a-f]{2,4} ){4}/,
    named('a hex dump', 'turn it into the file again: xxd -r <file> > <new file>'),
  ],
  [/^untrusted comment:/, named('a minisign or signify key', 'make a key: deribit-keys generate <name>')],
  [
    /^ey[\w-]+\.[\w-]*\.[\w-]*\.[\w-]*\.[\w-]*$/,
    named('an encrypted JWK (JWE)', 'decrypt it first with the tool that made it'),
  ],
  [/^ey[\w-]+\.ey[\w-]+\.[\w-]*$/, named('a token (JWT), not a key', GIVE_KEY)],
  [
    /^\[Interface\]|^\[Peer\]|^PrivateKey\s*=[^\n]*\n(?:[^\n]*\n)*(?:Address|ListenPort|DNS)\s*=/m,
    named(
      'a WireGuard configuration',
      'its key is for X25519, which cannot sign: make a key with deribit-keys generate <name>',
    ),
  ],
  [
    /^Private-key-format: v1/,
    named(
      'a DNSSEC key of BIND',
      'for algorithm 15 (ED25519), what follows "PrivateKey:" is a seed: give it with --format raw-seed',
    ),
  ],
  [
    /\bx25519:[A-Z2-7]{52}\b/,
    named("a key of Tor's client authorization", `its key is for X25519, which cannot sign: ${MAKE_KEY}`),
  ],
  [
    /<(?:\w+:)?X509Certificate>/,
    named(
      'a certificate in XML',
      'give only the text between <X509Certificate> and </X509Certificate>; it holds the public key',
    ),
  ],
  [/<(?:\w+:)?(?:RSAKeyValue|RSAParameters|ECKeyValue|DSAKeyValue)\b/i, named('an XML key of .NET', EXPORT_DOTNET)],
  [
    /^<(?:!doctype|!--|html|head|body|\?xml)(?!.*-----BEGIN )/is,
    named('an HTML or XML page, not a key', 'the download may have failed: fetch the file again'),
  ],
  [
    /^otpauth(?:-migration)?:/i,
    named('a second-factor seed', 'it proves a second factor, and is given with --tfa-secret-file <file>'),
  ],
  [/^pkcs11:/, refuseTokenUri],
  [/^(?:Key: ?)?\((?:\d+:)?(?:protected-|shadowed-)?private-key/m, named('a key of gpg-agent', MAKE_KEY)],
  [
    /^vault:v\d+:/,
    named(
      'a text that Vault encrypted',
      'decrypt it first: vault write -field=plaintext transit/decrypt/<key> ciphertext=@<file>',
    ),
  ],
  [
    /^(?:[\w-]+ )?(?:Private|Public)-Key:(?!.*-----BEGIN )/s,
    named('what openssl prints with -text, not the key', 'run it again without -text and -noout'),
  ],
  [/^\$ANSIBLE_VAULT;/, named('a file of Ansible Vault', 'decrypt it first: ansible-vault decrypt <file>')],
  [/\bENC\[AES256_GCM,data:/, named('a file of SOPS', 'decrypt it first: sops decrypt <file>')],
  [
    /^Salted__|^U2FsdGVkX1/,
    named(
      'a file that openssl enc encrypted',
      'decrypt it first with openssl enc -d and the options that it was encrypted with',
    ),
  ],
  [
    /^version https:\/\/git-lfs\.github\.com\/spec/,
    named('a Git LFS pointer, not the file itself', 'fetch the file: git lfs pull'),
  ],
  [/^suiprivkey1[a-z0-9]+$|^S[A-Z2-7]{55}$/, named('a wallet key of another network (Sui, Stellar)', MAKE_KEY)],
  [/^[xyztuv]p(?:rv|ub)[1-9A-HJ-NP-Za-km-z]{100,112}$/, named('an extended key of a wallet (BIP 32)', MAKE_KEY)],
  [/^S[ACNOUX][A-Z2-7]{56}$/, named('a key of NATS (nkey)', MAKE_KEY)],
  [
    /^(?:did:key:)?z[1-9A-HJ-NP-Za-km-z]{46,}(?:#\S+)?$/,
    named('a key in multibase (did:key)', 'export it as a JWK or in PEM with the tool that made it'),
  ],
  [/^[5KL][1-9A-HJ-NP-Za-km-z]{50,51}$/, named('a Bitcoin key (WIF)', MAKE_KEY)],
  [
    /^(?:[a-z]{3,8}\s+){11}(?:(?:[a-z]{3,8}\s+){12})?[a-z]{3,8}$/,
    named('a recovery phrase of a wallet', `keep it to yourself; ${MAKE_KEY}`),
  ],
];

/** The refusal of a text (without white space around it) that is some other well-known thing; null for all else. */
export function refuseText(text: string): DeribitKeysError | null {
  return TEXTS.find(([pattern]) => pattern.test(text))?.[1]() ?? null;
}

const sshType = (type: string) => concatBytes(Uint8Array.of(0, 0, 0, type.length), utf8Bytes(type));
const DROPBEAR = named('a Dropbear key', 'convert it: dropbearconvert dropbear openssh <file> <new file>');

const MAGICS: readonly (readonly [Uint8Array, Refusal])[] = [
  [hexToBytes('feedfeed'), refuseJks],
  [hexToBytes('cececece'), refuseJks],
  [concatBytes(utf8Bytes('SQLite format 3'), Uint8Array.of(0)), refuseNss],
  [hexToBytes('00061561'), refuseNss],
  // Dropbear writes the type, then the private key: 64 bytes of Ed25519, where a public key has 32.
  [concatBytes(sshType('ssh-ed25519'), Uint8Array.of(0, 0, 0, 64)), DROPBEAR],
  [utf8Bytes('kych'), named('a macOS keychain', 'export the key from Keychain Access as .p12')],
  [hexToBytes('1ef1b5b0'), named('a Microsoft PVK file', `convert it: openssl rsa -inform PVK -in <file> ${OUT}`)],
  [hexToBytes('07020000'), named('a Microsoft key blob', `convert it: openssl rsa -inform MSBLOB -in <file> ${OUT}`)],
  [
    hexToBytes('06020000'),
    named('a Microsoft key blob', `convert it: openssl rsa -inform MSBLOB -pubin -in <file> -pubout ${OUT}`),
  ],
  [utf8Bytes('RSA2'), named('a key blob of Windows CNG', EXPORT_DOTNET)],
  [utf8Bytes('RSA3'), named('a key blob of Windows CNG', EXPORT_DOTNET)],
  [utf8Bytes('== ed25519v1-'), named('a key of a Tor onion service', `it holds no seed: ${MAKE_KEY}`)],
  // a session key of version 4 under a passphrase, or of version 3 for X25519 or RSA (RFC 9580 §5.1, §5.3)
  ...['8c0d04', '845e03', '85010c03', '85018c03', '85020c03'].map(
    (magic) => [hexToBytes(magic), refusePgpMessage] as const,
  ),
  [utf8Bytes('%PDF-'), named('a PDF document', GIVE_KEY)],
  [hexToBytes('89504e47'), named('a picture', GIVE_KEY)],
  [hexToBytes('ffd8ff'), named('a picture', GIVE_KEY)],
  [hexToBytes('1f8b'), named('a gzip file', 'unpack it first: gunzip < <file> > <new file>')],
  [hexToBytes('504b0304'), named('a zip file', 'unpack it first: unzip -p <file> > <new file>')],
  [hexToBytes('fd377a585a00'), named('an xz file', 'unpack it first: unxz < <file> > <new file>')],
  [utf8Bytes('BZh'), named('a bzip2 file', 'unpack it first: bunzip2 < <file> > <new file>')],
  [hexToBytes('28b52ffd'), named('a zstd file', 'unpack it first: unzstd < <file> > <new file>')],
  [
    hexToBytes('004749544352595054'),
    named('a file that git-crypt encrypted', 'unlock the repository: git-crypt unlock'),
  ],
];

/** The refusal of bytes that are some other well-known thing than DER; null for all else. */
export function refuseMagic(bytes: Uint8Array): DeribitKeysError | null {
  const refuse = MAGICS.find(([magic]) => equalBytes(bytes.subarray(0, magic.length), magic))?.[1];
  if (refuse !== undefined) return refuse();
  if (isCose(bytes)) return refuseCose();
  return isPgp(bytes) ? refusePgp() : sshBlob(bytes);
}

/** A COSE key in CBOR (RFC 9052 §7): a map of two to eight members, whose first, `kty`, is OKP, EC2, RSA or Symmetric. */
function isCose([map = 0, label, type = 0]: Uint8Array): boolean {
  return map >= 0xa2 && map <= 0xa8 && label === 1 && type >= 1 && type <= 4;
}

/** A PGP key (RFC 9580 §4.2, §5.5): a secret or public key packet of version 4 to 6, longer than bare keys are. */
function isPgp(bytes: Uint8Array): boolean {
  const [tag = 0, length = 0] = bytes;
  if (bytes.length <= 64) return false;
  const isShort = tag === 0x94 || tag === 0x98 || ((tag === 0xc5 || tag === 0xc6) && length < 192);
  const isLong = tag === 0x95 || tag === 0x99 || ((tag === 0xc5 || tag === 0xc6) && length < 224);
  const version = bytes[isShort ? 2 : 3] ?? 0;
  return (isShort || isLong) && version >= 4 && version <= 6;
}

/** Bytes of SSH's wire format, without the text around them. */
function sshBlob(bytes: Uint8Array): DeribitKeysError | null {
  const isRsa = equalBytes(bytes.subarray(0, 11), sshType('ssh-rsa'));
  if (isRsa && countFields(bytes) > 3) return DROPBEAR();
  const type = isRsa ? 'ssh-rsa' : 'ssh-ed25519';
  if (!equalBytes(bytes.subarray(0, type.length + 4), sshType(type))) return null;
  const hint = `put it on a line of its own: printf '${type} %s\\n' "$(base64 < <file> | tr -d '\\n')" > <new file>`;
  return named("a public key in SSH's wire format, not as a line of text", hint)();
}

/** The number of SSH strings (RFC 4251 §5) that the bytes are made of; a damaged one ends the count. */
function countFields(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let count = 0;
  for (let at = 0; at + 4 <= bytes.length; count++) at += 4 + view.getUint32(at);
  return count;
}
