import type { Command } from 'commander';
import type { DamagedRecord } from '../../keystore/keystore.js';
import type { Context } from '../context.js';
import { examples } from '../options.js';
import { NARROW, table } from '../output.js';
import type { Act } from '../program.js';
import { recordLines } from '../show-record.js';

function tellDamaged(cx: Context, damaged: readonly DamagedRecord[]): void {
  for (const { error } of damaged) cx.out.note(`warning: ${error.message}`);
}

export function defineList(command: Command, act: Act): void {
  command
    .addHelpText(
      'after',
      `${examples('list', 'list --json | jq -r ".[] | select(.state == \\"registered\\").name"')}
${NARROW}
A record that is damaged is named on stderr, and left out with --json: doctor and verify --all tell of it, and exit 1.`,
    )
    .action(
      act(async (cx) => {
        const { records, damaged } = await cx.store.list();
        cx.out.result(records, () =>
          records.length === 0
            ? ''
            : table(
                cx.out,
                ['NAME', 'ALGORITHM', 'FINGERPRINT', 'STATE', 'ENVIRONMENT', 'CLIENT ID', 'SCOPE'],
                records.map((record) => [
                  record.name,
                  record.bits === null ? record.algorithm : `${record.algorithm}-${record.bits}`,
                  record.fingerprint,
                  record.state,
                  record.environment ?? '-',
                  record.clientId ?? '-',
                  record.scope ?? '-',
                ]),
                ['FINGERPRINT', 'SCOPE'],
              ),
        );
        if (records.length === 0)
          cx.out.note(`no keys in ${cx.store.folder}; make one with: deribit-keys generate <name>`);
        tellDamaged(cx, damaged);
      }),
    );
}

export function defineShow(command: Command, act: Act): void {
  command
    .argument('<name>')
    .addHelpText('after', examples('show bot', 'show bot --json | jq -r .clientId'))
    .action(
      act(async (cx, name: string) => {
        const record = await cx.store.read(name);
        cx.out.result(record, () => recordLines(record));
      }),
    );
}
