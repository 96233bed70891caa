import type { Secret } from '../../crypto/secret.js';
import type { KeyRecord } from '../../keystore/record.js';
import { parseDuration } from '../../util/text.js';
import type { Diagnosis } from '../../workflows/checks/doctor.js';
import type { Finding } from '../../workflows/checks/finding.js';
import { type AccountLogin, selectEndpoint } from '../../workflows/context.js';
import type { Context } from '../context.js';
import { CheckFailed } from '../exit-codes.js';
import { accountLogin, withSecondFactor, withSecondFactorIfGiven } from '../login.js';
import { type LoginOptions, loginWords } from '../options.js';
import { inLine, type Printer } from '../output.js';
import type { Define } from '../program.js';
import { canAsk } from '../prompt.js';
import { withPassphrase } from '../secrets.js';

interface DoctorFlags extends LoginOptions {
  readonly file?: string;
  readonly error?: string;
  readonly maxAge: string;
  readonly offline?: true;
  readonly problems?: true;
}

/** A finding as it is printed: with several checks where they say the same. */
type Line = Omit<Finding, 'check'> & { readonly check: string };

function lines(out: Printer, { check, name, ok, detail, fix }: Line): string[] {
  const mark = ok === false ? out.style('✗', 'red') : ok === null ? '-' : fix === null ? '✓' : out.style('!', 'yellow');
  const line = `${mark} ${name === null ? '' : `${out.style(name, 'bold')} `}${check}: ${inLine(detail)}`;
  return fix === null ? [line] : [line, `    ${ok === false ? 'fix' : 'you could'}: ${fix}`];
}

/** The finding without the name of its key. */
const ofAnyKey = ({ name, fix, ...finding }: Line): Omit<Line, 'name'> => ({
  ...finding,
  fix: fix?.replaceAll(/\S+/g, (word) => (word === name ? '<name>' : word)) ?? null,
});

/** Whether a finding is worth a line, but no failure: those of several keys often say the same. */
const isRemark = ({ name, ok, fix }: Line) => name !== null && (ok === null || (ok && fix !== null));

/** The checks of one key that could not be made for the same reason, in one line. */
function joined(findings: readonly Finding[]): Line[] {
  const byReason = new Map<string, Line>();
  for (const finding of findings) {
    const { check, name, ok, detail, fix } = finding;
    const reason = JSON.stringify(ok === null ? [name, detail, fix] : [name, detail, fix, check, byReason.size]);
    const same = byReason.get(reason);
    byReason.set(reason, same === undefined ? finding : { ...same, check: `${same.check}, ${check}` });
  }
  return [...byReason.values()];
}

/**
 * Findings with what is fine in one line per key, and a remark on several keys in one line for all of them: nine keys would
 * fill several screens otherwise.
 */
function briefly(out: Printer, findings: readonly Finding[]): string[] {
  const told = joined(findings);
  const byText = new Map<string, Line[]>();
  for (const finding of told.filter(isRemark)) {
    const text = JSON.stringify(ofAnyKey(finding));
    byText.set(text, [...(byText.get(text) ?? []), finding]);
  }
  const shared = [...byText.values()].filter(({ length }) => length > 1);
  const inCommon = new Set(shared.flat());
  const names = [...new Set(findings.map(({ name }) => name))];
  const single = names.flatMap((name) => {
    const own = findings.filter((finding) => finding.name === name);
    const fine = own.filter(({ ok, fix }) => ok === true && fix === null).length;
    const title = name === null ? 'general' : out.style(name, 'bold');
    const mark = own.some(({ ok }) => ok === false) ? out.style('✗', 'red') : '✓';
    const rest = told.filter(
      (line) => line.name === name && !inCommon.has(line) && (line.ok !== true || line.fix !== null),
    );
    return [
      ...(fine === 0 ? [] : [`${mark} ${title}: ${fine} of ${own.length} checks passed`]),
      ...rest.flatMap((finding) => lines(out, finding)),
    ];
  });
  const common = shared.flatMap((same) => {
    const name = same.map((finding) => finding.name).join(', ');
    return same.slice(0, 1).flatMap((first) => lines(out, { ...ofAnyKey(first), name }));
  });
  return [...single, ...common];
}

function show(out: Printer, diagnosis: Diagnosis, verbose: boolean): void {
  out.result(diagnosis, () => {
    const { culprit, findings } = diagnosis;
    const end =
      culprit === null
        ? out.style('nothing wrong was found', 'green')
        : `${out.style('the culprit', 'bold')}: ${culprit.name === null ? '' : `${culprit.name} `}${culprit.check}: ${inLine(culprit.detail)}`;
    const shown = verbose ? findings.flatMap((finding) => lines(out, finding)) : briefly(out, findings);
    return [...shown, ...(shown.length === 0 ? [] : ['']), end];
  });
}

/** The client id is a login's where its secret is given as well, else the one to look for. */
function loginFlags(cx: Context, flags: DoctorFlags): LoginOptions | null {
  if (flags.as !== undefined) {
    const { clientId: _sought, ...login } = flags;
    return login;
  }
  const { DERIBIT_CLIENT_ID, DERIBIT_CLIENT_SECRET } = cx.host.env;
  const secret = flags.clientSecretFile !== undefined || Boolean(DERIBIT_CLIENT_SECRET);
  return secret && (flags.clientId !== undefined || Boolean(DERIBIT_CLIENT_ID)) ? flags : null;
}

/** The login where the keys belong; if they belong to several endpoints, the login's own endpoint. */
async function loginNear(cx: Context, login: LoginOptions, records: readonly KeyRecord[]): Promise<AccountLogin> {
  const placed = records.filter(({ environment }) => environment !== null);
  try {
    selectEndpoint(cx.target, ...placed);
  } catch {
    return accountLogin(cx, login);
  }
  return accountLogin(cx, login, ...(login.as === undefined ? placed : []));
}

async function filePassphrase({ host, secrets }: Context, path: string): Promise<Secret | null> {
  const names = ['inputPassphrase', 'passphrase'] as const;
  if (!canAsk(host)) return secrets.find(names);
  return withPassphrase({ host, secrets, what: `the key in ${path}`, names }, async (passphrase) => passphrase);
}

export const define: Define = (command, { look }) => {
  command
    .argument('[name...]', 'names of keys (default: all)')
    .option('--file <file>', 'start from a key file in any format')
    .secret('inputPassphrase')
    .option('--error <code>', "start from an error: Deribit's number or one of our codes")
    .option('--max-age <duration>', 'age from which a registered key is too old', '365d')
    .option('--offline', 'do not contact an exchange')
    .option('--problems', 'show only what is wrong')
    .loginOptions()
    .addHelpText(
      'after',
      `
--client-id without a secret names the key to look for.
With a login, the keys are also compared with the account's list; without one, or without a code for its second factor,
those checks are skipped. A skipped check has "ok": null and does not count. A key without a problem takes one line;
--verbose shows each check.`,
    )
    .examples(
      'doctor',
      'doctor bot --as admin',
      'doctor --error 13004 bot',
      'doctor --file ./key.pem --client-id AbCdEf12',
      `doctor --json | jq '.findings[] | select(.ok == false)'`,
    )
    .action(
      look(async (cx, names: readonly string[], flags: DoctorFlags) => {
        const { doctor } = await import('../../workflows/checks/doctor.js');
        const login = loginFlags(cx, flags);
        const { file } = flags;
        const workflow = await (login === null ? withSecondFactorIfGiven : withSecondFactor)(cx, flags);
        const diagnosis = await doctor(workflow, {
          names,
          file:
            file === undefined
              ? undefined
              : { path: file, permissions: cx.permissions, passphrase: () => filePassphrase(cx, file) },
          clientId: login?.clientId === undefined ? flags.clientId : undefined,
          errorCode: flags.error,
          login: async (records) => (login === null ? null : loginNear(cx, login, records)),
          by: (login === null ? undefined : loginWords(login)) ?? '--as <another key>',
          target: cx.target,
          maxAgeMs: parseDuration(flags.maxAge),
          offline: flags.offline,
          problems: flags.problems,
        });
        const completed = ({ fix, ...finding }: Finding) => ({
          ...finding,
          fix: fix === null ? null : cx.out.advice(fix),
        });
        show(cx.out, { ...diagnosis, findings: diagnosis.findings.map(completed) }, cx.options.verbose === true);
        if (!diagnosis.ok) throw new CheckFailed();
      }),
    );
};
