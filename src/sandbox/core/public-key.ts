import { createHash, createPublicKey, type KeyObject } from 'node:crypto';

const pem = /^\s*-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END PUBLIC KEY-----\s*$/;
const smallestRsaBits = 2048;

/** The public half of an asymmetric API key, as the exchange keeps it. */
export interface RegisteredKey {
  readonly keyObject: KeyObject;
  /** SPKI PEM with its newlines turned to spaces, as Deribit answers it. */
  readonly pem: string;
  /** MD5 over the SubjectPublicKeyInfo DER: 16 lower-case hex pairs joined by colons. */
  readonly fingerprint: string;
  /** Bytes of a signature: 64 for Ed25519, the modulus' length for RSA. */
  readonly signatureBytes: number;
}

/** Reads an SPKI PEM of Ed25519 or of RSA with at least 2048 bits; null for everything else. Newlines may be spaces. */
export function readPublicKey(text: string): RegisteredKey | null {
  const body = pem.exec(text)?.[1]?.replace(/\s+/g, '');
  if (body === undefined) return null;
  const der = Buffer.from(body, 'base64');
  if (der.toString('base64') !== body) return null;
  try {
    const keyObject = createPublicKey({ key: der, format: 'der', type: 'spki' });
    const signatureBytes = signatureLength(keyObject);
    if (signatureBytes === null || !keyObject.export({ format: 'der', type: 'spki' }).equals(der)) return null;
    return { keyObject, pem: spacedPem(der), fingerprint: md5Pairs(der), signatureBytes };
  } catch {
    return null;
  }
}

function signatureLength(key: KeyObject): number | null {
  if (key.asymmetricKeyType === 'ed25519') return 64;
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  return key.asymmetricKeyType === 'rsa' && bits >= smallestRsaBits ? Math.ceil(bits / 8) : null;
}

function spacedPem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN PUBLIC KEY-----', ...lines, '-----END PUBLIC KEY-----'].join(' ');
}

function md5Pairs(der: Buffer): string {
  const digest = createHash('md5').update(der).digest('hex');
  return (digest.match(/../g) ?? []).join(':');
}
