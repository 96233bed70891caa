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

/** A library lives once in a process, however many signers use it: never unloaded, since others may use it too. */
const loaded = new Map<string, Cryptoki>();

/**
 * Loads and initialises the PKCS#11 library of a token: native code, which runs in this process.
 * @throws `ERR_SIGNER` where pkcs11js is not installed, there is no such file, or it is no PKCS#11 library
 */
export async function openModule(module: string, load?: LoadPackage): Promise<Cryptoki> {
  const pkcs11js = (await loadOptionalPackage('pkcs11js', 'a key in a PKCS#11 token', load)) as Pkcs11Js;
  const path = await realpath(module).catch((cause) => {
    throw signerError(
      `there is no PKCS#11 module ${module}`,
      'name the library file of the token’s maker, such as /usr/lib/softhsm/libsofthsm2.so',
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
        `${module} is not a PKCS#11 module that loads here`,
        'name the library file of the token’s maker, built for this machine',
        cause,
      );
    }
    loaded.set(path, cryptoki);
  }
  initialise(cryptoki, module);
  return cryptoki;
}

/** Signatures run on several threads: the library is told that it may lock (CKF_OS_LOCKING_OK). */
function initialise(cryptoki: Cryptoki, module: string): void {
  try {
    cryptoki.C_Initialize({ flags: CKF_OS_LOCKING_OK });
  } catch (cause) {
    if (ckrOf(cause) === CKR_CRYPTOKI_ALREADY_INITIALIZED) return;
    throw signerError(
      `the PKCS#11 module ${module} does not start (${cause instanceof Error ? cause.message : typeof cause})`,
      'look at its configuration: its own documentation says which file or variable it reads',
      cause,
    );
  }
}
