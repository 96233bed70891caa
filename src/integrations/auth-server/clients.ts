import { parse } from 'yaml';
import { formatScope, parseScope } from '../../deribit/scope.js';
import { type DeribitKeysError, usageError } from '../../errors.js';
import { isRecord, isTexts } from '../../util/checks.js';
import { isSameHash } from './secret-file.js';

/** A program that may ask the server, with a secret of its own. */
export interface Client {
  readonly name: string;
  /** SHA-256 of its secret, in hex. */
  readonly secretHash: string;
  /** The keys that it may use; null for all. */
  readonly keys: readonly string[] | null;
  /** The most that a token for it may allow; null for all that the key allows. */
  readonly scopes: string | null;
}

const FIELDS = ['name', 'secretHash', 'keys', 'scopes'];

function wrong(path: string, what: string): DeribitKeysError {
  return usageError(
    `${path}: ${what}`,
    'an entry is {name, secretHash, keys?, scopes?}; the hash is what `printf %s "$SECRET" | sha256sum` prints',
  );
}

/**
 * Reads a clients file, YAML or JSON: a list of clients, or an object with the list as `clients`.
 * @throws `ERR_USAGE` with the entry that is wrong; never with a value of it
 */
export function parseClients(text: string, path: string, served: readonly string[]): readonly Client[] {
  let value: unknown;
  try {
    value = parse(text, { logLevel: 'error' });
  } catch {
    throw wrong(path, 'this is neither YAML nor JSON');
  }
  const list = typeof value === 'object' && value !== null && 'clients' in value ? value.clients : value;
  if (!Array.isArray(list) || list.length === 0) throw wrong(path, 'there is no list of clients');
  const clients = list.map((entry: unknown, index) => parseClient(entry, `${path}, client ${index + 1}`, served));
  const names = new Set(clients.map(({ name }) => name));
  if (names.size < clients.length) throw wrong(path, 'two clients have the same name');
  return clients;
}

function parseClient(entry: unknown, at: string, served: readonly string[]): Client {
  if (!isRecord(entry)) throw wrong(at, 'it is not an object');
  const { name, secretHash, keys, scopes, ...others } = entry as Readonly<Record<string, unknown>>;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw wrong(at, `the field "${unknown}" is unknown; the fields are ${FIELDS.join(', ')}`);
  if (typeof name !== 'string' || !/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(name)) {
    throw wrong(at, 'its name is missing, or holds other characters than letters, digits, _ . and -');
  }
  const hash = typeof secretHash === 'string' ? secretHash.replace(/^sha256:/, '').toLowerCase() : '';
  if (!/^[0-9a-f]{64}$/.test(hash)) throw wrong(at, 'its secretHash is not a SHA-256 hash of 64 hex digits');
  if (keys !== undefined && !isTexts(keys)) throw wrong(at, 'its keys are not a list of names');
  const missing = keys?.find((key) => !served.includes(key));
  if (missing !== undefined) throw wrong(at, `the server does not serve its key "${missing}"`);
  const words = isTexts(scopes) ? scopes.join(' ') : scopes;
  if (words !== undefined && typeof words !== 'string') throw wrong(at, 'its scopes are neither a text nor a list');
  return { name, secretHash: hash, keys: keys ?? null, scopes: words === undefined ? null : checkedScope(words, at) };
}

function checkedScope(words: string, at: string): string {
  try {
    return formatScope(parseScope(words));
  } catch {
    throw wrong(at, "its scopes hold a word that is not one of Deribit's");
  }
}

/** The client whose secret has this hash (hex); every client is compared, so that the time reveals nothing. */
export function clientOf(clients: readonly Client[], hash: string): Client | null {
  return clients.filter(({ secretHash }) => isSameHash(hash, secretHash))[0] ?? null;
}

const LEVELS = ['none', 'read', 'read_write'] as const;

/** Words that make a token last shorter, or serve one address: any client may ask for them. */
const RESTRICTION = /^(expires|ip):/;

/**
 * What of `asked` a client may have: for each resource the lower of the two levels, of the words about the session those
 * that its limit has, too; null where nothing is left.
 * @throws `ERR_USAGE` for a scope that cannot be read
 */
export function narrowedScope(asked: string | undefined, limit: string | null): string | null | undefined {
  const wanted = asked === undefined ? undefined : parseScope(asked);
  if (limit === null) return wanted === undefined ? undefined : formatScope(wanted);
  const most = parseScope(limit);
  if (wanted === undefined) return formatScope(most);
  const resources = new Map(
    [...wanted.resources].map(([resource, level]) => {
      const allowed = most.resources.get(resource) ?? 'none';
      return [resource, LEVELS.indexOf(level) < LEVELS.indexOf(allowed) ? level : allowed] as const;
    }),
  );
  if ([...resources.values()].every((level) => level === 'none')) return null;
  const others = wanted.others.filter((word) => RESTRICTION.test(word) || most.others.includes(word));
  return formatScope({ resources, others });
}
