import { KEY_STATES, type KeyRecord, type KeyState } from '../../keystore/record.js';
import { examples } from '../options.js';
import { NARROW, table } from '../output.js';
import { type Define, definePlain, type PlainCommand } from '../program.js';

export const LIST: PlainCommand = {
  operands: [],
  options: [{ flags: '--state <state>', description: 'only keys in this state', choices: KEY_STATES }],
  help: `${examples('list', 'list --state registered', 'list --json | jq -r ".[] | select(.state == \\"registered\\").name"')}
${NARROW}
Damaged records are named on stderr and left out of the JSON; doctor and verify --all report them and exit 1.`,
  async work(cx, _, { state }: { readonly state?: KeyState }) {
    const { records: all, damaged } = await cx.store.list();
    const isRetired = (record: KeyRecord) => Number(record.state === 'retired');
    const records = all
      .filter((record) => state === undefined || record.state === state)
      .sort((one, other) => isRetired(one) - isRetired(other));
    const { rotationsUnderWay, rotationWords } = await import('../show-record.js');
    const rotations = await rotationsUnderWay(cx);
    const documents = records.map((record) => ({ ...record, rotation: rotations.get(record.name) ?? null }));
    cx.out.result(documents, () =>
      records.length === 0
        ? ''
        : table(cx.out, {
            header: ['NAME', 'ALGORITHM', 'FINGERPRINT', 'STATE', 'ENVIRONMENT', 'CLIENT ID', 'SCOPE'],
            rows: records.map((record) => [
              record.name,
              record.bits === null ? record.algorithm : `${record.algorithm}-${record.bits}`,
              record.fingerprint,
              record.state,
              record.environment ?? '-',
              record.clientId ?? '-',
              record.scope ?? '-',
            ]),
            yielding: ['FINGERPRINT', 'SCOPE'],
            spare: ['FINGERPRINT'],
          }),
    );
    for (const { name, rotation } of documents) {
      if (rotation !== null && name !== rotation.previousName) {
        cx.out.note(`rotation of "${name}": ${rotationWords(rotation)}`);
      }
    }
    if (all.length === 0 && damaged.length === 0) {
      cx.out.note(
        `no keys in ${cx.store.folder}; create one with: deribit-keys generate <name>, or name another keystore with --keys-dir <dir>`,
      );
    } else if (all.length > 0 && records.length === 0) cx.out.note(`no keys in the state ${state}`);
    for (const { error } of damaged) cx.out.note(`warning: ${error.message}`);
  },
};

export const defineList = definePlain(LIST);

export const defineShow: Define = (command, { act }) => {
  command
    .argument('<name>')
    .examples('show bot', 'show bot --json | jq -r .clientId')
    .action(
      act(async (cx, name: string) => {
        const record = await cx.store.read(name);
        const { recordLines, rotationsUnderWay } = await import('../show-record.js');
        const rotation = (await rotationsUnderWay(cx)).get(name) ?? null;
        cx.out.result({ ...record, rotation }, () => recordLines(record, rotation));
      }),
    );
};
