export {
  type AwsKmsClient,
  type AwsKmsSignerOptions,
  awsKmsSigner,
  generateInAwsKms,
} from './kms/aws-kms-signer.js';
export {
  type AzureKeyVaultSignerOptions,
  azureKeyVaultSigner,
  generateInAzureKeyVault,
} from './kms/azure-key-vault-signer.js';
export {
  type GcpCall,
  type GcpKmsClient,
  type GcpKmsSignerOptions,
  gcpKmsSigner,
  generateInGcpKms,
} from './kms/gcp-kms-signer.js';
export type { LoadPackage } from './optional-package.js';
export { type GeneratedInToken, type GenerateInTokenOptions, generateInToken } from './pkcs11/generate-in-token.js';
export type { TokenKeyChoice } from './pkcs11/key-objects.js';
export { type Pkcs11Signer, type Pkcs11SignerOptions, pkcs11Signer } from './pkcs11/pkcs11-signer.js';
export type { PinSource, TokenChoice } from './pkcs11/token.js';
export type {
  GenerateInKmsOptions,
  KmsSigner,
  KmsSignerOptions,
  SecretProvider,
  ServiceCallOptions,
} from './remote-key.js';
export type { SshAgentOptions } from './ssh-agent/connection.js';
export type { AgentIdentity, AgentKeyChoice } from './ssh-agent/identities.js';
export { type LoadKeyOptions, loadKeyIntoAgent, removeKeyFromAgent } from './ssh-agent/identities.js';
export { type SshAgentSigner, type SshAgentSignerOptions, sshAgentSigner } from './ssh-agent/ssh-agent-signer.js';
export type { VaultAuth, VaultOptions } from './vault/vault-client.js';
export {
  type GenerateInVaultOptions,
  generateInVault,
  type VaultSigner,
  type VaultSignerOptions,
  vaultSigner,
} from './vault/vault-signer.js';
