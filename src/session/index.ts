export type { ClockReading, KeptReading } from '../deribit/clock.js';
export type { BackoffOptions } from './backoff.js';
export { type CreditRate, DOCUMENTED_RATE } from './credits.js';
export type { LoginReason, SessionEvents } from './events.js';
export { type Fleet, type FleetOptions, type FleetSessionOptions, openFleet } from './fleet.js';
export { openSession } from './open-session.js';
export type { AccessToken, Session, SessionOptions, SessionRequestOptions } from './session.js';
export type { ChannelListener, ChannelMessage } from './subscriptions.js';
export type { Time } from './time.js';
