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

interface Counter {
  inc(labels: Readonly<Record<string, string>>, value?: number): void;
}
interface Gauge {
  set(labels: Readonly<Record<string, string>>, value: number): void;
  remove(labels: Readonly<Record<string, string>>): void;
}
interface Histogram {
  observe(labels: Readonly<Record<string, string>>, value: number): void;
}
interface PromClient {
  readonly Registry: new () => { readonly contentType: string; metrics(): Promise<string> };
  readonly Counter: new (options: object) => Counter;
  readonly Gauge: new (options: object) => Gauge;
  readonly Histogram: new (options: object) => Histogram;
}

/**
 * Metrics by the package `prom-client`, an optional peer.
 * @throws `ERR_USAGE` where it is not installed
 */
export async function createMetrics(load?: LoadPackage): Promise<Metrics> {
  let client: PromClient;
  try {
    client = (await loadOptionalPackage('prom-client', 'GET /metrics', load)) as PromClient;
  } catch (error) {
    throw isDeribitKeysError(error) ? error.with({ code: 'ERR_USAGE' }) : error;
  }
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
  const issued = new client.Gauge(
    options('token_issued_timestamp_seconds', 'When the current token was issued', ['key']),
  );
  const expires = new client.Gauge(
    options('token_expiry_timestamp_seconds', 'When the current token expires', ['key']),
  );
  const registered = new client.Gauge(
    options('key_registered_timestamp_seconds', 'When the key was registered', ['key']),
  );
  const due = new client.Gauge(
    options('key_rotation_due_timestamp_seconds', 'When the key is due for rotation, by the policy', ['key']),
  );
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
