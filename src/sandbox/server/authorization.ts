import { type Credentials, isUsable, keyBySecret, knownKey } from '../core/access.js';
import { invalidCredentials } from '../core/errors.js';
import type { Exchange } from '../core/exchange.js';
import { hmacHex, isTimely, sameText } from '../core/signature.js';

/** The parts of an HTTP request that its signature covers. */
export interface SignedParts {
  readonly verb: string;
  /** Path and query as they were sent. */
  readonly uri: string;
  readonly body: string;
}

/** Who an `Authorization` header names: Bearer, Basic or `deri-hmac-sha256`. @throws RpcError 13004 for a wrong secret */
export function readAuthorization(
  exchange: Exchange,
  header: string | undefined,
  parts: SignedParts,
  peer: string,
): Credentials {
  if (header === undefined) return { kind: 'none' };
  const [, scheme = '', rest = ''] = /^([A-Za-z0-9-]+)\s+(.+)$/.exec(header.trim()) ?? [];
  switch (scheme.toLowerCase()) {
    case 'bearer':
      return { kind: 'token', accessToken: rest };
    case 'basic': {
      const [, id = '', secret = ''] = /^([^:]*):(.*)$/.exec(Buffer.from(rest, 'base64').toString()) ?? [];
      return { kind: 'key', key: keyBySecret(exchange, id, secret, peer) };
    }
    case 'deri-hmac-sha256':
      return signedRequest(exchange, rest, parts, peer);
    default:
      return { kind: 'bad' };
  }
}

/**
 * `id=…,ts=…,sig=…,nonce=…` in any order; the signature is over `ts\nnonce\nVERB\nURI\nbody\n`. Clients send several
 * requests in one millisecond with one nonce, so only the same signature counts as a replay.
 */
function signedRequest(exchange: Exchange, text: string, { verb, uri, body }: SignedParts, peer: string): Credentials {
  const fields = new Map(
    text.split(',').map((field): [string, string] => {
      const at = field.indexOf('=');
      return [field.slice(0, Math.max(0, at)).trim(), field.slice(at + 1).trim()];
    }),
  );
  const { id = '', ts = '', sig = '', nonce = '' } = Object.fromEntries(fields);
  const key = knownKey(exchange, id);
  const timestampMs = /^\d{1,15}$/.test(ts) ? Number(ts) : Number.NaN;
  const nowMs = exchange.now();
  if (
    key === undefined ||
    key.publicKey !== null ||
    !isTimely(timestampMs, nowMs) ||
    !sameText(hmacHex(key.secret, `${ts}\n${nonce}\n${verb}\n${uri}\n${body}\n`), sig) ||
    !isUsable(key, peer) ||
    !exchange.replays.add(id, timestampMs, `${nonce}\n${sig}`, nowMs)
  ) {
    throw invalidCredentials();
  }
  return { kind: 'key', key };
}
