import { proveSigner, type Signer, signatureLength, signerError } from '../../crypto/signer.js';
import { DeribitKeysError, isDeribitKeysError } from '../../errors.js';
import type { LoadPackage } from '../optional-package.js';
import {
  CKF_SERIAL_SESSION,
  CKM_EDDSA,
  CKM_SHA256_RSA_PKCS,
  CKU_CONTEXT_SPECIFIC,
  ckrOf,
  openModule,
  SESSION_LOST,
} from './cryptoki.js';
import { findTokenKey, type TokenKey, type TokenKeyChoice } from './key-objects.js';
import {
  closeSession,
  findToken,
  hasMechanism,
  logIn,
  openSession,
  type PinSource,
  pinError,
  pinFor,
  type SessionPool,
  sessionPool,
  type Token,
  type TokenChoice,
  tokenError,
} from './token.js';

/** The arguments of {@link pkcs11Signer}. */
export type Pkcs11SignerOptions = TokenChoice &
  TokenKeyChoice & {
    /** The library file of the token's vendor: native code that runs in this process. */
    readonly module: string;
    /** Kept, wrapped, for a session that must be opened again. A function is called when a PIN is needed. */
    readonly pin?: PinSource | undefined;
    /** How the optional package `pkcs11js` is loaded; default: an ordinary import. */
    readonly load?: LoadPackage | undefined;
  };

/** A signer whose key a token holds. */
export interface Pkcs11Signer extends Signer {
  /** CKA_LABEL and CKA_ID (hexadecimal) of the key, or null. */
  readonly label: string | null;
  readonly id: string | null;
  /** Closes its sessions; the token is logged out once no other signer of this process uses it. */
  close(): Promise<void>;
}

/** A token that is logged in, and its key: valid until its sessions are lost. */
interface OpenToken {
  readonly token: Token;
  readonly key: TokenKey;
  readonly pool: SessionPool;
}

/**
 * A signer whose Ed25519 (CKM_EDDSA) or RSA key (CKM_SHA256_RSA_PKCS) a PKCS#11 token holds. It needs the optional package
 * `pkcs11js`, and proves itself once before it is returned. Signatures run off the main thread; opening and logging in do
 * not. A lost session is opened again, once for each signature; a PIN that was refused is never tried again.
 *
 * @throws `ERR_SIGNER` for no module, no token, no key, no such mechanism, a locked PIN; `ERR_PASSPHRASE_REQUIRED` and
 *   `ERR_PASSPHRASE_WRONG` for the PIN; `ERR_KEY_UNSUPPORTED` for another algorithm; `ERR_USAGE` if several keys match
 */
export async function pkcs11Signer(options: Pkcs11SignerOptions): Promise<Pkcs11Signer> {
  let current: Promise<OpenToken> | null = null;
  let refused: DeribitKeysError | null = null;
  let closed = false;

  const opened = (): Promise<OpenToken> => {
    if (closed) throw signerError('the signer was closed', 'open a new one');
    if (refused !== null) throw refused;
    if (current === null) {
      const opening = openToken(options);
      current = opening;
      opening.catch((error: unknown) => {
        if (isDeribitKeysError(error, 'ERR_PASSPHRASE_WRONG')) refused = error;
        if (current === opening) current = null;
      });
    }
    return current;
  };

  const sign = async (message: Uint8Array): Promise<Uint8Array> => {
    const opening = opened();
    const open = await opening;
    try {
      return await signIn(open, message, options.pin);
    } catch (error) {
      const code = ckrOf(error);
      if (code === null || !SESSION_LOST.has(code)) throw tokenError(open.token, 'failed to sign', error);
      if (current === opening) {
        current = null;
        open.pool.close();
      }
    }
    const again = await opened();
    if (!again.key.publicKey.equals(open.key.publicKey)) {
      throw signerError(`the token "${again.token.label}" now holds a different key`, 'insert the right token');
    }
    return signIn(again, message, options.pin).catch((error: unknown) => {
      throw tokenError(again.token, 'failed to sign', error);
    });
  };

  const { key, token } = await opened();
  const { publicKey, label, id } = key;
  const signer: Pkcs11Signer = {
    algorithm: publicKey.algorithm,
    publicKey,
    label,
    id,
    sign,
    async close() {
      closed = true;
      const open = await current?.catch(() => null);
      open?.pool.close();
    },
  };
  try {
    return await proveSigner(signer, `the token "${token.label}"`);
  } catch (error) {
    await signer.close();
    throw error;
  }
}

async function openToken(options: Pkcs11SignerOptions): Promise<OpenToken> {
  const token = findToken(await openModule(options.module, options.load), options);
  const session = openSession(token, CKF_SERIAL_SESSION);
  try {
    await logIn(session, options.pin);
    const key = await findTokenKey(session, options);
    requireMechanism(token, key);
    return { token, key, pool: sessionPool(session) };
  } catch (error) {
    closeSession(session);
    throw tokenError(token, 'cannot be used', error);
  }
}

const mechanismOf = (key: TokenKey) =>
  key.publicKey.algorithm === 'rsa'
    ? { name: 'CKM_SHA256_RSA_PKCS', number: CKM_SHA256_RSA_PKCS }
    : { name: 'CKM_EDDSA', number: CKM_EDDSA };

function requireMechanism(token: Token, key: TokenKey): void {
  const { name, number } = mechanismOf(key);
  if (hasMechanism(token, number)) return;
  throw signerError(
    `the token "${token.label}" does not offer ${name}, which this key needs`,
    key.publicKey.algorithm === 'rsa' ? 'use a token that offers it' : 'use an RSA key, or a token that offers it',
  );
}

/** One signature; it throws the errors of the module as they are. */
async function signIn(
  { token, key, pool }: OpenToken,
  message: Uint8Array,
  source: PinSource | undefined,
): Promise<Uint8Array> {
  const { cryptoki } = token;
  const pin = key.alwaysAuthenticate ? await pinFor(token, source) : null;
  const length = signatureLength(key.publicKey);
  return pool.use(async ({ handle }) => {
    cryptoki.C_SignInit(handle, { mechanism: mechanismOf(key).number, parameter: null }, key.privateKey);
    if (key.alwaysAuthenticate) {
      try {
        cryptoki.C_Login(handle, CKU_CONTEXT_SPECIFIC, pin?.reveal());
      } catch (cause) {
        throw pinError(token, cause);
      }
    }
    const signature = await cryptoki.C_SignAsync(handle, Buffer.from(message), Buffer.alloc(length));
    if (signature.length === length) return new Uint8Array(signature);
    throw new DeribitKeysError(
      'ERR_SIGNER',
      `the token "${token.label}" returned a signature of ${signature.length} bytes instead of ${length}`,
    );
  });
}
