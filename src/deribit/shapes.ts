import type { DeribitKeysError } from '../errors.js';
import { isRecord } from '../util/checks.js';
import { protocolError } from './json-rpc.js';

/**
 * The fields of an object that the exchange sent, read one by one. What is missing or of another type is
 * `ERR_PROTOCOL` naming the method and the field, never the value; fields that are not read do not matter.
 */
class Fields {
  readonly #method: string;
  readonly #value: Readonly<Record<string, unknown>>;
  readonly #at: string;

  constructor(method: string, value: Readonly<Record<string, unknown>>, at: string) {
    this.#method = method;
    this.#value = value;
    this.#at = at;
  }

  string(name: string): string {
    return this.#read(name, 'a string', isString);
  }

  /** A text that can stand in a command line as it is, or an empty one. */
  word(name: string): string {
    return this.#read(name, 'a word', isWord);
  }

  number(name: string): number {
    return this.#read(name, 'a number', isFiniteNumber);
  }

  integer(name: string): number {
    return this.#read(name, 'an integer', isInteger);
  }

  boolean(name: string): boolean {
    return this.#read(name, 'a boolean', isBoolean);
  }

  /** Null where the field is absent or null; so for the following. */
  optionalString(name: string): string | null {
    return this.#read(name, 'a string', isOptionalString) ?? null;
  }

  /** Empty where the field is absent or null. */
  strings(name: string): readonly string[] {
    return this.#read(name, 'a list of strings', isOptionalStrings) ?? [];
  }

  #read<T>(name: string, expected: string, is: (field: unknown) => field is T): T {
    const field = Object.hasOwn(this.#value, name) ? this.#value[name] : undefined;
    if (!is(field)) throw unexpected({ method: this.#method, field: this.#at + name, expected, value: field });
    return field;
  }
}

/** Opens the answer to `method` as an object; `at` is its path in the answer, such as `[3].`. */
export function fieldsOf(method: string, value: unknown, at = ''): Fields {
  if (isRecord(value)) return new Fields(method, value, at);
  throw unexpected({ method, field: at === '' ? 'the result' : at.replace(/\.$/, ''), expected: 'an object', value });
}

/** Opens a part of the answer to `method`, or all of it, as an array. */
export function listOf(method: string, value: unknown, at = 'the result'): readonly unknown[] {
  if (!Array.isArray(value)) throw unexpected({ method, field: at, expected: 'a list', value });
  return value;
}

interface Unexpected {
  readonly method: string;
  readonly field: string;
  readonly expected: string;
  readonly value: unknown;
}

/** The error for a field of an answer that is not what it must be. */
export function unexpected({ method, field, expected, value }: Unexpected): DeribitKeysError {
  return protocolError(`the answer to ${method} is not as expected: ${field} is ${kindOf(value)}, not ${expected}`, {
    maybeSent: true,
  });
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'number' && !Number.isFinite(value)) return 'out of range';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

const isString = (field: unknown): field is string => typeof field === 'string';
/** Whether it is a text that no shell takes for something else; it may be empty. */
export const isWord = (field: unknown): field is string =>
  typeof field === 'string' && /^[\w.:@+=-]{0,128}$/.test(field);
const isBoolean = (field: unknown): field is boolean => typeof field === 'boolean';
const isFiniteNumber = (field: unknown): field is number => Number.isFinite(field);
const isInteger = (field: unknown): field is number => Number.isSafeInteger(field);
const isOptionalString = (field: unknown): field is string | null | undefined =>
  field === undefined || field === null || isString(field);
const isOptionalStrings = (field: unknown): field is readonly string[] | null | undefined =>
  field === undefined || field === null || (Array.isArray(field) && field.every(isString));
