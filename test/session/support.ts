import { generateKeyPair } from '../../src/crypto/generate.js';
import { encodePublicKeyPem } from '../../src/crypto/pem.js';
import type { Signer } from '../../src/crypto/signer.js';
import { localSigner } from '../../src/crypto/signer.js';
import type { Sandbox, SandboxOptions } from '../../src/sandbox/index.js';
import { openSession, type Session, type SessionOptions } from '../../src/session/index.js';
import type { SessionEvents } from '../../src/session/session.js';
import { afterTest } from '../support/after-test.js';
import { openExchange } from '../support/world.js';

/** An exchange with one asymmetric key, and what is needed to log in with it. */
export interface World {
  readonly sandbox: Sandbox;
  readonly clientId: string;
  readonly keyId: number;
  readonly signer: Signer;
  readonly publicKeyPem: string;
  /** Opens a session of that key, over WebSocket, with short waits. */
  open(options?: Partial<SessionOptions>): Promise<Session>;
  /** Methods that the exchange handled or was asked for, without those of heartbeats and clocks. */
  calls(): string[];
}

export async function world(options: SandboxOptions = {}, maxScope?: string): Promise<World> {
  const sandbox = await openExchange(options);
  const key = await generateKeyPair();
  const publicKeyPem = encodePublicKeyPem(key.publicKey);
  const registered = sandbox.addKey({
    publicKey: publicKeyPem,
    ...(maxScope === undefined ? {} : { maxScope }),
  });
  const { client_id: clientId, id: keyId } = registered;
  const signer = localSigner(key);
  return {
    sandbox,
    clientId,
    keyId,
    signer,
    publicKeyPem,
    async open(given = {}) {
      const backoff = { firstMs: 5, longestMs: 40 };
      const session = await openSession({ url: sandbox.wsUrl, clientId, signer, backoff, ...given });
      afterTest(() => session.close());
      return session;
    },
    calls: () =>
      sandbox.calls
        .filter(({ method }) => !['public/set_heartbeat', 'public/get_time', 'public/test'].includes(method))
        .map(({ method, outcome }) => `${method} ${outcome}`),
  };
}

/** The next event of that name. */
export function next<Name extends keyof SessionEvents>(session: Session, name: Name): Promise<SessionEvents[Name]> {
  return new Promise((resolve) => {
    const stop = session.on(name, (event) => {
      stop();
      resolve(event);
    });
  });
}

/** All events of that name from now on. */
export function all<Name extends keyof SessionEvents>(session: Session, name: Name): SessionEvents[Name][] {
  const events: SessionEvents[Name][] = [];
  session.on(name, (event) => events.push(event));
  return events;
}
