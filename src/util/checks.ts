import { usageError } from '../errors.js';

export const isText = (value: unknown): value is string => typeof value === 'string';

export const isTexts = (value: unknown): value is readonly string[] => Array.isArray(value) && value.every(isText);

/** Whether `value` is an object as JSON has them: not null, no array. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Returns `value` where it is a finite number within the limits.
 * @throws `ERR_USAGE` for anything else, a number in a string included
 */
export function requireNumber({
  name,
  value,
  least,
  most = Number.MAX_VALUE,
}: {
  readonly name: string;
  readonly value: unknown;
  readonly least: number;
  readonly most?: number | undefined;
}): number {
  if (typeof value === 'number' && value >= least && value <= most) return value;
  const range = most === Number.MAX_VALUE ? `of at least ${least}` : `from ${least} to ${most}`;
  const shown = typeof value === 'number' ? String(value) : value === null ? 'null' : `a ${typeof value}`;
  throw usageError(`${name} must be a number ${range}, not ${shown}`, 'leave it out for the default');
}

/**
 * Returns `signal` where it is an `AbortSignal` or undefined.
 * @throws `ERR_USAGE` for anything else
 */
export function requireSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined || signal instanceof AbortSignal) return signal;
  const { aborted, addEventListener } = (signal ?? {}) as Partial<AbortSignal>;
  if (typeof aborted === 'boolean' && typeof addEventListener === 'function') return signal as AbortSignal;
  throw usageError(
    'the signal is not an AbortSignal',
    'give the signal of an AbortController, or AbortSignal.timeout(ms)',
  );
}

/**
 * Returns `value` where it is an object, for options that plain JavaScript may leave out or mistake.
 * @throws `ERR_USAGE` for anything else
 */
export function requireObject<T extends object>(name: string, value: T): T {
  if (isRecord(value)) return value;
  throw usageError(`${name} must be an object`, "see the type of the function's argument");
}

/** The object that a text is in JSON; for any other text what is wrong with it, as the end of a sentence. */
export function parseJsonObject(
  text: string,
): Readonly<Record<string, unknown>> | 'is not JSON' | 'is not a JSON object' {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : 'is not a JSON object';
  } catch {
    return 'is not JSON';
  }
}

const listenersOf = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Calls `listener` when `signal` fires; returns the function that stops it. However many requests share a signal, it
 * carries one listener of ours: Node warns of a leak from the eleventh on.
 */
export function onAbort(signal: AbortSignal | undefined, listener: () => void): () => void {
  if (signal === undefined) return () => {};
  const listeners = listenersOf.get(signal) ?? listen(signal);
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function listen(signal: AbortSignal): Set<() => void> {
  const listeners = new Set<() => void>();
  listenersOf.set(signal, listeners);
  signal.addEventListener('abort', () => {
    for (const listener of [...listeners]) listener();
  });
  return listeners;
}
