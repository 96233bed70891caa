import { InvalidArgumentError } from 'commander';
import type { Endpoint } from '../../deribit/endpoints.js';
import { usageError } from '../../errors.js';
import type { KeyRecord } from '../../keystore/record.js';
import { parseDuration } from '../../util/text.js';
import { type AccountLogin, endpointOfRecord, selectEndpoint, type WorkflowContext } from '../../workflows/context.js';
import type { Rotation } from '../../workflows/rotation/rotate.js';
import type { FailedRotation } from '../../workflows/rotation/rotate-all.js';
import { type Context, keyContext } from '../context.js';
import { CheckFailed } from '../exit-codes.js';
import { accountLogin, keyLogin, saysLogin, withSecondFactor } from '../login.js';
import type { LoginOptions } from '../options.js';
import { fields, inLine, table } from '../output.js';
import type { Define } from '../program.js';
import { addKindOptions, chosenKind, targetFrom } from './signer-kinds.js';

interface RotateFlags extends LoginOptions {
  readonly inFile?: true;
  readonly type?: 'ed25519' | 'rsa';
  readonly bits?: '2048' | '3072' | '4096';
  readonly grace?: number;
  readonly abort?: true;
  readonly all?: true;
  readonly olderThan?: number;
}

/** For an option: commander names it where its value is no duration. */
function duration(text: string): number {
  try {
    return parseDuration(text);
  } catch {
    throw new InvalidArgumentError('It must be a whole number and a unit, such as 30m, 36h, 90d or 2w.');
  }
}

const DEFAULT_AGE_MS = 90 * 86_400_000;

interface RotationLogin {
  readonly workflow: WorkflowContext;
  readonly flags: LoginOptions;
  readonly record: KeyRecord;
}

/** Without another login, or where it is named as the login, the rotating key itself logs in. */
async function loginFor(cx: Context, { workflow, flags, record }: RotationLogin): Promise<AccountLogin> {
  const isItself = flags.as === undefined ? !saysLogin(cx, flags) : flags.as === record.name;
  if (!isItself) return accountLogin(cx, flags, record);
  const { requireClientId } = await import('../../workflows/account/account.js');
  const endpoint = selectEndpoint(cx.target, record);
  return keyLogin(cx, workflow, {
    record,
    clientId: requireClientId(record),
    endpoint,
    subaccount: flags.subaccount,
  });
}

function lines(rotation: Rotation): string[] {
  return fields([
    ['name', rotation.name],
    ['state', rotation.state === 'grace' ? `grace, until ${rotation.graceUntil}` : rotation.state],
    ['client id', rotation.clientId],
    ['fingerprint', rotation.fingerprint],
    [rotation.state === 'aborted' ? 'successor' : 'replaces', rotation.previousClientId],
    ['old pair kept as', rotation.previousName],
  ]);
}

/** One table of all rotations, then why some failed. */
function summary(cx: Context, rotations: readonly (Rotation | FailedRotation)[]): string[] {
  if (rotations.length === 0) return [];
  const rows = rotations.map((rotation) => [
    rotation.name,
    rotation.state === 'grace' ? `grace until ${rotation.graceUntil}` : rotation.state,
    rotation.clientId ?? '-',
    rotation.previousClientId ?? '-',
    rotation.previousName ?? '-',
  ]);
  const failures = rotations.flatMap((rotation) =>
    rotation.state === 'failed'
      ? [`${cx.out.style('FAILED', 'red')}   ${rotation.name}: ${inLine(rotation.error.message)}`]
      : [],
  );
  return [
    ...table(cx.out, { header: ['NAME', 'STATE', 'CLIENT ID', 'REPLACES', 'OLD PAIR'], rows, yielding: ['OLD PAIR'] }),
    ...failures,
  ];
}

async function rotateOne(cx: Context, name: string, flags: RotateFlags): Promise<void> {
  const { abortRotation, rotate } = await import('../../workflows/rotation/rotate.js');
  const { context: workflow, makeSuccessor } = await keyContext(cx, await withSecondFactor(cx, flags));
  const login = (record: KeyRecord) => loginFor(cx, { workflow, flags, record });
  const rotation = flags.abort
    ? await abortRotation(workflow, { name, login })
    : await rotate(workflow, { name, ...successorChoice(cx, flags), graceMs: flags.grace, login, makeSuccessor });
  cx.out.result(rotation, () => lines(rotation));
  if (rotation.state === 'grace') {
    cx.out.note(`the old key stays enabled until ${rotation.graceUntil}: run the same command again after that`);
  }
}

const successorChoice = (cx: Context, { type, bits, ...flags }: RotateFlags) => ({
  type,
  target: targetFrom(cx, { ...flags }),
  bits: bits === undefined ? undefined : (Number(bits) as 2048 | 3072 | 4096),
});

/** Why `rotate --all` passes over a key that is due. */
function leftOut({ name }: KeyRecord, registered: Endpoint | null, meant: Endpoint | null): string {
  const where = registered === null ? 'elsewhere' : `at ${registered.url}`;
  return `left out: "${name}" is registered ${where}${meant === null ? '' : `, not at ${meant.url}`}`;
}

async function rotateMany(cx: Context, flags: RotateFlags): Promise<void> {
  const { rotateAll } = await import('../../workflows/rotation/rotate-all.js');
  const { sameEndpoint } = await import('../../deribit/endpoints.js');
  const base = await withSecondFactor(cx, flags);
  const shared = saysLogin(cx, flags) ? await accountLogin(cx, flags) : null;
  const said = cx.target.environment !== undefined || cx.target.url !== undefined;
  const endpoint = shared?.endpoint ?? (said ? selectEndpoint(cx.target) : null);
  const isMeant = (record: KeyRecord) => {
    const registered = endpointOfRecord(record);
    return registered !== null && (endpoint === null || sameEndpoint(registered, endpoint));
  };
  const results = await rotateAll({
    ...successorChoice(cx, flags),
    graceMs: flags.grace,
    olderThanMs: flags.olderThan ?? DEFAULT_AGE_MS,
    isMeant,
    onStart: ({ name }, number, of) => cx.out.note(`rotating "${name}" (${number} of ${of}) …`),
    onLeftOut: (record) => cx.out.note(leftOut(record, endpointOfRecord(record), endpoint)),
    loginClientId: shared?.credentials.clientId ?? null,
    contextFor: async () => {
      const { context: workflow, makeSuccessor } = await keyContext(cx, base);
      // what a login was read from may be a pipe, which can be read once
      const login = async (record: KeyRecord) =>
        shared === null || flags.as === record.name ? loginFor(cx, { workflow, flags, record }) : shared;
      return { context: workflow, makeSuccessor, login };
    },
    store: cx.store,
  });
  cx.out.result(results, () => summary(cx, results));
  if (results.length === 0) cx.out.note('no registered key is old enough (--older-than; default 90d)');
  const count = (state: string) => results.filter((rotation) => rotation.state === state).length;
  cx.out.note(`${count('done')} rotated, ${count('grace')} in their grace period, ${count('failed')} failed`);
  if (count('failed') > 0) throw new CheckFailed();
}

function requireSense(name: string | undefined, flags: RotateFlags): void {
  if ((name === undefined) === (flags.all === undefined)) {
    throw usageError(
      'name one key, or use --all',
      'deribit-keys rotate <name>, or deribit-keys rotate --all --older-than 90d',
    );
  }
  if (flags.olderThan !== undefined && flags.all === undefined) {
    throw usageError('--older-than belongs to --all', 'leave it out, or use --all instead of a name');
  }
  const elsewhere = flags.inFile || chosenKind({ ...flags }, 'rotate') !== null;
  if (flags.abort && (flags.all || flags.type || flags.bits || flags.grace !== undefined || elsewhere)) {
    throw usageError('--abort takes only a name and a login', 'leave out the other options');
  }
}

export const define: Define = (command, { act }) => {
  addKindOptions(
    command
      .argument('[name]')
      .choice('--type <type>', 'algorithm (default: that of the old key)', ['ed25519', 'rsa'])
      .choice('--bits <bits>', 'length of an RSA key (default: that of the old key)', ['2048', '3072', '4096'])
      .option('--grace <duration>', 'how long the old key stays enabled, such as 36h (default: not at all)', duration)
      .option('--abort', 'undo an unfinished rotation')
      .option('--all', 'rotate every registered key of a certain age, and finish unfinished rotations')
      .option('--older-than <duration>', 'age of the keys that --all rotates (default 90d)', duration),
    'rotate',
  );
  command
    .loginOptions()
    .examples(
      'rotate bot --as admin',
      'rotate bot --as admin --grace 24h   # run it again a day later to remove the old key',
      'rotate bot --abort --as admin',
      'rotate bot --as admin --in-token --module /usr/lib/softhsm/libsofthsm2.so --token bots',
      'rotate --all --older-than 90d --as admin',
    )
    .addHelpText(
      'after',
      `
Without login options the key itself logs in, which needs account:read_write in its scope. Run the same command again
to continue an interrupted rotation. The old pair is kept as <name>.<time>.
The successor is created where the old key lives, unless an option says otherwise. With --in-file, the successor of a key
without a file is not encrypted; encrypt it with: deribit-keys passphrase <name>.`,
    )
    .action(
      act(async (cx, name: string | undefined, flags: RotateFlags) => {
        requireSense(name, flags);
        if (name === undefined) return rotateMany(cx, flags);
        await rotateOne(cx, name, flags);
      }),
    );
};
