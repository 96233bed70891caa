import type { Bytes } from '../bytes.js';
import { concatBytes, ownBuffer } from '../bytes.js';
import type { Engine } from './engine.js';
import { type CryptoKey, subtle } from './portable-platform.js';

const AES_BLOCK = 16;

// WebCrypto does AES; Chromium's has no AES-192, and no platform has Triple DES. For these node-forge is loaded.
const forge = () => import('./portable-forge.js');

export const aesCbcDecrypt: Engine['aesCbcDecrypt'] = async (key, iv, data) => {
  if (!isBlocks(data)) return null;
  const imported = await importAes('AES-CBC', key);
  if (imported === null) return (await forge()).cbcDecrypt('AES-CBC', key, iv, data);
  return decryptOrNull(imported, iv, data);
};

export const aesCbcDecryptBlocks: Engine['aesCbcDecryptBlocks'] = async (key, iv, data) => {
  if (!isBlocks(data)) return null;
  // WebCrypto always removes padding (RFC 5652 §6.3): a block of it, chained to the last one, is put there.
  const padding = await aesCbcEncrypt(key, data.slice(-AES_BLOCK), new Uint8Array());
  return aesCbcDecrypt(key, iv, concatBytes(data, padding));
};

export const aesCbcEncrypt: Engine['aesCbcEncrypt'] = async (key, iv, data) => {
  const imported = await importAes('AES-CBC', key);
  if (imported === null) return (await forge()).encrypt('AES-CBC', key, iv, data);
  const encrypted = await subtle().encrypt({ name: 'AES-CBC', iv: ownBuffer(iv) }, imported, ownBuffer(data));
  return new Uint8Array(encrypted);
};

export const aesCtr: Engine['aesCtr'] = async (key, iv, data) => {
  const imported = await importAes('AES-CTR', key);
  if (imported === null) return (await forge()).encrypt('AES-CTR', key, iv, data);
  const algorithm = { name: 'AES-CTR', counter: ownBuffer(iv), length: AES_BLOCK * 8 };
  return new Uint8Array(await subtle().encrypt(algorithm, imported, ownBuffer(data)));
};

export const tripleDesCbcDecrypt: Engine['tripleDesCbcDecrypt'] = async (key, iv, data) =>
  (await forge()).cbcDecrypt('3DES-CBC', key, iv, data);

function isBlocks(data: Uint8Array): boolean {
  return data.length > 0 && data.length % AES_BLOCK === 0;
}

async function importAes(name: 'AES-CBC' | 'AES-CTR', key: Uint8Array): Promise<CryptoKey | null> {
  const platform = subtle();
  try {
    return await platform.importKey('raw', ownBuffer(key), name, false, ['encrypt', 'decrypt']);
  } catch {
    return null;
  }
}

async function decryptOrNull(key: CryptoKey, iv: Uint8Array, data: Uint8Array): Promise<Bytes | null> {
  try {
    return new Uint8Array(await subtle().decrypt({ name: 'AES-CBC', iv: ownBuffer(iv) }, key, ownBuffer(data)));
  } catch {
    // The lengths were right: only the padding can be wrong.
    return null;
  }
}
