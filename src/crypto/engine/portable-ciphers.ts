import 'node-forge/lib/aes.js';
import 'node-forge/lib/des.js';
import cipher from 'node-forge/lib/cipher.js';
import util from 'node-forge/lib/util.js';
import { fromBinary, toBinary } from '../bytes.js';
import type { Engine } from './engine.js';

const AES_BLOCK = 16;
const DES_BLOCK = 8;

export const aesCbcDecrypt: Engine['aesCbcDecrypt'] = (key, iv, data, padding) =>
  decryptCbc('AES-CBC', AES_BLOCK, key, iv, data, padding);

export const tripleDesCbcDecrypt: Engine['tripleDesCbcDecrypt'] = (key, iv, data) =>
  decryptCbc('3DES-CBC', DES_BLOCK, key, iv, data, 'pkcs7');

export const aesCbcEncrypt: Engine['aesCbcEncrypt'] = (key, iv, data) => encrypt('AES-CBC', key, iv, data);

export const aesCtr: Engine['aesCtr'] = (key, iv, data) => encrypt('AES-CTR', key, iv, data);

function encrypt(name: 'AES-CBC' | 'AES-CTR', key: Uint8Array, iv: Uint8Array, data: Uint8Array): Uint8Array {
  const encryption = cipher.createCipher(name, util.createBuffer(toBinary(key)));
  encryption.start({ iv: toBinary(iv) });
  encryption.update(util.createBuffer(toBinary(data)));
  encryption.finish();
  return fromBinary(encryption.output.getBytes());
}

/** Decrypts whole blocks; the padding is judged here, since forge looks at its last byte alone. */
function decryptCbc(
  name: 'AES-CBC' | '3DES-CBC',
  blockSize: number,
  key: Uint8Array,
  iv: Uint8Array,
  data: Uint8Array,
  padding: 'pkcs7' | 'none',
): Uint8Array | null {
  if (data.length === 0 || data.length % blockSize !== 0) return null;
  const decryption = cipher.createDecipher(name, util.createBuffer(toBinary(key)));
  decryption.start({ iv: toBinary(iv) });
  decryption.update(util.createBuffer(toBinary(data)));
  decryption.finish(() => true);
  const plain = fromBinary(decryption.output.getBytes());
  return padding === 'none' ? plain : withoutPadding(plain, blockSize);
}

/** RFC 5652 §6.3 */
function withoutPadding(plain: Uint8Array, blockSize: number): Uint8Array | null {
  const count = plain.at(-1) ?? 0;
  if (count === 0 || count > blockSize) return null;
  return plain.slice(-count).every((byte) => byte === count) ? plain.slice(0, -count) : null;
}
