import { nextTick } from '@noble/hashes/utils.js';
import { DeribitKeysError } from '../../errors.js';
import type { Bytes } from '../bytes.js';

// Named by the values, so that they exist with the types of Node.js and with those of the DOM.
export type SubtleCrypto = typeof globalThis.crypto.subtle;
export type CryptoKey = Awaited<ReturnType<SubtleCrypto['importKey']>>;

/**
 * WebCrypto of the platform.
 * @throws ERR_USAGE where the platform has no WebCrypto: browsers offer it only in secure contexts
 */
export function subtle(): SubtleCrypto {
  const platform: { readonly subtle?: SubtleCrypto } | undefined = globalThis.crypto;
  if (platform?.subtle !== undefined) return platform.subtle;
  throw new DeribitKeysError(
    'ERR_USAGE',
    'WebCrypto (crypto.subtle) is not available: this page is not a secure context',
    {
      hint: 'open the page over https:, from localhost, or as a file on this computer',
    },
  );
}

/** Bytes of the platform's secure generator, which needs no secure context. */
export function randomBytes(length: number): Bytes {
  return globalThis.crypto.getRandomValues(new Uint8Array(length));
}

/** Lets the page handle events and paint. A settled promise would not: its handlers run before that. */
export function pause(): Promise<unknown> {
  return nextTick();
}
