import type { GenerateOptions } from '../crypto/generate.js';
import type { KeyAlgorithm, PublicKey } from '../crypto/keys.js';
import type { SecretLike } from '../crypto/secret.js';
import type { Signer } from '../crypto/signer.js';
import { usageError } from '../errors.js';
import { isText } from '../util/checks.js';
import type { LoadPackage } from './optional-package.js';

/** What the user named on the command line, by commander's names of the options. */
export type OptionValues = Readonly<Record<string, string | true | undefined>>;

/** Where an option of a kind is used: by its own `add-…` command, by `generate`, by `rotate`. */
export type OptionUse = 'add' | 'generate' | 'rotate';

export const ALWAYS: readonly OptionUse[] = ['add', 'generate', 'rotate'];
export const MAKES: readonly OptionUse[] = ['generate'];

/** An option of the command line. */
export interface KindOption {
  /** As commander writes it: `--module <file>`. */
  readonly flags: string;
  readonly description: string;
  /** Default: everywhere. */
  readonly on?: readonly OptionUse[];
  readonly required?: readonly OptionUse[];
}

/** The secrets that a kind may ask for. */
export type SignerSecret = 'pin' | 'vaultToken' | 'vaultSecretId';

/** What it takes to reach keys that live outside of the keystore. */
export interface SignerAccess {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Called when a secret is needed; `of` names the token or server that it is for. */
  readonly secret?: ((name: SignerSecret, of: string) => Promise<SecretLike>) | undefined;
  readonly load?: LoadPackage | undefined;
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A key to make; `exclusive` makes it an error that a key of that name is there already, for every kind. */
export interface NewKey extends GenerateOptions {
  readonly name: string;
  readonly exclusive?: boolean;
}

/** What it takes to make a key. */
interface GenerateRequest<T> {
  readonly key: NewKey;
  readonly target: T;
  /** What the options add to the target. */
  readonly values: OptionValues;
  readonly access: SignerAccess;
}

/** A key that was found, and where it is. */
interface HeldKey<L> {
  readonly publicKey: PublicKey;
  readonly location: L;
}

/** A key that was made, and the hint for an error that keeps its record from being stored. */
interface MadeKey<L> extends HeldKey<L> {
  readonly recover: string;
}

/**
 * One kind of place where a private key can live.
 *
 * `L` is the location of one key, as a record keeps it; `T` is the target in which a new key is made, as the journal of a
 * rotation keeps it. Both are plain JSON.
 */
export interface SignerKind<L extends { readonly kind: string }, T extends { readonly kind: string }> {
  readonly kind: L['kind'] & T['kind'];
  /** The command that makes a record of a key that is there. */
  readonly add: { readonly command: string; readonly description: string; readonly examples: readonly string[] };
  /** The option of `generate` and `rotate` that makes a new key there. */
  readonly make: { readonly flag: string; readonly description: string; readonly examples: readonly string[] };
  readonly options: readonly KindOption[];
  isLocation(value: unknown): boolean;
  isTarget(value: unknown): boolean;
  /** One line for people. */
  describe(location: L): string;
  describeTarget(target: T): string;
  /** Where the successor of a key is made: beside it. */
  targetOf(location: L): T;
  /** @throws `ERR_USAGE` */
  targetFrom(values: OptionValues, env: SignerAccess['env']): T;
  /** @throws `ERR_USAGE` for a type of key that the target cannot make */
  requireType?(type: KeyAlgorithm, target: T): void;
  /** What `hold` takes to find the key that `make` makes under `name`. */
  valuesOf(name: string, target: T): OptionValues;
  /** Opens the key of a record. */
  open(location: L, access: SignerAccess): Promise<Signer>;
  /** Opens the key that the options name, once, for what a record needs. */
  hold(values: OptionValues, access: SignerAccess): Promise<HeldKey<L>>;
  /** Makes a key. @throws `ERR_NAME_TAKEN` where the target has one of that name */
  generate(request: GenerateRequest<T>): Promise<MadeKey<L>>;
  /** What to say of a key that was just made. */
  warning?(values: OptionValues): string;
}

type Check = (value: unknown) => boolean;

export const isTextOrNull: Check = (value) => value === null || isText(value);

/** Whether `value` is an object of this kind whose fields pass their checks. */
export function fits(value: unknown, kind: string, fields: Readonly<Record<string, Check>>): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const object = value as Readonly<Record<string, unknown>>;
  return object.kind === kind && Object.entries(fields).every(([field, check]) => check(object[field]));
}

/** The text of an option, or null where it was not given. */
export function textOf(values: OptionValues, option: string): string | null {
  const value = values[option];
  return typeof value === 'string' ? value : null;
}

/** The text of an option that must be given. @throws `ERR_USAGE` */
export function requireText(values: OptionValues, option: string): string {
  const value = textOf(values, option);
  if (value !== null && value !== '') return value;
  const name = option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  throw usageError(`--${name} is missing`, 'see the command with --help');
}

/** Returns a function that runs work, at most `limit` pieces of it at a time; the others wait, first come, first served. */
export function concurrencyLimit(limit: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (work) => {
    if (running >= limit) await new Promise<void>((resolve) => waiting.push(resolve));
    else running += 1;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  };
}
