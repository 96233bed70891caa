import { afterEach, beforeEach, expect, it } from 'vitest';
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
