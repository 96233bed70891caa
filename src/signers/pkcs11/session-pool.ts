import { concurrencyLimit } from '../concurrency-limit.js';
import { CKF_SERIAL_SESSION, type Cryptoki, type Handle } from './cryptoki.js';
import type { Token } from './token.js';

/** The sessions of one token: an operation has one for itself, and the first stays open, since with it the login goes. */
export interface SessionPool {
  /** Runs `work` with a session of its own. One that fails is closed, since it may hold half an operation. */
  use<T>(work: (session: Handle) => Promise<T>): Promise<T>;
  /** Closes what is idle now, and what is in use when it comes back. */
  close(): void;
}

/** As many as run at once in the thread pool of Node.js. */
const SESSIONS = 4;

/** Closes a session that may be gone already. */
export function closeSession(cryptoki: Cryptoki, session: Handle): void {
  try {
    cryptoki.C_CloseSession(session);
  } catch {
    // what matters is that it is not open
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
