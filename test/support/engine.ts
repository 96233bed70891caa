import type { Engine } from '../../src/crypto/engine/engine.js';
import { engine as native } from '../../src/crypto/engine/native.js';

/*
 * The engine of the suite (`#engine` in vitest.config.ts): the native one, which derives a key from the same passphrase,
 * salt and cost once and remembers it. A key that is written encrypted and opened many times costs one derivation.
 */

const derived = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();

function once<Parameters extends { readonly salt: Uint8Array }>(
  derive: (password: Uint8Array, parameters: Parameters) => Promise<Uint8Array<ArrayBuffer>>,
) {
  return async (password: Uint8Array, parameters: Parameters) => {
    const salt = Buffer.from(parameters.salt).toString('hex');
    const question = JSON.stringify([Buffer.from(password).toString('hex'), { ...parameters, salt }]);
    const answer = derived.get(question) ?? derive(password, parameters);
    derived.set(question, answer);
    return (await answer).slice();
  };
}

export const engine: Engine = {
  ...native,
  pbkdf2: once(native.pbkdf2),
  scrypt: once(native.scrypt),
  bcryptPbkdf: once(native.bcryptPbkdf),
};
