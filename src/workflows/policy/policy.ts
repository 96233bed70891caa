import type { Environment } from '../../deribit/endpoints.js';

/** What a key of the account should be. What is null is left as it is. */
export interface KeyPolicy {
  readonly name: string;
  readonly type: 'ed25519' | 'rsa' | null;
  readonly bits: 2048 | 3072 | 4096 | null;
  /** In the exchange's own form: words sorted, single spaces. */
  readonly scope: string;
  readonly label: string | null;
  readonly features: readonly string[] | null;
  /** Empty: any address. */
  readonly whitelist: readonly string[] | null;
  /** The age from which the key is rotated. */
  readonly maxAgeMs: number | null;
  /** Whether the private key must have a passphrase. */
  readonly encrypt: boolean;
}

/** The keys that an account, or a subaccount, should have. */
export interface Policy {
  readonly environment: Environment | null;
  readonly keys: readonly KeyPolicy[];
}
