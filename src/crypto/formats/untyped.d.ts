declare module 'bcrypt-pbkdf' {
  interface BcryptPbkdf {
    /** Writes 32 bytes to `out`: bcrypt's core over the 64-byte SHA-512 hashes of passphrase and salt. */
    hash(passphraseHash: Uint8Array, saltHash: Uint8Array, out: Uint8Array): void;
  }
  const bcryptPbkdf: BcryptPbkdf;
  export = bcryptPbkdf;
}

declare module 'node-forge/lib/sha1.js' {
  import { md } from 'node-forge';

  const sha1: typeof md.sha1;
  export = sha1;
}
