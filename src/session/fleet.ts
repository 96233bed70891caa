import { ExchangeClock } from '../deribit/clock.js';
import { resolveEndpoint } from '../deribit/endpoints.js';
import { usageError } from '../errors.js';
import { requireNumber, requireObject } from '../util/checks.js';
import type { KeySource } from './key-source.js';
import { keyOf, openWithKey } from './open-session.js';
import { CreditPool, type CreditRate, DOCUMENTED_RATE, FleetScheduler } from './rate-limits.js';
import type { KeystoreSessionOptions, Session, SessionOptions } from './session.js';
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

/** As of `openSession`: a client id with its signer, or a key of a keystore, whose rotations are followed. */
export type FleetSessionOptions = Omit<SessionOptions, 'time' | 'rate'> | Omit<KeystoreSessionOptions, 'time' | 'rate'>;

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

/** What a session that is open or opening takes up. */
interface Place {
  /** Its client id changes with a rotation. */
  readonly key: KeySource;
  readonly isConnection: boolean;
  readonly isShared: boolean;
  readonly credits: CreditPool | null;
}

/**
 * Makes a fleet, with no sessions yet. After a restart of the exchange its sessions come back a few at a time, each at a
 * moment drawn at random, and no faster than the exchange takes logins; their tokens are renewed at moments spread over
 * a fifth of their life. The clock is compared once for all.
 * @throws `ERR_USAGE` for limits that allow nothing
 */
export function openFleet(options: FleetOptions = {}): Fleet {
  const { time = systemTime, rate = DOCUMENTED_RATE } = requireObject('the options of a fleet', options);
  const limit = (name: 'maxConnections' | 'maxSessionsPerKey' | 'connectsAtOnce', documented: number) =>
    requireNumber({ name, value: options[name] ?? documented, least: 1 });
  const maxConnections = limit('maxConnections', 32);
  const maxSessionsPerKey = limit('maxSessionsPerKey', 16);
  const connectsAtOnce = limit('connectsAtOnce', 8);
  const newPool = () => (rate === null ? null : new CreditPool(rate, time));
  const scheduler = new FleetScheduler(connectsAtOnce, newPool());
  const clocks = new Map<string, ExchangeClock>();
  const pools = new Map<string, CreditPool | null>();
  const sessions = new Set<Session>();
  const places = new Set<Place>();
  let isClosed = false;

  const takePlace = (wanted: Omit<Place, 'credits'>): Place => {
    if (isClosed) throw usageError('the fleet is closed', 'open another one');
    const all = [...places];
    if (wanted.isConnection && all.filter((place) => place.isConnection).length >= maxConnections) {
      throw usageError(
        `the fleet has ${maxConnections} connections already`,
        'raise maxConnections where the exchange allows this address more, or give an https: URL',
      );
    }
    const { clientId } = wanted.key;
    const ofKey = all.filter((place) => place.key.clientId === clientId);
    const joins = wanted.isShared && ofKey.some((place) => place.isShared);
    const inUse = ofKey.filter((place) => !place.isShared).length + (ofKey.some((place) => place.isShared) ? 1 : 0);
    if (!joins && inUse >= maxSessionsPerKey) {
      throw usageError(`the key ${clientId} has ${maxSessionsPerKey} sessions already`, 'use another key for more');
    }
    // sessions that have followed a rotation still pay out of the pool of the old key
    const credits = ofKey[0]?.credits ?? pools.get(clientId) ?? newPool();
    pools.set(clientId, credits);
    const place = { ...wanted, credits };
    places.add(place);
    return place;
  };

  const clockOf = (host: string): ExchangeClock => {
    const clock = clocks.get(host) ?? new ExchangeClock(time);
    clocks.set(host, clock);
    return clock;
  };

  return {
    sessions,
    async openSession(given) {
      const { options: own, key } = await keyOf({ ...given, time });
      const { host, protocol } = new URL(resolveEndpoint({ url: own.url, environment: own.environment }).url);
      const tokenStore = own.tokenStore ?? options.tokenStore;
      const place = takePlace({ key, isConnection: protocol.startsWith('ws'), isShared: tokenStore !== undefined });
      const { credits } = place;
      try {
        const session = await openWithKey(
          { options: own, key },
          { scheduler, clock: clockOf(host), credits, tokenStore },
        );
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
