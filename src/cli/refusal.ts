import { isDeribitKeysError } from '../errors.js';
import type { LoginAttempt } from '../workflows/checks/refusal.js';
import type { Context } from './context.js';

/**
 * Runs work that begins with a login; where the exchange refuses that without saying why, the error carries the likely
 * reasons as its hints.
 */
export async function explained<T>(cx: Context, attempt: LoginAttempt, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isDeribitKeysError(error, 'ERR_UNAUTHORIZED')) throw error;
    const { explainRefusal } = await import('../workflows/checks/refusal.js');
    throw await explainRefusal(cx.workflow, error, attempt);
  }
}
