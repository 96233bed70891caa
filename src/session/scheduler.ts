/** Decides when a session may connect, log in or refresh; a fleet's sessions share one. */
export interface Scheduler {
  /**
   * Waits for a turn to connect and log in. Resolves to the function that ends the turn, also where `signal` fires
   * first.
   */
  connectTurn(signal: AbortSignal): Promise<() => void>;
  /** Waits until one more login or refresh over HTTP is within what the exchange allows, or until `signal` fires. */
  loginTurn(signal: AbortSignal): Promise<void>;
}

/** For a session that is alone: its turn is always. */
export const alone: Scheduler = {
  connectTurn: () => Promise.resolve(() => {}),
  loginTurn: () => Promise.resolve(),
};
