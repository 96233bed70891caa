import { concurrencyLimit } from '../concurrency-limit.js';
import { CKF_SERIAL_SESSION, type Cryptoki, type Handle } from './cryptoki.js';
import type { Token } from './token.js';

/** The sessions of one token. Each operation has its own; one stays open, because the login ends with the last. */
export interface SessionPool {
  /** Runs `work` with its own session, which is closed if it fails: an operation may be half done in it. */
  use<T>(work: (session: Handle) => Promise<T>): Promise<T>;
  /** Closes the idle sessions now, and those in use when they are done. */
  close(): void;
}

/** The size of the thread pool of Node.js. */
const SESSIONS = 4;

/** Closes a session, which may be closed already. */
export function closeSession(cryptoki: Cryptoki, session: Handle): void {
  try {
    cryptoki.C_CloseSession(session);
  } catch {
    // it is closed either way
  }
}

/** @param first an open session, which the pool takes over */
export function sessionPool(cryptoki: Cryptoki, token: Token, first: Handle): SessionPool {
  const { maxSessionCount } = cryptoki.C_GetTokenInfo(token.slot);
  const idle = [first];
  let closed = false;
  const limited = concurrencyLimit(maxSessionCount > 0 ? Math.min(SESSIONS, maxSessionCount) : SESSIONS);
  const close = (session: Handle) => closeSession(cryptoki, session);
  return {
    use: (work) =>
      limited(async () => {
        const session = idle.pop() ?? cryptoki.C_OpenSession(token.slot, CKF_SERIAL_SESSION);
        try {
          const result = await work(session);
          if (closed) close(session);
          else idle.push(session);
          return result;
        } catch (error) {
          close(session);
          throw error;
        }
      }),
    close() {
      closed = true;
      for (const session of idle.splice(0)) close(session);
    },
  };
}
