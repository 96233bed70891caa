import { fieldsOf, unexpected } from './shapes.js';
import type { RequestOptions, Transport } from './transport.js';

/** An offset that is worth correcting. Deribit takes timestamps of the last minute; of the future, who knows. */
export const LARGE_OFFSET_MS = 2_000;

/**
 * No signature is dated further from the clock here than this, whatever the other side says of the time: what is signed
 * for a far day would let it log in then.
 */
export const FARTHEST_CORRECTION_MS = 24 * 60 * 60 * 1000;

/** The exchange's clock, in milliseconds since the epoch (`public/get_time`). */
export async function getTime(transport: Transport, options: RequestOptions = {}): Promise<number> {
  const result = await transport.request('public/get_time', {}, options);
  if (typeof result !== 'number' || !Number.isFinite(result)) {
    throw unexpected('public/get_time', 'the result', 'a number', result);
  }
  return result;
}

/** The version of the exchange's API (`public/test`): the cheapest question that there is. */
export async function getVersion(transport: Transport, options: RequestOptions = {}): Promise<string> {
  return fieldsOf('public/test', await transport.request('public/test', {}, options)).string('version');
}
