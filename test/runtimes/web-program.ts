// What each runtime of the web does with the library, in its form for browsers and workers: crypto and a session.
import { fingerprint } from '../../src/crypto/fingerprint.js';
import { parsePrivateKey } from '../../src/crypto/formats/parse.js';
import { generateKeyPair } from '../../src/crypto/generate.js';
import { localSigner, verifySignature } from '../../src/crypto/signer.js';
import { openSession } from '../../src/session/index.js';

export interface WebInput {
  readonly url: string;
  readonly clientId: string;
  readonly pem: string;
}

export interface WebResult {
  /** Whether a signature of a new key is valid. */
  readonly ed25519: boolean;
  readonly rsa: boolean;
  /** Of the key in `pem`. */
  readonly fingerprint: string;
  readonly equity: string;
  readonly channel: unknown;
}

async function signs(type: 'ed25519' | 'rsa'): Promise<boolean> {
  const key = await generateKeyPair(type === 'rsa' ? { type, bits: 2048 } : { type });
  const message = new TextEncoder().encode('a message');
  return verifySignature(key.publicKey, message, await localSigner(key).sign(message));
}

export async function useLibrary({ url, clientId, pem }: WebInput): Promise<WebResult> {
  const key = await parsePrivateKey(pem);
  const session = await openSession({ url, clientId, signer: localSigner(key) });
  const summary = (await session.request('private/get_account_summary', { currency: 'BTC' })) as { equity: unknown };
  const heard = await new Promise<{ readonly channel?: unknown }>((resolve, reject) => {
    session.subscribe('ticker.BTC-PERPETUAL.raw', resolve).catch(reject);
  });
  await session.close();
  return {
    ed25519: await signs('ed25519'),
    rsa: await signs('rsa'),
    fingerprint: fingerprint(key.publicKey),
    equity: typeof summary.equity,
    channel: heard.channel,
  };
}
