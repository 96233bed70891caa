import data from './deribit.json' with { type: 'json' };

/** A shape as derive.mjs describes it. */
export type Shape = string | readonly Shape[] | { readonly [field: string]: Shape | readonly Shape[] };

const types: Readonly<Record<string, Shape>> = data.types;

/** The shape of every method's result, by method. */
export const resultShapes: Readonly<Record<string, Shape>> = data.methods;

/** What does not fit, each with its place; empty where all of it does. */
export function mismatches(shape: Shape, value: unknown, at = 'result'): readonly string[] {
  if (typeof shape === 'string') return fitsWord(shape, value, at);
  if (isList(shape)) {
    const [item = 'any'] = shape;
    return Array.isArray(value) ? value.flatMap((one, i) => mismatches(item, one, `${at}[${i}]`)) : [`${at}: no list`];
  }
  if (isList(shape.or)) {
    const tried = shape.or.map((one) => mismatches(one, value, at));
    return tried.some((wrong) => wrong.length === 0) ? [] : [`${at}: none of the alternatives`];
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [`${at}: no object`];
  const fields = value as Readonly<Record<string, unknown>>;
  return Object.entries(shape).flatMap(([name, part]) => {
    if (name === '*') return Object.entries(fields).flatMap(([key, one]) => mismatches(part, one, `${at}.${key}`));
    const field = name.replace(/\?$/, '');
    if (fields[field] === undefined) return name === field ? [`${at}.${field}: missing`] : [];
    return mismatches(part, fields[field], `${at}.${field}`);
  });
}

function fitsWord(shape: string, value: unknown, at: string): readonly string[] {
  if (shape.startsWith('@')) return mismatches(types[shape.slice(1)] ?? 'any', value, at);
  if (shape.endsWith('?') && value === null) return [];
  const kind = shape.replace(/\?$/, '');
  const fits = kind.startsWith('=') ? kind.slice(1).split('|').includes(String(value)) : isOfKind(kind, value);
  return fits ? [] : [`${at}: ${JSON.stringify(value)} is not ${kind}`];
}

function isOfKind(kind: string, value: unknown): boolean {
  switch (kind) {
    case 'any':
      return true;
    case 'integer':
      return Number.isInteger(value);
    case 'number':
      return typeof value === 'number' && Number.isFinite(value);
    case 'object':
      return typeof value === 'object' && value !== null && !Array.isArray(value);
    default:
      return typeof value === kind;
  }
}

function isList(shape: Shape | undefined): shape is readonly Shape[] {
  return Array.isArray(shape);
}

/** A part of a shape: of a list its items, of an object a field. */
function part(shape: Shape | undefined, ...fields: readonly string[]): Shape {
  const [field, ...rest] = fields;
  if (typeof shape === 'string' && shape.startsWith('@')) return part(types[shape.slice(1)], ...fields);
  if (shape === undefined || typeof shape === 'string') return shape ?? 'any';
  const item = isList(shape) ? shape[0] : undefined;
  if (item !== undefined) return fields.length === 0 ? item : part(item, ...fields);
  return field === undefined ? shape : part((shape as Readonly<Record<string, Shape>>)[field], ...rest);
}

const bookFields = { instrument_name: 'string', timestamp: 'integer', change_id: 'integer' };
const changes = {
  instrument_name: 'string',
  orders: ['@order'],
  trades: ['@user_trade'],
  positions: ['@position_with_elp'],
};

/**
 * The shape of a notification's data, by family of channels, with a channel of it. The description has no channels: where
 * Deribit documents a channel with the fields of a method's result, that method's shape is taken.
 */
export const channelShapes: Readonly<Record<string, { readonly example: string; readonly shape: Shape }>> = {
  'ticker.{instrument_name}.{interval}': {
    example: 'ticker.BTC-PERPETUAL.100ms',
    shape: part(resultShapes['public/ticker']),
  },
  'incremental_ticker.{instrument_name}': {
    example: 'incremental_ticker.BTC-PERPETUAL',
    shape: { ...(part(resultShapes['public/ticker']) as object), type: '=snapshot|change' },
  },
  'quote.{instrument_name}': {
    example: 'quote.BTC-PERPETUAL',
    shape: {
      instrument_name: 'string',
      timestamp: 'integer',
      best_bid_price: 'number?',
      best_bid_amount: 'number',
      best_ask_price: 'number?',
      best_ask_amount: 'number',
    },
  },
  'book.{instrument_name}.{interval}': {
    example: 'book.BTC-PERPETUAL.raw',
    shape: { ...bookFields, type: '=snapshot|change', 'prev_change_id?': 'integer', bids: [['any']], asks: [['any']] },
  },
  'book.{instrument_name}.{group}.{depth}.{interval}': {
    example: 'book.BTC-PERPETUAL.10.10.100ms',
    shape: { ...bookFields, bids: [['number']], asks: [['number']] },
  },
  'trades.{instrument_name}.{interval}': { example: 'trades.BTC-PERPETUAL.raw', shape: ['@public_trade'] },
  'trades.{kind}.{currency}.{interval}': { example: 'trades.any.any.100ms', shape: ['@public_trade'] },
  'chart.trades.{instrument_name}.{resolution}': {
    example: 'chart.trades.BTC-PERPETUAL.1',
    shape: {
      tick: 'integer',
      open: 'number',
      high: 'number',
      low: 'number',
      close: 'number',
      volume: 'number',
      cost: 'number',
    },
  },
  'perpetual.{instrument_name}.{interval}': {
    example: 'perpetual.BTC-PERPETUAL.100ms',
    shape: { interest: 'number', index_price: 'number', timestamp: 'integer' },
  },
  'user.orders.{instrument_name}.{interval}': { example: 'user.orders.BTC-PERPETUAL.raw', shape: '@order' },
  'user.orders.{kind}.{currency}.{interval}': { example: 'user.orders.any.any.100ms', shape: ['@order'] },
  'user.trades.{instrument_name}.{interval}': { example: 'user.trades.BTC-PERPETUAL.raw', shape: ['@user_trade'] },
  'user.trades.{kind}.{currency}.{interval}': { example: 'user.trades.future.BTC.100ms', shape: ['@user_trade'] },
  'user.changes.{instrument_name}.{interval}': { example: 'user.changes.BTC-PERPETUAL.raw', shape: changes },
  'user.changes.{kind}.{currency}.{interval}': { example: 'user.changes.any.any.raw', shape: changes },
  'user.access_log': { example: 'user.access_log', shape: '@access_log' },
  'deribit_price_index.{index_name}': {
    example: 'deribit_price_index.btc_usd',
    shape: { index_name: 'string', price: 'number', timestamp: 'integer' },
  },
  'deribit_price_statistics.{index_name}': {
    example: 'deribit_price_statistics.btc_usd',
    shape: {
      index_name: 'string',
      high24h: 'number',
      low24h: 'number',
      change24h: 'number',
      high_volatility: 'boolean',
    },
  },
  'deribit_volatility_index.{index_name}': {
    example: 'deribit_volatility_index.eth_usd',
    shape: { index_name: 'string', volatility: 'number', timestamp: 'integer' },
  },
  'estimated_expiration_price.{index_name}': {
    example: 'estimated_expiration_price.btc_usd',
    shape: { seconds: 'integer', price: 'number', is_estimated: 'boolean' },
  },
  'markprice.options.{index_name}': {
    example: 'markprice.options.btc_usd',
    shape: [{ instrument_name: 'string', mark_price: 'number', iv: 'number' }],
  },
  'user.portfolio.{currency}': {
    example: 'user.portfolio.any',
    shape: part(resultShapes['private/get_account_summaries'], 'summaries'),
  },
};
