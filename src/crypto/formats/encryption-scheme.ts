import { type DerNode, integerOf, isTag, octetStringOf, oidOf, sequenceOf, TAG } from '../asn1/der.js';
import { utf8Bytes } from '../bytes.js';
import type { Engine, PbkdfHash } from '../engine/engine.js';
import { pkcs12Kdf } from '../engine/key-derivation.js';
import { refuseKind, unreadable } from '../key-errors.js';
import { type Cost, encryptAgain, limitCost, MAX_ITERATIONS } from './passphrase.js';

/** Bytes to derive from a passphrase. */
interface DerivationRequest {
  readonly passphrase: string;
  /** What the bytes are for: only PKCS#12's derivation has different ones for different purposes. */
  readonly purpose: 'key' | 'iv';
  readonly length: number;
}

/** A key derivation with the parameters that a file has for it. */
type Derivation = (request: DerivationRequest, engine: Engine) => Promise<Uint8Array>;

/** A cipher in CBC mode with PKCS#7 padding, and the lengths that it needs, in bytes. */
export interface CbcCipher {
  readonly name: 'aes' | '3des';
  readonly keyLength: number;
  readonly ivLength: number;
}

const AES_128: CbcCipher = { name: 'aes', keyLength: 16, ivLength: 16 };
const AES_192: CbcCipher = { name: 'aes', keyLength: 24, ivLength: 16 };
const AES_256: CbcCipher = { name: 'aes', keyLength: 32, ivLength: 16 };
const TRIPLE_DES: CbcCipher = { name: '3des', keyLength: 24, ivLength: 8 };

/** Upper bounds for what a file may cost to open: some seconds and 256 MiB. */
const MAX_PKCS12_ITERATIONS = 1_000_000;
const MAX_SCRYPT_BYTES = 256 * 1024 * 1024;
/** Usual is 8. Before it mixes, scrypt derives 128 * r * p bytes, which are no cheaper than the mixing. */
const MAX_SCRYPT_BLOCK_SIZE = 1024;
const MAX_SCRYPT_PARALLELIZATION = 16;

/** RFC 8018 §C */
export const PBES2 = '1.2.840.113549.1.5.13';
const PBE_SHA1_3DES = '1.2.840.113549.1.12.1.3';
export const PBKDF2 = '1.2.840.113549.1.5.12';
export const HMAC_SHA256 = '1.2.840.113549.2.9';
export const AES_256_CBC = '2.16.840.1.101.3.4.1.42';
const SCRYPT = '1.3.6.1.4.1.11591.4.11';

const PRFS: ReadonlyMap<string, PbkdfHash> = new Map([
  ['1.2.840.113549.2.7', 'sha1'],
  ['1.2.840.113549.2.8', 'sha224'],
  [HMAC_SHA256, 'sha256'],
  ['1.2.840.113549.2.10', 'sha384'],
  ['1.2.840.113549.2.11', 'sha512'],
  ['1.2.840.113549.2.12', 'sha512-224'],
  ['1.2.840.113549.2.13', 'sha512-256'],
]);

const CIPHERS: ReadonlyMap<string, CbcCipher> = new Map([
  ['2.16.840.1.101.3.4.1.2', AES_128],
  ['2.16.840.1.101.3.4.1.22', AES_192],
  [AES_256_CBC, AES_256],
  ['1.2.840.113549.3.7', TRIPLE_DES],
]);

/** The same ciphers by the names in the headers of a PEM block, as OpenSSL writes them. */
export const CIPHERS_BY_NAME: ReadonlyMap<string, CbcCipher> = new Map([
  ['AES-128-CBC', AES_128],
  ['AES-192-CBC', AES_192],
  ['AES-256-CBC', AES_256],
  ['DES-EDE3-CBC', TRIPLE_DES],
]);

/** Schemes that are known but not read, so that the refusal can name them. */
const NAMES: ReadonlyMap<string, string> = new Map([
  ['1.2.840.113549.1.5.1', 'pbeWithMD2AndDES-CBC'],
  ['1.2.840.113549.1.5.3', 'pbeWithMD5AndDES-CBC'],
  ['1.2.840.113549.1.5.4', 'pbeWithMD2AndRC2-CBC'],
  ['1.2.840.113549.1.5.6', 'pbeWithMD5AndRC2-CBC'],
  ['1.2.840.113549.1.5.10', 'pbeWithSHA1AndDES-CBC'],
  ['1.2.840.113549.1.5.11', 'pbeWithSHA1AndRC2-CBC'],
  ['1.2.840.113549.1.12.1.1', 'pbeWithSHA1And128BitRC4'],
  ['1.2.840.113549.1.12.1.2', 'pbeWithSHA1And40BitRC4'],
  ['1.2.840.113549.1.12.1.4', 'pbeWithSHA1And2-KeyTripleDES-CBC'],
  ['1.2.840.113549.1.12.1.5', 'pbeWithSHA1And128BitRC2-CBC'],
  ['1.2.840.113549.1.12.1.6', 'pbeWithSHA1And40BitRC2-CBC'],
  ['1.3.14.3.2.7', 'DES-CBC'],
  ['1.2.840.113549.3.2', 'RC2-CBC'],
  ['1.2.840.113549.3.4', 'RC4'],
  ['2.16.840.1.101.3.4.1.6', 'AES-128-GCM'],
  ['2.16.840.1.101.3.4.1.26', 'AES-192-GCM'],
  ['2.16.840.1.101.3.4.1.46', 'AES-256-GCM'],
]);

/**
 * Reads the encryptionAlgorithm of an EncryptedPrivateKeyInfo: PBES2 (RFC 8018 §A.4) with PBKDF2 or scrypt (RFC 7914
 * §7) and AES-CBC or DES-EDE3-CBC, or pbeWithSHA1And3-KeyTripleDES-CBC (RFC 7292 §C),
 * whose `iv` is null: it is derived.
 * @throws ERR_KEY_UNSUPPORTED, by name, for others and for absurd costs; ERR_KEY_UNREADABLE for broken parameters.
 */
export function readEncryptionScheme(node: DerNode | undefined) {
  const { id, parameters } = algorithm(node, 'the encryption algorithm');
  if (id === PBE_SHA1_3DES) {
    const [salt, iterations, ...others] = sequenceOf(parameters, 'the PBE parameters');
    if (others.length > 0) throw unreadable('the PBE parameters have more than two fields');
    const limit = { what: 'PKCS#12 iterations', most: MAX_PKCS12_ITERATIONS, hint: encryptAgain() };
    const fixed = { salt: saltOf(salt), iterations: cost(iterations, limit) };
    const derive: Derivation = ({ passphrase, ...rest }) => pkcs12Kdf(passphrase, { ...fixed, ...rest });
    return { derive, cipher: TRIPLE_DES, iv: null };
  }
  if (id !== PBES2) throw unknown('key encrypted by', id);
  const [kdf, encryption, ...others] = sequenceOf(parameters, 'the PBES2 parameters');
  if (others.length > 0) throw unreadable('the PBES2 parameters have more than two fields');
  const { id: cipherId, parameters: iv } = algorithm(encryption, 'the PBES2 cipher');
  const cipher = CIPHERS.get(cipherId);
  if (cipher === undefined) throw unknown('key encrypted by', cipherId);
  const ivBytes = octetStringOf(iv, 'the initialisation vector');
  if (ivBytes.length !== cipher.ivLength) throw unreadable('the initialisation vector has a wrong length');
  return { cipher, derive: readDerivation(kdf, cipher.keyLength), iv: ivBytes };
}

function readDerivation(node: DerNode | undefined, keyLength: number): Derivation {
  const { id, parameters } = algorithm(node, 'the key derivation');
  const fields = sequenceOf(parameters, 'the parameters of the key derivation');
  const salt = saltOf(fields[0]);
  if (id === PBKDF2) {
    const iterations = cost(fields[1], { what: 'PBKDF2 iterations', most: MAX_ITERATIONS, hint: encryptAgain() });
    const rest = checkKeyLength(fields.slice(2), keyLength);
    const hash = rest.length === 0 ? 'sha1' : readPrf(rest);
    return ({ passphrase, length }, engine) => engine.pbkdf2(utf8Bytes(passphrase), { hash, salt, iterations, length });
  }
  if (id !== SCRYPT) throw unknown('key derivation', id);
  // OpenSSL refuses such costs as well.
  const hint = 'encrypt it again with the tool that made it, with N of at most 262144, r of 8 and p of 1';
  const n = cost(fields[1], { what: 'scrypt N', most: MAX_SCRYPT_BYTES, hint });
  const r = cost(fields[2], { what: 'scrypt r', most: MAX_SCRYPT_BLOCK_SIZE, hint });
  const p = cost(fields[3], { what: 'scrypt p', most: MAX_SCRYPT_PARALLELIZATION, hint });
  limitCost({ what: 'scrypt bytes of memory', most: MAX_SCRYPT_BYTES, hint }, 128 * n * r);
  limitCost({ what: 'scrypt bytes in all', most: 2 * MAX_SCRYPT_BYTES, hint }, 128 * n * r * p);
  if (n < 2 || (n & (n - 1)) !== 0) throw unreadable('the N of scrypt is not a power of two above 1');
  // RFC 7914 §2
  if (n >= 2 ** (16 * r)) throw unreadable('the N of scrypt is too large for its r');
  if (checkKeyLength(fields.slice(4), keyLength).length > 0)
    throw unreadable('the scrypt parameters have too many fields');
  return ({ passphrase, length }, engine) =>
    engine.scrypt(utf8Bytes(passphrase), { salt, cost: n, blockSize: r, parallelization: p, length });
}

function readPrf(fields: readonly DerNode[]): PbkdfHash {
  const { id, parameters } = algorithm(fields[0], 'the PBKDF2 hash');
  if (fields.length > 1 || (parameters !== undefined && !isTag(parameters, TAG.null))) {
    throw unreadable('the PBKDF2 parameters have too many fields');
  }
  const hash = PRFS.get(id);
  if (hash === undefined) throw unknown('PBKDF2 hash', id);
  return hash;
}

/** The fields after an optional keyLength, which must be the cipher's. */
function checkKeyLength(fields: readonly DerNode[], keyLength: number): readonly DerNode[] {
  if (!isTag(fields[0], TAG.integer)) return fields;
  if (integerOf(fields[0], 'the key length') !== BigInt(keyLength))
    throw unreadable("the derived key's length is not the cipher's");
  return fields.slice(1);
}

function cost(node: DerNode | undefined, limit: Cost): number {
  const value = integerOf(node, limit.what);
  limitCost(limit, value);
  if (value < 1n) throw unreadable(`the number of ${limit.what} is 0`);
  return Number(value);
}

function saltOf(node: DerNode | undefined): Uint8Array {
  const salt = octetStringOf(node, 'the salt');
  if (salt.length === 0) throw unreadable('the salt is empty');
  return salt;
}

/** The parts of an AlgorithmIdentifier (RFC 5280 §4.1.1.2). */
function algorithm(node: DerNode | undefined, name: string) {
  const [id, parameters, ...others] = sequenceOf(node, name);
  if (others.length > 0) throw unreadable(`${name} has more than two fields`);
  return { id: oidOf(id, name), parameters };
}

function unknown(what: string, id: string): Error {
  const name = NAMES.get(id);
  const hint =
    name === undefined || name.endsWith('GCM')
      ? 'encrypt it again with the tool that made it: PBES2 with PBKDF2 or scrypt, and AES in CBC mode, is supported'
      : encryptAgain('legacy');
  return refuseKind(`${what} ${name ?? `an unknown algorithm (${id.slice(0, 64)})`}, which is not supported`, hint);
}
