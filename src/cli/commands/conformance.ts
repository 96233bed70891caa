import { usageError } from '../../errors.js';
import { VERSION } from '../../version.js';
import type { Fact } from '../../workflows/conformance/conformance.js';
import { CheckFailed } from '../exit-codes.js';
import { accountLogin, withSecondFactor } from '../login.js';
import { fileName, type LoginOptions } from '../options.js';
import { inLine, type Printer, table } from '../output.js';
import type { Define } from '../program.js';

const verdicts = { true: 'yes', false: 'NO', null: 'not shown' } as const;

function factLines(out: Printer, facts: readonly Fact[]): string[] {
  const rows = facts.map(({ fact, expected, observed, agrees }) => [fact, expected, observed, verdicts[`${agrees}`]]);
  return table(out, {
    header: ['fact', 'expected', 'observed', 'agrees'],
    rows,
    yielding: ['expected', 'observed', 'fact'],
  });
}

export const define: Define = (command, { act }) => {
  command
    .option(
      '--report <file>',
      'also write the result to a new file, which holds no secret and may be published',
      fileName,
    )
    .loginOptions()
    .addHelpText(
      'after',
      `
Creates an Ed25519 and an RSA key that can only read, observes how the exchange treats them, and removes them again, also
after Ctrl-C. Runs on the test exchange; production needs --env prod and --yes. Exits with 1 where a fact differs from
what deribit-keys assumes, or where a key is left behind.`,
    )
    .examples('conformance --as admin', 'conformance --as admin --report report.json')
    .action(
      act(async (cx, flags: LoginOptions & { report?: string }) => {
        const { checkConformance } = await import('../../workflows/conformance/conformance.js');
        const { createFile, requireNewFile } = await import('../../keystore/files.js');
        const login = await accountLogin(cx, flags);
        const { environment } = login.endpoint;
        if (environment === 'prod' && !(cx.options.env === 'prod' && cx.options.yes === true)) {
          throw usageError(
            'conformance makes and removes API keys on the production account',
            'run it on the test exchange, or say --env prod --yes',
          );
        }
        if (flags.report !== undefined) await requireNewFile(flags.report);
        const workflow = await withSecondFactor(cx, flags);
        const startedAt = new Date().toISOString();
        const result = await checkConformance(workflow, login, {
          onFact: ({ fact, observed }) => cx.out.detail(`${fact}: ${inLine(observed)}`),
        });
        if (flags.report !== undefined) {
          const report = { tool: 'deribit-keys', version: VERSION, environment, startedAt, ...result };
          await createFile(flags.report, `${JSON.stringify(report, null, 2)}\n`, 0o644);
        }
        cx.out.result(result, () => [
          ...factLines(cx.out, result.facts),
          result.cleaned
            ? 'every throw-away key was removed'
            : cx.out.style('throw-away keys may be left behind', 'red'),
        ]);
        if (!result.cleaned || result.facts.some(({ agrees }) => agrees === false)) throw new CheckFailed();
      }),
    );
};
