import { X509Certificate } from 'node:crypto';
import { rootCertificates } from 'node:tls';
import { DeribitKeysError } from '../errors.js';

/** TLS options for trusting the authorities in `ca` (PEM) beside the public ones. Throws `ERR_USAGE` for other text. */
export function trustOf(ca: string): { readonly ca: string[] } {
  const blocks = ca.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0 || !blocks.every(isCertificate)) {
    throw new DeribitKeysError('ERR_USAGE', 'the certificate authority given as ca cannot be read', {
      hint: 'give PEM text with BEGIN CERTIFICATE blocks',
      maybeSent: false,
    });
  }
  return { ca: [...rootCertificates, ...blocks] };
}

/** TLS itself passes over what it cannot read. */
function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}
