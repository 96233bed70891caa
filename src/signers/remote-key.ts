import type { KeyAlgorithm, PublicKey } from '../crypto/keys.js';
import type { SecretLike } from '../crypto/secret.js';
import { proveSigner, type Signer, signatureLength, signerError, verifySignature } from '../crypto/signer.js';
import { interruptedError } from '../deribit/network-errors.js';
import { DeribitKeysError } from '../errors.js';
import { onAbort } from '../util/checks.js';
import { defined } from '../util/defined.js';
import type { LoadPackage } from './optional-package.js';

/*
 * What the signers behind a network service (Vault, cloud KMS) have in common: how long a call may take, what a failure
 * is called, and that no signature leaves here that the key does not verify.
 */

/** A secret, or a function that is called each time the secret is needed. */
export type SecretProvider = SecretLike | (() => SecretLike | Promise<SecretLike>);

/** How long calls of a service may take, and what ends them. */
export interface ServiceCallOptions {
  /** How long one call of the service may take, with all its retries, in milliseconds. Default 15,000. */
  readonly timeoutMs?: number | undefined;
  /** Ends opening, and every later call, with `ERR_INTERRUPTED`. */
  readonly signal?: AbortSignal | undefined;
}

/** What the signers of all cloud services take. */
export interface KmsSignerOptions extends ServiceCallOptions {
  /** How the service's SDK is loaded; default: an ordinary import. */
  readonly load?: LoadPackage | undefined;
}

/** A signer whose key a cloud service keeps. */
export interface KmsSigner extends Signer {
  /** The service's name of exactly this key and version. */
  readonly keyId: string;
}

/** The kind of key that a service or a token makes. */
export interface GenerateInKmsOptions {
  /** Default `ed25519`. */
  readonly type?: KeyAlgorithm | undefined;
  /** For RSA only; default {@link DEFAULT_RSA_BITS}. */
  readonly bits?: 2048 | 3072 | 4096 | undefined;
}

export const DEFAULT_RSA_BITS = 3072;

/** Why a service did not do what it was asked. */
export type ServiceFailure =
  | 'no-credentials'
  | 'forbidden'
  | 'missing'
  | 'disabled'
  | 'wrong-type'
  | 'throttled'
  | 'unreachable'
  | 'unavailable'
  | 'timeout'
  | 'other';

type Failure = Exclude<ServiceFailure, 'timeout'>;

interface ServiceDefinition {
  /** As it appears in messages: "AWS KMS". */
  readonly name: string;
  readonly hints: Readonly<Record<Failure, string>>;
  /** Reads the service's own error. */
  classify(error: unknown): { readonly failure: ServiceFailure; readonly detail?: string | undefined };
}

/** How one key of a service is called: within the time, and with its failures explained. */
type Call = <T>(work: (signal: AbortSignal) => Promise<T>) => Promise<T>;

/** What a service answers to a request for a signature of `message`; anything else than bytes is refused. */
type RequestSignature = (message: Uint8Array) => Promise<unknown>;

/** A service that keeps keys: how it is called, and what its failures are called. */
export function keyService(service: ServiceDefinition) {
  const { name, hints } = service;
  return {
    /**
     * A function that calls the service for `key`, and returns what its argument resolves to.
     * @throws `ERR_SIGNER` or `ERR_KEY_UNSUPPORTED` for what the service refuses and when the time is over;
     *   `ERR_INTERRUPTED` when the signal fires
     */
    calls: (key: string, options: ServiceCallOptions) => callService(service, key, options),
    /** The error for a failure: `ERR_KEY_UNSUPPORTED` for a wrong type of key, else `ERR_SIGNER`. */
    failed: (key: string, failure: Failure, detail?: string) => serviceError(service, { key, failure, detail }),
    /** The error for an answer that lacks what it must have. `what` is a sentence without the service's name. */
    incomplete: (what: string) => signerError(`${name} ${what}`, hints.other),
    /** The error for a new key whose name is in use. */
    nameTaken: (key: string) =>
      new DeribitKeysError('ERR_NAME_TAKEN', `${name} has a key ${key} already`, {
        hint: `use it with: deribit-keys add-kms <name> --provider <aws|gcp|azure> --key-id ${key}; or choose another --key-id`,
      }),
    /** A signer whose signatures the service makes: see {@link remoteSigner}. @throws `ERR_SIGNER` */
    signer: (publicKey: PublicKey, key: string, requestSignature: RequestSignature) =>
      remoteSigner(publicKey, `the key ${key} of ${name}`, requestSignature),
  };
}

const SENTENCES: Readonly<Record<ServiceFailure, (service: string, key: string) => string>> = {
  'no-credentials': (service) => `${service} does not accept the credentials, or none were found`,
  forbidden: (service, key) => `${service} does not allow these credentials to use the key ${key}`,
  missing: (service, key) => `${service} has no key ${key}`,
  disabled: (service, key) => `the key ${key} in ${service} is disabled, deleted or not ready`,
  'wrong-type': (service, key) => `the key ${key} in ${service} cannot sign for Deribit`,
  throttled: (service) => `${service} limits the rate of requests`,
  unreachable: (service) => `${service} cannot be reached`,
  unavailable: (service) => `${service} is not available at the moment`,
  timeout: (service) => `${service} did not answer`,
  other: (service, key) => `${service} refused a request for the key ${key}`,
};

interface FailedCall {
  readonly key: string;
  readonly failure: Failure;
  readonly detail?: string | undefined;
  readonly cause?: unknown;
}

function serviceError(service: ServiceDefinition, { key, failure, detail, cause }: FailedCall): DeribitKeysError {
  const sentence = SENTENCES[failure](service.name, key);
  const message = detail === undefined || detail === '' ? sentence : `${sentence} (${detail})`;
  const details = defined({ cause: cause === undefined ? undefined : plainCause(cause) });
  const code = failure === 'wrong-type' ? 'ERR_KEY_UNSUPPORTED' : 'ERR_SIGNER';
  return new DeribitKeysError(code, message, { hint: service.hints[failure], ...details });
}

/** The error's name and message only: what SDKs attach to their errors includes requests with bearer tokens. */
function plainCause(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(typeof error);
  const plain = new Error(error.message);
  plain.name = error.name;
  return plain;
}

const DEFAULT_CALL_TIMEOUT_MS = 15_000;
const CANNOT_CONNECT =
  /UND_ERR|ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ECONNRESET|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|EPIPE|CERT|SSL|TLS/;

/** The code of a network error, of Node's or in an error that wraps it; null where it is something else. */
function networkCode(error: unknown, depth = 0): string | null {
  if (!(error instanceof Error) || depth > 5) return null;
  const { code, cause, errors } = error as { code?: unknown; cause?: unknown; errors?: unknown };
  if (typeof code === 'string' && CANNOT_CONNECT.test(code)) return code;
  const inner = Array.isArray(errors) ? errors[0] : cause;
  return networkCode(inner, depth + 1) ?? CANNOT_CONNECT.exec(error.message)?.[0] ?? null;
}

function callService(service: ServiceDefinition, key: string, options: ServiceCallOptions): Call {
  const { timeoutMs = DEFAULT_CALL_TIMEOUT_MS, signal } = options;
  return async (work) => {
    if (signal?.aborted) throw interruptedError(`the request to ${service.name}`, { maybeSent: false });
    const abort = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    let stopListening = () => {};
    const ended = new Promise<never>((_resolve, reject) => {
      const end = (error: DeribitKeysError) => {
        reject(error);
        abort.abort();
      };
      const late = () =>
        end(signerError(`${SENTENCES.timeout(service.name, key)} within ${timeoutMs} ms`, service.hints.unreachable));
      timer = setTimeout(late, Math.min(timeoutMs, 2 ** 31 - 1));
      stopListening = onAbort(signal, () =>
        end(interruptedError(`the request to ${service.name}`, { maybeSent: true })),
      );
    });
    const working = work(abort.signal);
    working.catch(() => {});
    try {
      return await Promise.race([working, ended]);
    } catch (error) {
      if (error instanceof DeribitKeysError) throw error;
      const { failure, detail } = service.classify(error);
      if (failure === 'timeout' || failure === 'other') {
        const code = networkCode(error);
        if (code !== null) throw serviceError(service, { key, failure: 'unreachable', detail: code, cause: error });
      }
      const known = failure === 'timeout' ? 'unreachable' : failure;
      throw serviceError(service, { key, failure: known, detail, cause: error });
    } finally {
      clearTimeout(timer);
      stopListening();
    }
  };
}

/**
 * A signer whose signatures a service makes. It proves itself once, and every later signature is checked before it is
 * returned: a login with a wrong one fails on the exchange for a reason that nobody can see.
 * @throws `ERR_SIGNER`
 */
async function remoteSigner(publicKey: PublicKey, what: string, requestSignature: RequestSignature): Promise<Signer> {
  const length = signatureLength(publicKey);
  const sign = async (message: Uint8Array): Promise<Uint8Array> => {
    const signature = await requestSignature(message);
    if (!(signature instanceof Uint8Array)) {
      throw signerError(`${what} returned no signature`, 'check that the address is the one of the service');
    }
    if (signature.length !== length) {
      throw signerError(
        `${what} returned a signature of ${signature.length} bytes instead of ${length}`,
        'check that the service signs with this key, and returns the signature itself',
      );
    }
    return new Uint8Array(signature);
  };
  const proved = await proveSigner({ algorithm: publicKey.algorithm, publicKey, sign }, what);
  return {
    ...proved,
    async sign(message) {
      const signature = await sign(message);
      if (await verifySignature(publicKey, message, signature)) return signature;
      throw signerError(
        `${what} returned a signature that the key opened here does not verify`,
        'the service signs with another key now: open the signer again, and compare the fingerprint with the record',
      );
    },
  };
}
