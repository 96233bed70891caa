import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { methodNames } from '../../../src/sandbox/methods/table.js';
import { bootstrap, get, type Json, post, record, Socket, token } from '../../sandbox/client.js';
import data from '../../sandbox/shapes/deribit.json' with { type: 'json' };

// What clients that are generated from Deribit's OpenAPI description send: every method with the parameters of the
// description's own example, as JSON and in a query string.

const requests: Readonly<Record<string, Json>> = data.requests;

let sandbox: Sandbox;
let socket: Socket;
beforeAll(async () => {
  sandbox = await startSandbox({ keyLimit: 1000 });
  socket = await Socket.open(sandbox);
});
afterAll(async () => {
  socket.close();
  await sandbox.close();
});

/** The instrument of the sandbox that is of the same kind as the example's. */
function standIn(name: string): string {
  const [currency = ''] = name.split('-');
  if (/-[CP]$/.test(name)) return `${currency}-27DEC30-${currency === 'BTC' ? 50_000 : 2_500}-${name.slice(-1)}`;
  return /-\d/.test(name) ? 'BTC-27DEC30' : name;
}

/** The example's parameters, with the sandbox's own ids, instruments, prices and tokens. */
async function parametersOf(method: string): Promise<Json> {
  const params = { ...requests[method] } as Record<string, unknown>;
  if (typeof params.instrument_name === 'string') params.instrument_name = standIn(params.instrument_name);
  if (/api_key/.test(method) && params.id !== undefined) {
    params.id = sandbox.addKey({ name: 'generated', maxScope: 'trade:read' }).id;
  }
  if (params.refresh_token !== undefined && method !== 'public/auth') {
    params.refresh_token = record(
      (await post(sandbox, 'public/auth', bootstrap(sandbox, 'session:s'))).result,
    ).refresh_token;
    if (params.subject_id !== undefined) params.subject_id = sandbox.accountIds[0];
  }
  if (method === 'public/auth') return bootstrap(sandbox);
  if (method === 'private/close_position') {
    await post(
      sandbox,
      'private/buy',
      { instrument_name: params.instrument_name, amount: 1, type: 'market' },
      await token(sandbox),
    );
    params.price = 2_500;
  }
  return params;
}

const asQuery = (params: Json) =>
  Object.entries(params)
    .map(([name, value]) => `${name}=${encodeURIComponent(typeof value === 'string' ? value : JSON.stringify(value))}`)
    .join('&');

/** Methods of WebSocket connections, which HTTP refuses with 10030. */
const ofConnections = /heartbeat|subscribe|public\/hello/;

/** What the examples ask for that the sandbox refuses for its own reasons, by code. */
const refused: Readonly<Record<string, number>> = {
  // order ids and labels of nobody
  'private/cancel': 10_004,
  'private/edit': 10_004,
  'private/edit_by_label': 10_004,
  'private/get_order_state': 10_004,
  // a stop order, which the sandbox does not imitate
  'private/sell': -32_602,
  // a name with spaces, which the text of the documentation does not allow
  'private/create_api_key': -32_602,
};

describe('a client generated from the OpenAPI description', () => {
  const names = methodNames.filter((name) => name !== 'private/logout');

  it.each(names)('is answered when it calls %s', async (method) => {
    expect(requests[method]).toBeDefined();
    const code = refused[method];
    await socket.request('public/auth', bootstrap(sandbox));
    expect((await socket.request(method, await parametersOf(method)))?.error?.code).toBe(code);
    const bearer = { authorization: `Bearer ${await token(sandbox)}` };
    const { error } = await get(sandbox, `${method}?${asQuery(await parametersOf(method))}`, bearer);
    expect(error?.code).toBe(ofConnections.test(method) ? 10_030 : code);
  });
});
