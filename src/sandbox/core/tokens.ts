import type { ApiKey } from './accounts.js';
import { pairsInAll, pairsPerConnection, refreshExtraS } from './guesses.js';
import type { Levels } from './scope.js';
import { randomText, randomToken } from './signature.js';

/** The result of a login: a pair of tokens and what they allow. */
export interface Grant {
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly accessExpiresMs: number;
  readonly refreshExpiresMs: number;
  readonly lifeS: number;
  readonly key: ApiKey;
  /** The account that is acted on: another than the key's own after `public/exchange_token`. */
  readonly accountId: number;
  readonly levels: Levels;
  /** As answered: sorted words. */
  readonly scope: string;
  readonly session: Session | null;
  /** The WebSocket connection that the pair dies with; null for a session, and for a login over HTTP. */
  readonly connectionId: number | null;
  /** The one address that may use it. */
  readonly ip: string | null;
  /** When its session, or its first pair on the connection, began. */
  readonly sinceMs: number;
}

interface Session {
  readonly name: string;
  readonly sid: string;
}

type GrantTerms = Omit<Grant, 'accessToken' | 'refreshToken' | 'accessExpiresMs' | 'refreshExpiresMs'>;

/** A name for a new session. */
export function newSession(name: string): Session {
  return { name, sid: randomText(12) };
}

/** All tokens that are valid, or were until they expired. Every look-up takes constant time. */
export class Grants {
  readonly #byAccess = new Map<string, Grant>();
  readonly #byRefresh = new Map<string, Grant>();
  readonly #byKey = new Map<ApiKey, Set<Grant>>();
  readonly #byConnection = new Map<number, Set<Grant>>();

  mint(terms: GrantTerms, nowMs: number): Grant {
    const accessExpiresMs = nowMs + terms.lifeS * 1000;
    const refreshExpiresMs = accessExpiresMs + refreshExtraS * 1000;
    const grant: Grant = {
      ...terms,
      accessToken: randomToken(accessExpiresMs),
      refreshToken: randomToken(refreshExpiresMs),
      accessExpiresMs,
      refreshExpiresMs,
    };
    this.add(grant);
    this.#evict(nowMs);
    return grant;
  }

  /** Adds a pair that was minted before, such as one from a state file. */
  add(grant: Grant): void {
    this.#byAccess.set(grant.accessToken, grant);
    this.#byRefresh.set(grant.refreshToken, grant);
    addTo(this.#byKey, grant.key, grant);
    if (grant.connectionId === null) return;
    const siblings = addTo(this.#byConnection, grant.connectionId, grant);
    const [oldest] = siblings;
    if (siblings.size > pairsPerConnection && oldest !== undefined) this.revoke(oldest);
  }

  byAccess(token: string, nowMs: number): Grant | null {
    const grant = this.#byAccess.get(token);
    return grant !== undefined && nowMs < grant.accessExpiresMs ? grant : null;
  }

  byRefresh(token: string, nowMs: number): Grant | null {
    const grant = this.#byRefresh.get(token);
    return grant !== undefined && nowMs < grant.refreshExpiresMs ? grant : null;
  }

  isLive(grant: Grant, nowMs: number): boolean {
    return this.byAccess(grant.accessToken, nowMs) === grant;
  }

  /** The session of that name which a key has already. */
  session(key: ApiKey, name: string): Session | null {
    for (const grant of this.#byKey.get(key) ?? []) if (grant.session?.name === name) return grant.session;
    return null;
  }

  /** How many sessions a key has: named ones, and connections that it is logged in on. */
  countSessions(key: ApiKey, nowMs: number): number {
    return this.#sessions(key, nowMs).size;
  }

  /** Ends the oldest sessions of a key until only `count` are left. */
  keepNewest(key: ApiKey, count: number, nowMs: number): void {
    const sessions = [...this.#sessions(key, nowMs)].sort(([, a], [, b]) => a - b);
    for (const [id] of sessions.slice(0, Math.max(0, sessions.length - count))) {
      for (const grant of [...(this.#byKey.get(key) ?? [])]) if (sessionOf(grant) === id) this.revoke(grant);
    }
  }

  /** When each session of a key began. */
  #sessions(key: ApiKey, nowMs: number): Map<string | number, number> {
    const sessions = new Map<string | number, number>();
    for (const grant of this.#byKey.get(key) ?? []) {
      const id = sessionOf(grant);
      if (grant.refreshExpiresMs <= nowMs || id === null) continue;
      sessions.set(id, Math.min(grant.sinceMs, sessions.get(id) ?? grant.sinceMs));
    }
    return sessions;
  }

  revoke(grant: Grant): void {
    this.#byAccess.delete(grant.accessToken);
    this.#byRefresh.delete(grant.refreshToken);
    removeFrom(this.#byKey, grant.key, grant);
    if (grant.connectionId !== null) removeFrom(this.#byConnection, grant.connectionId, grant);
  }

  revokeKey(key: ApiKey): void {
    for (const grant of [...(this.#byKey.get(key) ?? [])]) this.revoke(grant);
  }

  revokeConnection(connectionId: number): void {
    for (const grant of [...(this.#byConnection.get(connectionId) ?? [])]) this.revoke(grant);
  }

  revokeSession(grant: Grant): void {
    const sid = grant.session?.sid;
    for (const other of [...(this.#byKey.get(grant.key) ?? [])]) {
      if (other === grant || (sid !== undefined && other.session?.sid === sid)) this.revoke(other);
    }
  }

  /** Pairs that outlive their connection: those of sessions and of logins over HTTP. */
  lasting(): readonly Grant[] {
    return [...this.#byAccess.values()].filter((grant) => grant.connectionId === null);
  }

  get size(): number {
    return this.#byAccess.size;
  }

  /** Removes what has expired and what exceeds the limit, oldest first. */
  #evict(nowMs: number): void {
    for (const grant of this.#byAccess.values()) {
      if (grant.refreshExpiresMs > nowMs && this.#byAccess.size <= pairsInAll) return;
      this.revoke(grant);
    }
  }
}

/** What distinguishes the sessions of a key; null for a login over HTTP, which opens no session. */
function sessionOf({ session, connectionId }: Grant): string | number | null {
  return session?.sid ?? connectionId;
}

function addTo<K>(map: Map<K, Set<Grant>>, key: K, grant: Grant): Set<Grant> {
  let grants = map.get(key);
  if (grants === undefined) {
    grants = new Set();
    map.set(key, grants);
  }
  return grants.add(grant);
}

function removeFrom<K>(map: Map<K, Set<Grant>>, key: K, grant: Grant): void {
  const grants = map.get(key);
  grants?.delete(grant);
  if (grants?.size === 0) map.delete(key);
}
