import { publicKeyFromEd25519 } from '../../crypto/build-keys.js';
import { parsePublicKey } from '../../crypto/formats/index.js';
import type { PublicKey } from '../../crypto/keys.js';
import type { Signer } from '../../crypto/signer.js';
import { signerError } from '../../crypto/signer.js';
import { DeribitKeysError } from '../../errors.js';
import { DEFAULT_RSA_BITS, type GenerateInKmsOptions } from '../remote-key.js';
import { encodePath, VAULT, type VaultClient, type VaultOptions, vaultClient } from './vault-client.js';

/** The arguments of {@link vaultSigner}. */
export interface VaultSignerOptions extends VaultOptions {
  /** The key's name in the transit engine. */
  readonly key: string;
  /** Where the transit engine is mounted. Default `transit`. */
  readonly mount?: string | undefined;
  /** Default: the latest. The signer stays with it when the key is rotated in Vault, since Deribit knows only this one. */
  readonly version?: number | undefined;
}

/** A signer whose key Vault keeps. */
export interface VaultSigner extends Signer {
  /** The version that it signs with. */
  readonly version: number;
  /** Closes its connections. */
  close(): Promise<void>;
}

/** The arguments of {@link generateInVault}. */
export type GenerateInVaultOptions = Omit<VaultSignerOptions, 'version'> & GenerateInKmsOptions;

const DEFAULT_MOUNT = 'transit';
const SIGNING_TYPE = /^(ed25519|rsa-(2048|3072|4096))$/;

/**
 * A signer whose Ed25519 or RSA key the transit engine of HashiCorp Vault (or OpenBao) keeps. RSA is signed with
 * `pkcs1v15` and SHA-256. It proves itself once before it is returned.
 * @throws `ERR_SIGNER` for a key that is missing, forbidden or disabled, a login that is refused, and a server that is
 *   sealed, slow or out of reach; `ERR_KEY_UNSUPPORTED` for another type of key; `ERR_USAGE` for the address;
 *   `ERR_INTERRUPTED`
 */
export async function vaultSigner(options: VaultSignerOptions): Promise<VaultSigner> {
  const client = vaultClient(options);
  try {
    return await openSigner(client, options);
  } catch (error) {
    await client.close();
    throw error;
  }
}

async function openSigner(client: VaultClient, options: VaultSignerOptions): Promise<VaultSigner> {
  const { key, mount = DEFAULT_MOUNT } = options;
  const { type, version, publicKey } = await readKey(client, options);
  const rsa = type.startsWith('rsa-');
  const signer = await VAULT.signer(publicKey, `${mount}/${key}`, async (message) => {
    const body = {
      input: Buffer.from(message).toString('base64'),
      key_version: version,
      // Vault's own defaults are PSS and SHA-256
      ...(rsa ? { signature_algorithm: 'pkcs1v15', hash_algorithm: 'sha2-256' } : {}),
    };
    const path = `${encodePath(mount)}/sign/${encodeURIComponent(key)}`;
    const answer = await client.ask(key, { method: 'POST', path, body });
    return decodeSignature(answer?.signature, version);
  });
  return { ...signer, version, close: () => client.close() };
}

const keyPath = (mount: string, key: string) => `${encodePath(mount)}/keys/${encodeURIComponent(key)}`;

/** What a key's document says of the version that is meant. */
async function readKey(client: VaultClient, { key, mount = DEFAULT_MOUNT, version: asked }: VaultSignerOptions) {
  const name = `${mount}/${key}`;
  const shown = await client.ask(key, { method: 'GET', path: keyPath(mount, key) });
  if (shown === null) throw VAULT.failed(name, 'missing');
  const { type, latest_version, derived, keys, supports_signing } = shown;
  if (typeof type !== 'string' || typeof keys !== 'object' || keys === null) {
    throw signerError(`what answers on ${client.host} shows no transit key`, 'check the address and --mount');
  }
  if (!SIGNING_TYPE.test(type) || derived === true || supports_signing === false) {
    throw VAULT.failed(name, 'wrong-type', derived === true ? `${type}, derived` : type);
  }
  const version = asked ?? latest_version;
  if (typeof version !== 'number' || !Number.isSafeInteger(version)) {
    throw signerError(`Vault shows no version of the key ${name}`, 'check the key: vault read <mount>/keys/<key>');
  }
  const entry = (keys as Readonly<Record<string, unknown>>)[version];
  if (entry === undefined) throw VAULT.failed(name, 'disabled', `version ${version} is not shown`);
  const text = (entry as { readonly public_key?: unknown }).public_key;
  if (typeof text !== 'string' || text === '') {
    throw VAULT.failed(name, 'wrong-type', `version ${version} shows no public key`);
  }
  return { type, version, publicKey: await readPublicKeyText(text) };
}

/** A PEM for RSA; for Ed25519 the 32 bytes in base64. */
function readPublicKeyText(text: string): Promise<PublicKey> | PublicKey {
  const raw = Buffer.from(text, 'base64');
  return !text.includes('-----') && raw.length === 32 ? publicKeyFromEd25519(raw) : parsePublicKey(text);
}

/** The bytes of `vault:v<version>:<base64>`. @throws `ERR_SIGNER` for another version or form */
function decodeSignature(text: unknown, version: number): Uint8Array {
  const [, by, base64] = (typeof text === 'string' ? /^\w+:v(\d+):([A-Za-z0-9+/]+=*)$/.exec(text) : null) ?? [];
  if (by === undefined || base64 === undefined) {
    throw VAULT.incomplete('returned a signature of another form than vault:v<version>:<base64>');
  }
  if (Number(by) !== version) {
    throw signerError(
      `Vault signed with version ${by} of the key instead of ${version}`,
      'check that nothing between here and Vault changes the requests',
    );
  }
  return new Uint8Array(Buffer.from(base64, 'base64'));
}

/**
 * Makes a key inside Vault, which is not exportable, and opens it.
 * @throws `ERR_NAME_TAKEN` where the engine has a key of this name, and what `vaultSigner` does
 */
export async function generateInVault(options: GenerateInVaultOptions): Promise<VaultSigner> {
  const { key, mount = DEFAULT_MOUNT, type = 'ed25519', bits = DEFAULT_RSA_BITS } = options;
  const client = vaultClient(options);
  try {
    const path = keyPath(mount, key);
    if ((await client.ask(key, { method: 'GET', path })) !== null) {
      throw new DeribitKeysError('ERR_NAME_TAKEN', `Vault has a key ${mount}/${key} already`, {
        hint: `use it with: deribit-keys add-vault <name> --address <url> --mount ${mount} --key ${key}; or choose another --key`,
      });
    }
    const vaultType = type === 'rsa' ? `rsa-${bits}` : 'ed25519';
    const body = { type: vaultType, exportable: false, allow_plaintext_backup: false };
    await client.ask(key, { method: 'POST', path, body });
    return await openSigner(client, { ...options, version: 1 });
  } catch (error) {
    await client.close();
    throw error;
  }
}
