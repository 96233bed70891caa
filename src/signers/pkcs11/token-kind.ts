import { resolve } from 'node:path';
import { isText } from '../../util/checks.js';
import { defined } from '../../util/defined.js';
import type { OptionValues, SignerAccess, SignerKind } from '../signer-kind.js';
import { ALWAYS, fits, isTextOrNull, requireText, textOf } from '../signer-kind.js';

/** A key in a PKCS#11 token, as a record keeps it. */
export interface TokenLocation {
  readonly kind: 'pkcs11';
  readonly module: string;
  /** The token's label, or its serial number. */
  readonly token: string;
  /** CKA_LABEL and CKA_ID (hexadecimal) of the key. */
  readonly label: string | null;
  readonly id: string | null;
}

export type TokenTarget = Pick<TokenLocation, 'kind' | 'module' | 'token'>;

/** The token, its PIN, and how pkcs11js is loaded. */
function tokenOf({ module, token }: Pick<TokenLocation, 'module' | 'token'>, { secret, load }: SignerAccess) {
  return { module, token, load, ...defined({ pin: secret === undefined ? undefined : () => secret('pin', token) }) };
}

const targetFrom = (values: OptionValues): TokenTarget => ({
  kind: 'pkcs11',
  module: resolve(requireText(values, 'module')),
  token: requireText(values, 'token'),
});

/** Keys in a PKCS#11 token. */
export const TOKEN_KIND: SignerKind<TokenLocation, TokenTarget> = {
  kind: 'pkcs11',
  add: {
    command: 'add-token',
    description: 'Use a key that a PKCS#11 token holds: a smart card, an HSM, a cloud HSM, a TPM',
    examples: [
      '--module /usr/lib/softhsm/libsofthsm2.so --token bots --label bot --pin-file pin.txt',
      '--module /usr/lib/x86_64-linux-gnu/opensc-pkcs11.so --token "PIV_II" --id 02',
    ],
  },
  make: {
    flag: '--in-token',
    description: 'inside a PKCS#11 token, which never reveals it',
    examples: ['--in-token --module /usr/lib/softhsm/libsofthsm2.so --token bots --pin-file pin.txt'],
  },
  options: [
    { flags: '--module <file>', description: 'the PKCS#11 library of the maker of the token', required: ALWAYS },
    { flags: '--token <label>', description: 'the label of the token, or its serial number', required: ALWAYS },
    { flags: '--label <text>', description: 'the label of the key …', on: ['add'] },
    { flags: '--id <hex>', description: '… or its id, or both', on: ['add'] },
    { flags: '--token-label <text>', description: 'the label of the new key (default: <name>)', on: ['generate'] },
  ],
  isLocation: (value) =>
    fits(value, 'pkcs11', { module: isText, token: isText, label: isTextOrNull, id: isTextOrNull }),
  isTarget: (value) => fits(value, 'pkcs11', { module: isText, token: isText }),
  describe({ token, label, id, module }) {
    const key = [label === null ? '' : `label "${label}"`, id === null ? '' : `id ${id}`].filter(Boolean).join(', ');
    return `pkcs11 token "${token}", ${key} (${module})`;
  },
  describeTarget: ({ token }) => `the token "${token}"`,
  targetOf: ({ module, token }) => ({ kind: 'pkcs11', module, token }),
  targetFrom,
  valuesOf: (name, { module, token }) => ({ module, token, label: name }),
  async open(location, access) {
    const { pkcs11Signer } = await import('./pkcs11-signer.js');
    const { label, id } = location;
    return pkcs11Signer({ ...tokenOf(location, access), label: label ?? undefined, id: id ?? undefined });
  },
  async hold(values, access) {
    const { pkcs11Signer } = await import('./pkcs11-signer.js');
    const target = targetFrom(values);
    const choice = { label: textOf(values, 'label') ?? undefined, id: textOf(values, 'id') ?? undefined };
    const signer = await pkcs11Signer({ ...tokenOf(target, access), ...choice });
    const { publicKey, label, id } = signer;
    await signer.close();
    return { publicKey, location: { ...target, label, id } };
  },
  async generate({ key: { name, type, bits }, target, values, access }) {
    const { generateInToken } = await import('./generate-in-token.js');
    const { pkcs11Signer } = await import('./pkcs11-signer.js');
    const token = tokenOf(target, access);
    const pair = await generateInToken({ ...token, label: textOf(values, 'tokenLabel') ?? name, type, bits });
    const { label, id } = pair;
    const signer = await pkcs11Signer({ ...token, label, id }).catch(async (error) => {
      await pair.destroy();
      throw error;
    });
    await signer.close();
    return {
      publicKey: signer.publicKey,
      location: { ...target, label, id },
      recover: `the key pair is in the token: deribit-keys add-token <name> --module ${target.module} --token "${target.token}" --id ${id}`,
    };
  },
};
