import type { Engine } from '../../src/crypto/engine/engine.js';
import { engine as native } from '../../src/crypto/engine/native.js';

type Derived = Promise<Uint8Array<ArrayBuffer>>;

/** Derives a key from the same passphrase, salt and cost once. */
function once<Parameters extends { readonly salt: Uint8Array }>(
  derive: (password: Uint8Array, parameters: Parameters) => Derived,
) {
  const derived = new Map<string, Derived>();
  return async (password: Uint8Array, parameters: Parameters) => {
    const salt = Buffer.from(parameters.salt).toString('hex');
    const question = JSON.stringify([Buffer.from(password).toString('hex'), { ...parameters, salt }]);
    const answer = derived.get(question) ?? derive(password, parameters);
    derived.set(question, answer);
    answer.catch(() => derived.delete(question));
    return (await answer).slice();
  };
}

const SALT_LENGTH = 16;

/**
 * An engine that remembers what it derived, and which numbers are prime. All that it encrypts has the same salt, so that a
 * passphrase costs one derivation, and an RSA key that is read many times one test of its factors.
 */
export function remembering(engine: Engine): Engine {
  const primes = new Map<bigint, Promise<boolean>>();
  const salt = engine.randomBytes(SALT_LENGTH);
  return {
    ...engine,
    randomBytes: (length) => (length === SALT_LENGTH ? salt.slice() : engine.randomBytes(length)),
    isProbablePrime(candidate) {
      const answer = primes.get(candidate) ?? engine.isProbablePrime(candidate);
      primes.set(candidate, answer);
      return answer;
    },
    pbkdf2: once(engine.pbkdf2),
    scrypt: once(engine.scrypt),
    bcryptPbkdf: once(engine.bcryptPbkdf),
  };
}

/** The engine of the suite: `#engine` in vitest.config.ts. */
export const engine = remembering(native);
