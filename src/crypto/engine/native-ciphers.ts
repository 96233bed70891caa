import { createCipheriv, createDecipheriv, type Decipher } from 'node:crypto';
import { concatBytes } from '../bytes.js';
import { plainBytes } from './native-keys.js';

const AES_BLOCK = 16;
const DES_BLOCK = 8;

export function aesCbcDecrypt(
  key: Uint8Array,
  iv: Uint8Array,
  data: Uint8Array,
  padding: 'pkcs7' | 'none',
): Uint8Array | null {
  if (data.length === 0 || data.length % AES_BLOCK !== 0) return null;
  return finish(createDecipheriv(`aes-${key.length * 8}-cbc`, key, iv).setAutoPadding(padding === 'pkcs7'), data);
}

export function tripleDesCbcDecrypt(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Uint8Array | null {
  if (data.length === 0 || data.length % DES_BLOCK !== 0) return null;
  return finish(createDecipheriv('des-ede3-cbc', key, iv), data);
}

export function aesCbcEncrypt(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Uint8Array {
  const cipher = createCipheriv(`aes-${key.length * 8}-cbc`, key, iv);
  return concatBytes(cipher.update(data), cipher.final());
}

export function aesCtr(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Uint8Array {
  return plainBytes(createCipheriv(`aes-${key.length * 8}-ctr`, key, iv).update(data));
}

function finish(decipher: Decipher, data: Uint8Array): Uint8Array | null {
  const start = decipher.update(data);
  try {
    return concatBytes(start, decipher.final());
  } catch {
    // The lengths were right: only the padding can be wrong.
    return null;
  }
}
