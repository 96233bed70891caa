import { DeribitKeysError } from '../errors.js';

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;
const RESERVED = /\.(pub|pem)$/i;

/** Whether `name` can be the name of a key. */
export function isKeyName(name: string): boolean {
  return NAME.test(name) && !RESERVED.test(name);
}

/**
 * Gives `name` back where it can be the name of a key.
 * @throws `ERR_USAGE` where it cannot.
 */
export function requireKeyName(name: string): string {
  if (isKeyName(name)) return name;
  const shown = /^[\x20-\x7e]{1,80}$/.test(name) ? `"${name}"` : `a text of ${name.length} characters`;
  throw new DeribitKeysError('ERR_USAGE', `${shown} is not a key name`, {
    hint: 'use 1 to 64 letters, digits, "_", "-" or "." (not first "." or "-", not ending in .pub or .pem)',
  });
}

/** Two names that a file system without case could confuse have the same folded form. */
export function foldName(name: string): string {
  return name.toLowerCase();
}
