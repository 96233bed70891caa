// The parts of node-forge that are imported one by one; @types/node-forge knows only the whole.

declare module 'node-forge/lib/asn1.js' {
  import { asn1 } from 'node-forge';

  export = asn1;
}

declare module 'node-forge/lib/md5.js' {
  import { md } from 'node-forge';

  const md5: typeof md.md5;
  export = md5;
}

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
  import { cipher } from 'node-forge';

  export = cipher;
}
