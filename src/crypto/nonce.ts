import { engine as defaultEngine } from '#engine';
import type { Engine } from './engine/engine.js';
import { bytesToHex } from './numbers.js';

const NONCE_LENGTH = 12;

/** A nonce for `client_signature`: 24 lower-case hex digits, 96 random bits. */
export function randomNonce(engine: Engine = defaultEngine): string {
  return bytesToHex(engine.randomBytes(NONCE_LENGTH));
}
