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
