import { parseDocument } from 'yaml';
import { API_KEY_FEATURES, checkAddresses, checkLabel } from '../../deribit/api-keys.js';
import { formatScope, parseScope } from '../../deribit/scope.js';
import { DeribitKeysError } from '../../errors.js';
import { foldName, requireKeyName } from '../../keystore/names.js';
import { parseDuration } from '../../util/duration.js';
import { checked, fieldsOf, flag, list, oneOf, optional, type Place, refuse, text } from './fields.js';
import type { KeyPolicy, Policy } from './policy.js';

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
