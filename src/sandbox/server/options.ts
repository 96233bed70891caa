import { mostSubaccounts } from '../core/accounts.js';
import { SandboxError } from '../core/errors.js';
import { type CreditOptions, documentedCredits } from '../core/exchange.js';
import { defaultExpiresInS } from '../core/guesses.js';
import type { Remark } from '../core/logs.js';
import type { SecondFactorKind } from '../core/second-factor.js';
import { decodeBase32 } from '../core/signature.js';

/** How a sandbox is set up. Everything has a default. */
export interface SandboxOptions {
  /** 0: any free one. Default: that of the last run, where a state file remembers it and it is free, or else 0. */
  readonly port?: number;
  /** Base32 seed: with it, protected methods demand a second factor. */
  readonly tfaSecret?: string;
  /** Default `tfa` with a seed, and none without one. */
  readonly secondFactor?: SecondFactorKind;
  /** Keeps accounts, keys and lasting tokens across restarts. What it holds wins over `clientId` and `subaccounts`. */
  readonly stateFile?: string;
  /** Specs as of `setFaults`. */
  readonly faults?: readonly string[];
  /** Whether the `sandbox/…` methods exist. Default false. */
  readonly faultApi?: boolean;
  /** Milliseconds since the epoch. Default `Date.now`. Heartbeats and subscriptions keep to real time. */
  readonly now?: () => number;
  /** What answers say of the environment. Default true. */
  readonly testnet?: boolean;
  /** Life of an access token in seconds, where no `expires:` word is asked for. Default 900. */
  readonly expiresInS?: number;
  /** The bootstrap key's id: 8 to 64 characters of `[A-Za-z0-9_-]`. Default random. */
  readonly clientId?: string;
  /** The bootstrap key's secret. Default random. */
  readonly clientSecret?: string;
  /** API keys per account or subaccount. Default 8. */
  readonly keyLimit?: number;
  /** Subaccounts beside the main account. Default 1. */
  readonly subaccounts?: number;
  /** A WebSocket connection that is silent for so long, without subscriptions, is cut. Default never; Deribit: 60,000. */
  readonly silentSocketMs?: number;
  /** How many calls are remembered. Default 10,000. */
  readonly callLimit?: number;
  /** Whether a JSON-RPC request without an `id` is refused with -32600, as Deribit documents. Default false. */
  readonly strictIds?: boolean;
  /** HTTPS and WSS with a certificate of a throw-away authority, which is made at every start. Default false. */
  readonly tls?: boolean;
  /** Where the authority's certificate is written (PEM); default a temporary file that `close()` removes. */
  readonly caFile?: string;
  /** The origin whose pages may read answers in a browser, as `http://localhost:5173`, or `*`. Default none. */
  readonly corsOrigin?: string;
  /** The HTTP status of 13009. Default 400. */
  readonly unauthorizedStatus?: 400 | 401;
  /** Told what clients did that an exchange would pass over, or refuse without saying why; each thing once. */
  readonly onRemark?: (remark: Remark) => void;
  readonly limits?: LimitOptions;
}

/** The exchange's limits; each is off unless it is given. `true` stands for the documented value. */
export interface LimitOptions {
  /** 500 a call out of 50,000, refilled at 10,000 a second. */
  readonly credits?: boolean | Partial<CreditOptions>;
  /** 32. */
  readonly connectionsPerIp?: boolean | number;
  /** 16: a login beyond them ends the oldest session without a word. */
  readonly sessionsPerKey?: boolean | number;
}

/** Options with every default filled in; null for what is off. */
export type Settings = Readonly<ReturnType<typeof settle>>;

/** Checks options and fills in the defaults. @throws SandboxError `ERR_USAGE` */
export function settle(options: SandboxOptions) {
  const tfaSecret = options.tfaSecret ?? null;
  const tfaKey = tfaSecret === null ? new Uint8Array() : decodeBase32(tfaSecret);
  if (tfaKey === null) throw usage('tfaSecret', 'must be base32');
  const secondFactor = options.secondFactor ?? (tfaSecret === null ? null : 'tfa');
  if (secondFactor === 'tfa' && tfaSecret === null) throw usage('secondFactor', 'of codes needs a tfaSecret');
  const clientId = options.clientId ?? null;
  if (clientId !== null && !/^[A-Za-z0-9_-]{8,64}$/.test(clientId)) {
    throw usage('clientId', 'must be 8 to 64 characters of A-Z, a-z, 0-9, _ and -');
  }
  if (options.clientSecret === '') throw usage('clientSecret', 'must not be empty');
  const { limits = {} } = options;
  return {
    port: integer('port', options.port ?? null, { least: 0, most: 65_535 }),
    tfaSecret,
    tfaKey,
    secondFactor,
    stateFile: options.stateFile ?? null,
    faults: options.faults ?? [],
    faultApi: options.faultApi ?? false,
    now: options.now ?? Date.now,
    testnet: options.testnet ?? true,
    expiresInS: integer('expiresInS', options.expiresInS ?? defaultExpiresInS, { least: 1 }),
    clientId,
    clientSecret: options.clientSecret ?? null,
    keyLimit: integer('keyLimit', options.keyLimit ?? 8, { least: 1 }),
    subaccounts: integer('subaccounts', options.subaccounts ?? 1, { least: 0, most: mostSubaccounts }),
    silentSocketMs: integer('silentSocketMs', options.silentSocketMs ?? null, { least: 1, most: longestTimerMs }),
    callLimit: integer('callLimit', options.callLimit ?? 10_000, { least: 0, most: 10_000_000 }),
    strictIds: options.strictIds ?? false,
    tls: options.tls ?? false,
    caFile: options.caFile ?? null,
    corsOrigin: originOf(options.corsOrigin ?? null),
    unauthorizedStatus: options.unauthorizedStatus ?? 400,
    onRemark: options.onRemark ?? (() => undefined),
    credits: creditsOf(limits.credits ?? false),
    connectionsPerIp: limit('connectionsPerIp', limits.connectionsPerIp ?? false, 32),
    sessionsPerKey: limit('sessionsPerKey', limits.sessionsPerKey ?? false, 16),
  };
}

function originOf(origin: string | null): string | null {
  if (origin === null || origin === '*' || origin === 'null') return origin;
  if (URL.canParse(origin) && new URL(origin).origin === origin) return origin;
  throw usage('corsOrigin', 'must be an origin, as http://localhost:5173, or *');
}

function creditsOf(given: boolean | Partial<CreditOptions>): CreditOptions | null {
  if (typeof given === 'boolean') return given ? documentedCredits : null;
  const { cost, pool, refillPerS, terminate } = documentedCredits;
  return {
    cost: amount('credits.cost', given.cost ?? cost),
    pool: amount('credits.pool', given.pool ?? pool),
    refillPerS: amount('credits.refillPerS', given.refillPerS ?? refillPerS),
    terminate: given.terminate ?? terminate,
  };
}

function amount(name: string, value: number): number {
  if (Number.isFinite(value) && value >= 0) return value;
  throw usage(name, 'must be a number that is not negative');
}

function limit(name: string, given: boolean | number, documented: number): number | null {
  if (typeof given === 'boolean') return given ? documented : null;
  return integer(name, given, { least: 1 });
}

/** @param value null: the option is off */
function integer<T extends number | null>(
  name: string,
  value: T,
  { least, most = Number.MAX_SAFE_INTEGER }: { readonly least: number; readonly most?: number },
): T {
  if (value === null || (Number.isSafeInteger(value) && value >= least && value <= most)) return value;
  throw usage(name, `must be an integer from ${least} to ${most}`);
}

function usage(name: string, what: string): SandboxError {
  return new SandboxError('ERR_USAGE', `the sandbox option ${name} ${what}`, {
    hint: 'see the options of startSandbox',
  });
}

/** The longest that a timer of Node can be set to, in milliseconds: a longer one would fire at once. */
export const longestTimerMs = 2 ** 31 - 1;
