import { BlockList, isIP } from 'node:net';
import { SandboxError } from './errors.js';
import type { Exchange } from './exchange.js';
import { everything, formatScope, type Levels, parseMaxScope } from './scope.js';
import { type RegisteredKey, randomText, readPublicKey } from './signature.js';

/** How many subaccounts there can be beside the main account. */
export const mostSubaccounts = 1000;

/** A main account or one of its subaccounts. */
export interface Account {
  readonly id: number;
  readonly type: 'main' | 'subaccount';
  readonly username: string;
  readonly keys: Map<number, ApiKey>;
  /** Whether orders are cancelled when the connection that placed them ends. */
  cancelOnDisconnect: boolean;
}

/** An API key as the exchange keeps it: symmetric with a `secret`, asymmetric with a `publicKey`. */
export interface ApiKey {
  readonly id: number;
  readonly accountId: number;
  readonly clientId: string;
  readonly isDefault: boolean;
  timestampMs: number;
  publicKey: RegisteredKey | null;
  /** The HMAC secret; empty for an asymmetric key. */
  secret: string;
  maxScope: Levels;
  enabled: boolean;
  name: string;
  features: readonly string[];
  ipWhitelist: readonly string[];
  allowed: BlockList;
}

/** An API key as the methods answer it. */
export interface ApiKeyAnswer {
  readonly timestamp: number;
  readonly name: string;
  readonly max_scope: string;
  readonly ip_whitelist: readonly string[];
  readonly id: number;
  readonly enabled_features: readonly string[];
  readonly enabled: boolean;
  readonly default: boolean;
  readonly client_secret: string;
  readonly client_id: string;
  readonly public_key?: string;
}

type NewKey = Pick<ApiKey, 'id' | 'accountId' | 'publicKey' | 'maxScope' | 'timestampMs'> & Partial<ApiKey>;

/** A key with defaults for what was not given: a random id and secret, enabled, without whitelist. */
export function makeKey(parts: NewKey): ApiKey {
  const ipWhitelist = parts.ipWhitelist ?? [];
  return {
    // no leading dash, which a command line would take for an option
    clientId: randomText(6).replace(/^[-_]/, 'k'),
    secret: parts.publicKey === null ? randomText(32) : '',
    enabled: true,
    name: '',
    features: [],
    isDefault: false,
    allowed: parseIpList(ipWhitelist) ?? new BlockList(),
    ...parts,
    ipWhitelist,
  };
}

/** What the methods answer for `key`. */
export function describeKey(key: ApiKey): ApiKeyAnswer {
  return {
    timestamp: key.timestampMs,
    name: key.name,
    max_scope: formatScope(key.maxScope),
    ip_whitelist: key.ipWhitelist,
    id: key.id,
    enabled_features: key.features,
    enabled: key.enabled,
    default: key.isDefault,
    client_secret: key.publicKey?.fingerprint ?? key.secret,
    client_id: key.clientId,
    ...(key.publicKey === null ? {} : { public_key: key.publicKey.pem }),
  };
}

/** The accounts and their keys, by number and by client id. */
export class Accounts {
  readonly main: Account;
  readonly all: readonly Account[];
  readonly #byId: ReadonlyMap<number, Account>;
  readonly #byClientId = new Map<string, ApiKey>();
  /** Never used before. */
  nextKeyId = 1;

  /** @param subaccounts how many there are beside the main account */
  constructor(subaccounts: number) {
    const account = (id: number, type: Account['type'], username: string): Account => {
      return { id, type, username, keys: new Map(), cancelOnDisconnect: false };
    };
    const others = Array.from({ length: subaccounts }, (_, i) => account(1001 + i, 'subaccount', `sandbox_${i + 1}`));
    this.main = account(1000, 'main', 'sandbox');
    this.all = [this.main, ...others];
    this.#byId = new Map(this.all.map((one) => [one.id, one]));
  }

  account(id: number): Account | undefined {
    return this.#byId.get(id);
  }

  key(clientId: string): ApiKey | undefined {
    return this.#byClientId.get(clientId);
  }

  /** The account that acts through a key, which always exists. */
  actor(id: number): Account {
    return this.#byId.get(id) ?? this.main;
  }

  takeKeyId(): number {
    return this.nextKeyId++;
  }

  add(key: ApiKey): void {
    this.actor(key.accountId).keys.set(key.id, key);
    this.#byClientId.set(key.clientId, key);
    this.nextKeyId = Math.max(this.nextKeyId, key.id + 1);
  }

  remove(key: ApiKey): void {
    this.actor(key.accountId).keys.delete(key.id);
    this.#byClientId.delete(key.clientId);
  }
}

/** A whitelist of addresses and subnets; null where an entry is neither. */
export function parseIpList(entries: readonly string[]): BlockList | null {
  const list = new BlockList();
  for (const entry of entries) {
    const [address = '', prefix, ...rest] = entry.split('/');
    const version = isIP(address);
    if (version === 0 || rest.length > 0 || address.includes('%')) return null;
    const family = version === 6 ? 'ipv6' : 'ipv4';
    if (prefix === undefined) {
      list.addAddress(address, family);
    } else {
      if (!/^(0|[1-9]\d{0,2})$/.test(prefix) || Number(prefix) > (version === 6 ? 128 : 32)) return null;
      list.addSubnet(address, Number(prefix), family);
    }
  }
  return list;
}

/** Whether the whitelist allows `address`; an empty one allows every address. */
export function isAllowed(list: BlockList, address: string): boolean {
  return list.rules.length === 0 || list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

/** A key made in the exchange's web page. */
export interface AddKeyRequest {
  /** SPKI PEM; without it the key is symmetric. */
  readonly publicKey?: string;
  /** Default: everything. */
  readonly maxScope?: string;
  readonly name?: string;
  /** Default: the main account. */
  readonly accountId?: number;
}

/** A key as the exchange keeps it. */
export type SandboxKey = ApiKeyAnswer & { readonly accountId: number };

/** The key as whoever runs the sandbox sees it: as the methods answer it, and whose it is. */
export function showKey(key: ApiKey): SandboxKey {
  return { ...describeKey(key), accountId: key.accountId };
}

/** Adds what a user makes in the exchange's web page, without a login. @throws SandboxError `ERR_USAGE` */
export function addKeyOfWebPage(exchange: Exchange, request: AddKeyRequest): SandboxKey {
  const { accounts } = exchange;
  const accountId = request.accountId ?? accounts.main.id;
  if (accounts.account(accountId) === undefined) throw usage('accountId is not one of the accounts');
  const maxScope = parseMaxScope(request.maxScope ?? everything);
  if (maxScope === null) throw usage('maxScope cannot be read');
  const publicKey = request.publicKey === undefined ? null : readPublicKey(request.publicKey);
  if (request.publicKey !== undefined && publicKey === null) {
    throw usage('publicKey is not an SPKI PEM of Ed25519 or of RSA with 2048 bits or more');
  }
  const { name = '' } = request;
  const key = makeKey({ id: accounts.takeKeyId(), accountId, publicKey, maxScope, timestampMs: exchange.now(), name });
  accounts.add(key);
  exchange.saveNow();
  return showKey(key);
}

function usage(message: string): SandboxError {
  return new SandboxError('ERR_USAGE', message, { hint: 'see addKey of the sandbox' });
}
