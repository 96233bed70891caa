import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { channelNames } from '../../../src/sandbox/channels/table.js';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { methodNames } from '../../../src/sandbox/methods/table.js';
import { type Answer, bootstrap, ed25519, type Json, post, record, Socket, token } from '../client.js';
import {
  account,
  apiKey,
  type Check,
  exactly,
  flag,
  instrument,
  integer,
  listOf,
  money,
  number,
  ok,
  order,
  shaped,
  someOf,
  text,
  tokens,
  versioned,
} from '../shapes/checks.js';
import { channelShapes, mismatches, resultShapes } from '../shapes/shapes.js';

/** In the description these have no result, or they are left out of it. */
const notDescribed = ['private/logout'];

let sandbox: Sandbox;
let socket: Socket;
let session: Json;
let keyId = 0;
let orderId = '';
let filledId = '';

interface Case {
  readonly params?: () => Json;
  readonly check: Check;
}
const key =
  (more: Json = {}): (() => Json) =>
  () => ({ id: keyId, ...more });
const anOrder = { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'limit', price: 40_000, label: 'x' };
const byCurrency = () => ({ currency: 'BTC' });
const byInstrument = () => ({ instrument_name: 'BTC-PERPETUAL' });
const byLabel = () => ({ currency: 'BTC', label: 'x' });
const span = () => ({ start_timestamp: Date.now() - 7_200_000, end_timestamp: Date.now() + 60_000 });
const aTrade = { trade_id: text, trade_seq: integer, price: number, amount: number };
const trades = shaped({ trades: someOf(shaped(aTrade)), has_more: flag });
const placed = shaped({ order: shaped(order), trades: listOf(shaped(aTrade)) });
const settled = shaped({ settlements: someOf(shaped({ instrument_name: text })) });
const book = shaped({ bids: someOf(listOf(number)), asks: someOf(listOf(number)), change_id: integer });
const channels = () => ({ channels: ['deribit_price_index.btc_usd'] });

const cases: Readonly<Record<string, Case>> = {
  'public/get_time': { check: integer },
  'public/test': { check: versioned },
  'public/status': { check: shaped({ locked: flag }) },
  'public/hello': { params: () => ({ client_name: 'x', client_version: '1' }), check: versioned },
  'public/set_heartbeat': { params: () => ({ interval: 30 }), check: ok },
  'public/disable_heartbeat': { check: ok },
  'public/auth': { params: () => bootstrap(sandbox, 'session:shapes'), check: tokens },
  'public/fork_token': {
    params: () => ({ refresh_token: session.refresh_token, session_name: 'fork' }),
    check: tokens,
  },
  'public/exchange_token': {
    params: () => ({ refresh_token: session.refresh_token, subject_id: sandbox.accountIds[0] }),
    check: tokens,
  },
  'private/create_api_key': { params: () => ({ max_scope: 'trade:read', public_key: ed25519().pem }), check: apiKey },
  'private/list_api_keys': { check: someOf(apiKey) },
  'private/edit_api_key': { params: key({ max_scope: 'trade:read', ip_whitelist: ['::1'] }), check: apiKey },
  'private/enable_api_key': { params: key(), check: apiKey },
  'private/disable_api_key': { params: key(), check: apiKey },
  'private/change_scope_in_api_key': { params: key({ max_scope: 'trade:read_write' }), check: apiKey },
  'private/change_api_key_name': { params: key({ name: 'other' }), check: apiKey },
  'private/reset_api_key': { params: key(), check: apiKey },
  'private/remove_api_key': { params: key(), check: ok },
  'private/get_account_summary': { params: () => ({ currency: 'BTC' }), check: shaped(money) },
  'private/get_account_summaries': { check: shaped({ ...account, summaries: someOf(shaped(money)) }) },
  'private/get_access_log': { check: shaped({ records_total: integer }) },
  'private/enable_cancel_on_disconnect': { check: ok },
  'private/disable_cancel_on_disconnect': { check: ok },
  'private/get_cancel_on_disconnect': { check: shaped({ scope: text, enabled: flag }) },
  'private/get_subaccounts': { params: () => ({ with_portfolio: true }), check: someOf(shaped(account)) },
  'public/get_currencies': { check: someOf(shaped({ currency: text, currency_long: text, fee_precision: integer })) },
  'public/get_instruments': { params: () => ({ currency: 'BTC' }), check: someOf(instrument) },
  'public/get_instrument': { params: () => ({ instrument_name: 'ETH-PERPETUAL' }), check: instrument },
  'public/ticker': {
    params: () => ({ instrument_name: 'BTC_USDC' }),
    check: shaped({ instrument_name: text, last_price: number, timestamp: integer, stats: shaped({ high: number }) }),
  },
  'public/get_index_price': { params: () => ({ index_name: 'btc_usd' }), check: shaped({ index_price: number }) },
  'private/buy': { params: () => anOrder, check: shaped({ order: shaped(order), trades: listOf(shaped({})) }) },
  'private/sell': {
    params: () => ({ ...anOrder, type: 'market' }),
    check: shaped({ order: shaped(order), trades: someOf(shaped({ trade_id: text, price: number })) }),
  },
  'private/get_order_state': { params: () => ({ order_id: orderId }), check: shaped(order) },
  'private/get_open_orders': { check: someOf(shaped(order)) },
  'private/get_open_orders_by_currency': { params: () => ({ currency: 'BTC' }), check: someOf(shaped(order)) },
  'private/get_open_orders_by_instrument': {
    params: () => ({ instrument_name: 'BTC-PERPETUAL' }),
    check: someOf(shaped(order)),
  },
  'private/get_open_orders_by_label': { params: byLabel, check: someOf(shaped(order)) },
  'private/get_order_state_by_label': { params: byLabel, check: someOf(shaped(order)) },
  'private/edit': { params: () => ({ order_id: orderId, amount: 20, price: 41_000 }), check: placed },
  'private/edit_by_label': {
    params: () => ({ ...byInstrument(), label: 'x', amount: 30, price: 42_000 }),
    check: placed,
  },
  'private/get_position': { params: byInstrument, check: shaped({ size: exactly(-10), direction: exactly('sell') }) },
  'private/get_margins': {
    params: () => ({ ...byInstrument(), amount: 100, price: 50_000 }),
    check: shaped({ buy: number }),
  },
  'private/get_subaccounts_details': {
    params: () => ({ ...byCurrency(), with_open_orders: true }),
    check: someOf(shaped({ uid: integer })),
  },
  'private/get_user_locks': { check: someOf(shaped({ enabled: flag })) },
  'private/get_positions': { params: byCurrency, check: someOf(shaped({ size: number })) },
  'private/get_user_trades_by_currency': { params: byCurrency, check: trades },
  'private/get_user_trades_by_currency_and_time': { params: () => ({ ...byCurrency(), ...span() }), check: trades },
  'private/get_user_trades_by_instrument': { params: byInstrument, check: trades },
  'private/get_user_trades_by_instrument_and_time': { params: () => ({ ...byInstrument(), ...span() }), check: trades },
  'private/get_user_trades_by_order': { params: () => ({ order_id: filledId }), check: someOf(shaped(aTrade)) },
  'private/get_order_history_by_currency': { params: byCurrency, check: someOf(shaped(order)) },
  'private/get_order_history_by_instrument': { params: byInstrument, check: someOf(shaped(order)) },
  'private/get_trigger_order_history': { params: byCurrency, check: shaped({ entries: listOf(text) }) },
  'private/close_position': { params: () => ({ ...byInstrument(), type: 'market' }), check: placed },
  // The description knows no null here, which says that there is no more.
  'private/get_transaction_log': {
    params: () => ({ ...byCurrency(), ...span(), count: 1 }),
    check: shaped({ logs: someOf(shaped({ change: number })), continuation: integer }),
  },
  'private/get_settlement_history_by_currency': { params: byCurrency, check: shaped({ settlements: listOf(text) }) },
  'private/get_settlement_history_by_instrument': {
    params: byInstrument,
    check: shaped({ settlements: listOf(text) }),
  },
  'public/get_last_settlements_by_currency': { params: byCurrency, check: settled },
  'public/get_last_settlements_by_instrument': { params: byInstrument, check: settled },
  'public/get_last_trades_by_currency': { params: byCurrency, check: trades },
  'public/get_last_trades_by_currency_and_time': { params: () => ({ ...byCurrency(), ...span() }), check: trades },
  'public/get_last_trades_by_instrument': { params: byInstrument, check: trades },
  'public/get_last_trades_by_instrument_and_time': { params: () => ({ ...byInstrument(), ...span() }), check: trades },
  'public/get_contract_size': { params: byInstrument, check: shaped({ contract_size: exactly(10) }) },
  'public/get_expirations': {
    params: () => ({ ...byCurrency(), kind: 'any' }),
    check: shaped({ future: someOf(text) }),
  },
  'public/get_order_book': { params: byInstrument, check: book },
  'public/get_order_book_by_instrument_id': { params: () => ({ instrument_id: 1 }), check: book },
  'public/get_book_summary_by_currency': { params: byCurrency, check: someOf(shaped({ last: number })) },
  'public/get_book_summary_by_instrument': { params: byInstrument, check: someOf(shaped({ last: number })) },
  'public/get_index_price_names': { check: someOf(text) },
  'public/get_supported_index_names': { check: someOf(text) },
  'public/get_index_chart_data': {
    params: () => ({ index_name: 'btc_usd', range: '1d' }),
    check: someOf(someOf(number)),
  },
  'public/get_delivery_prices': {
    params: () => ({ index_name: 'btc_usd' }),
    check: shaped({ data: someOf(shaped({})) }),
  },
  'public/get_tradingview_chart_data': {
    params: () => ({ ...byInstrument(), ...span(), resolution: '1' }),
    check: shaped({ ticks: someOf(integer), close: someOf(number) }),
  },
  'public/get_funding_rate_history': {
    params: () => ({ ...byInstrument(), ...span() }),
    check: someOf(shaped({ interest_8h: number })),
  },
  'public/get_funding_rate_value': { params: () => ({ ...byInstrument(), ...span() }), check: number },
  'public/get_funding_chart_data': {
    params: () => ({ ...byInstrument(), length: '8h' }),
    check: shaped({ data: someOf(shaped({})) }),
  },
  'public/get_mark_price_history': {
    params: () => ({ instrument_name: 'BTC-27DEC30-50000-C', ...span() }),
    check: someOf(listOf(number)),
  },
  'public/get_volatility_index_data': {
    params: () => ({ ...byCurrency(), ...span(), resolution: '3600' }),
    check: shaped({ data: someOf(listOf(number)), continuation: exactly(null) }),
  },
  'public/get_historical_volatility': { params: byCurrency, check: someOf(someOf(number)) },
  'public/get_trade_volumes': { check: someOf(shaped({ currency: text })) },
  'private/cancel': { params: () => ({ order_id: orderId }), check: shaped(order) },
  'private/cancel_all': { check: integer },
  'private/cancel_by_label': { params: byLabel, check: integer },
  'private/cancel_all_by_currency': { params: byCurrency, check: integer },
  'private/cancel_all_by_currency_pair': { params: () => ({ currency_pair: 'btc_usd' }), check: integer },
  'private/cancel_all_by_kind_or_type': { params: byCurrency, check: integer },
  'private/cancel_all_by_instrument': { params: byInstrument, check: integer },
  'public/subscribe': { params: channels, check: listOf(text) },
  'private/subscribe': { params: () => ({ channels: ['user.portfolio.btc'] }), check: listOf(text) },
  'public/unsubscribe': { params: channels, check: listOf(text) },
  'private/unsubscribe': { params: channels, check: listOf(text) },
  'public/unsubscribe_all': { check: ok },
  'private/unsubscribe_all': { check: ok },
};

beforeAll(async () => {
  sandbox = await startSandbox();
  socket = await Socket.open(sandbox);
  session = record((await socket.request('public/auth', bootstrap(sandbox, 'session:shapes')))?.result);
  keyId = sandbox.addKey({ maxScope: 'trade:read' }).id;
  const { result } = await post(sandbox, 'private/buy', anOrder, await token(sandbox));
  orderId = String(record(record(result).order).order_id);
  const crossing = { ...anOrder, price: 50_001 };
  filledId = String(
    record(record((await post(sandbox, 'private/buy', crossing, await token(sandbox))).result).order).order_id,
  );
  await post(sandbox, 'private/sell', { ...anOrder, type: 'market' }, await token(sandbox));
});
afterAll(async () => {
  socket.close();
  await sandbox.close();
});

function envelopeIsRight(answer: Answer): boolean {
  return shaped({
    jsonrpc: exactly('2.0'),
    id: integer,
    usIn: integer,
    usOut: integer,
    usDiff: integer,
    testnet: exactly(true),
  })(answer);
}

describe('the answer', () => {
  it.each(Object.entries(cases))('of %s has the documented shape', async (method, { params = () => ({}), check }) => {
    const answer = await socket.request(method, params());
    expect(answer).toMatchObject({ result: expect.anything() });
    expect(envelopeIsRight(answer ?? {})).toBe(true);
    expect({ result: answer?.result, fits: check(answer?.result) }).toMatchObject({ fits: true });
    expect(mismatches(resultShapes[method] ?? {}, answer?.result)).toEqual([]);
  });

  it('is described for every method', () => {
    expect(methodNames.filter((name) => resultShapes[name] === undefined)).toEqual(notDescribed);
  });

  it('is checked for every method but the one that has none', () => {
    expect(Object.keys(cases).sort()).toEqual(methodNames.filter((name) => name !== 'private/logout').sort());
  });
});

describe('a notification', () => {
  const spoken = Object.entries(channelShapes);

  it.each(spoken)('of %s has the documented shape', async (_family, { example, shape }) => {
    const other = await Socket.open(sandbox);
    await other.request('public/auth', bootstrap(sandbox));
    expect((await other.request('private/subscribe', { channels: [example] }))?.result).toEqual([example]);
    await other.request('private/buy', { ...anOrder, type: 'market' });
    await other.request('public/auth', bootstrap(sandbox));
    const told = await other.until(() => other.answers.find(({ method }) => method === 'subscription'));
    other.close();
    expect(told).toMatchObject({ jsonrpc: '2.0', params: { channel: example } });
    expect(mismatches(shape, told?.params?.data, 'data')).toEqual([]);
  });

  it('is checked for every family of channels but those on which nothing ever happens', () => {
    const silent = ['instrument.state.{kind}.{currency}', 'platform_state'];
    expect(spoken.map(([family]) => family).sort()).toEqual(
      channelNames.filter((name) => !silent.includes(name)).sort(),
    );
  });
});

describe('the README', () => {
  const readme = readFileSync(new URL('../../../src/sandbox/README.md', import.meta.url), 'utf8');

  it('names every method and every family of channels, and how many there are', () => {
    const short = (name: string) => name.replace(/^(public|private)\//, '');
    expect(methodNames.filter((name) => !readme.includes(`\`${short(name)}\``))).toEqual([]);
    expect(channelNames.filter((name) => !readme.includes(`\`${name}\``))).toEqual([]);
    expect(readme).toContain(`${methodNames.length} methods and ${channelNames.length} families of channels`);
  });
});
