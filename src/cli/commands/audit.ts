import { table } from '../output.js';
import type { Define } from '../program.js';

export const define: Define = (command, { look }) => {
  command.examples('audit', 'audit --json | jq -c ".[] | select(.name == \\"bot\\")"').action(
    look(async (cx) => {
      const { describeActor, readAudit } = await import('../../keystore/audit-log.js');
      const { entries, damagedLines } = await readAudit(cx.store.folder);
      cx.out.result(entries, () =>
        entries.length === 0
          ? ''
          : table(cx.out, {
              header: ['TIME', 'ACTION', 'NAME', 'CLIENT ID', 'ENVIRONMENT', 'OUTCOME', 'BY', 'FINGERPRINT'],
              rows: entries.map(({ time, action, name, clientId, environment, outcome, actor, fingerprint }) =>
                [time, action, name, clientId, environment, outcome, describeActor(actor), fingerprint].map((cell) =>
                  cell === null || cell === undefined ? '-' : String(cell),
                ),
              ),
              yielding: ['FINGERPRINT', 'BY'],
              spare: ['FINGERPRINT', 'BY', 'ENVIRONMENT'],
            }),
      );
      if (entries.length === 0) cx.out.note(`no entries in ${cx.store.folder}`);
      if (damagedLines > 0) cx.out.note(`warning: ${damagedLines} lines of the audit log cannot be read`);
    }),
  );
};
