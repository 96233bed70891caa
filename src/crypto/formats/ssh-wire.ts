import { DeribitKeysError } from '../../errors.js';
import { concatBytes, utf8Bytes } from '../bytes.js';
import { bigIntToBytes, bytesToBigInt } from '../numbers.js';

/** The error for OpenSSH data that breaks its own format; `what` completes "OpenSSH key: …". */
export function damagedOpenssh(what: string): DeribitKeysError {
  return new DeribitKeysError('ERR_KEY_UNREADABLE', `OpenSSH key: ${what}`, {
    hint: 'the file is damaged: take it from its source again, and check it with ssh-keygen -l -f <file>',
  });
}

/** Reads the data types of SSH (RFC 4251 §5) one after the other; runs past the end with ERR_KEY_UNREADABLE. */
export class WireReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** `length` bytes as they stand; `what` names them in errors. */
  take(length: number, what: string): Uint8Array {
    if (length > this.#bytes.length - this.#at) throw damagedOpenssh(`the ${what} runs past the end`);
    this.#at += length;
    return this.#bytes.slice(this.#at - length, this.#at);
  }

  uint32(what: string): number {
    const [a = 0, b = 0, c = 0, d = 0] = this.take(4, what);
    return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
  }

  string(what: string): Uint8Array {
    return this.take(this.uint32(what), what);
  }

  /** A string of printable ASCII, such as the name of a cipher or a key type. */
  name(what: string): string {
    const text = String.fromCharCode(...this.string(what).subarray(0, 256));
    if (!/^[!-~]{1,255}$/.test(text)) throw damagedOpenssh(`the ${what} is not a name`);
    return text;
  }

  /** A positive integer in its shortest form. */
  mpint(what: string): bigint {
    const bytes = this.string(what);
    const [first = 0, second = 0] = bytes;
    if (bytes.length === 0 || first >= 0x80 || (first === 0 && second < 0x80)) {
      throw damagedOpenssh(`the number ${what} is not a positive integer in its shortest form`);
    }
    return bytesToBigInt(bytes);
  }

  rest(): Uint8Array {
    return this.take(this.#bytes.length - this.#at, 'rest');
  }

  end(what: string): void {
    if (this.#at !== this.#bytes.length)
      throw damagedOpenssh(`${this.#bytes.length - this.#at} bytes follow the ${what}`);
  }
}

/** `value` as four bytes, big end first. */
export function wireUint32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

/** `value` (text as UTF-8) after its length. */
export function wireString(value: Uint8Array | string): Uint8Array {
  const bytes = typeof value === 'string' ? utf8Bytes(value) : value;
  return concatBytes(wireUint32(bytes.length), bytes);
}

/** A positive integer in its shortest form, with a zero byte before a set top bit. */
export function wireMpint(value: bigint): Uint8Array {
  const bytes = bigIntToBytes(value);
  return wireString((bytes[0] ?? 0) >= 0x80 ? concatBytes(Uint8Array.of(0), bytes) : bytes);
}
