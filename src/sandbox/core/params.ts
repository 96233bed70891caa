import { invalidParam, missingParam } from './errors.js';

type Values = Readonly<Record<string, unknown>>;

/**
 * A request's parameters. Each reader returns null for an absent (or null) parameter, or throws -32602 for one that is
 * required, and throws -32602 for one of another type.
 */
export class Params {
  readonly values: Values;
  /** Whether they came in a query string, where everything is text. */
  readonly loose: boolean;

  constructor(values: Values, loose: boolean) {
    this.values = values;
    this.loose = loose;
  }

  /** These parameters with some of them replaced. */
  with(changes: Values): Params {
    return new Params({ ...this.values, ...changes }, this.loose);
  }

  optionalString(name: string): string | null {
    const value = this.values[name] ?? null;
    if (value !== null && typeof value !== 'string') throw invalidParam(name, 'must be a string');
    return value;
  }

  optionalInteger(name: string): number | null {
    const value = this.optionalNumber(name);
    if (value !== null && !Number.isSafeInteger(value)) throw invalidParam(name, 'must be an integer');
    return value;
  }

  optionalNumber(name: string): number | null {
    const value = this.values[name] ?? null;
    if (value === null) return null;
    // Clients send timestamps as text too, as an example in the description of the API does.
    const mayBeText = this.loose || name.endsWith('timestamp');
    const number = mayBeText && typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
    if (typeof number !== 'number' || !Number.isFinite(number)) throw invalidParam(name, 'must be a number');
    return number;
  }

  optionalBoolean(name: string): boolean | null {
    const value = this.values[name] ?? null;
    if (value === null || typeof value === 'boolean') return value;
    if (this.loose && (value === 'true' || value === 'false')) return value === 'true';
    throw invalidParam(name, 'must be a boolean');
  }

  /** In a query string also one word, or the JSON of a list. */
  optionalStrings(name: string): readonly string[] | null {
    const value = this.values[name] ?? null;
    const list = this.loose && typeof value === 'string' ? listOf(value) : value;
    if (list === null) return null;
    if (!isTexts(list)) throw invalidParam(name, 'must be a list of strings');
    return list;
  }

  /** `max_scope` and `scope`: one text of words, or a list of them. */
  optionalWords(name: string): string | null {
    if (Array.isArray(this.values[name])) return this.requiredStrings(name).join(' ');
    return this.optionalString(name);
  }

  requiredString(name: string): string {
    return required(this.optionalString(name), name);
  }

  requiredNumber(name: string): number {
    return required(this.optionalNumber(name), name);
  }

  requiredInteger(name: string): number {
    return required(this.optionalInteger(name), name);
  }

  requiredStrings(name: string): readonly string[] {
    return required(this.optionalStrings(name), name);
  }
}

function required<T>(value: T | null, name: string): T {
  if (value === null) throw missingParam(name);
  return value;
}

function listOf(text: string): unknown {
  if (!text.startsWith('[')) return [text];
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((text) => typeof text === 'string');
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
