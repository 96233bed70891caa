import type { Environment } from '../../deribit/endpoints.js';

/** What a key of the account shall be. What is null is not looked at: it is left as it is. */
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
  /** From which age on the key is to be rotated. */
  readonly maxAgeMs: number | null;
  /** Whether the private key must have a passphrase. */
  readonly encrypt: boolean;
}

/** The keys that an account, or a subaccount, shall have. */
export interface Policy {
  readonly environment: Environment | null;
  readonly keys: readonly KeyPolicy[];
}
