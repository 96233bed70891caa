import { realpath } from 'node:fs/promises';
import { signerError } from '../../crypto/signer.js';
import { type LoadPackage, loadOptionalPackage } from '../optional-package.js';
import {
  CKF_OS_LOCKING_OK,
  CKR_CRYPTOKI_ALREADY_INITIALIZED,
  type Cryptoki,
  ckrOf,
  type Pkcs11Js,
} from './cryptoki.js';

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
      'name the library file of the token’s vendor, such as /usr/lib/softhsm/libsofthsm2.so',
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
        'name the library file of the token’s vendor, built for this system and processor',
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
