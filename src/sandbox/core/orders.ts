/** One order, as the exchange answers it. */
export interface Order {
  readonly order_id: string;
  readonly instrument_name: string;
  readonly direction: 'buy' | 'sell';
  readonly order_type: 'limit' | 'market';
  readonly order_state: 'open' | 'filled' | 'cancelled';
  readonly amount: number;
  readonly filled_amount: number;
  readonly price: number;
  readonly average_price: number;
  readonly label: string;
  readonly time_in_force: 'good_til_cancelled';
  readonly post_only: boolean;
  readonly reduce_only: boolean;
  readonly api: true;
  readonly creation_timestamp: number;
  readonly last_update_timestamp: number;
}

interface Entry {
  readonly accountId: number;
  /** The WebSocket connection that placed it. */
  readonly connectionId: number | null;
  order: Order;
}

const mostOrders = 100_000;

/** Every order that was taken, oldest first; the oldest are forgotten when there are too many. */
export class Orders {
  readonly #orders = new Map<string, Entry>();
  #next = 1;

  takeId(): string {
    return `sandbox-${this.#next++}`;
  }

  /** @param connectionId of the connection that places it; an order that is put again keeps its own */
  put(accountId: number, order: Order, connectionId: number | null = null): Order {
    const known = this.#orders.get(order.order_id);
    this.#orders.set(order.order_id, { accountId, order, connectionId: known?.connectionId ?? connectionId });
    const [oldest] = this.#orders.keys();
    if (this.#orders.size > mostOrders && oldest !== undefined) this.#orders.delete(oldest);
    return order;
  }

  get(accountId: number, id: string): Order | undefined {
    const entry = this.#orders.get(id);
    return entry?.accountId === accountId ? entry.order : undefined;
  }

  /** Cancels the open orders that a connection placed. */
  cancelOf(connectionId: number, nowMs: number): void {
    for (const { accountId, order, connectionId: placedBy } of [...this.#orders.values()]) {
      if (placedBy !== connectionId || order.order_state !== 'open') continue;
      this.put(accountId, { ...order, order_state: 'cancelled', last_update_timestamp: nowMs });
    }
  }

  /** Those of one account, or of all. */
  list(accountId?: number): readonly Order[] {
    const entries = [...this.#orders.values()];
    return entries
      .filter((entry) => accountId === undefined || entry.accountId === accountId)
      .map(({ order }) => order);
  }
}
