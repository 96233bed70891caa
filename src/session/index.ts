export type { ClockReading, KeptReading } from '../deribit/clock.js';
export type { Params } from '../deribit/json-rpc.js';
export type { LoginReason, SessionEvents } from './events.js';
export { type Fleet, type FleetOptions, type FleetSessionOptions, openFleet } from './fleet.js';
export type { FollowedKeystore, FollowedRecord } from './key-source.js';
export { openSession } from './open-session.js';
export { type CreditRate, DOCUMENTED_RATE } from './rate-limits.js';
export type {
  AccessToken,
  CloseOptions,
  KeystoreSessionOptions,
  Session,
  SessionOptions,
  SessionRequestOptions,
} from './session.js';
export type { ChannelListener, ChannelMessage } from './subscriptions.js';
export type { BackoffOptions, Time } from './time.js';
export {
  memoryTokenStore,
  type SharedTokenOptions,
  type StoredToken,
  sharedToken,
  type TokenLock,
  type TokenPurpose,
  type TokenStore,
} from './token-store.js';
