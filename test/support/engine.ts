import type { Engine } from '../../src/crypto/engine/engine.js';
import { engine as native } from '../../src/crypto/engine/native.js';

/*
 * The engine of the suite (`#engine` in vitest.config.ts): the native one, which derives a key from the same passphrase,
 * salt and cost once and remembers it. A key that is written encrypted and opened many times costs one derivation.
 */

const derived = new Map<string, ReturnType<Engine['pbkdf2']>>();

export const engine: Engine = {
  ...native,
  pbkdf2(password, parameters) {
    const { hash, salt, iterations, length } = parameters;
    const words = [Buffer.from(password).toString('hex'), hash, Buffer.from(salt).toString('hex'), iterations, length];
    const question = words.join(' ');
    const known = derived.get(question) ?? native.pbkdf2(password, parameters);
    derived.set(question, known);
    return known.then((key) => key.slice());
  },
};
