/** One request that reached the sandbox, as it was handled. It holds no parameter, hence no secret. */
export interface SandboxCall {
  /** Empty for a frame or body that was no request. */
  readonly method: string;
  readonly transport: 'http' | 'websocket';
  /** The API key that asked, or that tried to log in; null where that is unknown. */
  readonly clientId: string | null;
  readonly handledAtMs: number;
  /**
   * `ok`, `challenge` (a second factor is wanted), the JSON-RPC error's code as text; or what a fault did: `cut-before`
   * and `silent` (not handled), `cut-after:…` and `drop-answer:…` (handled with the outcome named, not answered).
   */
  readonly outcome: string;
}

const longestText = 64;

/** The last `limit` calls; names that are longer than any of the exchange's are cut short. */
export class Calls {
  readonly #limit: number;
  readonly #ring: SandboxCall[] = [];
  #next = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(call: SandboxCall): void {
    if (this.#limit === 0) return;
    const { method, clientId } = call;
    this.#ring[this.#next] = { ...call, method: cut(method), clientId: clientId === null ? null : cut(clientId) };
    this.#next = (this.#next + 1) % this.#limit;
  }

  /** Oldest first; a copy. */
  list(): readonly SandboxCall[] {
    return this.#ring.length < this.#limit
      ? [...this.#ring]
      : [...this.#ring.slice(this.#next), ...this.#ring.slice(0, this.#next)];
  }
}

/** Copies by way of bytes: a slice would keep the original text in memory. */
function cut(text: string): string {
  return text.length <= longestText ? text : Buffer.from(text.slice(0, longestText)).toString();
}

/** One login as `private/get_access_log` shows it. */
export type AccessLogEntry = ReturnType<typeof describeLogin>;

interface Login {
  readonly timestamp: number;
  readonly ip: string;
  readonly isSuccess: boolean;
  readonly clientId: string;
}

function describeLogin(id: number, { timestamp, ip, isSuccess, clientId }: Login) {
  const result = isSuccess ? 'success' : 'failure';
  return { id, timestamp, ip, result, log: result, country: 'unknown', city: 'unknown', data: { client_id: clientId } };
}

/** Adds an entry at the end; beyond `most` of them the oldest is forgotten. */
export function addBounded<T>(entries: T[], entry: T, most: number): void {
  entries.push(entry);
  if (entries.length > most) entries.shift();
}

const mostEntries = 1000;

/** The logins of every account, successful or not; the oldest are forgotten. */
export class AccessLog {
  readonly #byAccount = new Map<number, AccessLogEntry[]>();
  #nextId = 1;

  add(accountId: number, login: Login): AccessLogEntry {
    const entries = this.#byAccount.get(accountId) ?? [];
    this.#byAccount.set(accountId, entries);
    const entry = describeLogin(this.#nextId++, login);
    addBounded(entries, entry, mostEntries);
    return entry;
  }

  /** Newest first. */
  list(accountId: number): readonly AccessLogEntry[] {
    return [...(this.#byAccount.get(accountId) ?? [])].reverse();
  }
}

/** What a client did that an exchange would pass over, or refuse without saying why. */
export interface Remark {
  readonly kind: 'unknown-client' | 'unknown-channel' | 'unknown-method';
  readonly text: string;
}

const mostRemarks = 1000;

/** Passes remarks on, each once; what came from a client is quoted and cut. */
export function remarker(
  onRemark: (remark: Remark) => void,
  keepsState: boolean,
): (kind: Remark['kind'], name: string) => void {
  const made = new Set<string>();
  const texts: Readonly<Record<Remark['kind'], string>> = {
    'unknown-client': `a login was refused: no API key has the client id %${keepsState ? '' : '; keys of an earlier run are gone, since no state file keeps them'}`,
    'unknown-channel': 'the channel % is unknown: it was left out of the answer',
    'unknown-method': 'the method % is unknown, or not imitated',
  };
  return (kind, name) => {
    const text = texts[kind].replace('%', () => JSON.stringify(name.slice(0, 64)));
    if (made.has(text) || made.size >= mostRemarks) return;
    made.add(text);
    onRemark({ kind, text });
  };
}
