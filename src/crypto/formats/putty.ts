import { hmac } from '@noble/hashes/hmac.js';
import { sha1 } from '@noble/hashes/legacy.js';
import { sha256 } from '@noble/hashes/sha2.js';
import type { DeribitKeysError } from '../../errors.js';
import { buildPrivateKey, buildPublicKey } from '../build-keys.js';
import {
  base64ToBytes,
  concatBytes,
  equalBytes,
  fromBinary,
  hexToBytes,
  isBlocks,
  toBinary,
  uint32Bytes,
  utf8Bytes,
} from '../bytes.js';
import type { Engine } from '../engine/engine.js';
import { refuseKind, unreadable } from '../key-errors.js';
import type { PrivateKey } from '../keys.js';
import type { SecretLike } from '../secret.js';
import type { Item } from './detect-format.js';
import { limitCost, passphraseToRead, wrongPassphrase } from './passphrase.js';
import {
  checkSshKeyType,
  completeRsa,
  readSshPublicBlob,
  type SshKeyType,
  sshKeyType,
  WireReader,
  wireString,
} from './ssh-public.js';

const MAGIC = 'PuTTY-User-Key-File-';
const CONVERT = 'convert it: puttygen <file> -O private-openssh-new -o <new file>';
const AES_KEY_LENGTH = 32;
const IV_LENGTH = 16;
const MAC_KEY_LENGTH = 32;

/** Upper bounds for what a file may cost to open: 256 MiB and some seconds. PuTTYgen writes 8 MiB and about 20 passes. */
const MAX_ARGON2_KIB = 256 * 1024;
const MAX_ARGON2_KIB_PASSES = 2 * 1024 * 1024;
const MAX_ARGON2_LANES = 16;

interface Argon2 {
  readonly kind: 'argon2id' | 'argon2i' | 'argon2d';
  readonly memoryKib: number;
  readonly passes: number;
  readonly lanes: number;
  readonly salt: Uint8Array;
}

/** A PuTTY private key file, read but not decrypted (PuTTY user manual, appendix C). */
interface PuttyFile {
  readonly version: 2 | 3;
  readonly type: SshKeyType;
  readonly encryption: 'none' | 'aes256-cbc';
  readonly comment: Uint8Array;
  readonly publicBlob: Uint8Array;
  readonly secret: Uint8Array;
  readonly mac: Uint8Array;
  /** Null in version 2, and where nothing is encrypted. */
  readonly argon2: Argon2 | null;
}

/** Whether `bytes` begin as a PuTTY private key file (.ppk) does. */
export function isPutty(bytes: Uint8Array): boolean {
  return equalBytes(bytes.subarray(0, MAGIC.length), utf8Bytes(MAGIC));
}

/**
 * The PuTTY private keys inside a text that quotes, indents or names them, or writes their line breaks as `\n`. Each ends
 * with its MAC.
 */
export function findPutty(text: string): readonly Item[] {
  const keys = text.match(/PuTTY-User-Key-File-\d: .*?Private-MAC: [0-9a-f]{40,64}/gs) ?? [];
  return keys.map((key) => {
    const lines = key.includes('\n') ? key : key.replace(/(?:\\r)?\\n/g, '\n');
    return puttyItem(utf8Bytes(lines.replace(/^[ \t]+/gm, '')));
  });
}

/** The keys in a text that begins as a PuTTY private key file does: one, unless the text is indented, escaped or several files. */
export function puttyItems(bytes: Uint8Array): readonly Item[] {
  const text = new TextDecoder().decode(bytes);
  const isChanged = /^[^\n]*\\n|\n[ \t]+Encryption|\nPuTTY-User-Key-File-/.test(text);
  const found = isChanged ? findPutty(text) : [];
  return found.length > 0 ? found : [puttyItem(bytes)];
}

/**
 * The key in a PuTTY private key file of version 2 or 3. Its MAC is checked when it is opened.
 * @throws ERR_KEY_UNSUPPORTED for other versions, ciphers, key types and absurd costs; ERR_KEY_UNREADABLE
 */
function puttyItem(bytes: Uint8Array): Item {
  const file = readFile(bytes);
  return {
    kind: 'private',
    format: 'putty',
    encrypted: file.encryption !== 'none',
    open: (passphrase, engine) => openFile(file, passphrase, engine),
  };
}

function damaged(what: string): DeribitKeysError {
  return unreadable(`PuTTY key: ${what}`, { hint: 'the file is damaged: copy it from its source again' });
}

function readFile(bytes: Uint8Array): PuttyFile {
  const { version: versionText, headers, blocks } = readLines(bytes);
  if (versionText !== '2' && versionText !== '3') {
    const shown = /^\d$/.test(versionText) ? versionText : 'unknown';
    throw refuseKind(`PuTTY key of version ${shown}: only 2 and 3 are supported`, CONVERT);
  }
  const version = versionText === '2' ? 2 : 3;
  const type = text(headers, 'type');
  checkSshKeyType(type);
  const encryption = text(headers, 'Encryption');
  if (encryption !== 'none' && encryption !== 'aes256-cbc') {
    throw refuseKind('PuTTY key with a cipher other than aes256-cbc', CONVERT);
  }
  const publicBlob = blocks.get('Public-Lines');
  const secret = blocks.get('Private-Lines');
  if (publicBlob === undefined || secret === undefined) throw damaged('it lacks its public or its private part');
  if (sshKeyType(publicBlob) !== type) throw damaged('its public part is of a different type than its header says');
  if (encryption !== 'none' && !isBlocks(secret, IV_LENGTH)) {
    throw damaged('its private part is not a multiple of the block size');
  }
  const mac = hexOf(headers, 'Private-MAC');
  if (mac.length !== (version === 2 ? 20 : 32)) throw damaged('its Private-MAC has the wrong length');
  const argon2 = version === 3 && encryption !== 'none' ? readArgon2(headers) : null;
  const comment = headers.get('Comment') ?? new Uint8Array();
  return { version, type, encryption, comment, publicBlob, secret, mac, argon2 };
}

interface Lines {
  readonly version: string;
  /** By their names; the type of the key as `type`. */
  readonly headers: ReadonlyMap<string, Uint8Array>;
  readonly blocks: ReadonlyMap<string, Uint8Array>;
}

/** The header lines and base64 blocks. Their bytes are kept: the MAC covers the comment in whatever encoding it has. */
function readLines(bytes: Uint8Array): Lines {
  const lines = toBinary(bytes).split(/\r?\n|\r/);
  const headers = new Map<string, Uint8Array>();
  const blocks = new Map<string, Uint8Array>();
  let version = '';
  for (let at = 0; at < lines.length; at++) {
    const [, name = '', value = ''] = /^([A-Za-z0-9-]{1,40}): ?(.*)$/s.exec(lines[at] ?? '') ?? [];
    if (name === '') {
      if ((lines[at] ?? '').trim() !== '') throw damaged('it has a line without a name');
      continue;
    }
    const key = name.startsWith(MAGIC) ? 'type' : name;
    if (headers.has(key) || blocks.has(key)) throw damaged('a header occurs twice');
    if (key === 'type') version = name.slice(MAGIC.length);
    if (!name.endsWith('-Lines')) {
      headers.set(key, fromBinary(value));
      continue;
    }
    const count = /^\d{1,4}$/.test(value) ? Number(value) : -1;
    const block =
      count < 0 || at + count >= lines.length ? null : base64ToBytes(lines.slice(at + 1, at + 1 + count).join(''));
    if (block === null) throw damaged('it is cut short, or a part of it is not base64');
    blocks.set(name, block);
    at += count;
  }
  return { version, headers, blocks };
}

function text(headers: Lines['headers'], name: string): string {
  const bytes = headers.get(name);
  if (bytes === undefined || bytes.length > 100) throw damaged(`its header ${name} is missing or too long`);
  return toBinary(bytes);
}

function hexOf(headers: Lines['headers'], name: string): Uint8Array {
  const hex = text(headers, name);
  if (!/^(?:[0-9a-fA-F]{2})+$/.test(hex)) throw damaged(`its header ${name} is not hexadecimal`);
  return hexToBytes(hex);
}

function readArgon2(headers: Lines['headers']): Argon2 {
  const kind = text(headers, 'Key-Derivation').toLowerCase();
  if (kind !== 'argon2id' && kind !== 'argon2i' && kind !== 'argon2d') {
    throw refuseKind('PuTTY key with a key derivation other than Argon2', CONVERT);
  }
  const number = (name: string): number => {
    const digits = text(headers, name);
    if (!/^[1-9]\d{0,9}$/.test(digits)) throw damaged(`its header ${name} is not a number`);
    return Number(digits);
  };
  const memoryKib = number('Argon2-Memory');
  const passes = number('Argon2-Passes');
  const lanes = number('Argon2-Parallelism');
  limitCost({ what: 'Argon2 KiB of memory', most: MAX_ARGON2_KIB, hint: CONVERT }, memoryKib);
  limitCost({ what: 'Argon2 KiB in all passes', most: MAX_ARGON2_KIB_PASSES, hint: CONVERT }, memoryKib * passes);
  limitCost({ what: 'Argon2 lanes', most: MAX_ARGON2_LANES, hint: CONVERT }, lanes);
  const salt = hexOf(headers, 'Argon2-Salt');
  // RFC 9106 §3.1
  if (memoryKib < 8 * lanes || salt.length < 8) throw damaged('its Argon2 parameters are too small');
  return { kind, memoryKib, passes, lanes, salt };
}

async function openFile(file: PuttyFile, passphrase: SecretLike | undefined, engine: Engine): Promise<PrivateKey> {
  buildPublicKey(readSshPublicBlob(file.publicBlob));
  const encrypted = file.encryption !== 'none';
  const keys = await deriveKeys(file, encrypted ? passphraseToRead(passphrase) : '');
  const plain = encrypted ? await engine.aesCbcDecryptBlocks(keys.cipherKey, keys.iv, file.secret) : file.secret;
  if (plain === null || !isAuthentic(file, plain, keys.macKey)) {
    throw encrypted ? wrongPassphrase() : damaged('its MAC does not match: it was changed after it was written');
  }
  return readKey(file, plain, engine);
}

async function deriveKeys(file: PuttyFile, passphrase: string) {
  const secret = utf8Bytes(passphrase);
  if (file.version === 2) {
    const hash = (counter: number) => sha1(concatBytes(uint32Bytes(counter), secret));
    return {
      cipherKey: concatBytes(hash(0), hash(1)).slice(0, AES_KEY_LENGTH),
      iv: new Uint8Array(IV_LENGTH),
      macKey: sha1(concatBytes(utf8Bytes('putty-private-key-file-mac-key'), secret)),
    };
  }
  const empty = new Uint8Array();
  if (file.argon2 === null) return { cipherKey: empty, iv: empty, macKey: empty };
  const { kind, memoryKib, passes, lanes, salt } = file.argon2;
  const { argon2dAsync, argon2iAsync, argon2idAsync } = await import('@noble/hashes/argon2.js');
  const derive = { argon2id: argon2idAsync, argon2i: argon2iAsync, argon2d: argon2dAsync }[kind];
  const dkLen = AES_KEY_LENGTH + IV_LENGTH + MAC_KEY_LENGTH;
  const derived = await derive(secret, salt, { t: passes, m: memoryKib, p: lanes, dkLen });
  return {
    cipherKey: derived.slice(0, AES_KEY_LENGTH),
    iv: derived.slice(AES_KEY_LENGTH, AES_KEY_LENGTH + IV_LENGTH),
    macKey: derived.slice(AES_KEY_LENGTH + IV_LENGTH),
  };
}

function isAuthentic(file: PuttyFile, plain: Uint8Array, macKey: Uint8Array): boolean {
  const parts = [file.type, file.encryption, file.comment, file.publicBlob, plain];
  const mac = hmac(file.version === 2 ? sha1 : sha256, macKey, concatBytes(...parts.map(wireString)));
  return mac.length === file.mac.length && mac.reduce((sum, byte, i) => sum | (byte ^ (file.mac[i] ?? 0)), 0) === 0;
}

function readKey(file: PuttyFile, plain: Uint8Array, engine: Engine): Promise<PrivateKey> {
  const reader = new WireReader(plain);
  const key = readSshPublicBlob(file.publicBlob);
  if (key.algorithm === 'ed25519') {
    // The seed as a little-endian number: PuTTY leaves out zero bytes at its end.
    const seed = reader.string('private key');
    if (seed.length > 32) throw damaged('its Ed25519 key has the wrong length');
    return buildPrivateKey({ ...key, seed: concatBytes(seed, new Uint8Array(32 - seed.length)) }, engine);
  }
  const d = reader.mpint('d');
  const p = reader.mpint('p');
  const q = reader.mpint('q');
  const qi = reader.mpint('iqmp');
  return buildPrivateKey(completeRsa({ ...key, d, p, q, qi }), engine);
}
