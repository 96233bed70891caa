// The parts of node-forge that are imported one by one; @types/node-forge only has the types of the package.

declare module 'node-forge/lib/sha256.js' {
  import { md } from 'node-forge';

  const sha256: typeof md.sha256;
  export = sha256;
}

declare module 'node-forge/lib/rsa.js' {
  import { pki } from 'node-forge';

  const rsa: typeof pki.rsa;
  export = rsa;
}

declare module 'node-forge/lib/jsbn.js' {
  import { jsbn } from 'node-forge';

  export = jsbn;
}

declare module 'node-forge/lib/util.js' {
  import { util } from 'node-forge';

  export = util;
}

declare module 'node-forge/lib/cipher.js' {
  import { util } from 'node-forge';

  interface BlockCipher {
    readonly output: util.ByteBuffer;
    start(options: { readonly iv: string }): void;
    update(input: util.ByteBuffer): void;
    /** `pad` replaces the padding (of CBC): it adds or removes it in place and says whether that went well. */
    finish(pad?: () => boolean): boolean;
  }

  const cipher: {
    createCipher(name: string, key: util.ByteBuffer): BlockCipher;
    createDecipher(name: string, key: util.ByteBuffer): BlockCipher;
  };
  export = cipher;
}

declare module 'bcrypt-pbkdf' {
  interface BcryptPbkdf {
    /** Writes 32 bytes to `out`: bcrypt's core over the 64-byte SHA-512 hashes of passphrase and salt. */
    hash(passphraseHash: Uint8Array, saltHash: Uint8Array, out: Uint8Array): void;
  }
  const bcryptPbkdf: BcryptPbkdf;
  export = bcryptPbkdf;
}
// The part of undici that is imported by file.

declare module 'undici/lib/dispatcher/agent.js' {
  import { Agent } from 'undici';

  export = Agent;
}
