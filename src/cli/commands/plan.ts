import type { Secret } from '../../crypto/secret.js';
import { DeribitKeysError, isDeribitKeysError, usageError } from '../../errors.js';
import { errnoOf } from '../../keystore/file-errors.js';
import { readInput } from '../../keystore/permissions.js';
import type { KeyRecord } from '../../keystore/record.js';
import type { PolicyResult } from '../../workflows/policy/apply-policy.js';
import type { Action, Change } from '../../workflows/policy/plan-policy.js';
import { type Context, keyContext, type OpenedKey, openUnder } from '../context.js';
import { CheckFailed } from '../exit-codes.js';
import { readStdin } from '../key-input.js';
import { accountLogin, withSecondFactor } from '../login.js';
import type { LoginOptions } from '../options.js';
import { inLine, type Style } from '../output.js';
import type { Define } from '../program.js';
import { confirm } from '../prompt.js';
import { requireNewPassphrase } from '../secrets.js';

interface PolicyFlags extends LoginOptions {
  readonly prune?: true;
}

/** Changes that end or restore the access of a key: they must be confirmed. */
const WEIGHTY: ReadonlySet<Action> = new Set(['replace', 'rotate', 'enable', 'disable']);

/** The mark and the styles of a change. */
const LOOKS: Readonly<Partial<Record<Action, readonly [mark: string, ...Style[]]>>> = {
  create: ['+', 'green'],
  register: ['+', 'green'],
  link: ['+', 'green'],
  disable: ['-', 'red'],
  replace: ['±', 'red'],
  conflict: ['!', 'red'],
  stranger: ['?', 'dim'],
};

const POLICY_HELP = `
The file, in YAML or JSON, names the keys that the account (or, with --subaccount, the subaccount) should have:

  environment: test            # optional: must be the login's
  keys:
    - name: bot                # in the keystore
      scope: account:read trade:read_write
      type: rsa                # optional: ed25519 (default for a new key) or rsa
      bits: 3072               # optional, with rsa: 2048, 3072 or 4096
      label: bot               # optional: its name on Deribit
      features: []             # optional: restricted_block_trades, block_trade_approval
      whitelist: [203.0.113.7] # optional; an empty list: any address
      maxAge: 90d              # optional: rotated when older
      encrypt: true            # optional: the private key has a passphrase

What is left out is not checked. An enabled key of the account that the file does not name is reported as stranger (an
unmanaged key): it stays as it is, unless --prune disables it; it is never removed. The key of the login is not reported.`;

/** Reads a file, a pipe, or (`-`) the standard input, up to the size that a policy can have. */
async function readText(cx: Context, file: string, maxBytes: number): Promise<string> {
  const hint = 'name a YAML or JSON file in UTF-8, or - for stdin';
  const tooLarge = () => usageError(`the standard input has more than ${maxBytes} bytes: it is not a policy`);
  try {
    const { signal } = cx.host;
    const bytes = file === '-' ? await readStdin(cx, maxBytes, tooLarge) : await readInput(file, { maxBytes, signal });
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    if (isDeribitKeysError(cause, 'ERR_KEYSTORE_IO')) throw cause.with({ code: 'ERR_USAGE', hint });
    if (isDeribitKeysError(cause)) throw cause;
    const what = errnoOf(cause) === 'ENOENT' ? `there is no file ${file}` : `${file} cannot be read as text`;
    throw new DeribitKeysError('ERR_USAGE', what, { cause, hint });
  }
}

/** The policy, and a login: where nothing else says where to go, the policy does. */
async function begin(cx: Context, file: string, flags: PolicyFlags) {
  const { MAX_POLICY_BYTES, parsePolicy } = await import('../../workflows/policy/parse-policy.js');
  const policy = parsePolicy(await readText(cx, file, MAX_POLICY_BYTES));
  const { records } = await cx.store.list();
  const named = records.filter(
    ({ name, state }) => state === 'registered' && policy.keys.some((key) => key.name === name),
  );
  const { environment, url } = cx.target;
  const silent = environment === undefined && url === undefined && flags.as === undefined && named.length === 0;
  const target = silent && policy.environment !== null ? { environment: policy.environment } : cx.target;
  const login = await accountLogin({ ...cx, target }, flags, ...(flags.as === undefined ? named : []));
  return { policy, login, workflow: await withSecondFactor(cx, flags) };
}

function show(cx: Context, result: PolicyResult): void {
  const told = (changes: readonly Change[]) => changes.map((change) => line(change, cx.out.style));
  cx.out.result(result, () => {
    const { changes, applied } = result;
    if (!applied) return told(changes);
    const unmanaged = changes.filter(({ action }) => action === 'stranger');
    const made = changes.filter((change) => !unmanaged.includes(change));
    return ['applied:', ...told(made), ...(unmanaged.length === 0 ? [] : ['left as it is:', ...told(unmanaged)])];
  });
  if (result.changes.length === 0) cx.out.note('nothing to do: everything matches the policy');
}

/** One change in one line; a note takes it without `style`, since it shows escape codes as they are. */
function line({ action, name, detail }: Change, style: Context['out']['style'] = (text) => text): string {
  const [mark, ...styles] = LOOKS[action] ?? ['~'];
  return `${mark} ${style(action, ...styles)} ${style(name, 'bold')}: ${inLine(detail)}`;
}

/** A passphrase that was set in this run opens the key later in it. */
function passphrases(cx: Context) {
  const made = new Map<string, Promise<Secret>>();
  return {
    newFor(name: string): Promise<Secret> {
      const { host, secrets } = cx;
      const [what, names] = [`the key "${name}"`, ['newPassphrase', 'passphrase'] as const];
      const asked = made.get(name) ?? requireNewPassphrase({ host, secrets, what, names, key: name });
      made.set(name, asked);
      return asked;
    },
    async openKey(record: KeyRecord): Promise<OpenedKey> {
      const passphrase = await made.get(record.name);
      return passphrase === undefined ? cx.openKey(record) : openUnder(cx, record, passphrase);
    },
  };
}

async function confirmWeighty(cx: Context, changes: readonly Change[]): Promise<void> {
  const weighty = changes.filter(({ action }) => WEIGHTY.has(action));
  if (weighty.length === 0) return;
  for (const change of changes) cx.out.note(line(change));
  const list = weighty.map(({ action, name }) => `${action} ${name}`).join(', ');
  await confirm(cx.host, cx.options.yes === true, `make these changes, among them: ${list}?`);
}

export const definePlan: Define = (command, { act }) => {
  command
    .argument('<file>', 'policy file in YAML or JSON; - for stdin')
    .option('--prune', 'show what apply --prune would do')
    .option('--check', 'exit with 1 where apply would change something')
    .loginOptions()
    .addHelpText('after', POLICY_HELP)
    .examples(
      'plan keys.yaml --as admin',
      'plan keys.yaml --as admin --check',
      'plan keys.yaml --as admin --json | jq .changes',
    )
    .action(
      act(async (cx, file: string, flags: PolicyFlags & { readonly check?: true }) => {
        const { planPolicy } = await import('../../workflows/policy/apply-policy.js');
        const { workflow, policy, login } = await begin(cx, file, flags);
        const result = await planPolicy(workflow, { policy, login, prune: flags.prune });
        show(cx, result);
        if (flags.check && result.changes.some(({ action }) => action !== 'stranger')) throw new CheckFailed();
      }),
    );
};

export const defineApply: Define = (command, { act }) => {
  command
    .argument('<file>', 'policy file in YAML or JSON; - for stdin')
    .option('--prune', 'disable enabled keys that the policy does not name')
    .secret('newPassphrase', 'read the passphrase for new keys that have one from this file')
    .loginOptions()
    .addHelpText('after', POLICY_HELP)
    .addHelpText(
      'after',
      '\nReplacing, rotating, enabling or disabling a key must be confirmed: on a terminal, or by --yes.',
    )
    .examples('apply keys.yaml --as admin', 'apply keys.yaml --as admin --prune --yes')
    .action(
      act(async (cx, file: string, flags: PolicyFlags) => {
        const { applyPolicy } = await import('../../workflows/policy/apply-policy.js');
        const { policy, login, workflow } = await begin(cx, file, flags);
        const { newFor, openKey } = passphrases(cx);
        const result = await applyPolicy(workflow, {
          policy,
          login,
          prune: flags.prune === true,
          confirm: (changes) => confirmWeighty(cx, changes),
          contextFor: () => keyContext(cx, workflow, openKey),
          newPassphrase: newFor,
          permissions: cx.permissions,
          onDone: ({ action, name }) => cx.out.note(`done: ${action} ${name}`),
        });
        show(cx, result);
      }),
    );
};
