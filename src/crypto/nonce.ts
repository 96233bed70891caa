import { engine } from '#engine';
import { bytesToHex } from './bytes.js';

const NONCE_DIGITS = 24;
const NONCES_AT_ONCE = 64;

let digits = '';
let used = 0;

/** A nonce for `client_signature`: 24 lower-case hex digits, 96 random bits. Random bytes are drawn for many at once. */
export function randomNonce(): string {
  if (used === digits.length) {
    digits = bytesToHex(engine.randomBytes((NONCE_DIGITS / 2) * NONCES_AT_ONCE));
    used = 0;
  }
  const nonce = digits.slice(used, used + NONCE_DIGITS);
  used += NONCE_DIGITS;
  return nonce;
}
