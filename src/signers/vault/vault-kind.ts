import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Signer, signerError } from '../../crypto/signer.js';
import { usageError } from '../../errors.js';
import { isText } from '../../util/checks.js';
import type { OptionValues, SignerAccess, SignerKind } from '../signer-kind.js';
import { ALWAYS, fits, isTextOrNull, MAKES, requireText, textOf } from '../signer-kind.js';
import type { VaultAuth, VaultOptions } from './vault-client.js';

const METHODS = ['token', 'approle', 'kubernetes', 'agent'] as const;

/** A server, how to log in to it, the transit engine there, and a key in it. */
export interface VaultLocation {
  readonly kind: 'vault';
  readonly address: string;
  readonly mount: string;
  readonly namespace: string | null;
  readonly auth: (typeof METHODS)[number];
  /** Where the auth method is mounted; null for its own name. */
  readonly authMount: string | null;
  /** The role of Kubernetes auth, or the role id of AppRole. */
  readonly role: string | null;
  readonly caFile: string | null;
  readonly key: string;
  readonly version: number;
}

export type VaultTarget = Omit<VaultLocation, 'key' | 'version'>;

const TARGET = {
  address: isText,
  mount: isText,
  namespace: isTextOrNull,
  auth: (value: unknown) => METHODS.some((method) => method === value),
  authMount: isTextOrNull,
  role: isTextOrNull,
  caFile: isTextOrNull,
};

function targetFrom(values: OptionValues, env: SignerAccess['env']): VaultTarget {
  const auth = METHODS.find((method) => method === (textOf(values, 'vaultAuth') ?? 'token'));
  const role = textOf(values, 'vaultRole');
  if (auth === undefined) throw usageError(`--vault-auth is one of ${METHODS.join(', ')}`);
  if ((auth === 'approle' || auth === 'kubernetes') !== (role !== null)) {
    throw usageError(
      '--vault-role goes with --vault-auth approle and kubernetes',
      'it is the role id of approle, or the name of the role of kubernetes',
    );
  }
  const caFile = textOf(values, 'vaultCaFile') ?? (env.VAULT_CACERT || null);
  return {
    kind: 'vault',
    address: requireText(values, 'address').replace(/\/+$/, ''),
    mount: textOf(values, 'mount') ?? 'transit',
    namespace: textOf(values, 'vaultNamespace') ?? (env.VAULT_NAMESPACE || null),
    auth,
    authMount: textOf(values, 'vaultAuthMount'),
    role,
    caFile: caFile === null ? null : resolve(caFile),
  };
}

/** What the client takes for a target. The secrets are read when they are needed. */
async function clientOptions(target: VaultTarget, access: SignerAccess): Promise<VaultOptions> {
  const { address, namespace, caFile } = target;
  const { timeoutMs, signal } = access;
  const ca = caFile === null ? undefined : await readCa(caFile);
  return { address, auth: authOf(target, access), ca, timeoutMs, signal, namespace: namespace ?? undefined };
}

async function readCa(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw signerError(`the file with the authority of Vault cannot be read: ${file}`, 'check --vault-ca-file', cause);
  }
}

function authOf({ auth, authMount, role, address }: VaultTarget, { secret }: SignerAccess): VaultAuth {
  const ask = async (name: 'vaultToken' | 'vaultSecretId') => {
    if (secret !== undefined) return secret(name, address);
    throw signerError(
      `Vault at ${address} needs a secret, and none was given`,
      'pass it in the access option "secret"',
    );
  };
  const mount = authMount ?? undefined;
  if (auth === 'approle') return { method: auth, roleId: role ?? '', secretId: () => ask('vaultSecretId'), mount };
  if (auth === 'kubernetes') return { method: auth, role: role ?? '', mount };
  return auth === 'agent' ? { method: auth } : { method: auth, token: () => ask('vaultToken') };
}

/** Keys in the transit engine of HashiCorp Vault or OpenBao. */
export const VAULT_KIND: SignerKind<VaultLocation, VaultTarget> = {
  kind: 'vault',
  add: {
    command: 'add-vault',
    description: 'Use a key that the transit engine of HashiCorp Vault holds',
    examples: [
      '--address https://vault.internal:8200 --key bot',
      '--address https://vault.internal:8200 --key bot --vault-auth kubernetes --vault-role bots',
      '--address http://127.0.0.1:8100 --key bot --vault-auth agent',
    ],
  },
  make: {
    flag: '--in-vault',
    description: 'inside the transit engine of HashiCorp Vault',
    examples: ['--in-vault --address https://vault.internal:8200 --vault-token-file token.txt'],
  },
  options: [
    { flags: '--address <url>', description: 'the server, such as https://vault.internal:8200', required: ALWAYS },
    { flags: '--key <name>', description: 'the name of the key in the transit engine', on: ['add'], required: ['add'] },
    { flags: '--key <name>', description: 'the name of the new key in Vault (default: <name>)', on: MAKES },
    { flags: '--key-version <n>', description: 'the version of the key (default: the latest)', on: ['add'] },
    { flags: '--mount <path>', description: 'where the transit engine is mounted (default: transit)' },
    { flags: '--vault-namespace <path>', description: 'the namespace (default: env VAULT_NAMESPACE)' },
    { flags: '--vault-auth <method>', description: `how to log in: ${METHODS.join(', ')} (default: token)` },
    { flags: '--vault-role <role>', description: 'the role id of approle, or the role of kubernetes' },
    { flags: '--vault-auth-mount <path>', description: 'where the auth method is mounted (default: its name)' },
    { flags: '--vault-ca-file <file>', description: 'the authority of the server, in PEM (default: env VAULT_CACERT)' },
  ],
  isLocation: (value) => fits(value, 'vault', { ...TARGET, key: isText, version: Number.isSafeInteger }),
  isTarget: (value) => fits(value, 'vault', TARGET),
  describe: ({ address, mount, key, version }) => `vault ${address}, key ${mount}/${key}, version ${version}`,
  describeTarget: ({ address, mount }) => `Vault at ${address} (${mount})`,
  targetOf: ({ key: _key, version: _version, ...target }) => target,
  targetFrom,
  valuesOf: (name, { address, mount, namespace, auth, authMount, role, caFile }) => ({
    address,
    mount,
    key: name,
    vaultNamespace: namespace ?? undefined,
    vaultAuth: auth,
    vaultAuthMount: authMount ?? undefined,
    vaultRole: role ?? undefined,
    vaultCaFile: caFile ?? undefined,
  }),
  async open(location, access): Promise<Signer> {
    const { vaultSigner } = await import('./vault-signer.js');
    const { key, mount, version } = location;
    return vaultSigner({ ...(await clientOptions(location, access)), key, mount, version });
  },
  async hold(values, access) {
    const { vaultSigner } = await import('./vault-signer.js');
    const target = targetFrom(values, access.env);
    const key = requireText(values, 'key');
    const asked = textOf(values, 'keyVersion');
    if (asked !== null && !/^[1-9]\d{0,8}$/.test(asked)) throw usageError('--key-version is a whole number from 1');
    const options = { ...(await clientOptions(target, access)), key, mount: target.mount };
    const signer = await vaultSigner({ ...options, version: asked === null ? undefined : Number(asked) });
    await signer.close();
    return { publicKey: signer.publicKey, location: { ...target, key, version: signer.version } };
  },
  async generate({ key: { name, type, bits }, target, values, access }) {
    const { generateInVault } = await import('./vault-signer.js');
    const key = textOf(values, 'key') ?? name;
    const { mount, address } = target;
    const signer = await generateInVault({ ...(await clientOptions(target, access)), key, mount, type, bits });
    await signer.close();
    return {
      publicKey: signer.publicKey,
      location: { ...target, key, version: signer.version },
      recover: `the key is in Vault: deribit-keys add-vault <name> --address ${address} --mount ${mount} --key ${key}`,
    };
  },
};
