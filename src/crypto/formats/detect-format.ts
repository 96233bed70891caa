import { isDeribitKeysError } from '../../errors.js';
import { buildPublicKey } from '../build-keys.js';
import { utf8Bytes } from '../bytes.js';
import type { Engine } from '../engine/engine.js';
import { refuseAlgorithm, requireSmall, unreadable } from '../key-errors.js';
import type { PrivateKey, PublicKey } from '../keys.js';
import { decodePem, type PemBlock } from '../pem.js';
import { encodingOf, type SecretLike } from '../secret.js';
import { itemOfDer, openDecrypted } from './detect-der.js';
import { decryptLegacy, type LegacyEncryption, readLegacyEncryption } from './encrypted-pkcs8.js';
import { itemsOfJson } from './jwk.js';
import { decodeKeyText, explainKeyText, restoreKeyText, valueInLine } from './key-text.js';
import { isOpensshPrivate, parseOpensshPrivate, readOpensshEnvelope } from './openssh-private.js';
import { findPutty, isPutty, puttyItems } from './putty.js';
import { bareBytes, bytesInText, isText, rawItem } from './raw-ed25519.js';
import { findSshLines, readSshLine } from './ssh-public.js';
import { refuseLabel, refuseMagic, refuseText, refuseUnknownLabel } from './unsupported-formats.js';

const SEQUENCE = 0x30;
/** The shortest text that is taken for base64 or hexadecimal of something. */
const MIN_ENCODED_LENGTH = 32;
/** `-----BEGIN` in base64, and all that belongs to it, as the values of a Kubernetes secret are written in YAML. */
const PEM_IN_BASE64 = /\bLS0tLS1CRUdJTi[A-Za-z0-9+/]{20,}={0,2}/g;
/** How many layers of base64, JSON strings and `NAME=` are taken off. */
const MAX_LAYERS = 3;

/** The labels that keys stand under (RFC 7468 §5, §10 to §13, and OpenSSL's own); what is inside decides the rest. */
const KINDS: ReadonlyMap<string, Item['kind']> = new Map([
  ['PRIVATE KEY', 'private'],
  ['ENCRYPTED PRIVATE KEY', 'private'],
  ['RSA PRIVATE KEY', 'private'],
  ['EC PRIVATE KEY', 'private'],
  ['DSA PRIVATE KEY', 'private'],
  ['OPENSSH PRIVATE KEY', 'private'],
  ['PUBLIC KEY', 'public'],
  ['RSA PUBLIC KEY', 'public'],
  ['CERTIFICATE', 'certificate'],
  ['X509 CERTIFICATE', 'certificate'],
]);

/**
 * What an input holds, recognised from its content: PEM blocks, DER, OpenSSH lines, a PuTTY key, a JWK or another JSON
 * document, 64 bytes of an Ed25519 seed and its public key, 32 of a public key; or any of these in base64, hexadecimal or
 * quotes. At least one item; nothing is decrypted or checked yet.
 * @throws ERR_KEY_UNREADABLE for empty, too large, broken or unknown input; ERR_KEY_UNSUPPORTED, by name, for well-known
 * things that are no key of ours
 */
export function detectFormat(input: string | Uint8Array): readonly Item[] {
  requireSmall(input, 'the input');
  if (restoreKeyText(input) === '')
    throw unreadable('the input is empty', { hint: 'give the file that holds the key' });
  const items =
    typeof input === 'string' ? itemsOfText(input, MAX_LAYERS) : itemsOfBytes(new Uint8Array(input), MAX_LAYERS);
  if (items === null) {
    const measured = typeof input === 'string' ? `text of ${input.length} characters` : `${input.length} bytes`;
    throw unreadable(`not recognised as a key: ${measured}`, {
      hint: 'give a key as PEM, DER, OpenSSH or PuTTY file, or JWK',
    });
  }
  return items;
}

function itemsOfBytes(bytes: Uint8Array, layers: number): readonly Item[] | null {
  const refusal = refuseMagic(bytes);
  if (refusal !== null) throw refusal;
  if (isOpensshPrivate(bytes)) return [opensshItem(bytes)];
  if (isPutty(bytes)) return puttyItems(bytes);
  if (bytes[0] === SEQUENCE && encodingOf(bytes) === 'utf-8' && !isText(bytes)) return [itemOfDer(bytes)];
  const bare = bareBytes(bytes);
  const raw = bare === null ? null : rawItem(bare);
  return raw === null ? itemsOfText(decodeKeyText(bytes), layers) : [raw];
}

function itemsOfText(input: string, layers: number): readonly Item[] | null {
  const bytes = utf8Bytes(input.replace(/^[\s\uFEFF]+/, ''));
  if (isPutty(bytes)) return puttyItems(bytes);
  const text = restoreKeyText(input);
  const refusal = refuseText(text);
  if (refusal !== null) throw refusal;
  const json = itemsOfJson(text, (each) => (layers === 0 ? null : itemsOfText(each, layers - 1)));
  if (json !== null) return json;
  const putty = findPutty(input);
  if (putty.length > 0) return putty;
  if (text.includes('-----BEGIN ')) {
    const items = decodePem(text).map(itemOfBlock);
    if (items.length > 0) return [...items, ...itemsOfSshLines(text)];
  }
  const lines = itemsOfSshLines(text);
  if (lines.length > 0) return lines;
  const inner = layers === 0 ? null : itemsInside(text, layers - 1);
  if (inner !== null) return inner;
  const reason = explainKeyText(text);
  if (reason !== null) throw reason;
  return null;
}

function itemsOfSshLines(text: string): readonly Item[] {
  return findSshLines(text).map((line) => ({
    kind: line.certificate ? 'certificate' : 'public',
    format: 'ssh',
    encrypted: false,
    read: () => buildPublicKey(readSshLine(line)),
  }));
}

/** What is in a text that is nothing but an encoding of something, perhaps behind its name in an env or YAML file. */
function itemsInside(text: string, layers: number): readonly Item[] | null {
  const bytes = text.length < MIN_ENCODED_LENGTH ? null : bytesInText(text);
  if (bytes !== null) return itemsOfEncoded(text, bytes, layers);
  const pems = (text.match(PEM_IN_BASE64) ?? []).filter((each) => each !== text);
  const itemsOfPems = () => pems.flatMap((each) => itemsInside(each, layers) ?? []);
  if (pems.length > 1) return itemsOfPems();
  const value = valueInLine(text);
  const items = value === null ? null : itemsOfText(value, layers);
  if (items !== null) return items;
  return pems.length === 0 ? null : itemsOfPems();
}

/** What is in the bytes that a text encodes. A hint for a file is about the decoded file, which the user does not have yet. */
function itemsOfEncoded(text: string, bytes: Uint8Array, layers: number): readonly Item[] | null {
  try {
    return itemsOfBytes(bytes, layers);
  } catch (error) {
    if (!isDeribitKeysError(error, 'ERR_KEY_UNSUPPORTED') || !error.hint?.includes('<file>')) throw error;
    const decode = /^[0-9a-f\s]+$/i.test(text) ? 'xxd -r -p' : 'base64 --decode';
    const isFile = layers === MAX_LAYERS - 1;
    const first = isFile
      ? `decode it first: ${decode} < <file> > <decoded file>`
      : `decode its value first, with ${decode}`;
    throw error.with({ hint: `${first}; then ${error.hint.replaceAll('<file>', '<decoded file>')}` });
  }
}

function itemOfBlock(block: PemBlock): Item {
  const { label, bytes } = block;
  const kind = KINDS.get(label);
  const refusal = kind === undefined ? refuseLabel(label) : null;
  if (refusal !== null) return { kind: 'other', refusal };
  const encryption = kind === 'public' || kind === 'certificate' ? null : readLegacyEncryption(block);
  if (encryption !== null) return legacyItem(label, encryption);
  const item = kind === undefined ? itemOrRefusal(label, bytes) : itemOfContent(label, bytes);
  if (kind !== undefined && item.kind !== 'other' && item.kind !== kind) {
    throw unreadable(`the PEM block "${label}" holds something else (${item.kind})`, {
      hint: `correct the label in its first and last line, or copy the block from its source again`,
    });
  }
  return item;
}

/** The key in a block, recognised by its content: tools disagree about labels. */
function itemOfContent(label: string, bytes: Uint8Array): Item {
  if (isOpensshPrivate(bytes)) return opensshItem(bytes);
  if (label === 'OPENSSH PRIVATE KEY' && bytes[0] !== SEQUENCE) return opensshItem(bytes);
  if (bytes.length >= MIN_ENCODED_LENGTH && isText(bytes)) {
    throw unreadable(`the PEM block "${label}" holds text, not DER: it was encoded in base64 twice`, {
      hint: 'decode the text between its first and last line once with base64 --decode, and give the result',
    });
  }
  if (bytes.length !== 32) return (bytes[0] === SEQUENCE ? null : rawItem(bytes)) ?? itemOfDer(bytes);
  const publicItem = label.endsWith('PUBLIC KEY') ? rawItem(bytes) : null;
  if (publicItem !== null) return publicItem;
  throw unreadable(`the PEM block "${label}" holds 32 bare bytes, not DER`, {
    hint: 'if they are an Ed25519 seed, give the text between the BEGIN and END lines with --format raw-seed',
  });
}

/** A block of a label that nobody knows: a key where its content is one, else something that may stand beside a key. */
function itemOrRefusal(label: string, bytes: Uint8Array): Item {
  try {
    return itemOfContent(label, bytes);
  } catch (error) {
    const named =
      isDeribitKeysError(error, 'ERR_KEY_UNSUPPORTED') ||
      (isDeribitKeysError(error) && bytes.length === 32 && /\bKEY$/.test(label));
    return { kind: 'other', refusal: named ? error : refuseUnknownLabel(label) };
  }
}

function opensshItem(bytes: Uint8Array): Item {
  return {
    kind: 'private',
    format: 'openssh',
    encrypted: readOpensshEnvelope(bytes).encrypted,
    open: (passphrase, engine) => parseOpensshPrivate(bytes, passphrase, engine),
  };
}

function legacyItem(label: string, encryption: LegacyEncryption): Item {
  const other = /^(EC|DSA) /.exec(label)?.[1];
  if (other !== undefined) throw refuseAlgorithm(`${other} key`);
  return {
    kind: 'private',
    format: label === 'RSA PRIVATE KEY' ? 'pkcs1' : 'pkcs8',
    encrypted: true,
    open: async (passphrase, engine) => openDecrypted(await decryptLegacy(encryption, passphrase, engine), engine),
  };
}

/**
 * Formats by their usual names. `ssh` is OpenSSH's public line, `x509` a certificate; `raw-seed` are the 32 bytes of an
 * Ed25519 seed, `raw-pair` a seed with its public key behind it, and `raw-public` the 32 bytes of an Ed25519 public key.
 */
export type KeyFormat =
  | 'pkcs8'
  | 'pkcs1'
  | 'openssh'
  | 'putty'
  | 'jwk'
  | 'raw-seed'
  | 'raw-pair'
  | 'raw-public'
  | 'spki'
  | 'ssh'
  | 'x509';

/** A private key found in an input, recognised but not opened. */
export interface PrivateItem {
  readonly kind: 'private';
  readonly format: KeyFormat;
  readonly encrypted: boolean;
  open(passphrase: SecretLike | undefined, engine: Engine): Promise<PrivateKey>;
}

/** A public key, or a certificate of one, found in an input. */
export interface PublicItem {
  readonly kind: 'public' | 'certificate';
  readonly format: KeyFormat;
  readonly encrypted: false;
  read(): PublicKey | Promise<PublicKey>;
}

/** Something else that may stand beside a key, such as parameters. Without a key it is refused with this error. */
interface OtherItem {
  readonly kind: 'other';
  readonly refusal: Error;
}

export type Item = PrivateItem | PublicItem | OtherItem;
