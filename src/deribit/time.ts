import { fieldsOf, unexpected } from './shapes.js';
import type { RequestOptions, Transport } from './transport.js';

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
