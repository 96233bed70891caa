import { engine as defaultEngine } from '#engine';
import type { Engine } from './engine/engine.js';
import { unreadable } from './key-errors.js';
import type { PrivateKey, PublicKey } from './keys.js';
import { decodePem, encodePem } from './pem.js';

const PRIVATE_LABEL = 'PRIVATE KEY';
const PUBLIC_LABEL = 'PUBLIC KEY';

/** SPKI PEM, the form in which Deribit is given a public key; ends with a newline. */
export function encodePublicKeyPem(publicKey: PublicKey): string {
  return encodePem(PUBLIC_LABEL, publicKey.spki);
}

/** Unencrypted PKCS#8 PEM: the secret itself; ends with a newline. */
export function encodePrivateKeyPem(privateKey: PrivateKey): string {
  return encodePem(PRIVATE_LABEL, privateKey.exposePkcs8());
}

/**
 * The private key in a PEM text whose one block is unencrypted PKCS#8: the quick way for keys that this package wrote,
 * without loading a DER reader. Any other format is for `parsePrivateKey`.
 * @throws ERR_KEY_UNREADABLE, ERR_KEY_UNSUPPORTED, ERR_KEY_INVALID
 */
export async function loadPkcs8Pem(text: string, engine: Engine = defaultEngine): Promise<PrivateKey> {
  const [block, ...more] = decodePem(text);
  if (block === undefined || more.length > 0 || block.label !== PRIVATE_LABEL || block.headers.size > 0) {
    throw unreadable('the text is not one PEM block of an unencrypted PKCS#8 private key');
  }
  const quick = await engine.quickPrivateKey?.(block.bytes);
  if (quick != null) return quick;
  const { decodePkcs8 } = await import('./asn1/spki-pkcs8.js');
  return decodePkcs8(block.bytes, engine);
}
