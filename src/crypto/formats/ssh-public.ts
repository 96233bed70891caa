import type { DeribitKeysError } from '../../errors.js';
import type { PrivateNumbers, PublicNumbers } from '../build-keys.js';
import {
  base64ToBytes,
  bigIntToBytes,
  bytesToBase64,
  bytesToBigInt,
  concatBytes,
  type RsaPrivateNumbers,
  uint32Bytes,
  utf8Bytes,
} from '../bytes.js';
import { notTogether, refuseAlgorithm, refuseKind, unreadable } from '../key-errors.js';

/** The key types of SSH that Deribit takes too (RFC 8709 §4, RFC 4253 §6.6). */
export type SshKeyType = 'ssh-ed25519' | 'ssh-rsa';

const CERTIFICATE = '-cert-v01@openssh.com';

/** Whether `type` is that of a certificate (OpenSSH's PROTOCOL.certkeys). */
export function isSshCertificateType(type: string): boolean {
  return type.endsWith(CERTIFICATE);
}

/** The type of the key in `blob`. */
export function sshKeyType(blob: Uint8Array): string {
  return new WireReader(blob).name('key type');
}

/**
 * Reads a public key blob, or the key of a certificate (whose signature and validity are not checked).
 * @throws ERR_KEY_UNSUPPORTED for a type that Deribit does not accept, ERR_KEY_UNREADABLE for broken or trailing data.
 */
export function readSshPublicBlob(blob: Uint8Array): PublicNumbers {
  const reader = new WireReader(blob);
  const type = reader.name('key type');
  const certificate = isSshCertificateType(type);
  const plainType = certificate ? type.slice(0, -CERTIFICATE.length) : type;
  checkSshKeyType(plainType);
  if (certificate) reader.string('nonce');
  const key = readNumbers(plainType, reader);
  if (certificate) skipCertificate(reader);
  reader.end('public key');
  return key;
}

/** Refuses, by name, every key type but `ssh-ed25519` and `ssh-rsa`. */
export function checkSshKeyType(type: string): asserts type is SshKeyType {
  if (type === 'ssh-ed25519' || type === 'ssh-rsa') return;
  if (type.startsWith('sk-') || type.startsWith('webauthn-sk-')) {
    throw refuseKind(
      `FIDO security key (${type}): its device signs a wrapped message, which Deribit does not accept`,
      'make a key that is not bound to a FIDO device: deribit-keys generate <name>',
    );
  }
  const curve = /^ecdsa-sha2-nistp(\d+)$/.exec(type)?.[1];
  if (curve !== undefined) throw refuseAlgorithm(`EC key (P-${curve})`);
  if (type === 'ssh-dss') throw refuseAlgorithm('DSA key');
  if (type === 'ssh-ed448') throw refuseAlgorithm('Ed448 key');
  throw refuseAlgorithm(`SSH key of type ${type.slice(0, 64)}`);
}

/** The blob of a public key. */
export function writeSshPublicBlob(key: PublicNumbers): Uint8Array {
  return key.algorithm === 'ed25519'
    ? concatBytes(wireString('ssh-ed25519'), wireString(key.raw))
    : concatBytes(wireString('ssh-rsa'), wireMpint(key.e), wireMpint(key.n));
}

function readNumbers(type: SshKeyType, reader: WireReader): PublicNumbers {
  if (type === 'ssh-rsa') {
    const e = reader.mpint('e');
    return { algorithm: 'rsa', e, n: reader.mpint('n') };
  }
  const raw = reader.string('public key');
  if (raw.length !== 32) throw damagedOpenssh(`an Ed25519 public key has 32 bytes, this one ${raw.length}`);
  return { algorithm: 'ed25519', raw };
}

/** The numbers of an RSA key with those that SSH's formats leave out: d modulo p - 1 and q - 1. @throws ERR_KEY_INVALID */
export function completeRsa(numbers: Omit<RsaPrivateNumbers, 'dp' | 'dq'>): PrivateNumbers {
  const { d, p, q } = numbers;
  if (p < 2n || q < 2n) throw notTogether();
  return { ...numbers, algorithm: 'rsa', dp: d % (p - 1n), dq: d % (q - 1n) };
}

function skipCertificate(reader: WireReader): void {
  reader.take(8, 'serial');
  reader.uint32('certificate type');
  reader.string('key id');
  reader.string('principals');
  reader.take(16, 'validity');
  for (const field of ['critical options', 'extensions', 'reserved field', 'signing key', 'signature'])
    reader.string(field);
}

/** A public key line of OpenSSH, its key not read yet. */
interface SshLine {
  readonly type: string;
  readonly certificate: boolean;
  readonly base64: string;
}

/**
 * The keys of a text that is a .pub, authorized_keys or known_hosts file: options or hosts before the key and a comment
 * after it are ignored, as are blank lines and lines that begin with `#`. Empty where the text is something else.
 */
export function findSshLines(text: string): readonly SshLine[] {
  const found: SshLine[] = [];
  for (const line of text.split(/\r?\n|\r/)) {
    const words = line.startsWith('#') ? [] : unquotedWords(line);
    const at = words.findIndex(
      (word, i) => /^[a-z][a-z0-9@.-]*$/.test(word) && (words[i + 1] ?? '').startsWith('AAAA'),
    );
    const [type, base64] = [words[at], words[at + 1]];
    if (at !== -1 && type !== undefined && base64 !== undefined) {
      found.push({ type, base64, certificate: isSshCertificateType(type) });
    }
  }
  return found;
}

/** The key of a line. @throws ERR_KEY_UNREADABLE, ERR_KEY_UNSUPPORTED */
export function readSshLine(line: SshLine): PublicNumbers {
  const blob = base64ToBytes(line.base64);
  if (blob === null) throw unreadable(`the SSH public key is not canonical base64 (${line.base64.length} characters)`);
  if (sshKeyType(blob) !== line.type) throw unreadable('the SSH public key is of a different type than its line says');
  return readSshPublicBlob(blob);
}

/** The line of a .pub file, with its newline. */
export function encodeSshLine(key: PublicNumbers, comment: string): string {
  const type = key.algorithm === 'ed25519' ? 'ssh-ed25519' : 'ssh-rsa';
  return `${[type, bytesToBase64(writeSshPublicBlob(key)), comment].filter((word) => word !== '').join(' ')}\n`;
}

/** The words of a line, where white space in double quotes does not part them (sshd(8), AUTHORIZED_KEYS FILE FORMAT). */
function unquotedWords(line: string): readonly string[] {
  const words: string[] = [''];
  let quoted = false;
  for (let i = 0; i < line.length; i++) {
    const char = line[i] ?? '';
    if (char === '"' && line[i - 1] !== '\\') quoted = !quoted;
    if (!quoted && (char === ' ' || char === '\t')) words.push('');
    else words[words.length - 1] += char;
  }
  return words.filter((word) => word !== '');
}

/** The error for OpenSSH data that breaks its own format; `what` completes "OpenSSH key: …". */
export function damagedOpenssh(what: string): DeribitKeysError {
  return unreadable(`OpenSSH key: ${what}`, {
    hint: 'the file is damaged: copy it from its source again, and check it with ssh-keygen -l -f <file>',
  });
}

/** Reads the data types of SSH (RFC 4251 §5) one after the other; runs past the end with ERR_KEY_UNREADABLE. */
export class WireReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** `length` bytes as they stand; `what` names them in errors. */
  take(length: number, what: string): Uint8Array {
    if (length > this.#bytes.length - this.#at) throw damagedOpenssh(`the ${what} runs past the end`);
    this.#at += length;
    return this.#bytes.slice(this.#at - length, this.#at);
  }

  uint32(what: string): number {
    const [a = 0, b = 0, c = 0, d = 0] = this.take(4, what);
    return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
  }

  string(what: string): Uint8Array {
    return this.take(this.uint32(what), what);
  }

  /** A string of printable ASCII, such as the name of a cipher or a key type. */
  name(what: string): string {
    const text = String.fromCharCode(...this.string(what).subarray(0, 256));
    if (!/^[!-~]{1,255}$/.test(text)) throw damagedOpenssh(`the ${what} is not a name`);
    return text;
  }

  /** A positive integer in its shortest form. */
  mpint(what: string): bigint {
    const bytes = this.string(what);
    const [first = 0, second = 0] = bytes;
    if (bytes.length === 0 || first >= 0x80 || (first === 0 && second < 0x80)) {
      throw damagedOpenssh(`the number ${what} is not a positive integer in its shortest form`);
    }
    return bytesToBigInt(bytes);
  }

  rest(): Uint8Array {
    return this.take(this.#bytes.length - this.#at, 'rest');
  }

  end(what: string): void {
    if (this.#at !== this.#bytes.length)
      throw damagedOpenssh(`${this.#bytes.length - this.#at} bytes follow the ${what}`);
  }
}

/** `value` (text as UTF-8) after its length. */
export function wireString(value: Uint8Array | string): Uint8Array {
  const bytes = typeof value === 'string' ? utf8Bytes(value) : value;
  return concatBytes(uint32Bytes(bytes.length), bytes);
}

/** A positive integer in its shortest form, with a zero byte before a set top bit. */
export function wireMpint(value: bigint): Uint8Array {
  const bytes = bigIntToBytes(value);
  return wireString((bytes[0] ?? 0) >= 0x80 ? concatBytes(Uint8Array.of(0), bytes) : bytes);
}
