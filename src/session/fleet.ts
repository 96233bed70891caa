import { ExchangeClock } from '../deribit/clock.js';
import { resolveEndpoint } from '../deribit/endpoints.js';
import { DeribitKeysError } from '../errors.js';
import { requireNumber, requireObject } from '../util/checks.js';
import { openSharedSession, type Shared } from './open-session.js';
import { CreditPool, type CreditRate, DOCUMENTED_RATE, FleetScheduler } from './rate-limits.js';
import type { Session, SessionOptions } from './session.js';
import { systemTime, type Time } from './time.js';
import type { TokenStore } from './token-store.js';

/** What the exchange allows to one address; Deribit's documented limits where left out. */
export interface FleetOptions {
  /** WebSocket connections at a time; 32. */
  readonly maxConnections?: number | undefined;
  /** Sessions of one key at a time; 16. */
  readonly maxSessionsPerKey?: number | undefined;
  /** How many connect and log in at the same time; 8. */
  readonly connectsAtOnce?: number | undefined;
  /** For logins, which count against the address, and for requests, which count against each key; null for no limit. */
  readonly rate?: CreditRate | null | undefined;
  /** For sessions that name none; see {@link SessionOptions.tokenStore}. Sessions that share a token count as one of their key. */
  readonly tokenStore?: TokenStore | undefined;
  readonly time?: Time | undefined;
}

export type FleetSessionOptions = Omit<SessionOptions, 'time' | 'rate'>;

/** Sessions of one process that share what the exchange grants to its address. */
export interface Fleet {
  readonly sessions: ReadonlySet<Session>;
  /**
   * As `openSession`, within the fleet's limits.
   * @throws as `openSession` does, and `ERR_USAGE` where there are as many connections, or as
   * many sessions of the key, as allowed.
   */
  openSession(options: FleetSessionOptions): Promise<Session>;
  /** Closes all sessions; no more can be opened. */
  close(): Promise<void>;
}

/**
 * Makes a fleet, with no sessions yet. After a restart of the exchange its sessions come back a few at a time, each at a
 * moment drawn at random, and no faster than the exchange takes logins; their tokens are renewed at moments spread over
 * a fifth of their life. The clock is compared once for all.
 * @throws `ERR_USAGE` for limits that allow nothing
 */
export function openFleet(options: FleetOptions = {}): Fleet {
  const { time = systemTime, rate = DOCUMENTED_RATE } = requireObject('the options of a fleet', options);
  const maxConnections = requireNumber({ name: 'maxConnections', value: options.maxConnections ?? 32, least: 1 });
  const maxSessionsPerKey = requireNumber({
    name: 'maxSessionsPerKey',
    value: options.maxSessionsPerKey ?? 16,
    least: 1,
  });
  const connectsAtOnce = requireNumber({ name: 'connectsAtOnce', value: options.connectsAtOnce ?? 8, least: 1 });
  const newPool = () => (rate === null ? null : new CreditPool(rate, time));
  const scheduler = new FleetScheduler(connectsAtOnce, newPool());
  const clocks = new Map<string, ExchangeClock>();
  const pools = new Map<string, CreditPool | null>();
  const sessions = new Set<Session>();
  /** Client ids of sessions that are open or opening, with whether they hold a connection. */
  const places = new Set<{ readonly clientId: string; readonly isConnection: boolean; readonly isShared: boolean }>();
  let isClosed = false;

  const takePlace = (clientId: string, isConnection: boolean, isShared: boolean) => {
    if (isClosed) throw usage('the fleet is closed', 'open another one');
    const all = [...places];
    if (isConnection && all.filter((place) => place.isConnection).length >= maxConnections) {
      throw usage(
        `the fleet has ${maxConnections} connections already`,
        'raise maxConnections where the exchange allows this address more, or give an https: URL',
      );
    }
    const ofKey = all.filter((place) => place.clientId === clientId);
    const joins = isShared && ofKey.some((place) => place.isShared);
    const inUse = ofKey.filter((place) => !place.isShared).length + (ofKey.some((place) => place.isShared) ? 1 : 0);
    if (!joins && inUse >= maxSessionsPerKey) {
      throw usage(`the key ${clientId} has ${maxSessionsPerKey} sessions already`, 'use another key for more');
    }
    const place = { clientId, isConnection, isShared };
    places.add(place);
    return place;
  };

  const sharedFor = (host: string, clientId: string): Shared => {
    const clock = clocks.get(host) ?? new ExchangeClock(time);
    clocks.set(host, clock);
    const credits = pools.has(clientId) ? (pools.get(clientId) ?? null) : newPool();
    pools.set(clientId, credits);
    return { scheduler, clock, credits, tokenStore: options.tokenStore };
  };

  return {
    sessions,
    async openSession(given) {
      const { url } = resolveEndpoint({ url: given.url, environment: given.environment });
      const { host, protocol } = new URL(url);
      const isShared = (given.tokenStore ?? options.tokenStore) !== undefined;
      const place = takePlace(given.clientId, protocol.startsWith('ws'), isShared);
      try {
        const session = await openSharedSession({ ...given, time }, sharedFor(host, given.clientId));
        sessions.add(session);
        void session.closed.then(() => {
          sessions.delete(session);
          places.delete(place);
        });
        if (isClosed) await session.close();
        return session;
      } catch (error) {
        places.delete(place);
        throw error;
      }
    },
    async close() {
      isClosed = true;
      await Promise.all([...sessions].map((session) => session.close()));
    },
  };
}

function usage(sentence: string, hint: string): DeribitKeysError {
  return new DeribitKeysError('ERR_USAGE', sentence, { hint });
}
