/** One order, as the exchange answers it. */
export interface Order {
  readonly order_id: string;
  readonly instrument_name: string;
  readonly direction: 'buy' | 'sell';
  readonly order_type: 'limit' | 'market';
  readonly order_state: 'open' | 'filled' | 'rejected' | 'cancelled';
  readonly cancel_reason?: 'user_request' | 'cancel_on_disconnect';
  readonly amount: number;
  readonly contracts: number;
  readonly filled_amount: number;
  readonly price: number;
  readonly average_price: number;
  readonly label: string;
  readonly time_in_force: TimeInForce;
  readonly post_only: boolean;
  readonly reject_post_only: boolean;
  readonly reduce_only: boolean;
  readonly replaced: boolean;
  readonly api: true;
  readonly web: false;
  readonly creation_timestamp: number;
  readonly last_update_timestamp: number;
}

export const timesInForce = ['good_til_cancelled', 'good_til_day', 'fill_or_kill', 'immediate_or_cancel'] as const;
/** How long an order stays in the book. */
export type TimeInForce = (typeof timesInForce)[number];

/** An order and whose it is. */
export interface OrderEntry {
  readonly accountId: number;
  /** The WebSocket connection that placed it. */
  readonly connectionId: number | null;
  order: Order;
}

const mostOrders = 100_000;

/** Every order that was taken, oldest first; the oldest are forgotten when there are too many. */
export class Orders {
  readonly #orders = new Map<string, OrderEntry>();
  /** The open ones, in the order in which they rest in the book. */
  readonly #open = new Map<string, OrderEntry>();
  #next = 1;

  takeId(): string {
    return `sandbox-${this.#next++}`;
  }

  /** @param connectionId of the connection that places it; an order that is put again keeps its own */
  put(accountId: number, order: Order, connectionId: number | null = null): Order {
    const { order_id: id } = order;
    const known = this.#orders.get(id);
    const entry = { accountId, order, connectionId: known?.connectionId ?? connectionId };
    this.#orders.set(id, entry);
    if (order.order_state === 'open') this.#open.set(id, entry);
    else this.#open.delete(id);
    const [oldest] = this.#orders.keys();
    if (this.#orders.size > mostOrders && oldest !== undefined) {
      this.#orders.delete(oldest);
      this.#open.delete(oldest);
    }
    return order;
  }

  get(accountId: number, id: string): Order | undefined {
    const entry = this.#orders.get(id);
    return entry?.accountId === accountId ? entry.order : undefined;
  }

  /** All open orders, or those of one account. */
  open(accountId?: number): readonly OrderEntry[] {
    const entries = [...this.#open.values()];
    return accountId === undefined ? entries : entries.filter((entry) => entry.accountId === accountId);
  }

  /** Those of one account, or of all. */
  list(accountId?: number): readonly Order[] {
    const entries = [...this.#orders.values()];
    return entries
      .filter((entry) => accountId === undefined || entry.accountId === accountId)
      .map(({ order }) => order);
  }
}
