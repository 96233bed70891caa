/** A copy of the bytes in a buffer of their own, which is what WebCrypto's types ask for. */
export function ownBuffer(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}

/** The bytes as node-forge takes them: a string with a character for each. */
export function toBinary(bytes: Uint8Array): string {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return binary;
}

/** The bytes in a string of node-forge. */
export function fromBinary(binary: string): Uint8Array {
  return Uint8Array.from({ length: binary.length }, (_, i) => binary.charCodeAt(i));
}
