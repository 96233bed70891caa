import md5Digest from 'node-forge/lib/md5.js';
import { fromBinary, toBinary } from './binary.js';

/** MD5 (RFC 1321), 16 bytes: for Deribit's fingerprint and legacy file formats, where nothing depends on its strength. */
export function md5(...parts: readonly Uint8Array[]): Uint8Array {
  const digest = md5Digest.create();
  for (const part of parts) digest.update(toBinary(part));
  return fromBinary(digest.digest().getBytes());
}
