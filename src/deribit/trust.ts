import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as tls from 'node:tls';
import { usageError } from '../errors.js';

/**
 * TLS options that trust the certificate authorities in `ca` (PEM) beside those that Node.js trusts: its own, and those
 * of NODE_EXTRA_CA_CERTS.
 * @throws `ERR_USAGE` for text that holds no certificate
 */
export function trustOf(ca: string): { readonly ca: string[] } {
  const blocks = certificatesIn(ca);
  if (blocks.length === 0 || !blocks.every(isCertificate)) {
    throw usageError(
      'the certificate authority given as ca cannot be read',
      'give PEM text with BEGIN CERTIFICATE blocks',
    );
  }
  return { ca: [...trustedByDefault(process.env.NODE_EXTRA_CA_CERTS), ...blocks] };
}

/** Setting `ca` replaces what Node.js trusts, so it is listed here; from Node.js 22.15 on it says itself what that is. */
function trustedByDefault(extraFile: string | undefined): readonly string[] {
  const { getCACertificates } = tls as unknown as { getCACertificates?: (type: 'default') => string[] };
  const known = getCACertificates?.('default') ?? tls.rootCertificates;
  return [...new Set([...known, ...extraCertificates(extraFile)])];
}

/** Node.js itself only warns where the file cannot be read. */
function extraCertificates(file: string | undefined): readonly string[] {
  if (file === undefined || file === '') return [];
  try {
    return certificatesIn(readFileSync(file, 'utf8')).filter(isCertificate);
  } catch {
    return [];
  }
}

function certificatesIn(text: string): readonly string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
}

/** TLS skips what it cannot read. */
function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}
