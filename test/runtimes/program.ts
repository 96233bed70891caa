// What a bot does, run by each JavaScript runtime: takes its input as JSON in argv, prints what happened as JSON.
import { connect } from '../../src/deribit/connect.js';
import { resolveEndpoint } from '../../src/deribit/endpoints.js';
import { isDeribitKeysError, loadSigner, openSession } from '../../src/index.js';

interface Input {
  readonly wsUrl: string;
  readonly httpUrl: string;
  readonly httpsUrl: string | null;
  readonly ca: string;
  readonly deadPort: number;
  readonly clientId: string;
  readonly pem: string;
}

const input = JSON.parse(process.argv[2] ?? '') as Input;
const { clientId, ca } = input;
const signer = await loadSigner({ pem: input.pem });

/** How a request ends: its result, or its error's code with what is known of the request. */
async function ending(work: () => Promise<unknown>): Promise<string> {
  try {
    return `ok ${JSON.stringify(await work())}`;
  } catch (error) {
    return isDeribitKeysError(error) ? `${error.code} ${error.maybeSent}` : String(error);
  }
}

const ask = (url: string, options: Parameters<typeof connect>[1] = {}) =>
  ending(async () => {
    const transport = await connect(resolveEndpoint({ url }), options);
    try {
      await transport.request('public/test');
      return 'answered';
    } finally {
      await transport.close();
    }
  });

const results: Record<string, unknown> = {};
for (const [kind, url] of [
  ['http', input.httpUrl],
  ['ws', input.wsUrl],
] as const) {
  const session = await openSession({ url, clientId, signer });
  await session.request('private/get_account_summary', { currency: 'BTC' });
  const order = { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'limit', price: 5_000 };
  results[`${kind} buy`] = await ending(() => session.request('private/buy', order));
  results[`${kind} create`] = await ending(() =>
    session.request('private/create_api_key', { max_scope: 'trade:read' }),
  );
  if (kind === 'ws') {
    const heard = await new Promise((resolve) => {
      session.subscribe('ticker.BTC-PERPETUAL.raw', resolve).catch(resolve);
    });
    results['ws channel'] = (heard as { readonly channel?: string }).channel;
  }
  await session.close();
}
results['nothing listens'] = await ask(`http://127.0.0.1:${input.deadPort}`);
results['nothing listens, ws'] = await ask(`ws://127.0.0.1:${input.deadPort}`);
const deadProxy = `http://127.0.0.1:${input.deadPort}`;
if (input.httpsUrl !== null) {
  for (const url of [input.httpsUrl, input.httpsUrl.replace('https', 'wss')]) {
    const scheme = url.split(':')[0];
    results[`${scheme} ca`] = await ask(url, { ca });
    results[`${scheme} no ca`] = await ask(url);
    results[`${scheme} dead proxy`] = await ask(url, { ca, proxy: deadProxy });
  }
}
process.stdout.write(JSON.stringify(results), () => process.exit(0));
