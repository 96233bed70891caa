export type { KeyFormat } from './detect-format.js';
export { inspectKey, type KeyDescription, type ParseOptions, parsePrivateKey, parsePublicKey } from './parse.js';
export {
  type PrivateFormat,
  type PublicFormat,
  type Serialised,
  type SerialisePrivateOptions,
  type SerialisePublicOptions,
  serialisePrivateKey,
  serialisePublicKey,
} from './serialise.js';
