import { randomBytes } from 'node:crypto';
import { signerError } from '../../crypto/signer.js';
import { DeribitKeysError } from '../../errors.js';
import type { LoadPackage } from '../optional-package.js';
import { DEFAULT_RSA_BITS, type GenerateInKmsOptions } from '../remote-key.js';
import {
  type Attribute,
  CKA,
  CKF_RW_SESSION,
  CKF_SERIAL_SESSION,
  CKK_EC_EDWARDS,
  CKK_RSA,
  CKM_EC_EDWARDS_KEY_PAIR_GEN,
  CKM_RSA_PKCS_KEY_PAIR_GEN,
  CKO_PRIVATE_KEY,
  CKO_PUBLIC_KEY,
  type Handle,
  openModule,
} from './cryptoki.js';
import { findObjects, isSet, templateOf } from './key-objects.js';
import {
  closeSession,
  findToken,
  hasMechanism,
  logIn,
  openSession,
  type PinSource,
  type Session,
  type TokenChoice,
  tokenError,
} from './token.js';

/** The arguments of {@link generateInToken}. */
export type GenerateInTokenOptions = TokenChoice &
  GenerateInKmsOptions & {
    readonly module: string;
    /** CKA_LABEL of both halves; no other private key of the token may have it. */
    readonly label: string;
    readonly pin?: PinSource | undefined;
    readonly load?: LoadPackage | undefined;
  };

/** A keypair that was made inside a token. */
export interface GeneratedInToken {
  readonly token: string;
  readonly label: string;
  /** CKA_ID in hexadecimal: 16 random bytes. */
  readonly id: string;
  /** Destroys the pair again. */
  destroy(): Promise<void>;
}

const ID_BYTES = 16;
const PUBLIC_EXPONENT = Buffer.of(1, 0, 1);
/** The curve by its OID (RFC 8410 §3), and by its name (PKCS#11 v3.0 §2.3.10). */
const CURVE_FORMS = [Buffer.from('06032b6570', 'hex'), Buffer.from('130c656477617264733235353139', 'hex')];

/**
 * Makes a keypair inside a token. The private half is sensitive and not extractable, which is read back.
 * @throws `ERR_NAME_TAKEN` if the token has a key of this label, and what `pkcs11Signer` throws
 */
export async function generateInToken(options: GenerateInTokenOptions): Promise<GeneratedInToken> {
  const { module, label, pin, type, bits, load } = options;
  const withToken = async <T>(work: (session: Session) => Promise<T>): Promise<T> => {
    const token = findToken(await openModule(module, load), options);
    const session = openSession(token, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    try {
      await logIn(session, pin);
      return await work(session);
    } catch (error) {
      throw tokenError(token, 'failed to make the key', error);
    } finally {
      closeSession(session);
    }
  };
  return withToken(async (session) => {
    requireFreeLabel(session, label);
    const id = randomBytes(ID_BYTES);
    const pair = await makePair(session, { type, bits, label, id });
    const destroy = (within: Session) => {
      for (const object of findObjects(within, [{ type: CKA.id, value: id }])) {
        within.token.cryptoki.C_DestroyObject(within.handle, object);
      }
    };
    if (isSet(session, pair.privateKey, CKA.extractable) || !isSet(session, pair.privateKey, CKA.sensitive)) {
      destroy(session);
      throw signerError(
        `the token "${session.token.label}" made a key that can be extracted: it was destroyed again`,
        'use a token that protects its keys, or change its policy',
      );
    }
    return {
      token: session.token.label,
      label,
      id: id.toString('hex'),
      destroy: () => withToken(async (later) => destroy(later)),
    };
  });
}

function requireFreeLabel(session: Session, label: string): void {
  if (findObjects(session, [{ type: CKA.class, value: CKO_PRIVATE_KEY }, ...templateOf({ label })]).length === 0)
    return;
  const token = `"${session.token.label}"`;
  throw new DeribitKeysError('ERR_NAME_TAKEN', `the token ${token} has a key labelled "${label}" already`, {
    hint: `use it with: deribit-keys add-token <name> --module <file> --token ${token} --label "${label}"; or choose another --token-label`,
  });
}

interface NewPair extends GenerateInKmsOptions {
  readonly label: string;
  readonly id: Buffer;
}

async function makePair(
  { token, handle }: Session,
  { type = 'ed25519', bits = DEFAULT_RSA_BITS, label, id }: NewPair,
): Promise<{ readonly privateKey: Handle }> {
  const mechanism = type === 'rsa' ? CKM_RSA_PKCS_KEY_PAIR_GEN : CKM_EC_EDWARDS_KEY_PAIR_GEN;
  if (!hasMechanism(token, mechanism)) {
    throw signerError(
      `the token "${token.label}" cannot make ${type === 'rsa' ? 'RSA' : 'Ed25519'} keys`,
      type === 'rsa' ? 'use another token' : 'make an RSA key (--type rsa), or use a token that offers CKM_EDDSA',
    );
  }
  const common: readonly Attribute[] = [
    { type: CKA.keyType, value: type === 'rsa' ? CKK_RSA : CKK_EC_EDWARDS },
    { type: CKA.token, value: true },
    { type: CKA.label, value: label },
    { type: CKA.id, value: id },
  ];
  const privateTemplate: readonly Attribute[] = [
    { type: CKA.class, value: CKO_PRIVATE_KEY },
    ...common,
    { type: CKA.private, value: true },
    { type: CKA.sensitive, value: true },
    { type: CKA.extractable, value: false },
    { type: CKA.sign, value: true },
  ];
  const rsaForm: readonly Attribute[] = [
    { type: CKA.modulusBits, value: bits },
    { type: CKA.publicExponent, value: PUBLIC_EXPONENT },
  ];
  const forms = type === 'rsa' ? [rsaForm] : CURVE_FORMS.map((value) => [{ type: CKA.ecParams, value }]);
  let failure: unknown;
  for (const form of forms) {
    const publicTemplate: readonly Attribute[] = [
      { type: CKA.class, value: CKO_PUBLIC_KEY },
      ...common,
      { type: CKA.verify, value: true },
      ...form,
    ];
    try {
      const how = { mechanism, parameter: null };
      return await token.cryptoki.C_GenerateKeyPairAsync(handle, how, publicTemplate, privateTemplate);
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}
