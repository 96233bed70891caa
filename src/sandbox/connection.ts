import type { Grant } from './tokens.js';

/** What the methods may do with the WebSocket connection that a request came on. */
export interface Connection {
  readonly id: number;
  readonly peer: string;
  /** The login that requests without a token use. */
  grant: Grant | null;
  /** Channels that are subscribed to, each with whether it is a private one. */
  readonly channels: Map<string, boolean>;
  send(text: string): void;
  /** Seconds between heartbeats; null for none. */
  setHeartbeat(intervalS: number | null): void;
  /** The client answered a test request. */
  heardFrom(): void;
  close(code: number): void;
}
