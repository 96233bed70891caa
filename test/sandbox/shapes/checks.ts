import type { Json } from '../client.js';

export type Check = (value: unknown) => boolean;
type Shape = Readonly<Record<string, Check>>;

export const text: Check = (value) => typeof value === 'string';
export const flag: Check = (value) => typeof value === 'boolean';
export const number: Check = (value) => typeof value === 'number' && Number.isFinite(value);
export const integer: Check = (value) => Number.isSafeInteger(value);
const matching =
  (pattern: RegExp): Check =>
  (value) =>
    typeof value === 'string' && pattern.test(value);
export const exactly =
  (expected: unknown): Check =>
  (value) =>
    value === expected;
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);
export const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);
export const someOf =
  (check: Check): Check =>
  (value) =>
    listOf(check)(value) && (value as unknown[]).length > 0;
export const shaped =
  (shape: Shape): Check =>
  (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
    const object = value as Json;
    return Object.entries(shape).every(([name, check]) => check(object[name]));
  };

// What protocol.md's sections on tokens and API keys say of the answers.
const scopeWord = '((account|trade|wallet|block_trade|block_rfq|custody):(none|read|read_write))';
export const apiKey = shaped({
  id: integer,
  timestamp: integer,
  client_id: matching(/^[A-Za-z0-9_-]{8,}$/),
  client_secret: matching(/^([0-9a-f]{2}(:[0-9a-f]{2}){15}|[A-Za-z0-9_-]{20,})$/),
  public_key: optional(matching(/^-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/= ]+-----END PUBLIC KEY-----$/)),
  max_scope: matching(new RegExp(`^${scopeWord}( ${scopeWord})*$`)),
  enabled: flag,
  default: optional(flag),
  name: matching(/^[A-Za-z0-9_]{0,16}$/),
  enabled_features: listOf(matching(/^(restricted_block_trades|block_trade_approval)$/)),
  ip_whitelist: listOf(text),
});
export const tokens = shaped({
  access_token: matching(/^\d{13}\.[^.]{8}\.[A-Za-z0-9_-]+$/),
  refresh_token: matching(/^\d{13}\.[^.]{8}\.[A-Za-z0-9_-]+$/),
  expires_in: integer,
  scope: (value) => text(value) && String(value) === String(value).split(' ').sort().join(' '),
  token_type: exactly('bearer'),
  state: optional(text),
  sid: optional(text),
  enabled_features: optional(listOf(text)),
});
export const money = {
  currency: text,
  equity: number,
  balance: number,
  available_funds: number,
  maintenance_margin: number,
  initial_margin: number,
};
export const account = {
  id: integer,
  type: matching(/^(main|subaccount)$/),
  username: text,
  email: text,
  system_name: text,
};
export const order = {
  order_id: text,
  instrument_name: text,
  direction: text,
  order_state: text,
  amount: number,
  label: text,
};
export const versioned = shaped({ version: text });
export const instrument = shaped({
  instrument_name: text,
  kind: text,
  base_currency: text,
  quote_currency: text,
  tick_size: number,
  contract_size: number,
  min_trade_amount: number,
  is_active: flag,
});
export const ok = exactly('ok');
