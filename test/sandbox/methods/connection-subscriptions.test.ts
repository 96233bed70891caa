import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { bootstrap, record, Socket } from '../client.js';

let sandbox: Sandbox;
let socket: Socket;
beforeEach(async () => {
  sandbox = await startSandbox();
  socket = await Socket.open(sandbox);
});
afterEach(async () => {
  socket.close();
  await sandbox.close();
});

function heard(channel: string): readonly unknown[] {
  return socket.answers.flatMap(({ method, params }) =>
    method === 'subscription' && params?.channel === channel ? [params.data] : [],
  );
}

it('counts on its own channel without a gap', async () => {
  const channels = ['sandbox.counter.10ms'];
  expect((await socket.request('public/subscribe', { channels }))?.result).toEqual(channels);
  await socket.until(() => (heard('sandbox.counter.10ms').length >= 5 ? true : undefined));
  const counts = heard('sandbox.counter.10ms').map((data) => record(data).count);
  expect(counts).toEqual(counts.map((_count, i) => i + 1));
});

it.each([
  ['ticker.BTC-PERPETUAL.100ms', { instrument_name: 'BTC-PERPETUAL', last_price: 50_000 }],
  ['ticker.ETH-PERPETUAL.raw', { instrument_name: 'ETH-PERPETUAL' }],
  ['deribit_price_index.btc_usd', { index_name: 'btc_usd', price: 50_000 }],
  ['user.portfolio.btc', { currency: 'BTC', equity: 10 }],
  ['user.portfolio.ETH', { currency: 'ETH' }],
  ['user.portfolio.any', { currency: 'BTC' }],
])('speaks on %s', async (channel, data) => {
  await socket.request('public/auth', bootstrap(sandbox));
  await socket.request('private/subscribe', { channels: [channel] });
  await socket.until(() => heard(channel)[0]);
  expect(heard(channel)[0]).toMatchObject(data);
});

it('falls silent on what is unsubscribed from', async () => {
  const channels = ['sandbox.counter.10ms', 'ticker.BTC-PERPETUAL.agg2'];
  await socket.request('public/subscribe', { channels });
  const ended = await socket.request('public/unsubscribe', {
    channels: ['sandbox.counter.10ms', 'sandbox.counter.20ms'],
  });
  expect(ended?.result).toEqual(['sandbox.counter.10ms']);
  const before = heard('sandbox.counter.10ms').length;
  await socket.request('public/subscribe', { channels: ['sandbox.counter.15ms'] });
  await socket.until(() => (heard('sandbox.counter.15ms').length >= 3 ? true : undefined));
  expect(heard('sandbox.counter.10ms')).toHaveLength(before);
});

it('keeps private channels to those who are logged in and may read', async () => {
  const channels = ['user.portfolio.btc', 'sandbox.counter.100ms'];
  expect((await socket.request('private/subscribe', { channels }))?.error?.code).toBe(13_009);
  expect((await socket.request('public/subscribe', { channels }))?.result).toEqual(['sandbox.counter.100ms']);
  await socket.request('public/auth', bootstrap(sandbox, 'wallet:read'));
  expect((await socket.request('private/subscribe', { channels }))?.error?.code).toBe(13_021);
  await socket.request('public/auth', bootstrap(sandbox, 'trade:read'));
  expect((await socket.request('private/subscribe', { channels }))?.result).toEqual(channels);
  await socket.request('private/unsubscribe_all');
  await socket.request('public/auth', bootstrap(sandbox, 'account:read'));
  expect((await socket.request('private/subscribe', { channels }))?.result).toEqual(channels);
  expect((await socket.request('public/unsubscribe_all'))?.result).toBe('ok');
  expect((await socket.request('private/unsubscribe', { channels }))?.result).toEqual(['user.portfolio.btc']);
});

it('keeps raw channels to those who are logged in', async () => {
  const channels = ['ticker.BTC-PERPETUAL.raw', 'sandbox.counter.100ms'];
  expect((await socket.request('public/subscribe', { channels }))?.error).toMatchObject({ code: 13_778 });
  sandbox.setFaults(['raw-without-login']);
  expect((await socket.request('public/subscribe', { channels }))?.result).toEqual(channels);
  sandbox.clearFaults();
  await socket.request('public/auth', bootstrap(sandbox));
  expect((await socket.request('public/subscribe', { channels }))?.result).toEqual(channels);
});

it.each(['nothing', 'user.portfolio.xyz', 'ticker.BTC-PERPETUAL', 'sandbox.counter.1ms'])(
  'knows no channel %s, and leaves it out',
  async (name) => {
    const answer = await socket.request('public/subscribe', { channels: [name, 'sandbox.counter.100ms'] });
    expect(answer?.result).toEqual(['sandbox.counter.100ms']);
  },
);

it('tells whoever runs it which channels and methods are unknown', async () => {
  const remarks: string[] = [];
  const told = await startSandbox({ onRemark: ({ kind, text }) => remarks.push(`${kind}: ${text}`) });
  const other = await Socket.open(told);
  await other.request('public/subscribe', { channels: ['nothing'] });
  await other.request('public/nothing');
  expect(remarks).toEqual([
    'unknown-channel: the channel "nothing" is unknown: it was left out of the answer',
    'unknown-method: the method "public/nothing" is unknown, or not imitated',
  ]);
  other.close();
  await told.close();
});

describe('the book', () => {
  type Change = readonly [action: string, price: number, amount: number];
  interface BookMessage {
    readonly type: string;
    readonly change_id: number;
    readonly prev_change_id?: number;
    readonly bids: readonly Change[];
    readonly asks: readonly Change[];
  }
  const channel = 'book.BTC-PERPETUAL.100ms';
  const bookOf = (from: Socket) =>
    from.answers.flatMap(({ params }) => (params?.channel === channel ? [params.data as BookMessage] : []));

  /** The bids that a client has after the messages; it fails where one of them does not follow from the one before. */
  function replay(messages: readonly BookMessage[]): ReadonlyMap<number, number> {
    const bids = new Map<number, number>();
    for (const [i, { type, prev_change_id, bids: changes }] of messages.entries()) {
      expect(type).toBe(i === 0 ? 'snapshot' : 'change');
      expect(prev_change_id).toBe(messages[i - 1]?.change_id);
      for (const [action, price, amount] of changes) {
        expect(bids.has(price)).toBe(action !== 'new');
        if (action === 'delete') bids.delete(price);
        else bids.set(price, amount);
      }
    }
    return bids;
  }

  it('is a snapshot and gapless changes, also for those who join later', async () => {
    await socket.request('public/auth', bootstrap(sandbox));
    await socket.request('public/subscribe', { channels: [channel] });
    const order = { instrument_name: 'BTC-PERPETUAL', amount: 70, price: 50_000 };
    await socket.request('private/buy', order);
    await socket.until(() => bookOf(socket).find(({ bids }) => bids.some(([, price]) => price === 50_000)));
    const other = await Socket.open(sandbox);
    await other.request('public/subscribe', { channels: [channel] });
    await socket.request('private/cancel_all');
    const gone = ({ bids }: BookMessage) => bids.some(([action]) => action === 'delete');
    await Promise.all([socket.until(() => bookOf(socket).find(gone)), other.until(() => bookOf(other).find(gone))]);
    const { result } = (await socket.request('public/get_order_book', { instrument_name: 'BTC-PERPETUAL' })) ?? {};
    const best = (record(result).bids as number[][]).slice(0, 9);
    for (const each of [socket, other])
      expect([...replay(bookOf(each))].filter(([price]) => price > 49_995)).toEqual(best);
    expect(bookOf(other)[0]?.bids).toContainEqual(['new', 50_000, 70]);
    other.close();
  });

  it('is grouped to rounder prices, never better than the real ones', async () => {
    await socket.request('public/subscribe', { channels: ['book.BTC-PERPETUAL.10.1.100ms'] });
    const data = await socket.until(() => heard('book.BTC-PERPETUAL.10.1.100ms')[0]);
    expect(data).toMatchObject({ bids: [[49_990, expect.any(Number)]], asks: [[50_010, expect.any(Number)]] });
  });
});

it('tells an account of its own orders, trades and logins only', async () => {
  const other = await Socket.open(sandbox);
  const sub = sandbox.addKey({ accountId: Number(sandbox.accountIds[1]) });
  const login = { grant_type: 'client_credentials', client_id: sub.client_id, client_secret: sub.client_secret };
  await other.request('public/auth', login);
  await socket.request('public/auth', bootstrap(sandbox));
  const channels = ['user.changes.any.any.raw', 'user.trades.BTC-PERPETUAL.raw', 'user.access_log'];
  for (const each of [socket, other]) {
    expect((await each.request('private/subscribe', { channels }))?.result).toEqual(channels);
  }
  await socket.request('private/buy', { instrument_name: 'BTC-PERPETUAL', amount: 10, price: 50_000, label: 'maker' });
  await other.request('private/sell', { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'market', label: 'taker' });
  await socket.request('private/buy', { instrument_name: 'ETH-PERPETUAL', amount: 1, type: 'market', label: 'eth' });
  await other.request('public/auth', login);
  await other.until(() => other.answers.find(({ params }) => params?.channel === 'user.access_log'));
  expect(heard('user.changes.any.any.raw')).toMatchObject([
    { orders: [{ label: 'maker', order_state: 'open' }], trades: [], positions: [] },
    { orders: [{ label: 'maker', order_state: 'filled' }], trades: [{ liquidity: 'M' }], positions: [{ size: 10 }] },
    { instrument_name: 'ETH-PERPETUAL', orders: [{ label: 'eth' }] },
  ]);
  expect(heard('user.trades.BTC-PERPETUAL.raw')).toMatchObject([[{ label: 'maker' }]]);
  expect(heard('user.access_log')).toEqual([]);
  const told = other.answers.filter(({ params }) => params?.channel === 'user.changes.any.any.raw');
  expect(told.map(({ params }) => params?.data)).toMatchObject([{ trades: [{ label: 'taker', liquidity: 'T' }] }]);
  other.close();
});

it('tells of orders that are cancelled with the connection that placed them', async () => {
  const other = await Socket.open(sandbox);
  for (const each of [socket, other]) await each.request('public/auth', bootstrap(sandbox));
  await socket.request('private/subscribe', { channels: ['user.orders.BTC-PERPETUAL.raw'] });
  await other.request('private/enable_cancel_on_disconnect', { scope: 'connection' });
  await other.request('private/buy', { instrument_name: 'BTC-PERPETUAL', amount: 10, price: 40_000 });
  other.close();
  await socket.until(() => heard('user.orders.BTC-PERPETUAL.raw')[1]);
  expect(heard('user.orders.BTC-PERPETUAL.raw')).toMatchObject([
    { order_state: 'open' },
    { order_state: 'cancelled', cancel_reason: 'cancel_on_disconnect' },
  ]);
});

it('tells of an order that comes in the same packet as the first subscription', async () => {
  await socket.request('public/auth', bootstrap(sandbox));
  const [channel, name] = ['user.orders.BTC-PERPETUAL.raw', 'BTC-PERPETUAL'];
  for (let round = 1; round <= 20; round += 1) {
    socket.send('private/unsubscribe_all');
    socket.send('private/subscribe', { channels: [channel] });
    socket.send('private/buy', { instrument_name: name, amount: 10, price: 40_000, label: String(round) });
    const told = () => heard(channel).find((order) => record(order).label === String(round));
    expect(await socket.until(told)).toMatchObject({ order_state: 'open', price: 40_000 });
  }
});
