import { bytesToBase64, bytesToBase64url, bytesToHex, utf8Bytes } from '../../crypto/bytes.js';
import type { PrivateKey } from '../../crypto/keys.js';
import { encodePublicKeyPem } from '../../crypto/pem.js';
import { localSigner, randomNonce } from '../../crypto/signer.js';
import { getTime, readClock } from '../../deribit/clock.js';
import { type Params, protocolError } from '../../deribit/json-rpc.js';
import { withSecondFactor } from '../../deribit/second-factor.js';
import type { Transport } from '../../deribit/transport.js';
import { isDeribitKeysError } from '../../errors.js';
import { isRecord } from '../../util/checks.js';
import { defined } from '../../util/defined.js';
import { type OpenAccount, protectedOptions, requestOptions, withTransport } from '../account/account.js';
import { explainKeyLimit } from '../account/api-keys.js';
import type { AccountLogin, WorkflowContext } from '../context.js';

/** The ways in which other programs write the bytes of a signature. */
export const ENCODINGS = {
  base64url: bytesToBase64url,
  'padded base64': bytesToBase64,
  hex: bytesToHex,
} as const;

export type Encoding = keyof typeof ENCODINGS;

/** The scope of every throw-away key: a login with it can change nothing. */
export const LAB_SCOPE = 'account:read';

/** A key that this run made on the exchange. */
export interface LabKey {
  readonly key: PrivateKey;
  readonly keyId: number;
  readonly clientId: string;
  /** The answer to `private/create_api_key` as it arrived. */
  readonly answer: Readonly<Record<string, unknown>>;
}

export interface Attempt {
  readonly clientId?: string;
  readonly encoding?: Encoding;
  /** Relative to the exchange's clock; milliseconds. */
  readonly aheadMs?: number;
  readonly timestampMs?: number;
  /** Null: none is sent. */
  readonly nonce?: unknown;
  readonly scope?: string;
  /** Sent instead of the right signature. */
  readonly signature?: Uint8Array;
}

/** What the probes work with: an account, a label prefix of their own, and throw-away keys that live in memory only. */
export interface Lab {
  /** Every label of this run begins with it, so that a later run finds what this one left behind. */
  readonly prefix: string;
  /** The encoding of signatures that the exchange accepts, once that is known. */
  encoding: Encoding;
  /** Asks in the account's name, with the second factor where it is wanted. */
  ask(method: string, params?: Readonly<Record<string, unknown>>): Promise<unknown>;
  create(key: PrivateKey, overrides?: Readonly<Record<string, unknown>>): Promise<LabKey>;
  remove(made: Pick<LabKey, 'keyId'>): Promise<void>;
  /** One signed `public/auth` on a connection of its own; resolves to the result, or to the code of the refusal. */
  login(made: LabKey, attempt?: Attempt): Promise<Readonly<Record<string, unknown>> | number>;
  /** A request on a connection that has not logged in; resolves to the result, or to the code of the refusal. */
  anonymous(method: string, params: Readonly<Record<string, unknown>>): Promise<{ readonly result: unknown } | number>;
}

/** The code of the exchange's refusal; every other failure is thrown. */
export function refusalCode(error: unknown): number {
  if (isDeribitKeysError(error) && error.rpc !== undefined) return error.rpc.code;
  throw error;
}

export function openLab(
  context: WorkflowContext,
  { endpoint }: AccountLogin,
  { account, prefix }: { readonly account: OpenAccount; readonly prefix: string },
): Lab {
  let labels = 0;
  const ask: Lab['ask'] = (method, params = {}) =>
    withSecondFactor(account, { method, params, ...protectedOptions(context) });
  const options = requestOptions(context);
  const answerTo = async (transport: Transport, method: string, params: Params) => {
    try {
      return { result: await transport.request(method, params, options) };
    } catch (error) {
      return refusalCode(error);
    }
  };
  const lab: Lab = {
    prefix,
    encoding: 'base64url',
    ask,
    anonymous: (method, params) => withTransport(context, endpoint, (transport) => answerTo(transport, method, params)),
    async create(key, overrides = {}) {
      labels += 1;
      const params = {
        max_scope: LAB_SCOPE,
        name: `${prefix}${labels}`,
        public_key: encodePublicKeyPem(key.publicKey),
        ...overrides,
      };
      const answer = await ask('private/create_api_key', params).catch((error: unknown) => {
        throw explainKeyLimit(error);
      });
      if (!isRecord(answer) || typeof answer.id !== 'number' || typeof answer.client_id !== 'string') {
        throw protocolError('the answer to private/create_api_key holds no id or no client_id');
      }
      return { key, answer, keyId: answer.id, clientId: answer.client_id };
    },
    async remove({ keyId }) {
      await ask('private/remove_api_key', { id: keyId });
    },
    login: ({ key, clientId }, attempt = {}) =>
      withTransport(context, endpoint, async (transport) => {
        const nonce = attempt.nonce === undefined ? randomNonce() : attempt.nonce;
        const { offsetMs } = await readClock(() => getTime(transport, options));
        const timestamp = attempt.timestampMs ?? Math.round(context.nowMs() + offsetMs + (attempt.aheadMs ?? 0));
        const message = utf8Bytes(`${timestamp}\n${nonce ?? ''}\n`);
        const signature = attempt.signature ?? (await localSigner(key).sign(message));
        const params = {
          grant_type: 'client_signature',
          client_id: attempt.clientId ?? clientId,
          timestamp,
          data: '',
          signature: ENCODINGS[attempt.encoding ?? lab.encoding](signature),
          ...defined({ nonce: nonce ?? undefined, scope: attempt.scope }),
        };
        const answer = await answerTo(transport, 'public/auth', params);
        if (typeof answer === 'number') return answer;
        if (!isRecord(answer.result)) throw protocolError('the answer to public/auth is not an object');
        return answer.result;
      }),
  };
  return lab;
}
