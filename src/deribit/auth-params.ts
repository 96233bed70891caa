import { engine } from '#engine';
import { bytesToHex, utf8Bytes } from '../crypto/bytes.js';
import type { Secret } from '../crypto/secret.js';
import { randomNonce, type Signer } from '../crypto/signer.js';
import { DeribitKeysError, usageError } from '../errors.js';
import { defined } from '../util/defined.js';

/** What a login is signed with: an asymmetric key, or the shared secret of a symmetric one. */
export type Credentials =
  | { readonly clientId: string; readonly signer: Signer }
  | { readonly clientId: string; readonly clientSecret: Secret };

/** What is signed beside the client id. */
export interface AuthParamsOptions {
  /** Milliseconds since the epoch; default: now. The exchange accepts it for 60 seconds. */
  readonly timestampMs?: number | undefined;
  /** Default: random. */
  readonly nonce?: string | undefined;
  readonly data?: string | undefined;
  readonly scope?: string | undefined;
  readonly state?: string | undefined;
}

/** The parameters of a signed `public/auth`, in the order in which they are printed. */
export interface AuthParams {
  readonly grant_type: 'client_signature';
  readonly client_id: string;
  readonly timestamp: number;
  readonly nonce: string;
  readonly data: string;
  readonly signature: string;
  readonly scope?: string;
  readonly state?: string;
}

/**
 * Signed parameters for `public/auth` (`grant_type: client_signature`). The message is `timestamp\nnonce\ndata` in
 * UTF-8; the signature is base64url without padding for an asymmetric key, lower-case hex of the HMAC-SHA-256 for a
 * symmetric one. Needs no Node module, so that a browser can call it.
 *
 * @throws ERR_USAGE for an empty client id, a timestamp that is not a whole number, and a line break in the nonce;
 * ERR_SIGNER for a signature of the wrong length, and whatever the signer throws
 */
export async function buildAuthParams(
  credentials: Credentials,
  { timestampMs = Date.now(), nonce = randomNonce(), data = '', scope, state }: AuthParamsOptions = {},
): Promise<AuthParams> {
  if (!Number.isSafeInteger(timestampMs) || timestampMs < 0) {
    throw usageError(
      'the timestamp is not a whole number of milliseconds',
      'give milliseconds since 1970, such as Date.now()',
    );
  }
  if (nonce === '' || nonce.includes('\n') || nonce.includes('\r')) {
    throw usageError(
      'the nonce is empty or holds a line break',
      'give any other text, or leave it out for a random one',
    );
  }
  if (credentials.clientId === '') throw usageError('the client id is empty', 'give the client id of the API key');
  const message = utf8Bytes(`${timestampMs}\n${nonce}\n${data}`);
  const signature =
    'signer' in credentials
      ? asymmetricSignature(credentials.signer, await credentials.signer.sign(message))
      : await symmetricSignature(credentials.clientSecret, message);
  return {
    grant_type: 'client_signature',
    client_id: credentials.clientId,
    timestamp: timestampMs,
    nonce,
    data,
    signature,
    ...defined({ scope, state }),
  };
}

function asymmetricSignature({ publicKey: { bits } }: Signer, signature: Uint8Array): string {
  const expected = bits === null ? 64 : Math.ceil(bits / 8);
  if (signature.length !== expected) {
    throw new DeribitKeysError('ERR_SIGNER', `the signer returned ${signature.length} bytes instead of ${expected}`, {
      hint: 'it must return the bare signature: 64 bytes for Ed25519, as many as the modulus for RSA',
    });
  }
  return engine.base64url(signature);
}

async function symmetricSignature(clientSecret: Secret, message: Uint8Array): Promise<string> {
  return bytesToHex(await engine.hmacSha256(utf8Bytes(clientSecret.reveal()), message));
}
