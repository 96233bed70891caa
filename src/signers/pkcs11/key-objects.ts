import { publicKeyFromEd25519, publicKeyFromRsa } from '../../crypto/build-keys.js';
import { bytesToBigInt, bytesToHex } from '../../crypto/bytes.js';
import { parsePublicKey } from '../../crypto/formats/index.js';
import type { PublicKey } from '../../crypto/keys.js';
import { signerError } from '../../crypto/signer.js';
import { DeribitKeysError, usageError } from '../../errors.js';
import {
  type Attribute,
  CKA,
  CKK_EC,
  CKK_EC_EDWARDS,
  CKK_RSA,
  CKO_CERTIFICATE,
  CKO_PRIVATE_KEY,
  CKO_PUBLIC_KEY,
  type Handle,
} from './cryptoki.js';
import type { Session } from './token.js';

/** Which key of a token: by its CKA_LABEL, its CKA_ID in hexadecimal, or both. */
export interface TokenKeyChoice {
  readonly label?: string | undefined;
  readonly id?: string | undefined;
}

export interface TokenKey {
  readonly privateKey: Handle;
  readonly publicKey: PublicKey;
  /** CKA_LABEL, or null if it is empty. */
  readonly label: string | null;
  /** CKA_ID in lower-case hexadecimal, or null if it is empty. */
  readonly id: string | null;
  /** Whether each signature needs the PIN again (CKA_ALWAYS_AUTHENTICATE). */
  readonly alwaysAuthenticate: boolean;
}

const AT_A_TIME = 16;

/** All objects that have these attributes. */
export function findObjects({ token: { cryptoki }, handle }: Session, template: readonly Attribute[]): Handle[] {
  cryptoki.C_FindObjectsInit(handle, template);
  const found: Handle[] = [];
  try {
    for (;;) {
      const some = cryptoki.C_FindObjects(handle, AT_A_TIME);
      found.push(...some);
      if (some.length < AT_A_TIME) return found;
    }
  } finally {
    cryptoki.C_FindObjectsFinal(handle);
  }
}

/** The bytes of an attribute; null if the object has none or does not show it. */
function attribute({ token, handle }: Session, object: Handle, type: number): Buffer | null {
  try {
    const value = token.cryptoki.C_GetAttributeValue(handle, object, [{ type }])[0]?.value ?? null;
    return value === null || value.length === 0 ? null : value;
  } catch {
    return null;
  }
}

/** A boolean attribute; false if the object does not show it. */
export function isSet(session: Session, object: Handle, type: number): boolean {
  return attribute(session, object, type)?.[0] === 1;
}

const labelOf = (session: Session, object: Handle) => attribute(session, object, CKA.label)?.toString('utf8') ?? null;
const idOf = (session: Session, object: Handle) => attribute(session, object, CKA.id)?.toString('hex') ?? null;
const numberOf = (value: Buffer | null) => value?.readUIntLE(0, Math.min(value.length, 6)) ?? null;

/** The attributes of the chosen key. @throws `ERR_USAGE` */
export function templateOf({ label, id }: TokenKeyChoice): Attribute[] {
  if (label === undefined && id === undefined) {
    throw usageError('the key of the token was not named', 'use --label or --id');
  }
  const hex = id?.replaceAll(':', '').toLowerCase();
  if (hex !== undefined && !/^([0-9a-f]{2})+$/.test(hex)) {
    throw usageError(`a text of ${hex.length} characters is not a key id in hexadecimal`);
  }
  return [
    ...(label === undefined ? [] : [{ type: CKA.label, value: label }]),
    ...(hex === undefined ? [] : [{ type: CKA.id, value: Buffer.from(hex, 'hex') }]),
  ];
}

const named = ({ label, id }: TokenKeyChoice) =>
  [label === undefined ? '' : `labelled "${label}"`, id === undefined ? '' : `with the id ${id}`]
    .filter(Boolean)
    .join(' ');

const NO_ID = '(none)';

/** The command that deletes one private key of that id from the token. */
function deletion({ token }: Session, id: string, { label }: TokenKeyChoice): string {
  const which = id === NO_ID ? `--label "${label ?? ''}"` : `--id ${id}`;
  return `pkcs11-tool --module <file> --token-label "${token.label}" --login --delete-object --type privkey ${which}`;
}

/**
 * The private key that `choice` names, with its public half: from its own attributes, from the public key beside it, or
 * from a certificate.
 * @throws `ERR_SIGNER` if it or its public half is not found, `ERR_KEY_UNSUPPORTED` for another algorithm, `ERR_USAGE` if
 *   several match
 */
export async function findTokenKey(session: Session, choice: TokenKeyChoice): Promise<TokenKey> {
  const found = findObjects(session, [{ type: CKA.class, value: CKO_PRIVATE_KEY }, ...templateOf(choice)]);
  const [privateKey, second] = found;
  if (privateKey === undefined) throw noKey(session, choice);
  if (second !== undefined) {
    const ids = found.map((object) => idOf(session, object) ?? NO_ID);
    const hint =
      new Set(ids).size > 1
        ? `name one by --id: ${ids.join(', ')}`
        : `they have the same id: keep one; this deletes the first: ${deletion(session, ids[0] ?? '', choice)}`;
    throw usageError(`the token "${session.token.label}" has ${found.length} keys ${named(choice)}`, hint);
  }
  return {
    privateKey,
    publicKey: await publicHalf(session, privateKey),
    label: labelOf(session, privateKey),
    id: idOf(session, privateKey),
    alwaysAuthenticate: isSet(session, privateKey, CKA.alwaysAuthenticate),
  };
}

function noKey(session: Session, choice: TokenKeyChoice): DeribitKeysError {
  const labels = findObjects(session, [{ type: CKA.class, value: CKO_PRIVATE_KEY }])
    .slice(0, AT_A_TIME)
    .map((object) => `"${labelOf(session, object) ?? ''}" (id ${idOf(session, object) ?? 'none'})`);
  return signerError(
    `the token "${session.token.label}" has no private key ${named(choice)}`,
    labels.length === 0 ? 'it has no private key at all' : `it has ${labels.join(', ')}`,
  );
}

async function publicHalf(session: Session, privateKey: Handle): Promise<PublicKey> {
  const type = numberOf(attribute(session, privateKey, CKA.keyType));
  if (type !== CKK_RSA && type !== CKK_EC_EDWARDS && type !== CKK_EC) throw otherAlgorithm(session);
  const own = keyFrom(session, privateKey, type);
  if (own !== null) return own;
  const beside = (kind: number, by: number) => {
    const value = attribute(session, privateKey, by);
    return value === null
      ? []
      : findObjects(session, [
          { type: CKA.class, value: kind },
          { type: by, value },
        ]);
  };
  for (const by of [CKA.id, CKA.label]) {
    for (const object of beside(CKO_PUBLIC_KEY, by)) {
      const key = keyFrom(session, object, type);
      if (key !== null) return key;
    }
  }
  for (const object of beside(CKO_CERTIFICATE, CKA.id)) {
    const der = attribute(session, object, CKA.value);
    if (der !== null) return parsePublicKey(der);
  }
  throw signerError(
    `the token "${session.token.label}" shows no public key for this private key`,
    'store the public key or a certificate in the token, with the id of the private key',
  );
}

/** The public key in the attributes of an object; null if they are not shown. */
function keyFrom(session: Session, object: Handle, type: number): PublicKey | null {
  if (type === CKK_RSA) {
    const [n, e] = [attribute(session, object, CKA.modulus), attribute(session, object, CKA.publicExponent)];
    return n === null || e === null ? null : publicKeyFromRsa({ n: bytesToBigInt(n), e: bytesToBigInt(e) });
  }
  const params = attribute(session, object, CKA.ecParams);
  if (params !== null && !isEdwards25519(params)) throw otherAlgorithm(session);
  const point = attribute(session, object, CKA.ecPoint);
  const raw = point === null ? null : ed25519Point(point);
  return raw === null ? null : publicKeyFromEd25519(raw);
}

function otherAlgorithm(session: Session): DeribitKeysError {
  return new DeribitKeysError(
    'ERR_KEY_UNSUPPORTED',
    `the key in the token "${session.token.label}" is neither RSA nor Ed25519`,
    { hint: 'Deribit accepts Ed25519 and RSA keys: make one with deribit-keys generate <name> --in-token …' },
  );
}

/** The forms in which tokens name the curve, as DER in hexadecimal. */
const EDWARDS25519: ReadonlySet<string> = new Set([
  '06032b6570', // the OID 1.3.101.112 (RFC 8410 §3)
  '06092b06010401da470f01', // the OID 1.3.6.1.4.1.11591.15.1, older
  '130c656477617264733235353139', // PrintableString "edwards25519" (PKCS#11 v3.0 §2.3.10)
]);

/** Whether a CKA_EC_PARAMS means the curve of Ed25519. */
export function isEdwards25519(ecParams: Uint8Array): boolean {
  return EDWARDS25519.has(bytesToHex(ecParams));
}

/** What precedes the 32 bytes of the point, in hexadecimal. */
const WRAPPINGS: ReadonlySet<string> = new Set([
  '', // the bytes as they are (PKCS#11 v3.0 §2.3.5)
  '0420', // in an OCTET STRING, as other curves have it
  '032100', // in a BIT STRING
  '40', // with libgcrypt's mark of a compressed point
  '042140', // both
]);

/** The 32 bytes of the Ed25519 public key in a CKA_EC_POINT, however the token wraps it; null for anything else. */
export function ed25519Point(ecPoint: Uint8Array): Uint8Array | null {
  if (ecPoint.length < 32) return null;
  const start = ecPoint.length - 32;
  return WRAPPINGS.has(bytesToHex(ecPoint.subarray(0, start))) ? Uint8Array.from(ecPoint.subarray(start)) : null;
}
