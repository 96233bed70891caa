export * from './crypto/index.js';
export {
  type ApiKey,
  type ApiKeyChange,
  type ApiKeyFields,
  type ApiKeyId,
  type ApiKeyOptions,
  changeApiKeyScope,
  createApiKey,
  disableApiKey,
  editApiKey,
  enableApiKey,
  listApiKeys,
  type NewApiKey,
  removeApiKey,
  renameApiKey,
  resetApiKey,
} from './deribit/api-keys.js';
export {
  type Account,
  type AuthParams,
  type AuthParamsOptions,
  accountOf,
  buildAuthParams,
  type Call,
  type CallOptions,
  type Credentials,
  call,
  type ExchangeTokenOptions,
  exchangeToken,
  type ForkTokenOptions,
  forkToken,
  type Login,
  type LoginOptions,
  login,
  loginWithClientSecret,
  logout,
  refreshLogin,
} from './deribit/auth.js';
export {
  type ClockReading,
  type ExchangeClock,
  getTime,
  getVersion,
  type KeptReading,
  type LocalClock,
} from './deribit/clock.js';
export { connect } from './deribit/connect.js';
export type { ConnectOptions, ProxyOptions } from './deribit/connect-options.js';
export { type Endpoint, type EndpointChoice, type Environment, resolveEndpoint } from './deribit/endpoints.js';
export {
  type AccessLevel,
  compareScopes,
  formatScope,
  normaliseScope,
  parseScope,
  type Scope,
  type ScopeDifference,
  scopeExceeds,
  scopesEqual,
} from './deribit/scope.js';
export type { SecondFactor, SecondFactorChallenge, SecondFactorOptions } from './deribit/second-factor.js';
export {
  promptSecondFactor,
  singleCodeSecondFactor,
  type TotpOptions,
  totpSecondFactor,
} from './deribit/second-factor.js';
export type { RequestOptions, Transport } from './deribit/transport.js';
export {
  DeribitKeysError,
  type ErrorCode,
  type ErrorContext,
  type ErrorDetails,
  isDeribitKeysError,
  type RpcFailure,
} from './errors.js';
export { type FileTokenStoreOptions, fileTokenStore } from './integrations/token-store/file-token-store.js';
export {
  type RedisClient,
  type RedisTokenStoreOptions,
  redisTokenStore,
} from './integrations/token-store/redis-token-store.js';
export type { PermissionPolicy } from './keystore/permissions.js';
export type { ExchangeState, KeyRecord, KeyState, StoredKey } from './keystore/record.js';
export * from './session/index.js';
export type { AgentLocation, KmsLocation, SignerLocation, TokenLocation, VaultLocation } from './signers/kinds.js';
export {
  type AwsKmsClient,
  type AwsKmsSignerOptions,
  awsKmsSigner,
  generateInAwsKms,
} from './signers/kms/aws-kms-signer.js';
export {
  type AzureKeyVaultSignerOptions,
  azureKeyVaultSigner,
  generateInAzureKeyVault,
} from './signers/kms/azure-key-vault-signer.js';
export {
  type GcpCall,
  type GcpKmsClient,
  type GcpKmsSignerOptions,
  gcpKmsSigner,
  generateInGcpKms,
} from './signers/kms/gcp-kms-signer.js';
export type { LoadPackage } from './signers/optional-package.js';
export {
  type GeneratedInToken,
  type GenerateInTokenOptions,
  generateInToken,
} from './signers/pkcs11/generate-in-token.js';
export type { TokenKeyChoice } from './signers/pkcs11/key-objects.js';
export { type Pkcs11Signer, type Pkcs11SignerOptions, pkcs11Signer } from './signers/pkcs11/pkcs11-signer.js';
export type { PinSource, TokenChoice } from './signers/pkcs11/token.js';
export type {
  GenerateInKmsOptions,
  KmsSigner,
  KmsSignerOptions,
  SecretProvider,
  ServiceCallOptions,
} from './signers/remote-key.js';
export type { SignerAccess, SignerSecret } from './signers/signer-kind.js';
export type { SshAgentOptions } from './signers/ssh-agent/connection.js';
export {
  type AgentIdentity,
  type AgentKeyChoice,
  type LoadKeyOptions,
  loadKeyIntoAgent,
  removeKeyFromAgent,
} from './signers/ssh-agent/identities.js';
export {
  type SshAgentSigner,
  type SshAgentSignerOptions,
  sshAgentSigner,
} from './signers/ssh-agent/ssh-agent-signer.js';
export type { VaultAuth, VaultOptions } from './signers/vault/vault-client.js';
export {
  type GenerateInVaultOptions,
  generateInVault,
  type VaultSigner,
  type VaultSignerOptions,
  vaultSigner,
} from './signers/vault/vault-signer.js';
export { VERSION } from './version.js';
export type { CheckName } from './workflows/checks/finding.js';
export type { Check, Verification } from './workflows/checks/verify.js';
export type { AccountLogin } from './workflows/context.js';
export {
  abortRotation,
  type Context,
  type ContextOptions,
  createContext,
  type Keystore,
  type KeystoreOptions,
  type LoadSignerOptions,
  link,
  loadSigner,
  openKeystore,
  type RotationRequest,
  register,
  rotate,
  type VerifyRequest,
  verify,
} from './workflows/library.js';
export type { LinkRequest } from './workflows/registration/link.js';
export type { RegisterRequest, Registration } from './workflows/registration/register.js';
export type { Rotation } from './workflows/rotation/rotate.js';
