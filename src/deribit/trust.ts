import { createSecureContext, rootCertificates } from 'node:tls';
import { DeribitKeysError } from '../errors.js';

/** TLS options for trusting the authorities in `ca` (PEM) beside the public ones. Throws `ERR_USAGE` for other text. */
export function trustOf(ca: string): { readonly ca: string[] } {
  try {
    if (!ca.includes('-----BEGIN CERTIFICATE-----')) throw new TypeError('no certificate');
    createSecureContext({ ca });
  } catch {
    throw new DeribitKeysError('ERR_USAGE', 'the certificate authority given as ca cannot be read', {
      hint: 'give PEM text with BEGIN CERTIFICATE blocks',
      maybeSent: false,
    });
  }
  return { ca: [...rootCertificates, ca] };
}
