// A bot: logs in by signature, watches an index, asks for its equity, and shuts down cleanly on Ctrl-C.
import { loadSigner, openSession } from 'deribit-keys';

const { CLIENT_ID, KEY_FILE = 'keys/bot.pem', DERIBIT_KEYS_URL, DERIBIT_KEYS_PASSPHRASE, TICKS = '3' } = process.env;
if (CLIENT_ID === undefined) throw new Error('set CLIENT_ID to the client id of the key');

const signer = await loadSigner({
  file: KEY_FILE,
  ...(DERIBIT_KEYS_PASSPHRASE === undefined ? {} : { passphrase: DERIBIT_KEYS_PASSPHRASE }),
});
const session = await openSession({ url: DERIBIT_KEYS_URL, environment: 'test', clientId: CLIENT_ID, signer });
session.on('reconnect', ({ awayMs }) => console.log(`back after ${awayMs} ms`));
session.on('clock', ({ offsetMs }) => {
  if (Math.abs(offsetMs) > 1000) console.warn(`this clock is off by ${Math.round(offsetMs)} ms`);
});
process.once('SIGINT', () => void session.close());

const summary = (await session.request('private/get_account_summary', { currency: 'BTC' })) as { equity: number };
console.log(`equity: ${summary.equity} BTC`);

let left = Number(TICKS);
await session.subscribe('deribit_price_index.btc_usd', ({ data }) => {
  console.log('index:', (data as { price: number }).price);
  left -= 1;
  if (left === 0) void session.close();
});

const error = await session.closed;
if (error !== null) throw error;
console.log('closed');
