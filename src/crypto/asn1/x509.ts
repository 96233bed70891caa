import { unreadable } from '../key-errors.js';
import { type DerNode, isTag, sequenceOf, TAG } from './der.js';

const UTC_TIME = 23;
const GENERALIZED_TIME = 24;

/**
 * The SubjectPublicKeyInfo of an X.509 certificate (RFC 5280 §4.1). Signature, dates and names are not checked: the
 * certificate only carries the key.
 * @throws ERR_KEY_UNREADABLE
 */
export function subjectPublicKeyInfo(node: DerNode): DerNode {
  const [tbs, algorithm, signature, ...others] = sequenceOf(node, 'Certificate');
  sequenceOf(algorithm, 'the signature algorithm');
  const fields = sequenceOf(tbs, 'TBSCertificate');
  const at = isTag(fields[0], 0, 'context') ? 1 : 0;
  const [serial, ...rest] = fields.slice(at);
  if (!isTag(serial, TAG.integer)) throw unreadable('TBSCertificate has no serial number');
  for (const [i, name] of ['the signature algorithm', 'the issuer', 'the validity', 'the subject'].entries()) {
    sequenceOf(rest[i], name);
  }
  const spki = rest[4];
  if (spki === undefined || !isTag(signature, TAG.bitString) || others.length > 0)
    throw unreadable('certificate does not have its three parts');
  sequenceOf(spki, 'SubjectPublicKeyInfo');
  return spki;
}

/** Whether the node is laid out as a certificate request (RFC 2986 §4.2): version, subject, key, attributes. */
export function isCertificateRequest(node: DerNode): boolean {
  const [version, subject, spki, attributes] = node.children?.[0]?.children ?? [];
  return (
    isTag(version, TAG.integer) &&
    isTag(subject, TAG.sequence) &&
    isTag(spki?.children?.[1], TAG.bitString) &&
    (attributes === undefined || isTag(attributes, 0, 'context'))
  );
}

/** Whether the node is laid out as a revocation list (RFC 5280 §5.1): no serial number, but an algorithm, an issuer and a date. */
export function isRevocationList(node: DerNode): boolean {
  const fields = node.children?.[0]?.children ?? [];
  const [algorithm, issuer, date] = isTag(fields[0], TAG.integer) ? fields.slice(1) : fields;
  return (
    isTag(algorithm, TAG.sequence) &&
    isTag(issuer, TAG.sequence) &&
    (isTag(date, UTC_TIME) || isTag(date, GENERALIZED_TIME))
  );
}
