const HIDDEN = '[secret]';

/**
 * A string that does not leak: `console.log`, `util.inspect`, `JSON.stringify`, string conversion and object spread
 * show `[secret]` or nothing. Only {@link Secret.reveal} returns the value.
 */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value itself: call it where it is used, and store the result nowhere. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return HIDDEN;
  }

  toJSON(): string {
    return HIDDEN;
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return HIDDEN;
  }
}

/** A secret as callers may give it: plain, or wrapped already. */
export type SecretLike = string | Secret;

/** The wrapped form of `value`. */
export function toSecret(value: SecretLike): Secret {
  return typeof value === 'string' ? new Secret(value) : value;
}

/**
 * The text in a file that holds a secret (a passphrase, PIN, client secret or seed), whatever editor or shell wrote it:
 * UTF-8, or UTF-16 of either byte order (`>` in Windows PowerShell 5), with or without a byte order mark, which is
 * dropped. One newline at the end (LF or CRLF) is dropped as well; everything else is kept.
 *
 * Returns null where the bytes are no such text, for example in a Windows code page. The result may be empty.
 */
export function decodeSecretText(bytes: Uint8Array): string | null {
  try {
    const text = new TextDecoder(encodingOf(bytes), { fatal: true }).decode(bytes);
    return text.includes('\0') ? null : text.replace(/\r?\n$/, '');
  } catch {
    return null;
  }
}

type Encoding = 'utf-8' | 'utf-16le' | 'utf-16be';

/**
 * The encoding of a text: UTF-16 where a byte order mark says so, or where every second byte of the beginning is zero
 * (ASCII in UTF-16); else UTF-8. `TextDecoder` drops the byte order mark.
 */
export function encodingOf(bytes: Uint8Array): Encoding {
  const [first, second] = bytes;
  if (first === 0xff && second === 0xfe) return 'utf-16le';
  if (first === 0xfe && second === 0xff) return 'utf-16be';
  if (bytes.length < 4 || bytes.length % 2 !== 0) return 'utf-8';
  const start = bytes.subarray(0, 64);
  const zeroAt = (parity: number) => start.every((byte, i) => (byte === 0) === (i % 2 === parity));
  if (zeroAt(1)) return 'utf-16le';
  return zeroAt(0) ? 'utf-16be' : 'utf-8';
}

const INVISIBLE = /[\u00AD\u200B-\u200F\u202A-\u202E\u2060-\u2064\uFEFF]/;
const QUOTES = /^(["'`\u2018\u2019\u201C\u201D]).*["'`\u2018\u2019\u201C\u201D]$/s;

/** Whether a client id may be a client secret, given in its place: the ids have about 8 characters, the secrets 43. */
export function mayBeClientSecret(clientId: string): boolean {
  return /^[A-Za-z0-9_-]{30,}$/.test(clientId);
}

/**
 * What happened to a client id or client secret on its way through a shell, an env file or a secrets manager, as the end
 * of a sentence: "is in quotes", "begins or ends with white space". Null where nothing is odd. The text itself is not
 * quoted. For secrets that Deribit makes, which have no such characters; a passphrase may have them all.
 */
export function describeSpoiltText(text: string): string | null {
  if (text === '') return 'is empty';
  if (/[\r\n]/.test(text.trim())) return 'has several lines';
  if (/^\s|\s$/.test(text)) return 'begins or ends with white space or a newline';
  if (INVISIBLE.test(text)) return 'has an invisible character in it (a byte order mark or a zero-width space)';
  if (QUOTES.test(text)) return 'is in quotes, which are not part of it';
  if (/^(["'`])|(["'`])$/.test(text)) return 'has a quote at one end, which is not part of it';
  if (/\\[rn]/.test(text)) return 'has a \\n or \\r written out in it';
  if (/^(?:(?:export|set)\s+)?[A-Za-z]\w*=[^=]/.test(text)) {
    return 'is a line "NAME=value": only what follows the = belongs to it';
  }
  if (/^[A-Za-z]\w*:\s/.test(text)) return 'is a line "NAME: value": only what follows the colon belongs to it';
  if (/^(?:[a-z][a-z0-9+.-]*:\/\/|arn:aws|vault:)\S/i.test(text))
    return 'is an address where the value may be, not the value';
  if (/[,;]$/.test(text)) return `ends with ${text.at(-1)}, which is not part of it`;
  if (/^\{.*:.*\}$/s.test(text) && !text.startsWith('{{')) return 'is JSON: only the value in it belongs here';
  if (/^\$\{?[A-Za-z_(]|^%\w+%$|^\{\{.*\}\}$|^<[^<>]*>$/s.test(text))
    return 'is a placeholder that was not replaced by its value';
  if (/^\*{3,}$/.test(text)) return 'consists of asterisks: it was masked by the program that printed it';
  if (/%(?:0A|0D|20|22|2B|2F|3D)/i.test(text)) return 'is percent-encoded, as in a URL';
  if (/\s/.test(text)) return 'has white space in it';
  return /[^\x21-\x7E]/.test(text) ? 'has a character in it that is not ASCII' : null;
}
