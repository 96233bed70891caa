import { createCipheriv, createDecipheriv, type Decipher } from 'node:crypto';
import type { Bytes } from '../bytes.js';
import { concatBytes } from '../bytes.js';
import type { Engine } from './engine.js';
import { plainBytes } from './native-keys.js';

const AES_BLOCK = 16;
const DES_BLOCK = 8;

export const aesCbcDecrypt: Engine['aesCbcDecrypt'] = async (key, iv, data) =>
  isBlocks(data, AES_BLOCK) ? finish(createDecipheriv(`aes-${key.length * 8}-cbc`, key, iv), data) : null;

export const aesCbcDecryptBlocks: Engine['aesCbcDecryptBlocks'] = async (key, iv, data) =>
  isBlocks(data, AES_BLOCK)
    ? finish(createDecipheriv(`aes-${key.length * 8}-cbc`, key, iv).setAutoPadding(false), data)
    : null;

export const tripleDesCbcDecrypt: Engine['tripleDesCbcDecrypt'] = async (key, iv, data) =>
  isBlocks(data, DES_BLOCK) ? finish(createDecipheriv('des-ede3-cbc', key, iv), data) : null;

export const aesCbcEncrypt: Engine['aesCbcEncrypt'] = async (key, iv, data) => {
  const cipher = createCipheriv(`aes-${key.length * 8}-cbc`, key, iv);
  return concatBytes(cipher.update(data), cipher.final());
};

export const aesCtr: Engine['aesCtr'] = async (key, iv, data) =>
  plainBytes(createCipheriv(`aes-${key.length * 8}-ctr`, key, iv).update(data));

function isBlocks(data: Uint8Array, block: number): boolean {
  return data.length > 0 && data.length % block === 0;
}

function finish(decipher: Decipher, data: Uint8Array): Bytes | null {
  const start = decipher.update(data);
  try {
    return concatBytes(start, decipher.final());
  } catch {
    // The lengths were right: only the padding can be wrong.
    return null;
  }
}
