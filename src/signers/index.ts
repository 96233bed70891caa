export type { LoadPackage } from './optional-package.js';
export { type GeneratedInToken, type GenerateInTokenOptions, generateInToken } from './pkcs11/generate-in-token.js';
export { type Pkcs11Signer, type Pkcs11SignerOptions, pkcs11Signer } from './pkcs11/pkcs11-signer.js';
export type { PinSource } from './pkcs11/token.js';
export type { AgentIdentity, AgentKeyChoice } from './ssh-agent/identities.js';
export { type LoadKeyOptions, loadKeyIntoAgent, removeKeyFromAgent } from './ssh-agent/load-key.js';
export { type SshAgentSigner, type SshAgentSignerOptions, sshAgentSigner } from './ssh-agent/ssh-agent-signer.js';
