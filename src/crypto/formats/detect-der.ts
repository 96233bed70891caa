import { type DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import { berOutline, type DerNode, integerOf, isTag, type OutlineValue, readDer, TAG } from '../asn1/der.js';
import { decodeRsaPrivateKey, decodeRsaPublicKey } from '../asn1/key-der.js';
import { refusedEcKey } from '../asn1/oids.js';
import { decodePkcs8, looksLikePrivateKey, SEQUENCE, spkiOf, subjectPublicKeyInfo } from '../asn1/spki-pkcs8.js';
import { privateKeyFromRsaNumbers, publicKeyFromRsa } from '../build-keys.js';
import { equalBytes } from '../bytes.js';
import type { Engine } from '../engine/engine.js';
import { refuseAlgorithm, refuseKind, unreadable } from '../key-errors.js';
import type { PrivateKey } from '../keys.js';
import type { Item, PrivateItem } from './detect-format.js';
import { decryptPkcs8 } from './encrypted-pkcs8.js';
import { wrongPassphrase } from './passphrase.js';
import { refuseCrl, refusePkcs7, refusePkcs12, refuseRequest } from './unsupported-formats.js';

/**
 * The key or certificate in a DER document, recognised by its structure.
 * @throws ERR_KEY_UNREADABLE for no DER or an unknown structure; ERR_KEY_UNSUPPORTED, by name, for well-known structures
 * that are no key of ours
 */
export function itemOfDer(input: Uint8Array): Item {
  const bytes = withoutNewline(input);
  const node = readNode(bytes);
  const shape = shapeOf(node);
  if (/^iso0?1?$/.test(shape) && !isPkcs12(bytes)) {
    return { kind: 'private', format: 'pkcs8', encrypted: false, open: (_, engine) => decodePkcs8(bytes, engine) };
  }
  if (shape === 'so') {
    const open: PrivateItem['open'] = async (passphrase, engine) =>
      openDecrypted(await decryptPkcs8(node, passphrase, engine), engine);
    return { kind: 'private', format: 'pkcs8', encrypted: true, open };
  }
  if (/^i{9}s?$/.test(shape)) {
    const open: PrivateItem['open'] = async (_, engine) => privateKeyFromRsaNumbers(decodeRsaPrivateKey(bytes), engine);
    return { kind: 'private', format: 'pkcs1', encrypted: false, open };
  }
  if (shape === 'sb') return { kind: 'public', format: 'spki', encrypted: false, read: () => spkiOf(node) };
  // PKCS#3 DH parameters are two INTEGERs as well: a prime and, nearly always, 2.
  if (shape === 'ii' && integerOf(node.children?.[1], 'the public exponent') !== 2n) {
    const read = () => publicKeyFromRsa(decodeRsaPublicKey(bytes));
    return { kind: 'public', format: 'pkcs1', encrypted: false, read };
  }
  if (shape === 'ssb' && !isCertificateRequest(node) && !isRevocationList(node)) {
    return { kind: 'certificate', format: 'x509', encrypted: false, read: () => spkiOf(subjectPublicKeyInfo(node)) };
  }
  throw refusalOf(node, shape, bytes);
}

/**
 * The private key in a decrypted content; null, and noise, mean a wrong passphrase.
 * @throws ERR_PASSPHRASE_WRONG; where the content is valid DER of something else, the reason why that is not read
 */
export async function openDecrypted(plain: Uint8Array | null, engine: Engine): Promise<PrivateKey> {
  if (plain === null) throw wrongPassphrase();
  let item: Item;
  try {
    item = itemOfDer(plain);
    if (item.kind === 'private' && !item.encrypted) return await item.open(undefined, engine);
  } catch (error) {
    // Under a wrong passphrase one padding in 256 looks right, and what is inside is noise.
    throw looksLikePrivateKey(plain) || !isDeribitKeysError(error, 'ERR_KEY_UNREADABLE')
      ? error
      : wrongPassphrase(error);
  }
  const what =
    item.kind === 'private' ? 'another encrypted key' : `a ${item.kind === 'public' ? 'public key' : item.kind}`;
  throw refuseKind(
    `what is encrypted is ${what}, not a private key`,
    'encrypt the private key again with the tool that made it',
  );
}

/** DER without the newline that a shell or an editor put behind it. */
function withoutNewline(bytes: Uint8Array): Uint8Array {
  const [, first = 0] = bytes;
  const more = first > 0x80 ? first & 0x7f : 0;
  const length = more === 0 ? first : bytes.subarray(2, 2 + more).reduce((sum, byte) => sum * 256 + byte, 0);
  const end = 2 + more + length;
  const rest = bytes.subarray(end);
  return rest.length > 0 && rest.length <= 2 && rest.every((byte) => byte === 0x0a || byte === 0x0d)
    ? bytes.subarray(0, end)
    : bytes;
}

const INDEFINITE = 0x80;
/** 1.2.840.113549.1.7 */
const PKCS7_ARC = Uint8Array.of(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07);

const LETTERS: ReadonlyMap<number, string> = new Map([
  [TAG.integer, 'i'],
  [TAG.sequence, 's'],
  [TAG.octetString, 'o'],
  [TAG.bitString, 'b'],
  [TAG.oid, 'd'],
  [TAG.utcTime, 't'],
  [TAG.generalizedTime, 't'],
]);

/** A letter for each node in a SEQUENCE; empty for anything else. */
function shapeOf(node: DerNode | undefined): string {
  return isTag(node, TAG.sequence) ? (node.children ?? []).map(letterOf).join('') : '';
}

/** One letter for the type of a node, the digit of a context tag, or `?`. */
function letterOf(node: DerNode): string {
  if (node.class === 'context') return node.tag < 10 ? String(node.tag) : '?';
  return (node.class === 'universal' && LETTERS.get(node.tag)) || '?';
}

/** Whether the node is laid out as a certificate request (RFC 2986 §4.2): version, subject, key, attributes. */
function isCertificateRequest({ children }: DerNode): boolean {
  const info = children?.[0];
  return /^iss(?:0|$)/.test(shapeOf(info)) && isTag(info?.children?.[2]?.children?.[1], TAG.bitString);
}

/** Whether the node is laid out as a revocation list (RFC 5280 §5.1): no serial number, but an algorithm, an issuer and a date. */
function isRevocationList({ children }: DerNode): boolean {
  return /^i?sst/.test(shapeOf(children?.[0]));
}

function readNode(bytes: Uint8Array): DerNode {
  try {
    return readDer(bytes, 'the data');
  } catch (error) {
    if (isPkcs12(bytes)) throw refusePkcs12(bytes);
    if (isPkcs7(bytes)) throw refusePkcs7('DER');
    if (bytes[1] !== INDEFINITE) throw error;
    throw unreadable('the data is in BER (with an indefinite length), not in DER', {
      hint: 'convert it: openssl pkey -inform DER -in <file> -out <new file>',
    });
  }
}

function refusalOf(node: DerNode, shape: string, bytes: Uint8Array): DeribitKeysError {
  const children = node.children ?? [];
  if (shape === 'ssb') return isCertificateRequest(node) ? refuseRequest('DER') : refuseCrl();
  if (isPkcs12(bytes)) return refusePkcs12(bytes);
  if (shape === 'd0') return refusePkcs7('DER');
  if (/^io0?1?$/.test(shape)) return refusedEcKey(children[2]?.tag === 0 ? children[2].children?.[0] : undefined);
  if (shape === 'iiiiii') return refuseAlgorithm('DSA key');
  if (/^i{2,4}$/.test(shape)) return refuseAlgorithm('DH or DSA parameters');
  return unreadable('the data is DER, but of no key or certificate');
}

/** PFX (RFC 7292 §4), also in BER, as NSS writes it: version 3, then a ContentInfo. */
function isPkcs12(bytes: Uint8Array): boolean {
  const [outer, version, content, type] = berOutline(bytes, 4);
  return (
    outer?.identifier === SEQUENCE &&
    version?.identifier === TAG.integer &&
    version.contents[0] === 3 &&
    content?.identifier === SEQUENCE &&
    isContentType(type)
  );
}

/** ContentInfo (RFC 2315 §7), also in BER. */
function isPkcs7(bytes: Uint8Array): boolean {
  const [outer, type] = berOutline(bytes, 2);
  return outer?.identifier === SEQUENCE && isContentType(type);
}

/** Whether the value is an OID of PKCS#7, the content type of a ContentInfo. */
function isContentType(value: OutlineValue | undefined): boolean {
  return value?.identifier === TAG.oid && equalBytes(value.contents.subarray(0, PKCS7_ARC.length), PKCS7_ARC);
}
