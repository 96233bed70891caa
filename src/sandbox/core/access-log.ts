/** One login as `private/get_access_log` shows it. */
export interface AccessLogEntry {
  readonly id: number;
  readonly timestamp: number;
  readonly ip: string;
  readonly result: 'success' | 'failure';
  readonly log: 'success' | 'failure';
  readonly country: string;
  readonly city: string;
  readonly data: { readonly client_id: string };
}

const mostEntries = 1000;

/** The logins of every account, successful or not; the oldest are forgotten. */
export class AccessLog {
  readonly #byAccount = new Map<number, AccessLogEntry[]>();
  #nextId = 1;

  add(
    accountId: number,
    entry: { timestamp: number; ip: string; isSuccess: boolean; clientId: string },
  ): AccessLogEntry {
    const entries = this.#byAccount.get(accountId) ?? [];
    const result = entry.isSuccess ? 'success' : 'failure';
    const added = {
      id: this.#nextId++,
      timestamp: entry.timestamp,
      ip: entry.ip,
      result,
      log: result,
      country: 'unknown',
      city: 'unknown',
      data: { client_id: entry.clientId },
    } as const;
    entries.push(added);
    if (entries.length > mostEntries) entries.shift();
    this.#byAccount.set(accountId, entries);
    return added;
  }

  /** Newest first. */
  list(accountId: number): readonly AccessLogEntry[] {
    return [...(this.#byAccount.get(accountId) ?? [])].reverse();
  }
}
