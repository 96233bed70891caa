import { parseDocument } from 'yaml';
import { API_KEY_FEATURES, checkAddresses, checkLabel } from '../../deribit/api-keys.js';
import type { Environment } from '../../deribit/endpoints.js';
import { formatScope, parseScope } from '../../deribit/scope.js';
import { DeribitKeysError } from '../../errors.js';
import { foldName, requireKeyName } from '../../keystore/names.js';
import { parseDuration } from '../../util/text.js';

/** A larger file is not read as a policy. */
export const MAX_POLICY_BYTES = 64 * 1024;

const FIELDS = ['version', 'environment', 'keys'] as const;
const KEY_FIELDS = [
  'name',
  'type',
  'bits',
  'scope',
  'label',
  'features',
  'whitelist',
  'maxAge',
  'encrypt',
  'environment',
] as const;
const RSA_SIZES = [2048, 3072, 4096] as const;

/**
 * Reads a policy: YAML 1.2, of which JSON is a part. One document without aliases, tags of its own and doubled fields;
 * every field is known and checked.
 * @throws `ERR_USAGE` naming the place in the document, never what stands there
 */
export function parsePolicy(source: string): Policy {
  const root: Place = { path: '', value: readDocument(source) };
  const field = fieldsOf(root, FIELDS);
  optional(field('version'), (place) => oneOf(place, [1]));
  const places = list(field('keys'));
  const keys = places.map(readKey);
  refuseDoubles(places, keys);
  return { environment: commonEnvironment(optional(field('environment'), environmentAt), places), keys };
}

function readDocument(source: string): unknown {
  const refuseText = (what: string, cause?: unknown) =>
    new DeribitKeysError('ERR_USAGE', `the policy cannot be read: ${what}`, {
      hint: 'give a YAML or JSON document with a list "keys"; see: deribit-keys plan --help',
      ...(cause === undefined ? {} : { cause }),
    });
  const size = Buffer.byteLength(source);
  if (size > MAX_POLICY_BYTES) throw refuseText(`it has ${size} bytes, at most ${MAX_POLICY_BYTES} are taken`);
  let document: ReturnType<typeof parseDocument>;
  try {
    document = parseDocument(source, { version: '1.2', schema: 'core', strict: true, uniqueKeys: true, merge: false });
  } catch (error) {
    throw refuseText('it is nested too deeply', error);
  }
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) {
    const line = problem.linePos?.[0].line;
    throw refuseText(`${problem.code.toLowerCase().replaceAll('_', ' ')}${line === undefined ? '' : `, line ${line}`}`);
  }
  try {
    return document.toJS({ mapAsMap: true, maxAliasCount: 0 });
  } catch (error) {
    throw refuseText('aliases are not taken, nor is deep nesting', error);
  }
}

const environmentAt = (place: Place) => oneOf(place, ['test', 'prod']);

/** The environment that the whole policy or its keys name: a policy is for one account. */
function commonEnvironment(whole: Policy['environment'], places: readonly Place[]): Policy['environment'] {
  let common = whole;
  for (const place of places) {
    const own = fieldsOf(place, KEY_FIELDS)('environment');
    const environment = optional(own, environmentAt);
    if (environment !== null && environment !== (common ?? environment)) {
      throw refuse(own, 'is another than was named before: a policy is for one account');
    }
    common ??= environment;
  }
  return common;
}

function readKey(place: Place): KeyPolicy {
  const field = fieldsOf(place, KEY_FIELDS);
  const [name, type, bits] = [
    field('name'),
    optional(field('type'), (at) => oneOf(at, ['ed25519', 'rsa'])),
    field('bits'),
  ];
  const size = optional(bits, (at) => oneOf(at, RSA_SIZES));
  if (size !== null && type !== 'rsa') throw refuse(bits, 'is only for the type rsa');
  return {
    name: checked(name, text(name), requireKeyName),
    type,
    bits: size,
    scope: scopeAt(field('scope')),
    label: optional(field('label'), (at) => checked(at, text(at), checkLabel)),
    features: optional(field('features'), (at) => unique(list(at).map((one) => oneOf(one, API_KEY_FEATURES)))),
    whitelist: optional(field('whitelist'), (at) => unique(list(at).map(addressAt))),
    maxAgeMs: optional(field('maxAge'), ageAt),
    encrypt: optional(field('encrypt'), flag) ?? false,
  };
}

/** Words in one text, or a list of words. */
function scopeAt(place: Place): string {
  const words = Array.isArray(place.value) ? list(place).map(text).join(' ') : text(place);
  const scope = checked(place, words, parseScope);
  if (scope.others.length > 0) throw refuse(place, 'holds words that belong to a session, not to a key');
  return formatScope(scope);
}

function addressAt(place: Place): string {
  checked(place, text(place), (address) => checkAddresses([address]));
  return text(place);
}

function ageAt(place: Place): number {
  const ms = checked(place, text(place), parseDuration);
  if (ms === 0) throw refuse(place, 'must be longer than nothing');
  return ms;
}

const unique = (words: readonly string[]): readonly string[] => [...new Set(words)];

function refuseDoubles(places: readonly Place[], keys: readonly KeyPolicy[]): void {
  const seen = new Set<string>();
  for (const [index, { name }] of keys.entries()) {
    const folded = foldName(name);
    if (seen.has(folded)) {
      throw refuse({ path: `${places[index]?.path}.name`, value: name }, 'is there twice, apart from case at most');
    }
    seen.add(folded);
  }
}

/** What a key of the account should be. What is null is left as it is. */
export interface KeyPolicy {
  readonly name: string;
  readonly type: 'ed25519' | 'rsa' | null;
  readonly bits: 2048 | 3072 | 4096 | null;
  /** In the exchange's own form: words sorted, single spaces. */
  readonly scope: string;
  readonly label: string | null;
  readonly features: readonly string[] | null;
  /** Empty: any address. */
  readonly whitelist: readonly string[] | null;
  /** The age from which the key is rotated. */
  readonly maxAgeMs: number | null;
  /** Whether the private key must have a passphrase. */
  readonly encrypt: boolean;
}

/** The keys that an account, or a subaccount, should have. */
export interface Policy {
  readonly environment: Environment | null;
  readonly keys: readonly KeyPolicy[];
}

/** A value of the document, with the path that leads to it, such as `keys[2].scope`. */
interface Place {
  readonly path: string;
  readonly value: unknown;
}

/** `ERR_USAGE` that names the place and never shows the value. */
function refuse({ path, value }: Place, what: string, hint?: string): DeribitKeysError {
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
function fieldsOf(place: Place, known: readonly string[]): (name: string) => Place {
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
function optional<T>(place: Place, read: (place: Place) => T): T | null {
  return isAbsent(place) ? null : read(place);
}

function text(place: Place): string {
  if (typeof place.value !== 'string' || place.value === '') throw refuse(place, 'must be a text');
  return place.value;
}

function flag(place: Place): boolean {
  if (typeof place.value !== 'boolean') throw refuse(place, 'must be true or false');
  return place.value;
}

function list(place: Place): readonly Place[] {
  const { path, value } = place;
  if (!Array.isArray(value)) throw refuse(place, 'must be a list');
  return value.map((item: unknown, index) => ({ path: `${path}[${index}]`, value: item }));
}

function oneOf<const T extends string | number>(place: Place, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === place.value);
  if (found === undefined) throw refuse(place, `must be one of ${choices.join(', ')}`);
  return found;
}

/** The words of a place through a check that knows nothing of the document: what it refuses is told with the path. */
function checked<T>({ path }: Place, words: string, check: (words: string) => T): T {
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
