import { buildPrivateKey, buildPublicKey, type PrivateNumbers, privateNumbers, publicNumbers } from '../build-keys.js';
import { concatBytes, equalBytes, isBlocks, uint32Bytes, utf8Bytes } from '../bytes.js';
import type { Engine } from '../engine/engine.js';
import { notTogether, refuseKind } from '../key-errors.js';
import type { PrivateKey } from '../keys.js';
import type { SecretLike } from '../secret.js';
import { limitCost, passphraseToRead, wrongPassphrase } from './passphrase.js';
import {
  checkSshKeyType,
  completeRsa,
  damagedOpenssh,
  readSshPublicBlob,
  sshKeyType,
  WireReader,
  wireMpint,
  wireString,
  writeSshPublicBlob,
} from './ssh-public.js';

const MAGIC = utf8Bytes('openssh-key-v1\0');
/** Some seconds: ssh-keygen's own number is 16 or 24, and a round costs about 14 ms. */
const MAX_BCRYPT_ROUNDS = 256;
const WRITTEN_ROUNDS = 24;
const WRITTEN_SALT_LENGTH = 16;
const IV_LENGTH = 16;
const MAX_PADDING = 16;

interface Cipher {
  readonly mode: 'cbc' | 'ctr' | 'none';
  readonly keyLength: number;
  readonly blockLength: number;
}

const NO_CIPHER: Cipher = { mode: 'none', keyLength: 0, blockLength: 8 };
const AES_256_CTR: Cipher = { mode: 'ctr', keyLength: 32, blockLength: 16 };
const CIPHERS: ReadonlyMap<string, Cipher> = new Map([
  ['none', NO_CIPHER],
  ['aes128-ctr', { ...AES_256_CTR, keyLength: 16 }],
  ['aes192-ctr', { ...AES_256_CTR, keyLength: 24 }],
  ['aes256-ctr', AES_256_CTR],
  ['aes128-cbc', { mode: 'cbc', keyLength: 16, blockLength: 16 }],
  ['aes192-cbc', { mode: 'cbc', keyLength: 24, blockLength: 16 }],
  ['aes256-cbc', { mode: 'cbc', keyLength: 32, blockLength: 16 }],
]);

/** Whether `bytes` begin as an OpenSSH private key does. */
export function isOpensshPrivate(bytes: Uint8Array): boolean {
  return equalBytes(bytes.subarray(0, MAGIC.length), MAGIC);
}

/** What an OpenSSH private key file shows without its passphrase (OpenSSH's PROTOCOL.key). */
type OpensshEnvelope = ReturnType<typeof readOpensshEnvelope>;

/**
 * Reads an OpenSSH private key up to its encrypted part.
 * @throws ERR_KEY_UNSUPPORTED for other ciphers, several keys, absurd costs and key types that Deribit does not accept;
 * ERR_KEY_UNREADABLE for broken or trailing data.
 */
export function readOpensshEnvelope(bytes: Uint8Array) {
  if (!isOpensshPrivate(bytes)) throw damagedOpenssh('it does not begin with openssh-key-v1');
  const reader = new WireReader(bytes.subarray(MAGIC.length));
  const cipherName = reader.name('cipher name');
  const kdfName = reader.name('name of the key derivation');
  const kdfOptions = reader.string('options of the key derivation');
  const keys = reader.uint32('number of keys');
  if (keys !== 1)
    throw refuseKind(`OpenSSH file of ${keys} keys: only one is accepted`, 'put each key in a file of its own');
  const publicBlob = reader.string('public key');
  checkSshKeyType(sshKeyType(publicBlob));
  const cipher = CIPHERS.get(cipherName);
  if (cipher === undefined || kdfName !== (cipher.mode === 'none' ? 'none' : 'bcrypt')) {
    throw refuseKind(
      `OpenSSH key encrypted by ${cipherName.slice(0, 64)} with ${kdfName.slice(0, 64)}: only AES in CTR or CBC mode with bcrypt is supported`,
      'encrypt it again: ssh-keygen -p -Z aes256-ctr -f <file>',
    );
  }
  const encrypted = cipher.mode !== 'none';
  const secret = reader.string('private part');
  reader.end('private part');
  if (!isBlocks(secret, cipher.blockLength)) {
    throw damagedOpenssh('the private part is not a multiple of the block size');
  }
  const kdf = new WireReader(kdfOptions);
  const salt = encrypted ? kdf.string('salt') : new Uint8Array();
  const rounds = encrypted ? kdf.uint32('number of rounds') : 0;
  kdf.end('options of the key derivation');
  if (encrypted && (rounds === 0 || salt.length === 0))
    throw damagedOpenssh('the key derivation lacks rounds or a salt');
  const hint = 'encrypt it again: ssh-keygen -p -a 16 -f <file>';
  limitCost({ what: 'bcrypt rounds', most: MAX_BCRYPT_ROUNDS, hint }, rounds);
  return { encrypted, cipher, rounds, salt, publicBlob, secret };
}

/**
 * Reads an OpenSSH private key and checks its check numbers, its padding, and that its public half belongs to it.
 * @throws as {@link readOpensshEnvelope}; ERR_PASSPHRASE_REQUIRED, ERR_PASSPHRASE_WRONG; ERR_KEY_INVALID where the
 * numbers do not belong together.
 */
export async function parseOpensshPrivate(
  bytes: Uint8Array,
  passphrase: SecretLike | undefined,
  engine: Engine,
): Promise<PrivateKey> {
  const envelope = readOpensshEnvelope(bytes);
  buildPublicKey(readSshPublicBlob(envelope.publicBlob));
  const secret = envelope.encrypted ? await decrypt(envelope, passphraseToRead(passphrase), engine) : envelope.secret;
  const reader = new WireReader(secret);
  const check = reader.uint32('check number');
  if (reader.uint32('check number') !== check) {
    throw envelope.encrypted ? wrongPassphrase() : damagedOpenssh('its two check numbers differ');
  }
  const type = reader.name('key type');
  checkSshKeyType(type);
  const key = await buildPrivateKey(type === 'ssh-rsa' ? readRsa(reader) : readEd25519(reader), engine);
  reader.string('comment');
  checkPadding(reader.rest());
  if (!equalBytes(writeSshPublicBlob(publicNumbers(key.publicKey)), envelope.publicBlob)) throw notTogether();
  return key;
}

/**
 * Writes an OpenSSH private key file (the bytes inside its armour), with a passphrase under bcrypt and AES-256-CTR.
 * `comment` is shown by `ssh-keygen -l` and `ssh-add -l`.
 */
export async function encodeOpensshPrivate(
  key: PrivateKey,
  { comment, passphrase }: { readonly comment: string; readonly passphrase: string | undefined },
  engine: Engine,
): Promise<Uint8Array> {
  const cipher = passphrase === undefined ? NO_CIPHER : AES_256_CTR;
  const publicBlob = writeSshPublicBlob(publicNumbers(key.publicKey));
  const check = engine.randomBytes(4);
  const content = concatBytes(check, check, encodeNumbers(key), wireString(comment));
  const padding = Uint8Array.from({ length: -content.length & (cipher.blockLength - 1) }, (_, i) => i + 1);
  const plain = concatBytes(content, padding);
  const { names, kdfOptions, secret } =
    passphrase === undefined
      ? { names: ['none', 'none'], kdfOptions: '', secret: plain }
      : await encrypt(plain, passphrase, engine);
  const parts = [...names, kdfOptions].map(wireString);
  return concatBytes(MAGIC, ...parts, uint32Bytes(1), wireString(publicBlob), wireString(secret));
}

/** How a private part is written under a passphrase: the names of the cipher and the key derivation, its options, the bytes. */
async function encrypt(plain: Uint8Array, passphrase: string, engine: Engine) {
  const salt = engine.randomBytes(WRITTEN_SALT_LENGTH);
  const [key, iv] = await derive({ cipher: AES_256_CTR, rounds: WRITTEN_ROUNDS, salt }, passphrase, engine);
  const kdfOptions = concatBytes(wireString(salt), uint32Bytes(WRITTEN_ROUNDS));
  return { names: ['aes256-ctr', 'bcrypt'], kdfOptions, secret: await engine.aesCtr(key, iv, plain) };
}

async function derive(
  { cipher, rounds, salt }: Pick<OpensshEnvelope, 'cipher' | 'rounds' | 'salt'>,
  passphrase: string,
  engine: Engine,
): Promise<readonly [key: Uint8Array, iv: Uint8Array]> {
  const length = cipher.keyLength + IV_LENGTH;
  const derived = await engine.bcryptPbkdf(utf8Bytes(passphrase), { salt, rounds, length });
  return [derived.slice(0, cipher.keyLength), derived.slice(cipher.keyLength)];
}

async function decrypt(envelope: OpensshEnvelope, passphrase: string, engine: Engine): Promise<Uint8Array> {
  const [key, iv] = await derive(envelope, passphrase, engine);
  if (envelope.cipher.mode === 'ctr') return engine.aesCtr(key, iv, envelope.secret);
  const plain = await engine.aesCbcDecryptBlocks(key, iv, envelope.secret);
  if (plain === null) throw wrongPassphrase();
  return plain;
}

function readEd25519(reader: WireReader): PrivateNumbers {
  const raw = reader.string('public key');
  const secret = reader.string('private key');
  if (raw.length !== 32 || secret.length !== 64) throw damagedOpenssh('its Ed25519 key has a wrong length');
  if (!equalBytes(secret.subarray(32), raw)) throw notTogether();
  return { algorithm: 'ed25519', seed: secret.slice(0, 32), raw };
}

function readRsa(reader: WireReader): PrivateNumbers {
  const n = reader.mpint('n');
  const e = reader.mpint('e');
  const d = reader.mpint('d');
  const qi = reader.mpint('iqmp');
  const p = reader.mpint('p');
  const q = reader.mpint('q');
  return completeRsa({ n, e, d, p, q, qi });
}

function encodeNumbers(key: PrivateKey): Uint8Array {
  const numbers = privateNumbers(key);
  if (numbers.algorithm === 'ed25519') {
    const { seed, raw } = numbers;
    return concatBytes(wireString('ssh-ed25519'), wireString(raw), wireString(concatBytes(seed, raw)));
  }
  const { n, e, d, qi, p, q } = numbers;
  return concatBytes(wireString('ssh-rsa'), ...[n, e, d, qi, p, q].map(wireMpint));
}

/** The padding counts 1, 2, 3 …; some writers add a complete block, and PuTTY fills up to 16 bytes without a cipher too. */
function checkPadding(padding: Uint8Array): void {
  if (padding.length > MAX_PADDING || !padding.every((byte, i) => byte === i + 1)) {
    throw damagedOpenssh('its padding is wrong');
  }
}
