import { vi } from 'vitest';
import { type DeribitKeysError, type ErrorCode, isDeribitKeysError } from '../../src/errors.js';

/** Some work, or what does it. */
export type Work = PromiseLike<unknown> | (() => unknown);

/** What `work` fails with; fails itself where it does not. */
export async function thrownBy(work: Work): Promise<Error & Readonly<Record<string, unknown>>> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    return error as Error & Readonly<Record<string, unknown>>;
  }
  throw new Error('it did not fail');
}

/** The error of ours that `work` fails with; fails itself where it does not, or with another error. */
export async function errorOf(work: Work): Promise<DeribitKeysError> {
  const error = await thrownBy(work);
  if (isDeribitKeysError(error)) return error;
  throw error;
}

/** The code of the error of ours that `work` fails with. */
export const codeOf = async (work: Work): Promise<ErrorCode> => (await errorOf(work)).code;

/** Waits until something holds, however slow the machine is. */
export function until(holds: () => unknown): Promise<unknown> {
  return vi.waitUntil(holds, { timeout: 60_000, interval: 5 });
}
