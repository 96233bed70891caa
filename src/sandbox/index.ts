export type { AddKeyRequest, ApiKeyAnswer, SandboxKey } from './core/accounts.js';
export { SandboxError } from './core/errors.js';
export type { CreditOptions } from './core/exchange.js';
export type { Remark, SandboxCall } from './core/logs.js';
export type { Order, TimeInForce } from './core/orders.js';
export type { SecondFactorKind } from './core/second-factor.js';
export { type FaultName, type FaultSpec, faultNames, formatFault, parseFault } from './faults/faults.js';
export { type Sandbox, startSandbox } from './sandbox.js';
export type { LimitOptions, SandboxOptions } from './server/options.js';
