import { resolve } from 'node:path';
import { type GenerateOptions, generateKeyPair } from '../crypto/generate.js';
import type { PrivateKey } from '../crypto/keys.js';
import type { SecretLike } from '../crypto/secret.js';
import type { Signer } from '../crypto/signer.js';
import { DeribitKeysError, isDeribitKeysError } from '../errors.js';
import type { Keystore } from '../keystore/keystore.js';
import type { KeyRecord, SignerLocation } from '../keystore/record.js';
import { readPublicKey, storePublicKey } from '../keystore/stored-keys.js';
import {
  type AgentIdentity,
  generateInToken as generatePairInToken,
  type LoadPackage,
  loadKeyIntoAgent,
  pkcs11Signer,
  removeKeyFromAgent,
  type SshAgentSigner,
  sshAgentSigner,
} from '../signers/index.js';
import type { MakeSuccessor } from './rotation/successor.js';

/** What it takes to reach keys that live outside of the keystore. */
export interface SignerAccess {
  /** The agent's socket where a record names none: the user's SSH_AUTH_SOCK. */
  readonly agentSocket: string | undefined;
  /** Called where the named token wants its PIN. */
  readonly pinOf?: ((token: string) => Promise<SecretLike>) | undefined;
  readonly load?: LoadPackage | undefined;
}

/** A token's key as the user names it. */
export interface TokenKeyPlace {
  readonly module: string;
  /** The token's label, or its serial number. */
  readonly token: string;
  readonly label?: string | undefined;
  readonly id?: string | undefined;
}

const socketOf = (access: SignerAccess, socket: string | null | undefined) => socket ?? access.agentSocket ?? '';

function openToken(place: TokenKeyPlace, access: SignerAccess) {
  const { pinOf, load } = access;
  const pin = pinOf === undefined ? {} : { pin: () => pinOf(place.token) };
  return pkcs11Signer({ ...place, ...pin, load });
}

function openLocation(location: SignerLocation, access: SignerAccess): Promise<Signer> {
  if (location.kind === 'ssh-agent') {
    const { fingerprint } = location;
    return sshAgentSigner({ fingerprint, socket: socketOf(access, location.socket), load: access.load });
  }
  const { module, token, label, id } = location;
  return openToken({ module, token, label: label ?? undefined, id: id ?? undefined }, access);
}

/**
 * Opens the signer of a key that lives in an agent or a token, and proves that it is the record's.
 * @throws `ERR_KEY_MISMATCH` for another key, and what the signers throw
 */
export async function openExternalSigner(
  store: Keystore,
  record: KeyRecord & { readonly signer: SignerLocation },
  access: SignerAccess,
): Promise<Signer> {
  const signer = await openLocation(record.signer, access);
  if (signer.publicKey.equals(await readPublicKey(store, record))) return signer;
  throw new DeribitKeysError(
    'ERR_KEY_MISMATCH',
    `the ${record.signer.kind} key that the record "${record.name}" names is another key now`,
    { hint: 'bring it in under another name, or put the one that belongs there back' },
  );
}

/**
 * Makes a record of a key that an ssh-agent holds.
 * @throws `ERR_NAME_TAKEN`, and what `sshAgentSigner` does
 */
export async function addAgentKey(
  store: Keystore,
  name: string,
  choice: { readonly fingerprint: string } | { readonly comment: string },
  socket: string | undefined,
  access: SignerAccess,
): Promise<KeyRecord> {
  await store.requireFree(name);
  const signer = await sshAgentSigner({ ...choice, socket: socketOf(access, socket), load: access.load });
  return storePublicKey(store, name, signer.publicKey, agentLocation(signer, socket));
}

function agentLocation(signer: SshAgentSigner, socket: string | undefined): SignerLocation {
  const { sshFingerprint, comment } = signer;
  return { kind: 'ssh-agent', fingerprint: sshFingerprint, comment, socket: socket ?? null };
}

/**
 * Makes a record of a key that a PKCS#11 token holds.
 * @throws `ERR_NAME_TAKEN`, and what `pkcs11Signer` does
 */
export async function addTokenKey(
  store: Keystore,
  name: string,
  place: TokenKeyPlace,
  access: SignerAccess,
): Promise<KeyRecord> {
  await store.requireFree(name);
  const module = resolve(place.module);
  const signer = await openToken({ ...place, module }, access);
  const { publicKey, label, id } = signer;
  await signer.close();
  return storePublicKey(store, name, publicKey, { kind: 'pkcs11', module, token: place.token, label, id });
}

/** How an agent is to hold a key. */
export interface AgentConstraints {
  readonly socket?: string | undefined;
  readonly lifetimeS?: number | undefined;
  readonly confirm?: boolean | undefined;
}

/**
 * Makes a keypair and loads it into an ssh-agent: its private half is never on a disk, and goes when the agent goes.
 * @throws `ERR_NAME_TAKEN`, `ERR_SIGNER`
 */
export async function generateInAgent(
  store: Keystore,
  name: string,
  kind: GenerateOptions,
  constraints: AgentConstraints,
  access: SignerAccess,
): Promise<KeyRecord> {
  await store.requireFree(name);
  const key = await generateKeyPair(kind);
  const identity = await loadIntoAgent(key, name, constraints, access);
  const where = { socket: socketOf(access, constraints.socket), load: access.load };
  const signer = await sshAgentSigner({ ...where, fingerprint: identity.fingerprint }).catch(async (error) => {
    await removeKeyFromAgent(identity, where).catch(() => {});
    throw error;
  });
  const location = agentLocation(signer, constraints.socket);
  return storePublicKey(store, name, key.publicKey, location, 'generate').catch((error) => {
    throw withHint(
      error,
      `the key is in the agent: deribit-keys add-agent <name> --fingerprint ${identity.fingerprint}`,
    );
  });
}

/** Loads a private key into an ssh-agent, with the key's name as its comment. @throws `ERR_SIGNER`, `ERR_USAGE` */
export function loadIntoAgent(
  key: PrivateKey,
  name: string,
  { socket, lifetimeS, confirm }: AgentConstraints,
  access: SignerAccess,
): Promise<AgentIdentity> {
  const where = { socket: socketOf(access, socket), load: access.load };
  return loadKeyIntoAgent(key, { ...where, comment: name, lifetimeS, confirm });
}

/**
 * Makes a keypair inside a PKCS#11 token, which never gives the private half away.
 * @throws `ERR_NAME_TAKEN` for the name here or the label there, and what `generateInToken` of the signers does
 */
export async function generateInToken(
  store: Keystore,
  name: string,
  kind: GenerateOptions,
  place: TokenKeyPlace,
  access: SignerAccess,
): Promise<KeyRecord> {
  await store.requireFree(name);
  const { token, label = name } = place;
  const module = resolve(place.module);
  const { pinOf, load } = access;
  const pin = pinOf === undefined ? {} : { pin: () => pinOf(token) };
  const pair = await generatePairInToken({ module, token, label, load, ...kind, ...pin });
  const { id } = pair;
  const signer = await openToken({ module, token, label, id }, access).catch(async (error) => {
    await pair.destroy();
    throw error;
  });
  await signer.close();
  const location = { kind: 'pkcs11', module, token, label, id } as const;
  return storePublicKey(store, name, signer.publicKey, location, 'generate').catch((error) => {
    throw withHint(
      error,
      `the pair is in the token: deribit-keys add-token <name> --module ${module} --token "${token}" --id ${id}`,
    );
  });
}

/** The same error with another next step: the work is half done, and what was made is not lost. */
function withHint(error: unknown, hint: string): unknown {
  if (!(error instanceof DeribitKeysError)) return error;
  return new DeribitKeysError(error.code, error.message, { hint, cause: error });
}

/**
 * Makes the successor of a rotating key where its kind says: `makeFile` for a file, else in an agent or a token. A pair that
 * an interrupted run left there, under the successor's name, is taken over: no second one is made.
 */
export function successorAnywhere(store: Keystore, makeFile: MakeSuccessor, access: SignerAccess): MakeSuccessor {
  return async (name, old, kind) => {
    const { type, bits, place = { kind: 'file' } } = kind;
    if (place.kind === 'file') return makeFile(name, old, kind);
    const options = bits === null ? { type } : { type, bits };
    if (place.kind === 'ssh-agent') {
      const socket = place.socket ?? undefined;
      return addAgentKey(store, name, { comment: name }, socket, access).catch((error) => {
        if (!isDeribitKeysError(error, 'ERR_SIGNER')) throw error;
        return generateInAgent(store, name, options, { socket }, access);
      });
    }
    const { module, token } = place;
    return generateInToken(store, name, options, { module, token }, access).catch((error) => {
      if (!isDeribitKeysError(error, 'ERR_NAME_TAKEN')) throw error;
      return addTokenKey(store, name, { module, token, label: name }, access);
    });
  };
}
