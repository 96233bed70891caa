import type { Command } from 'commander';
import { DeribitKeysError } from '../../errors.js';
import { examples, notEmpty, wholeNumber } from '../options.js';
import { jsonLine } from '../output.js';
import type { Act } from '../program.js';

interface SignFlags {
  readonly clientId?: string;
  readonly timestamp?: number;
  readonly nonce?: string;
  readonly data?: string;
  readonly scope?: string;
  readonly state?: string;
}

export function defineSign(command: Command, act: Act): void {
  command
    .argument('<name>')
    .option('--client-id <id>', 'client id to use instead of the one on record', notEmpty)
    .option('--timestamp <ms>', 'time in milliseconds since 1970 (default: now)', wholeNumber(0))
    .option('--nonce <nonce>', 'nonce (default: random)')
    .option('--data <data>', 'data to sign along (default: empty)')
    .option('--scope <scope>', 'scope to request, such as "session:bot" or "trade:read_write"')
    .option('--state <state>', 'text that the exchange returns unchanged')
    .addHelpText(
      'after',
      examples(
        'sign bot',
        `sign bot | jq '{jsonrpc: "2.0", id: 1, method: "public/auth", params: .}' | curl -s -d @- https://test.deribit.com/api/v2`,
      ),
    )
    .action(
      act(
        async (cx, name: string, flags: SignFlags) => {
          const { buildAuthParams } = await import('../../deribit/auth-params.js');
          const record = await cx.store.read(name);
          const clientId = flags.clientId ?? record.clientId;
          if (clientId === null || clientId === '') {
            throw new DeribitKeysError('ERR_USAGE', `the key "${name}" is not registered, so it has no client id`, {
              hint: 'register or link it first, or name one with --client-id',
            });
          }
          const { timestamp: timestampMs, nonce, data, scope, state } = flags;
          const signer = await cx.workflow.signerOf(record);
          const params = await buildAuthParams({ clientId, signer }, { timestampMs, nonce, data, scope, state });
          cx.out.result(params, () => jsonLine(params));
        },
        { tidy: false },
      ),
    );
}
