/**
 * Whether a PEM text says of itself that it holds an encrypted private key: PKCS#8, OpenSSL's old way, or OpenSSH. A quick
 * look at the text that loads nothing; `inspectKey` tells for every format.
 */
export function isEncryptedPem(text: string): boolean {
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----/.test(text) || /Proc-Type:\s*4,\s*ENCRYPTED/.test(text)) return true;
  const openssh = /-----BEGIN OPENSSH PRIVATE KEY-----(?:\s|\\[rn])*([A-Za-z0-9+/]{32})/.exec(text)?.[1];
  // After the 15 bytes of the magic stand the length of the cipher's name and the name: "none" where nothing is encrypted.
  return openssh !== undefined && atob(openssh).slice(15, 23) !== '\0\0\0\u0004none';
}
