export type { Bytes } from '../crypto/bytes.js';
export type { KeyAlgorithm, PublicKey } from '../crypto/keys.js';
export type { Secret } from '../crypto/secret.js';
export type { Signer } from '../crypto/signer.js';
export type { ClockReading, KeptReading, LocalClock } from '../deribit/clock.js';
export type { ConnectOptions, ProxyEnvironment, ProxyOptions } from '../deribit/connect-options.js';
export type { Endpoint, Environment } from '../deribit/endpoints.js';
export type { Notification, Params } from '../deribit/json-rpc.js';
export type { RequestOptions, Transport } from '../deribit/transport.js';
export type { ConnectionEnd, WebSocketTransport } from '../deribit/websocket-transport.js';
export type { ErrorCode, ErrorContext, ErrorDetails, RpcFailure } from '../errors.js';
export { DeribitKeysError } from '../errors.js';
export { type Fleet, type FleetOptions, type FleetSessionOptions, openFleet } from './fleet.js';
export type { FollowedKeystore, FollowedRecord } from './key-source.js';
export { openSession } from './open-session.js';
export { type CreditRate, DOCUMENTED_RATE } from './rate-limits.js';
export type {
  AccessToken,
  CloseOptions,
  KeystoreSessionOptions,
  LoginReason,
  Session,
  SessionEvents,
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
