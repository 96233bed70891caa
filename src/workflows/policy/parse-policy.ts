import { parseDocument } from 'yaml';
import { RSA_SIZES, type RsaSize } from '../../crypto/generate.js';
import type { KeyAlgorithm } from '../../crypto/keys.js';
import { API_KEY_FEATURES, checkAddresses, checkLabel } from '../../deribit/api-keys.js';
import type { Environment } from '../../deribit/endpoints.js';
import { formatScope, parseScope } from '../../deribit/scope.js';
import { DeribitKeysError, isDeribitKeysError, usageError } from '../../errors.js';
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

/**
 * Reads a policy: one document of YAML 1.2 (JSON is a subset) without aliases, custom tags or duplicate fields. Every field
 * is checked; unknown ones are refused.
 * @throws `ERR_USAGE` naming the field, never its value
 */
export function parsePolicy(source: string): Policy {
  const root: PolicyNode = { path: '', value: readDocument(source) };
  const field = fieldsOf(root, FIELDS);
  optional(field('version'), (node) => oneOf(node, [1]));
  const nodes = list(field('keys'));
  const keys = nodes.map(readKey);
  refuseDoubles(nodes, keys);
  return { environment: commonEnvironment(optional(field('environment'), environmentAt), nodes), keys };
}

/** What the parser's codes mean, as far as a user meets them; its messages repeat values of the file. */
const YAML_PROBLEMS: ReadonlyMap<string, string> = new Map([
  ['MISSING_CHAR', 'a quote, a bracket, a comma or a colon is missing'],
  ['BAD_INDENT', 'the indentation does not fit the lines above'],
  ['TAB_AS_INDENT', 'a tab is used for indentation: use spaces'],
  ['UNEXPECTED_TOKEN', 'something here is not YAML'],
  ['BAD_DQ_ESCAPE', 'a text in double quotes has an unknown escape'],
  ['MULTILINE_IMPLICIT_KEY', 'a colon is missing, or the indentation is wrong'],
  ['BLOCK_AS_IMPLICIT_KEY', 'a colon or a line break is out of place'],
]);

function readDocument(source: string): unknown {
  const refuseText = (what: string, cause?: unknown) =>
    new DeribitKeysError('ERR_USAGE', `the policy cannot be read: ${what}`, {
      hint: 'give a YAML or JSON document with a list "keys"; see: deribit-keys plan --help',
      cause,
    });
  const size = Buffer.byteLength(source);
  if (size > MAX_POLICY_BYTES) throw refuseText(`it has ${size} bytes, the limit is ${MAX_POLICY_BYTES}`);
  let document: ReturnType<typeof parseDocument>;
  try {
    document = parseDocument(source, { version: '1.2', schema: 'core', strict: true, uniqueKeys: true, merge: false });
  } catch (error) {
    throw refuseText('it is nested too deeply', error);
  }
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) {
    const line = problem.linePos?.[0].line;
    const what = YAML_PROBLEMS.get(problem.code) ?? problem.code.toLowerCase().replaceAll('_', ' ');
    throw refuseText(`${what}${line === undefined ? '' : `, line ${line}`}`);
  }
  try {
    return document.toJS({ mapAsMap: true, maxAliasCount: 0 });
  } catch (error) {
    throw refuseText('aliases and deep nesting are not allowed', error);
  }
}

const environmentAt = (node: PolicyNode) => oneOf(node, ['test', 'prod']);

/** The environment that the whole policy or its keys name: a policy is for one account. */
function commonEnvironment(whole: Policy['environment'], nodes: readonly PolicyNode[]): Policy['environment'] {
  let common = whole;
  for (const node of nodes) {
    const own = fieldsOf(node, KEY_FIELDS)('environment');
    const environment = optional(own, environmentAt);
    if (environment !== null && environment !== (common ?? environment)) {
      throw refuse(own, 'differs from the one named before: a policy is for one account');
    }
    common ??= environment;
  }
  return common;
}

function readKey(node: PolicyNode): KeyPolicy {
  const field = fieldsOf(node, KEY_FIELDS);
  const type = optional(field('type'), (at) => oneOf(at, ['ed25519', 'rsa']));
  const bits = optional(field('bits'), (at) => oneOf(at, RSA_SIZES));
  if (bits !== null && type !== 'rsa') throw refuse(field('bits'), 'is only for the type rsa');
  return {
    name: checked(field('name'), requireKeyName),
    type,
    bits,
    scope: scopeAt(field('scope')),
    label: optional(field('label'), (at) => checked(at, checkLabel)),
    features: optional(field('features'), (at) => unique(list(at).map((one) => oneOf(one, API_KEY_FEATURES)))),
    whitelist: optional(field('whitelist'), (at) => unique(list(at).map(addressAt))),
    maxAgeMs: optional(field('maxAge'), ageAt),
    encrypt: optional(field('encrypt'), flag) ?? false,
  };
}

/** Words in one text, or a list of words. */
function scopeAt(node: PolicyNode): string {
  const words = Array.isArray(node.value) ? list(node).map(text).join(' ') : text(node);
  const scope = checked(node, parseScope, words);
  if (scope.others.length > 0) throw refuse(node, 'has words that belong to a session, not to a key');
  return formatScope(scope);
}

function addressAt(node: PolicyNode): string {
  checked(node, (address) => checkAddresses([address]));
  return text(node);
}

function ageAt(node: PolicyNode): number {
  const ms = checked(node, parseDuration);
  if (ms === 0) throw refuse(node, 'must be longer than zero');
  return ms;
}

const unique = (words: readonly string[]): readonly string[] => [...new Set(words)];

function refuseDoubles(nodes: readonly PolicyNode[], keys: readonly KeyPolicy[]): void {
  const seen = new Set<string>();
  for (const [index, { name }] of keys.entries()) {
    const folded = foldName(name);
    if (seen.has(folded)) {
      throw refuse(
        { path: `${nodes[index]?.path}.name`, value: name },
        'is used twice (upper and lower case count as the same)',
      );
    }
    seen.add(folded);
  }
}

/** What a key of the account should be. What is null is left as it is. */
export interface KeyPolicy {
  readonly name: string;
  readonly type: KeyAlgorithm | null;
  readonly bits: RsaSize | null;
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
interface PolicyNode {
  readonly path: string;
  readonly value: unknown;
}

/** `ERR_USAGE` that names the field and never shows its value. */
function refuse({ path, value }: PolicyNode, what: string): DeribitKeysError {
  const where = path === '' ? 'the policy' : `${path} of the policy`;
  return usageError(`${where} ${what}: it is ${kindOf(value)}`, 'see: deribit-keys plan --help');
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'empty';
  if (typeof value === 'string') return `text of ${value.length} characters`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (value instanceof Map) return 'a mapping';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

/** Returns the reader of a mapping's fields; refuses those that are not `known`. */
function fieldsOf(node: PolicyNode, known: readonly string[]): (name: string) => PolicyNode {
  const { path, value } = node;
  if (!(value instanceof Map)) throw refuse(node, 'must be a mapping');
  for (const key of value.keys()) {
    if (typeof key === 'string' && known.includes(key)) continue;
    const shown = typeof key === 'string' && /^\w{1,40}$/.test(key) ? `"${key}"` : 'a name that is not a word';
    throw usageError(
      `${path === '' ? 'the policy' : path} has an unknown field: ${shown}`,
      `the fields are: ${known.join(', ')}`,
    );
  }
  return (name) => ({ path: path === '' ? name : `${path}.${name}`, value: value.get(name) });
}

const isAbsent = ({ value }: PolicyNode) => value === undefined || value === null;

/** Null where the field is left out or empty. */
function optional<T>(node: PolicyNode, read: (node: PolicyNode) => T): T | null {
  return isAbsent(node) ? null : read(node);
}

function text(node: PolicyNode): string {
  if (typeof node.value !== 'string' || node.value === '') throw refuse(node, 'must be text');
  return node.value;
}

function flag(node: PolicyNode): boolean {
  if (typeof node.value !== 'boolean') throw refuse(node, 'must be true or false');
  return node.value;
}

function list(node: PolicyNode): readonly PolicyNode[] {
  const { path, value } = node;
  if (!Array.isArray(value)) throw refuse(node, 'must be a list');
  return value.map((item: unknown, index) => ({ path: `${path}[${index}]`, value: item }));
}

function oneOf<const T extends string | number>(node: PolicyNode, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === node.value);
  if (found === undefined) throw refuse(node, `must be one of ${choices.join(', ')}`);
  return found;
}

/** Runs a check that knows nothing of the document; its errors get the path. */
function checked<T>(node: PolicyNode, check: (words: string) => T, words = text(node)): T {
  try {
    return check(words);
  } catch (error) {
    if (!isDeribitKeysError(error)) throw error;
    throw error.with({ code: 'ERR_USAGE', message: `${node.path} of the policy: ${error.message}` });
  }
}
