import type * as formats from './index.js';

// Most programs meet one format once: the readers and writers of all of them are loaded when the first is needed.

/** As `parsePrivateKey` of ./formats: a private key from any format that can be read. */
export const parsePrivateKey: typeof formats.parsePrivateKey = async (input, options) =>
  (await import('./index.js')).parsePrivateKey(input, options);

/** As `parsePublicKey` of ./formats: a public key from any format that has one in it. */
export const parsePublicKey: typeof formats.parsePublicKey = async (input, options) =>
  (await import('./index.js')).parsePublicKey(input, options);

/** As `inspectKey` of ./formats: what an input is, without opening it. */
export const inspectKey: typeof formats.inspectKey = async (input, options) =>
  (await import('./index.js')).inspectKey(input, options);

/** As `serialisePrivateKey` of ./formats: the secret itself, unless a passphrase is given. */
export const serialisePrivateKey: typeof formats.serialisePrivateKey = async (key, options) =>
  (await import('./index.js')).serialisePrivateKey(key, options);

/** As `serialisePublicKey` of ./formats. */
export const serialisePublicKey: typeof formats.serialisePublicKey = async (key, options) =>
  (await import('./index.js')).serialisePublicKey(key, options);
