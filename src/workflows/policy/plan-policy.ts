import { scopesEqual } from '../../deribit/scope.js';
import type { KeyRecord } from '../../keystore/record.js';
import { formatDuration } from '../../util/text.js';
import type { AccountKey } from '../account/api-keys.js';
import { kindOf } from '../checks/key-checks.js';
import type { KeyPolicy } from './parse-policy.js';
import type { KeySnapshot, Snapshot } from './snapshot.js';

/** What is different, and what `apply` does about it. */
export type Action =
  | 'create' // the name is free: make a key and register it
  | 'register' // the key is here and not on the exchange, or its registration was interrupted: register it
  | 'link' // the key is here and on the exchange, and the record does not know: prove and record it
  | 'replace' // the exchange does not have the key any more: move its files to retired/, then as `create`
  | 'enable' // the key is disabled on the exchange
  | 'edit' // the key has another scope, label, features or whitelist on the exchange
  | 'record' // the record says something else than the exchange, which is as the policy says
  | 'encrypt' // the private key should have a passphrase, and has none
  | 'rotate' // the key is too old, or of another kind, or its rotation is unfinished
  | 'stranger' // the account has an enabled key that the policy does not name (an unmanaged key): it is left as it is
  | 'disable' // the same, with `--prune`
  | 'conflict'; // nothing that `apply` can decide; it refuses to begin

/** One difference between the policy, the keystore and the exchange. */
export interface Change {
  readonly action: Action;
  /** The name in the keystore; of a key that has none, its client id. */
  readonly name: string;
  readonly detail: string;
}

/** A change with what it is made of. */
export interface Step extends Change {
  readonly policy: KeyPolicy | null;
  readonly target: AccountKey | null;
  /** A rotation that was started already, with a successor of its own kind. */
  readonly goesOn?: true;
}

/**
 * What is to be done, in order: key by key as the policy has them, then unmanaged keys, and last the key that is logged
 * in, which may not be able to do the rest afterwards.
 */
export function planSteps(snapshot: Snapshot, prune: boolean): readonly Step[] {
  const { keys, loginClientId } = snapshot;
  const isLogin = ({ apiKey }: KeySnapshot) => apiKey?.clientId === loginClientId;
  const steps = (some: readonly KeySnapshot[]) => some.flatMap((key) => stepsFor(key, snapshot));
  const others = keys.filter((key) => !isLogin(key));
  return [...steps(others), ...unmanaged(snapshot, prune), ...steps(keys.filter(isLogin))];
}

type Say = (action: Action, detail: string) => Step;

function stepsFor(key: KeySnapshot, snapshot: Snapshot): Step[] {
  const { policy, record, conflict, apiKey } = key;
  const say: Say = (action, detail) => ({ action, name: policy.name, detail, policy, target: apiKey });
  if (conflict !== null) return [say('conflict', conflict)];
  if (key.rotation === 'unfinished') return [{ ...say('rotate', 'its rotation is unfinished'), goesOn: true }];
  if (record === null) return [say('create', `missing: ${describeKind(policy)}, ${policy.scope}`)];
  const kind = otherKind(policy, record);
  switch (record.state) {
    case 'retired':
      return [say('replace', 'the key of that name is retired')];
    case 'local':
      if (kind !== null)
        return [say('conflict', `${kind}, and was never registered: remove it, or choose another name`)];
      if (apiKey === null) {
        return [say('register', `not on the exchange: ${policy.scope}`), ...encrypt(policy, record, say)];
      }
      return [
        ...enable(apiKey, say),
        say('link', `on the exchange as ${apiKey.clientId}, but not on record`),
        ...edit(policy, apiKey, say),
        ...encrypt(policy, record, say),
      ];
    case 'pending': {
      const begun = record.scope ?? policy.scope;
      const then = scopesEqual(begun, policy.scope) ? [] : [say('edit', `the scope: it was started with ${begun}`)];
      return [say('register', 'its registration was interrupted'), ...then, ...encrypt(policy, record, say)];
    }
    case 'registered': {
      if (apiKey === null) return [say('replace', `the account has no key ${record.clientId}`)];
      const old = key.rotation === 'grace' ? null : tooOld(policy, record, snapshot.nowMs);
      const reason = kind ?? old;
      const rotate = reason === null ? [] : [say('rotate', reason)];
      const differences = [...enable(apiKey, say), ...edit(policy, apiKey, say)];
      // a change on the exchange brings the record up to date as well
      const changes = differences.length > 0 ? differences : bringUpToDate(record, apiKey, say);
      return [...changes, ...encrypt(policy, record, say), ...rotate];
    }
  }
}

const describeKind = ({ type, bits }: KeyPolicy) =>
  type === 'rsa' ? kindOf({ algorithm: 'rsa', bits: bits ?? 3072 }) : 'ed25519';

/** In what the key is of another kind, or null. */
function otherKind(policy: KeyPolicy, record: KeyRecord): string | null {
  const otherType = policy.type !== null && policy.type !== record.algorithm;
  const otherSize = policy.bits !== null && policy.bits !== record.bits;
  return otherType || otherSize ? `it is ${kindOf(record)} and should be ${describeKind(policy)}` : null;
}

function tooOld({ maxAgeMs }: KeyPolicy, { registeredAt, createdAt }: KeyRecord, nowMs: number): string | null {
  const ageMs = nowMs - Date.parse(registeredAt ?? createdAt);
  if (maxAgeMs === null || ageMs <= maxAgeMs) return null;
  return `too old: registered ${formatDuration(ageMs)} ago, at most ${formatDuration(maxAgeMs)}`;
}

function encrypt(policy: KeyPolicy, record: KeyRecord, say: Say): Step[] {
  const wanted = policy.encrypt && !record.encrypted && record.signer === null;
  return wanted ? [say('encrypt', 'the private key has no passphrase')] : [];
}

function asSet(words: readonly string[]): string {
  const lower = words.map((word) => word.toLowerCase());
  return lower.sort().join(' ') || 'none';
}

function enable(key: AccountKey, say: Say): Step[] {
  return key.enabled !== false ? [] : [say('enable', 'it is disabled on the exchange')];
}

/** The differences of the key on the exchange from the policy. */
function edit(policy: KeyPolicy, key: AccountKey, say: Say): Step[] {
  const differences: string[] = [];
  const compare = (what: string, wanted: string | null, is: string) => {
    if (wanted !== null && wanted !== is) differences.push(`${what}: is ${is || 'empty'}, should be ${wanted}`);
  };
  compare('scope', scopesEqual(policy.scope, key.scope) ? null : policy.scope, key.scope);
  compare('label', policy.label, key.label);
  compare('features', policy.features === null ? null : asSet(policy.features), asSet(key.features));
  compare('whitelist', policy.whitelist === null ? null : asSet(policy.whitelist), asSet(key.ipWhitelist));
  return differences.length === 0 ? [] : [say('edit', differences.join('; '))];
}

/** The differences of the record from the key on the exchange. */
function bringUpToDate(record: KeyRecord, key: AccountKey, say: Say): Step[] {
  const fields: readonly (readonly [string, boolean])[] = [
    ['key id', record.keyId === key.keyId],
    ['scope', record.scope !== null && scopesEqual(record.scope, key.scope)],
    ['label', (record.label ?? '') === key.label],
    ['features', asSet(record.features) === asSet(key.features)],
    ['whitelist', asSet(record.ipWhitelist) === asSet(key.ipWhitelist)],
  ];
  const outdated = fields.filter(([, same]) => !same).map(([field]) => field);
  return outdated.length === 0 ? [] : [say('record', `the record has an older ${outdated.join(', ')}`)];
}

/** Enabled keys that the policy does not name, apart from the one that is logged in and those of a rotation. */
function unmanaged({ accountKeys, keys, spared }: Snapshot, prune: boolean): Step[] {
  const named = new Set(keys.flatMap(({ apiKey }) => (apiKey === null ? [] : [apiKey.clientId])));
  return accountKeys
    .filter(({ clientId, enabled }) => enabled !== false && !named.has(clientId) && !spared.has(clientId))
    .map((target): Step => {
      const what = `the policy does not name ${target.clientId}${target.label === '' ? '' : ` (${target.label})`}: ${target.scope}`;
      const name = target.name ?? target.clientId;
      return { action: prune ? 'disable' : 'stranger', name, detail: what, policy: null, target };
    });
}
