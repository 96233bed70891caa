import { realpath } from 'node:fs/promises';
import { signerError } from '../../crypto/signer.js';
import { type LoadPackage, loadOptionalPackage } from '../optional-package.js';

/** A handle or an identifier of the token's library: opaque here. */
export type Handle = Buffer;

export interface Attribute {
  readonly type: number;
  readonly value?: Buffer | string | number | boolean;
}

interface TokenInfo {
  /** Padded with blanks to 32 characters. */
  readonly label: string;
  readonly serialNumber: string;
  readonly flags: number;
  readonly maxSessionCount: number;
}

export interface Mechanism {
  readonly mechanism: number;
  readonly parameter?: null;
}

/** What is used of pkcs11js: the functions of PKCS#11 (OASIS PKCS#11 v3.0 §5), which throw errors named after CKR codes. */
export interface Cryptoki {
  load(path: string): void;
  C_Initialize(options: { readonly flags: number }): void;
  C_GetSlotList(tokenPresent: boolean): Handle[];
  C_GetTokenInfo(slot: Handle): TokenInfo;
  C_GetMechanismList(slot: Handle): number[];
  C_OpenSession(slot: Handle, flags: number): Handle;
  C_CloseSession(session: Handle): void;
  C_GetSessionInfo(session: Handle): { readonly state: number };
  C_Login(session: Handle, userType: number, pin?: string): void;
  C_FindObjectsInit(session: Handle, template: readonly Attribute[]): void;
  C_FindObjects(session: Handle, maxCount: number): Handle[];
  C_FindObjectsFinal(session: Handle): void;
  C_GetAttributeValue(session: Handle, object: Handle, template: readonly Attribute[]): { readonly value: Buffer }[];
  C_GenerateKeyPairAsync(
    session: Handle,
    mechanism: Mechanism,
    publicTemplate: readonly Attribute[],
    privateTemplate: readonly Attribute[],
  ): Promise<{ readonly publicKey: Handle; readonly privateKey: Handle }>;
  C_DestroyObject(session: Handle, object: Handle): void;
  C_SignInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_SignAsync(session: Handle, data: Buffer, output: Buffer): Promise<Buffer>;
}

/** The package itself. */
interface Pkcs11Js {
  readonly PKCS11: new () => Cryptoki;
}

/** Numbers of PKCS#11 v3.0, by their names there. */
const CKF_OS_LOCKING_OK = 0x2;
export const CKF_RW_SESSION = 0x2;
export const CKF_SERIAL_SESSION = 0x4;
export const CKF_LOGIN_REQUIRED = 0x4;
export const CKF_USER_PIN_INITIALIZED = 0x8;
export const CKF_PROTECTED_AUTHENTICATION_PATH = 0x100;
export const CKF_TOKEN_INITIALIZED = 0x400;
export const CKF_USER_PIN_COUNT_LOW = 0x10000;
export const CKF_USER_PIN_FINAL_TRY = 0x20000;
export const CKF_USER_PIN_LOCKED = 0x40000;
export const CKS_RO_USER_FUNCTIONS = 1;
export const CKS_RW_USER_FUNCTIONS = 3;
export const CKU_USER = 1;
export const CKU_CONTEXT_SPECIFIC = 2;

export const CKO_CERTIFICATE = 1;
export const CKO_PUBLIC_KEY = 2;
export const CKO_PRIVATE_KEY = 3;
export const CKK_RSA = 0;
export const CKK_EC = 3;
export const CKK_EC_EDWARDS = 0x40;

export const CKA = {
  class: 0x0,
  token: 0x1,
  private: 0x2,
  label: 0x3,
  value: 0x11,
  keyType: 0x100,
  id: 0x102,
  sensitive: 0x103,
  sign: 0x108,
  verify: 0x10a,
  modulus: 0x120,
  modulusBits: 0x121,
  publicExponent: 0x122,
  extractable: 0x162,
  ecParams: 0x180,
  ecPoint: 0x181,
  alwaysAuthenticate: 0x202,
} as const;

export const CKM_RSA_PKCS_KEY_PAIR_GEN = 0x0;
export const CKM_SHA256_RSA_PKCS = 0x40;
export const CKM_EC_EDWARDS_KEY_PAIR_GEN = 0x1055;
export const CKM_EDDSA = 0x1057;

export const CKR_USER_ALREADY_LOGGED_IN = 0x100;
const CKR_CRYPTOKI_ALREADY_INITIALIZED = 0x191;

/** Failures of a PIN that was given. */
export const PIN_WRONG: ReadonlySet<number> = new Set([
  0xa0, // CKR_PIN_INCORRECT
  0xa1, // CKR_PIN_INVALID
  0xa2, // CKR_PIN_LEN_RANGE
]);
export const CKR_PIN_LOCKED = 0xa4;

/** Failures of a session that a new one may not have: the token was out, or its library was restarted. */
export const SESSION_LOST: ReadonlySet<number> = new Set([
  0x30, // CKR_DEVICE_ERROR
  0x32, // CKR_DEVICE_REMOVED
  0x60, // CKR_KEY_HANDLE_INVALID
  0x82, // CKR_OBJECT_HANDLE_INVALID
  0xb0, // CKR_SESSION_CLOSED
  0xb3, // CKR_SESSION_HANDLE_INVALID
  0xe0, // CKR_TOKEN_NOT_PRESENT
  0x101, // CKR_USER_NOT_LOGGED_IN
  0x190, // CKR_CRYPTOKI_NOT_INITIALIZED
]);

/** The CKR code of what pkcs11js threw, or null for any other error. */
export function ckrOf(error: unknown): number | null {
  if (!(error instanceof Error) || !error.message.startsWith('CKR_') || !('code' in error)) return null;
  return typeof error.code === 'number' ? error.code : null;
}

/** A library is loaded once in a process and never unloaded: others may use it too. */
const loaded = new Map<string, Cryptoki>();

/**
 * Loads and initialises the PKCS#11 library of a token: native code, which runs in this process.
 * @throws `ERR_SIGNER` if pkcs11js is not installed, or the file is missing or not a PKCS#11 library
 */
export async function openModule(module: string, load?: LoadPackage): Promise<Cryptoki> {
  const pkcs11js = (await loadOptionalPackage('pkcs11js', 'a key in a PKCS#11 token', load)) as Pkcs11Js;
  const path = await realpath(module).catch((cause) => {
    throw signerError(
      `there is no PKCS#11 module ${module}`,
      "name the library file of the token's vendor, such as /usr/lib/softhsm/libsofthsm2.so",
      cause,
    );
  });
  const known = loaded.get(path);
  const cryptoki = known ?? new pkcs11js.PKCS11();
  if (known === undefined) {
    try {
      cryptoki.load(path);
    } catch (cause) {
      throw signerError(
        `${module} cannot be loaded: it is not a PKCS#11 module for this machine`,
        "name the library file of the token's vendor, built for this system and processor",
        cause,
      );
    }
    loaded.set(path, cryptoki);
  }
  initialise(cryptoki, module);
  return cryptoki;
}

/** Signatures run on several threads, so the library may lock (CKF_OS_LOCKING_OK). */
function initialise(cryptoki: Cryptoki, module: string): void {
  try {
    cryptoki.C_Initialize({ flags: CKF_OS_LOCKING_OK });
  } catch (cause) {
    if (ckrOf(cause) === CKR_CRYPTOKI_ALREADY_INITIALIZED) return;
    throw signerError(
      `the PKCS#11 module ${module} does not start (${cause instanceof Error ? cause.message : typeof cause})`,
      'check its configuration: its documentation says which file or variable it reads',
      cause,
    );
  }
}
