import { DeribitKeysError } from '../../errors.js';

/** A value of the document, with the path that leads to it, such as `keys[2].scope`. */
export interface Place {
  readonly path: string;
  readonly value: unknown;
}

/** `ERR_USAGE` that names the place and never shows the value. */
export function refuse({ path, value }: Place, what: string, hint?: string): DeribitKeysError {
  const where = path === '' ? 'the policy' : `${path} of the policy`;
  return new DeribitKeysError('ERR_USAGE', `${where} ${what}: it is ${kindOf(value)}`, {
    hint: hint ?? 'see: deribit-keys plan --help',
  });
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'empty';
  if (typeof value === 'string') return `a text of ${value.length} characters`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (value instanceof Map) return 'a mapping';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

/** The fields of a mapping; any that is not `known` is refused. */
export function fieldsOf(place: Place, known: readonly string[]): (name: string) => Place {
  const { path, value } = place;
  if (!(value instanceof Map)) throw refuse(place, 'must be a mapping');
  for (const key of value.keys()) {
    if (typeof key === 'string' && known.includes(key)) continue;
    const shown = typeof key === 'string' && /^\w{1,40}$/.test(key) ? `"${key}"` : 'one of another kind';
    throw new DeribitKeysError('ERR_USAGE', `${path === '' ? 'the policy' : path} holds an unknown field: ${shown}`, {
      hint: `known are: ${known.join(', ')}`,
    });
  }
  return (name) => ({ path: path === '' ? name : `${path}.${name}`, value: value.get(name) });
}

const isAbsent = ({ value }: Place) => value === undefined || value === null;

/** Null where the field is left out or empty. */
export function optional<T>(place: Place, read: (place: Place) => T): T | null {
  return isAbsent(place) ? null : read(place);
}

export function text(place: Place): string {
  if (typeof place.value !== 'string' || place.value === '') throw refuse(place, 'must be a text');
  return place.value;
}

export function flag(place: Place): boolean {
  if (typeof place.value !== 'boolean') throw refuse(place, 'must be true or false');
  return place.value;
}

export function list(place: Place): readonly Place[] {
  const { path, value } = place;
  if (!Array.isArray(value)) throw refuse(place, 'must be a list');
  return value.map((item: unknown, index) => ({ path: `${path}[${index}]`, value: item }));
}

export function oneOf<const T extends string | number>(place: Place, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === place.value);
  if (found === undefined) throw refuse(place, `must be one of ${choices.join(', ')}`);
  return found;
}

/** The words of a place through a check that knows nothing of the document: what it refuses is told with the path. */
export function checked<T>({ path }: Place, words: string, check: (words: string) => T): T {
  try {
    return check(words);
  } catch (error) {
    if (!(error instanceof DeribitKeysError)) throw error;
    throw new DeribitKeysError('ERR_USAGE', `${path} of the policy: ${error.message}`, {
      cause: error,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
  }
}
