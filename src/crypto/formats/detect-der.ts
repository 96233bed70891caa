import type { DeribitKeysError } from '../../errors.js';
import { type DerNode, integerOf, isTag, readDer, TAG } from '../asn1/der.js';
import { refusedAlgorithm, refusedEcKey } from '../asn1/oids.js';
import { decodeRsaPrivateKey, decodeRsaPublicKey } from '../asn1/rsa-der.js';
import { decodePkcs8, spkiOf } from '../asn1/spki-pkcs8.js';
import { isCertificateRequest, isRevocationList, subjectPublicKeyInfo } from '../asn1/x509.js';
import { privateKeyFromRsaNumbers, publicKeyFromRsa } from '../build-keys.js';
import { refuseAlgorithm, unreadable } from '../key-errors.js';
import { parseEncryptedPkcs8 } from './encrypted-pkcs8.js';
import type { Item } from './item.js';
import { refuseCrl, refusePkcs7, refusePkcs12, refuseRequest } from './unsupported-formats.js';

/**
 * The key or certificate that a DER document is, told by its structure alone.
 * @throws ERR_KEY_UNREADABLE for no DER or an unknown structure; ERR_KEY_UNSUPPORTED, by name, for well-known structures
 * that are no key of ours
 */
export function itemOfDer(bytes: Uint8Array): Item {
  const node = readDer(bytes, 'the data');
  const children = (isTag(node, TAG.sequence) && node.children) || [];
  const shape = children.map(letterOf).join('');
  if (/^iso0?1?$/.test(shape) && !isPkcs12(children)) {
    return { kind: 'private', format: 'pkcs8', encrypted: false, open: (_, engine) => decodePkcs8(bytes, engine) };
  }
  if (shape === 'so') {
    return {
      kind: 'private',
      format: 'pkcs8',
      encrypted: true,
      open: (passphrase, engine) => parseEncryptedPkcs8(node, passphrase, engine),
    };
  }
  if (/^i{9}s?$/.test(shape)) {
    return {
      kind: 'private',
      format: 'pkcs1',
      encrypted: false,
      open: async (_, engine) => privateKeyFromRsaNumbers(decodeRsaPrivateKey(bytes), engine),
    };
  }
  if (shape === 'sb') return { kind: 'public', format: 'spki', encrypted: false, read: () => spkiOf(node) };
  // PKCS#3 DH parameters are two INTEGERs as well: a prime and, nearly always, 2.
  if (shape === 'ii' && integerOf(children[1], 'the public exponent') !== 2n) {
    const read = () => publicKeyFromRsa(decodeRsaPublicKey(bytes));
    return { kind: 'public', format: 'pkcs1', encrypted: false, read };
  }
  if (shape === 'ssb' && !isCertificateRequest(node) && !isRevocationList(node)) {
    return { kind: 'certificate', format: 'x509', encrypted: false, read: () => spkiOf(subjectPublicKeyInfo(node)) };
  }
  throw refusalOf(node, shape);
}

const LETTERS: ReadonlyMap<number, string> = new Map([
  [TAG.integer, 'i'],
  [TAG.sequence, 's'],
  [TAG.octetString, 'o'],
  [TAG.bitString, 'b'],
  [TAG.oid, 'd'],
]);

/** One letter for the type of a node, the digit of a context tag, or `?`. */
function letterOf(node: DerNode): string {
  if (node.class === 'context') return node.tag < 10 ? String(node.tag) : '?';
  return (node.class === 'universal' && LETTERS.get(node.tag)) || '?';
}

function refusalOf(node: DerNode, shape: string): DeribitKeysError {
  const children = node.children ?? [];
  if (shape === 'ssb') return isCertificateRequest(node) ? refuseRequest() : refuseCrl();
  if (isPkcs12(children)) return refusePkcs12();
  if (shape === 'd0') return refusePkcs7();
  if (/^io0?1?$/.test(shape)) return refusedEcKey(children[2]?.tag === 0 ? children[2].children?.[0] : undefined);
  if (shape === 'iiiiii') return refusedAlgorithm('DSA');
  if (/^i{2,4}$/.test(shape)) return refuseAlgorithm('DH or DSA parameters');
  return unreadable('the data is DER, but of no key or certificate');
}

/** PFX (RFC 7292 §4): version 3, a ContentInfo, perhaps a MAC. */
function isPkcs12([version, content]: readonly DerNode[]): boolean {
  return (
    isTag(version, TAG.integer) &&
    version.contents[0] === 3 &&
    isTag(content?.children?.[0], TAG.oid) &&
    isTag(content?.children?.[1], 0, 'context')
  );
}
