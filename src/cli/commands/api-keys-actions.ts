import { DeribitKeysError } from '../../errors.js';
import type { AccountKey, KeyChoice } from '../../workflows/account/api-keys.js';
import type { KeyChange } from '../../workflows/account/change-api-key.js';
import type { BrakeResult } from '../../workflows/account/emergency-brake.js';
import type { Context } from '../context.js';
import { accountLogin, withSecondFactor } from '../login.js';
import type { LoginOptions } from '../options.js';
import { fields, inLine, table } from '../output.js';
import { confirm } from '../prompt.js';

function keyLines(key: AccountKey): string[] {
  return fields([
    ['key id', key.keyId],
    ['client id', key.clientId],
    ['label', key.label || null],
    ['name', key.name],
    ['scope', key.scope],
    ['enabled', key.enabled === null ? null : key.enabled ? 'yes' : 'no'],
    ['whitelist', key.ipWhitelist.join(' ') || 'none: any address'],
    ['features', key.features.join(' ') || null],
    ['fingerprint', key.fingerprint],
    ['created', key.createdAt],
  ]);
}

function keyTable(cx: Context, keys: readonly AccountKey[]): string[] {
  const rows = keys.map((key) => [
    String(key.keyId),
    key.clientId,
    key.label || '-',
    key.name ?? '-',
    key.scope,
    key.ipWhitelist.join(' ') || 'any',
    key.marks.join(', ') || '-',
  ]);
  return table(cx.out, {
    header: ['ID', 'CLIENT ID', 'LABEL', 'NAME', 'SCOPE', 'WHITELIST', 'MARKS'],
    rows,
    yielding: ['SCOPE', 'MARKS', 'WHITELIST'],
    spare: ['WHITELIST'],
  });
}

/** What each command on the account begins with. */
async function openAccountWork(cx: Context, flags: LoginOptions, choices: readonly KeyChoice[]) {
  const { onBehalfOf } = await import('../../workflows/account/account.js');
  const records = choices.map(({ record }) => record).filter((record) => record !== null);
  const base = await accountLogin(cx, flags, ...records);
  const login = records.reduce(onBehalfOf, base);
  return { workflow: await withSecondFactor(cx, flags), login };
}

const named = (key: AccountKey) =>
  inLine([key.name ?? key.label, `(${key.clientId})`].filter((part) => part !== '').join(' '));

/** Warns of what would lock the user out, and asks before that and before what cannot be undone. */
async function warnAndConfirm(
  cx: Context,
  change: KeyChange,
  { target, keys }: { readonly target: AccountKey; readonly keys: readonly AccountKey[] },
): Promise<void> {
  const { dangersOf } = await import('../../workflows/account/change-api-key.js');
  const dangers = dangersOf(change, target, keys);
  for (const danger of dangers) cx.out.note(`warning: ${danger}`);
  const question =
    change.do === 'remove'
      ? `remove the key ${named(target)} from the exchange for good?`
      : change.do === 'disable'
        ? `disable the key ${named(target)}, so that it cannot log in?`
        : dangers.length > 0
          ? `change the key ${named(target)} anyway?`
          : null;
  if (question !== null) await confirm(cx.host, cx.options.yes === true, question);
}

/** One change of one key: found, warned of, confirmed, made, shown. */
export async function changeOne(
  cx: Context,
  { text, change, flags }: { readonly text: string; readonly change: KeyChange; readonly flags: LoginOptions },
): Promise<void> {
  const { chooseKey, findKey, listAccountKeys } = await import('../../workflows/account/api-keys.js');
  const { changeKey, checkChange, retireMissing } = await import('../../workflows/account/change-api-key.js');
  const checked = checkChange(change);
  const choice = await chooseKey(cx.store, text);
  const { workflow, login } = await openAccountWork(cx, flags, [choice]);
  const keys = await listAccountKeys(workflow, login);
  let target: AccountKey;
  try {
    target = findKey(keys, choice);
  } catch (error) {
    const { record } = choice;
    const retired =
      checked.do === 'remove' && record !== null ? await retireMissing(workflow, record, { login, keys }) : null;
    if (retired === null) throw error;
    cx.out.note(`the exchange has no such key any more: "${retired.name}" is marked as retired`);
    const { name, clientId, keyId, label, scope, ipWhitelist, features, fingerprint } = retired;
    const gone = { keyId, clientId, label, scope, enabled: false, ipWhitelist, features, fingerprint, name };
    cx.out.result({ ...gone, marks: [], createdAt: null, removed: true }, () => `removed ${name} (${clientId})`);
    return;
  }
  const shadowed = choice.record === null ? undefined : keys.find((key) => isCalled(key, text) && key !== target);
  if (shadowed !== undefined) {
    cx.out.note(`"${text}" means the keystore's key of that name; for the other one say id:${shadowed.keyId}`);
  }
  await warnAndConfirm(cx, checked, { target, keys });
  const changed = await changeKey(workflow, { login, target, change: checked });
  const removed = checked.do === 'remove';
  if (removed && changed.name !== null) cx.out.note(`the files of "${changed.name}" stay, marked as retired`);
  cx.out.result({ ...changed, ...(removed ? { removed } : {}) }, () =>
    removed ? `removed ${named(target)}` : keyLines(changed),
  );
}

const isCalled = (key: AccountKey, text: string) => key.clientId === text || String(key.keyId) === text;

/** `disable --all-but`. */
export async function disableOthers(cx: Context, texts: readonly string[], flags: LoginOptions): Promise<void> {
  const { chooseKey, findKey, managesKeys } = await import('../../workflows/account/api-keys.js');
  const { disableKeys, listForBrake } = await import('../../workflows/account/emergency-brake.js');
  const choices = await Promise.all(texts.map((text) => chooseKey(cx.store, text)));
  const { workflow, login } = await openAccountWork(cx, flags, choices);
  const { keys, unreadable } = await listForBrake(workflow, login);
  if (unreadable > 0) {
    cx.out.note(`warning: ${unreadable} keys of the account cannot be disabled: the exchange does not show their ids`);
  }
  const spared = choices.map((choice) => findKey(keys, choice));
  const doomed = keys.filter((key) => key.enabled !== false && !spared.includes(key));
  for (const key of spared) {
    if (key.enabled === false) cx.out.note(`warning: ${named(key)} is spared, but it is already disabled`);
  }
  if (doomed.some((key) => key.marks.includes('login'))) {
    cx.out.note('warning: the key of this login is not spared: it is disabled last');
  }
  if (!spared.some((key) => key.enabled !== false && managesKeys(key.scope))) {
    cx.out.note("warning: no spared key can manage keys: only Deribit's web page can enable keys again");
  }
  const list = doomed.map(named).join(', ');
  if (doomed.length > 0) {
    await confirm(cx.host, cx.options.yes === true, `disable ${doomed.length} of ${keys.length} keys: ${list}?`);
  }
  const results = await disableKeys(workflow, login, doomed);
  cx.out.result(results, () =>
    results.length === 0
      ? 'nothing to disable'
      : results.map((key) => `${key.error === null ? 'disabled' : 'FAILED  '}  ${named(key)}${reason(key)}`),
  );
  const failed = results.filter(({ error }) => error !== null);
  const [first] = failed;
  if (first?.error) {
    throw new DeribitKeysError(
      first.error.code,
      `${failed.length} of ${results.length} keys could not be disabled; the first because ${first.error.message}`,
      { hint: 'run the same command again: keys that are already disabled stay disabled' },
    );
  }
  if (unreadable === 0) return;
  throw new DeribitKeysError(
    'ERR_PROTOCOL',
    `${unreadable} keys of the account have no readable id and are still enabled`,
    { hint: "disable them on Deribit's web page (Account > API)" },
  );
}

const reason = ({ error }: BrakeResult) => (error === null ? '' : `: ${inLine(error.message)}`);

/** `api-keys list`. */
export async function showKeys(cx: Context, flags: LoginOptions): Promise<void> {
  const { listAccountKeys } = await import('../../workflows/account/api-keys.js');
  const { workflow, login } = await openAccountWork(cx, flags, []);
  const keys = await listAccountKeys(workflow, login);
  cx.out.result(keys, () => keyTable(cx, keys));
  cx.out.note(`${keys.length} ${keys.length === 1 ? 'key' : 'keys'}; Deribit documents at most 8 per account`);
}
