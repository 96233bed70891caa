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

/**
 * The shape of a notification's data, by family of channels, with a channel of it. The description has no channels: where
 * Deribit documents a channel with the fields of a method's result, that method's shape is taken.
 */
export const channelShapes: Readonly<Record<string, { readonly example: string; readonly shape: Shape }>> = {
  'ticker.{instrument_name}.{interval}': {
    example: 'ticker.BTC-PERPETUAL.100ms',
    shape: part(resultShapes['public/ticker']),
  },
  'deribit_price_index.{index_name}': {
    example: 'deribit_price_index.btc_usd',
    shape: { index_name: 'string', price: 'number', timestamp: 'integer' },
  },
  'user.portfolio.{currency}': {
    example: 'user.portfolio.any',
    shape: part(resultShapes['private/get_account_summaries'], 'summaries'),
  },
};
