import { isDeribitKeysError } from '../../errors.js';
import { refusedAlgorithm } from '../asn1/oids.js';
import { buildPublicKey } from '../build-keys.js';
import { base64ToBytes } from '../bytes.js';
import type { Engine } from '../engine/engine.js';
import { requireSmall, unreadable } from '../key-errors.js';
import type { PrivateKey } from '../keys.js';
import { decodePem, type PemBlock } from '../pem.js';
import { decryptLegacy, type LegacyEncryption, readLegacyEncryption } from './dek-info.js';
import { itemOfDer } from './detect-der.js';
import type { Item } from './item.js';
import { isPrivateJwk, parsePrivateJwks, parsePublicJwks, readJwks } from './jwk.js';
import { isOpensshPrivate, parseOpensshPrivate, readOpensshEnvelope } from './openssh-private.js';
import { passphraseToRead, wrongPassphrase } from './passphrase.js';
import { findSshLines, readSshLine } from './ssh-public.js';
import { refuseLabel, refuseMagic, refuseText } from './unsupported-formats.js';

const SEQUENCE = 0x30;
const MIN_BASE64_LENGTH = 32;

/** The labels that keys stand under (RFC 7468 §5, §10 to §13, and OpenSSL's own); what is inside decides the rest. */
const KINDS: ReadonlyMap<string, Item['kind']> = new Map([
  ['PRIVATE KEY', 'private'],
  ['ENCRYPTED PRIVATE KEY', 'private'],
  ['RSA PRIVATE KEY', 'private'],
  ['EC PRIVATE KEY', 'private'],
  ['DSA PRIVATE KEY', 'private'],
  ['PUBLIC KEY', 'public'],
  ['RSA PUBLIC KEY', 'public'],
  ['CERTIFICATE', 'certificate'],
  ['X509 CERTIFICATE', 'certificate'],
]);

/**
 * What an input holds, recognised from its content: PEM blocks, DER, OpenSSH lines, a JWK or JWK set, or base64 of one of
 * these. At least one item; nothing is decrypted or checked yet.
 * @throws ERR_KEY_UNREADABLE for empty, too large, broken or unknown input; ERR_KEY_UNSUPPORTED, by name, for well-known
 * things that are no key of ours
 */
export function recognise(input: string | Uint8Array): readonly Item[] {
  requireSmall(input, 'the input');
  if (isEmpty(input)) throw unreadable('the input is empty', { hint: 'give the file that holds the key' });
  const items = typeof input === 'string' ? itemsOfText(input, true) : itemsOfBytes(input, true);
  if (items === null) {
    throw unreadable(`not recognised as a key: ${describe(input)}`, {
      hint: 'give a key as PEM, DER, OpenSSH file or JWK; an Ed25519 seed of 32 bytes needs the format raw-seed',
    });
  }
  return items;
}

function itemsOfBytes(bytes: Uint8Array, unwrap: boolean): readonly Item[] | null {
  const refusal = refuseMagic(bytes);
  if (refusal !== null) throw refusal;
  if (isOpensshPrivate(bytes)) return [opensshItem(bytes)];
  if (bytes[0] === SEQUENCE && bytes.some(isControl)) return [itemOfDer(bytes)];
  return itemsOfText(decodeText(bytes), unwrap);
}

/** `unwrap` allows one layer of base64 around the rest. */
function itemsOfText(input: string, unwrap: boolean): readonly Item[] | null {
  const text = input.replace(/^\uFEFF/, '').trim();
  const refusal = refuseText(text);
  if (refusal !== null) throw refusal;
  if (text.includes('-----BEGIN ')) {
    const items = decodePem(text).map(itemOfBlock);
    return items.length > 0 ? items : null;
  }
  if (text.startsWith('{')) return [jwkItem(text)];
  const lines = findSshLines(text);
  if (lines.length > 0) {
    return lines.map((line) => ({
      kind: line.certificate ? 'certificate' : 'public',
      format: 'ssh',
      encrypted: false,
      read: () => buildPublicKey(readSshLine(line)),
    }));
  }
  const inner = unwrap ? base64Inside(text) : null;
  return inner === null ? null : itemsOfBytes(inner, false);
}

function itemOfBlock(block: PemBlock): Item {
  const { label, bytes } = block;
  if (label === 'OPENSSH PRIVATE KEY') return opensshItem(bytes);
  const kind = KINDS.get(label);
  if (kind === undefined) return { kind: 'other', refusal: refuseLabel(label) };
  if (kind === 'private') {
    const encryption = readLegacyEncryption(block);
    if (encryption !== null) return legacyItem(block, encryption);
  }
  const item = itemOfDer(bytes);
  if (item.kind !== kind) throw unreadable(`the PEM block "${label}" holds another thing than it says (${item.kind})`);
  return item;
}

function opensshItem(bytes: Uint8Array): Item {
  return {
    kind: 'private',
    format: 'openssh',
    encrypted: readOpensshEnvelope(bytes).encrypted,
    open: (passphrase, engine) => parseOpensshPrivate(bytes, passphrase, engine),
  };
}

function jwkItem(text: string): Item {
  const jwks = readJwks(text);
  return jwks.some(isPrivateJwk)
    ? { kind: 'private', format: 'jwk', encrypted: false, open: (_, engine) => parsePrivateJwks(jwks, engine) }
    : { kind: 'public', format: 'jwk', encrypted: false, read: (engine) => parsePublicJwks(jwks, engine) };
}

function legacyItem({ label, bytes }: PemBlock, encryption: LegacyEncryption): Item {
  const other = /^(EC|DSA) /.exec(label)?.[1];
  if (other !== undefined) throw refusedAlgorithm(other);
  return {
    kind: 'private',
    format: label === 'RSA PRIVATE KEY' ? 'pkcs1' : 'pkcs8',
    encrypted: true,
    open: (passphrase, engine) => {
      const plain = decryptLegacy(encryption, bytes, passphraseToRead(passphrase), engine);
      return openDecrypted(plain, engine);
    },
  };
}

/** The key in what a decryption gave; noise, or anything but an unencrypted private key, means a wrong passphrase. */
async function openDecrypted(plain: Uint8Array | null, engine: Engine): Promise<PrivateKey> {
  if (plain === null) throw wrongPassphrase();
  try {
    const item = itemOfDer(plain);
    if (item.kind === 'private' && !item.encrypted) return await item.open(undefined, engine);
  } catch (error) {
    throw isDeribitKeysError(error, 'ERR_KEY_UNREADABLE') ? wrongPassphrase(error) : error;
  }
  throw wrongPassphrase();
}

/** UTF-16 (Windows PowerShell writes it) where its byte order mark says so, else UTF-8. */
function decodeText(bytes: Uint8Array): string {
  const [first, second] = bytes;
  if (first === 0xff && second === 0xfe) return new TextDecoder('utf-16le').decode(bytes);
  if (first === 0xfe && second === 0xff) return new TextDecoder('utf-16be').decode(bytes);
  return new TextDecoder().decode(bytes);
}

/** The bytes in a text that is nothing but base64 or base64url, folded or not, padded or not, perhaps in quotes. */
function base64Inside(text: string): Uint8Array | null {
  const body = text.replace(/^(["'])([^"']*)\1$/, '$2').replace(/\s|\\[rn]/g, '');
  const base64 = body
    .replaceAll('-', '+')
    .replaceAll('_', '/')
    .replace(/={1,2}$/, '');
  if (base64.length < MIN_BASE64_LENGTH || !/^[A-Za-z0-9+/]+$/.test(base64)) return null;
  return base64ToBytes(base64 + '='.repeat((4 - (base64.length % 4)) % 4));
}

function isControl(byte: number): boolean {
  return byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d;
}

function isEmpty(input: string | Uint8Array): boolean {
  return (typeof input === 'string' ? input : decodeText(input)).replace(/^\uFEFF/, '').trim() === '';
}

function describe(input: string | Uint8Array): string {
  return typeof input === 'string' ? `text of ${input.length} characters` : `${input.length} bytes`;
}
