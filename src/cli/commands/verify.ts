import { sameEndpoint } from '../../deribit/endpoints.js';
import { isDeribitKeysError } from '../../errors.js';
import type { DamagedRecord } from '../../keystore/keystore.js';
import type { KeyRecord } from '../../keystore/record.js';
import { defined } from '../../util/defined.js';
import type { Verification } from '../../workflows/checks/verify.js';
import { endpointOfRecord, selectEndpoint } from '../../workflows/context.js';
import type { Context } from '../context.js';
import { CheckFailed } from '../exit-codes.js';
import { accountLogin, saysLogin, withSecondFactor } from '../login.js';
import type { LoginOptions } from '../options.js';
import { inLine, type Printer } from '../output.js';
import type { Define } from '../program.js';

function show(out: Printer, results: readonly Verification[]): void {
  out.result(results, () =>
    results.flatMap(({ name, ok, checks }) => [
      `${out.style(ok ? 'ok' : 'FAILED', ok ? 'green' : 'red')}  ${out.style(name, 'bold')}`,
      ...checks.flatMap((one) => [
        `  ${one.ok ? '✓' : out.style('✗', 'red')} ${one.check}: ${inLine(one.detail)}`,
        ...(one.fix === undefined ? [] : [`      fix: ${one.fix}`]),
        ...(one.hints ?? []).map((hint) => `      likely: ${inLine(hint)}`),
      ]),
    ]),
  );
}

/** The records of these names; a damaged one does not keep the others from being checked. */
async function readNamed(cx: Context, names: readonly string[]) {
  const records: KeyRecord[] = [];
  const damaged: DamagedRecord[] = [];
  for (const name of new Set(names)) {
    try {
      records.push(await cx.store.read(name));
    } catch (error) {
      if (!isDeribitKeysError(error, 'ERR_RECORD_DAMAGED', 'ERR_RECORD_NEWER')) throw error;
      damaged.push({ name, error });
    }
  }
  return { records, damaged };
}

/** Whether one login can look at all of these keys. */
function areOfOnePlace(records: readonly KeyRecord[]): boolean {
  const [first, ...rest] = records.map(endpointOfRecord).filter((endpoint) => endpoint !== null);
  return first === undefined || rest.every((endpoint) => sameEndpoint(first, endpoint));
}

export const define: Define = (command, { act }) => {
  command
    .argument('[name...]', 'names of keys (default: all)')
    .option('--all', 'all keys of the keystore')
    .loginOptions()
    .examples('verify bot', 'verify --all --json | jq -e "all(.[]; .ok)"', 'verify bot --as admin')
    .action(
      act(async (cx, names: readonly string[], flags: LoginOptions & { all?: true }) => {
        const { verify } = await import('../../workflows/checks/verify.js');
        const all = flags.all === true || names.length === 0;
        const { records, damaged } = all ? await cx.store.list() : await readNamed(cx, names);
        const account = saysLogin(cx, flags)
          ? await accountLogin(cx, flags, ...(all && !areOfOnePlace(records) ? [] : records))
          : undefined;
        const results = await verify(await withSecondFactor(cx, flags), records, {
          ...defined({ account }),
          endpointFor: (record) => (record.environment === null ? null : selectEndpoint(cx.target, record)),
        });
        const broken: Verification[] = damaged.map(({ name, error }) => ({
          name,
          ok: false,
          checks: [{ check: 'record', ok: false, detail: error.message }],
        }));
        show(cx.out, [...results, ...broken]);
        if (results.length + broken.length === 0) cx.out.note(`no keys in ${cx.store.folder}`);
        if (broken.length > 0 || results.some(({ ok }) => !ok)) throw new CheckFailed();
      }),
    );
};
