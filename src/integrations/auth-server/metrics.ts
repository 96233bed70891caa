import { isDeribitKeysError, usageError } from '../../errors.js';
import { type LoadPackage, loadOptionalPackage } from '../../signers/optional-package.js';

/** What the server counts. Names and labels follow the conventions of Prometheus; none holds a secret. */
export interface Metrics {
  readonly contentType: string;
  render(): Promise<string>;
  request(labels: {
    readonly client: string;
    readonly route: string;
    readonly status: number;
    readonly ms: number;
  }): void;
  login(key: string, how: 'login' | 'refresh'): void;
  refusal(key: string, code: string): void;
  /** Seconds since the epoch. */
  token(key: string, times: { readonly issuedAtS: number; readonly expiresAtS: number }): void;
  /** When the key was registered, and when its policy wants it to be replaced; null where nothing says. */
  keyAge(key: string, times: { readonly registeredAtS: number | null; readonly dueAtS: number | null }): void;
}

type Labels = Readonly<Record<string, string>>;
interface Gauge {
  set(labels: Labels, value: number): void;
  remove(labels: Labels): void;
}
interface PromClient {
  readonly Registry: new () => { readonly contentType: string; metrics(): Promise<string> };
  readonly Counter: new (options: object) => { inc(labels: Labels): void };
  readonly Gauge: new (options: object) => Gauge;
  readonly Histogram: new (options: object) => { observe(labels: Labels, value: number): void };
}

/**
 * Metrics by the package `prom-client`, an optional peer.
 * @throws `ERR_USAGE` where it is not installed
 */
export async function createMetrics(load?: LoadPackage): Promise<Metrics> {
  const client = (await loadOptionalPackage('prom-client', 'GET /metrics', load).catch((error: unknown) => {
    throw isDeribitKeysError(error) ? error.with({ code: 'ERR_USAGE' }) : error;
  })) as PromClient;
  const registry = new client.Registry();
  const options = (name: string, help: string, labelNames: readonly string[]) => ({
    name: `deribit_keys_${name}`,
    help,
    labelNames,
    registers: [registry],
  });
  const requests = new client.Counter(options('requests_total', 'Requests answered', ['client', 'route', 'status']));
  const latency = new client.Histogram({
    ...options('request_duration_seconds', 'Time to answer a request', ['route']),
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  });
  const logins = new client.Counter(options('logins_total', 'Logins by signature', ['key']));
  const refreshes = new client.Counter(options('refreshes_total', 'Tokens renewed by a refresh token', ['key']));
  const refusals = new client.Counter(options('login_failures_total', 'Logins that failed, by code', ['key', 'code']));
  /** A moment of a key, in seconds since the epoch. */
  const moment = (name: string, help: string) => new client.Gauge(options(`${name}_timestamp_seconds`, help, ['key']));
  const issued = moment('token_issued', 'When the current token was issued');
  const expires = moment('token_expiry', 'When the current token expires');
  const registered = moment('key_registered', 'When the key was registered');
  const due = moment('key_rotation_due', 'When the key is due for rotation, by the policy');
  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    request({ client: name, route, status, ms }) {
      requests.inc({ client: name, route, status: String(status) });
      latency.observe({ route }, ms / 1_000);
    },
    login: (key, how) => (how === 'login' ? logins : refreshes).inc({ key }),
    refusal: (key, code) => refusals.inc({ key, code }),
    token(key, { issuedAtS, expiresAtS }) {
      issued.set({ key }, issuedAtS);
      expires.set({ key }, expiresAtS);
    },
    keyAge(key, { registeredAtS, dueAtS }) {
      for (const [gauge, atS] of [[registered, registeredAtS] as const, [due, dueAtS] as const]) {
        if (atS === null) gauge.remove({ key });
        else gauge.set({ key }, atS);
      }
    },
  };
}

/** For a server without the package. */
export const noMetrics: Metrics = {
  contentType: 'text/plain',
  render: () =>
    Promise.reject(
      usageError(
        'GET /metrics needs the package prom-client, which is not installed',
        'install prom-client beside deribit-keys, and start the server again',
      ),
    ),
  request() {},
  login() {},
  refusal() {},
  token() {},
  keyAge() {},
};
