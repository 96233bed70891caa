import { describeSpoiltText } from '../../crypto/secret.js';
import { usageError } from '../../errors.js';
import { examples, notEmpty, scopeText, wholeNumber } from '../options.js';
import { jsonLine } from '../output.js';
import { definePlain, type PlainCommand } from '../program.js';

interface SignFlags {
  readonly clientId?: string;
  readonly timestamp?: number;
  readonly nonce?: string;
  readonly data?: string;
  readonly scope?: string;
  readonly state?: string;
}

export const SIGN: PlainCommand = {
  operands: ['<name>'],
  options: [
    { flags: '--client-id <id>', description: 'client id to use instead of the one on record', parse: notEmpty },
    {
      flags: '--timestamp <ms>',
      description: 'time in milliseconds since 1970 (default: now)',
      parse: wholeNumber(0),
    },
    { flags: '--nonce <nonce>', description: 'nonce (default: random)' },
    { flags: '--data <data>', description: 'data to include in the signature (default: empty)' },
    {
      flags: '--scope <scope>',
      description: 'scope to request, such as "session:bot" or "trade:read_write"',
      parse: scopeText,
    },
    { flags: '--state <state>', description: 'text that the exchange returns unchanged' },
  ],
  help: examples(
    'sign bot',
    `sign bot | jq '{jsonrpc: "2.0", id: 1, method: "public/auth", params: .}' | curl -s -d @- https://test.deribit.com/api/v2`,
  ),
  async work(cx, [name = ''], flags: SignFlags) {
    const { buildAuthParams } = await import('../../deribit/auth-params.js');
    const record = await cx.store.read(name);
    const clientId = flags.clientId ?? record.clientId;
    if (clientId === null || clientId === '') {
      throw usageError(
        `the key "${name}" is not registered, so it has no client id`,
        'register or link it first, or name one with --client-id',
      );
    }
    const spoilt = describeSpoiltText(clientId);
    if (spoilt !== null) {
      throw usageError(`the client id ${spoilt}`, 'give it as Deribit shows it');
    }
    const { timestamp: timestampMs, nonce, data, scope, state } = flags;
    const signer = await cx.workflow.signerOf(record);
    const params = await buildAuthParams({ clientId, signer }, { timestampMs, nonce, data, scope, state });
    cx.out.result(params, () => jsonLine(params));
  },
  act: { tidy: false },
};

export const define = definePlain(SIGN);
