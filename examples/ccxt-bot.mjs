// ccxt's Deribit class with an asymmetric key: REST and WebSocket. Needs `npm install ccxt`.
import ccxt from 'ccxt';
import { loadSigner } from 'deribit-keys';
import { withSigner } from 'deribit-keys/ccxt';

const { CLIENT_ID, KEY_FILE = 'keys/bot.pem', DERIBIT_KEYS_URL } = process.env;
if (CLIENT_ID === undefined) throw new Error('set CLIENT_ID to the client id of the key');

const exchange = new ccxt.pro.deribit();
if (DERIBIT_KEYS_URL === undefined) {
  exchange.setSandboxMode(true); // test.deribit.com
} else {
  const { origin, host } = new URL(DERIBIT_KEYS_URL);
  await exchange.loadHttpProxyAgent(); // ccxt wants it before it speaks unencrypted ws:
  exchange.urls.api = { rest: origin.replace(/^ws/, 'http'), ws: `ws://${host}/ws/api/v2` };
}
withSigner(exchange, { clientId: CLIENT_ID, signer: await loadSigner({ file: KEY_FILE }) });

try {
  const balance = await exchange.fetchBalance({ code: 'BTC' });
  console.log(`balance: ${balance.BTC?.total} BTC`);
  await exchange.authenticate();
  console.log('authenticated over WebSocket');
} finally {
  await exchange.close();
}
