import { invalidParam, missingParam } from './errors.js';

/** A request's parameters. `loose`: they came in a query string, where everything is text. */
export interface Params {
  readonly values: Readonly<Record<string, unknown>>;
  readonly loose: boolean;
}

/** Each reader returns null for an absent (or null) parameter and throws -32602 for one of another type. */
export function optionalString(params: Params, name: string): string | null {
  const value = params.values[name] ?? null;
  if (value !== null && typeof value !== 'string') throw invalidParam(name, 'must be a string');
  return value;
}

export function optionalInteger(params: Params, name: string): number | null {
  const value = optionalNumber(params, name);
  if (value !== null && !Number.isSafeInteger(value)) throw invalidParam(name, 'must be an integer');
  return value;
}

export function optionalNumber(params: Params, name: string): number | null {
  const value = params.values[name] ?? null;
  if (value === null) return null;
  // Clients send timestamps as text too, as an example in the description of the API does.
  const mayBeText = params.loose || name.endsWith('timestamp');
  const number = mayBeText && typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isFinite(number)) throw invalidParam(name, 'must be a number');
  return number;
}

export function optionalBoolean(params: Params, name: string): boolean | null {
  const value = params.values[name] ?? null;
  if (value === null || typeof value === 'boolean') return value;
  if (params.loose && (value === 'true' || value === 'false')) return value === 'true';
  throw invalidParam(name, 'must be a boolean');
}

/** In a query string also one word, or the JSON of a list. */
export function optionalStrings(params: Params, name: string): readonly string[] | null {
  const value = params.loose ? looseList(params.values[name]) : (params.values[name] ?? null);
  if (value === null) return null;
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) {
    throw invalidParam(name, 'must be a list of strings');
  }
  return value;
}

export function requiredString(params: Params, name: string): string {
  return required(optionalString(params, name), name);
}

export function requiredNumber(params: Params, name: string): number {
  return required(optionalNumber(params, name), name);
}

export function requiredInteger(params: Params, name: string): number {
  return required(optionalInteger(params, name), name);
}

export function requiredStrings(params: Params, name: string): readonly string[] {
  return required(optionalStrings(params, name), name);
}

/** `max_scope` and `scope`: one text of words, or a list of them. */
export function optionalWords(params: Params, name: string): string | null {
  const value = params.values[name];
  if (Array.isArray(value)) return required(optionalStrings(params, name), name).join(' ');
  return optionalString(params, name);
}

function required<T>(value: T | null, name: string): T {
  if (value === null) throw missingParam(name);
  return value;
}

function looseList(value: unknown): unknown {
  if (typeof value !== 'string') return value ?? null;
  if (!value.startsWith('[')) return [value];
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
