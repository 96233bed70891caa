/** The encoding of text that begins with a byte order mark, or that looks like UTF-16 without one. */
function encodingOf(bytes: Uint8Array): 'utf-8' | 'utf-16le' | 'utf-16be' {
  const [first, second] = bytes;
  if (first === 0xff && second === 0xfe) return 'utf-16le';
  if (first === 0xfe && second === 0xff) return 'utf-16be';
  if (bytes.length < 2 || bytes.length % 2 !== 0) return 'utf-8';
  // a Latin letter in UTF-16 has one byte that is 0: no text in UTF-8 has any
  if (first !== 0 && second === 0) return 'utf-16le';
  return first === 0 && second !== 0 ? 'utf-16be' : 'utf-8';
}

/**
 * Decodes text as editors and shells write it: UTF-8, or UTF-16 as Windows PowerShell 5 writes it with `>`; a byte order
 * mark is dropped.
 * @throws `TypeError` for bytes that are not valid in that encoding
 */
export function decodeText(bytes: Uint8Array): string {
  return new TextDecoder(encodingOf(bytes), { fatal: true }).decode(bytes);
}
