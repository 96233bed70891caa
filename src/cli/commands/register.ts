import type { Registration } from '../../workflows/registration/register.js';
import { accountLogin, withSecondFactor, withSecondFactorIfGiven } from '../login.js';
import { collect, type LoginOptions, notEmpty, scopeText, wholeNumber } from '../options.js';
import { fields, type Printer } from '../output.js';
import type { Define } from '../program.js';

interface RegisterFlags extends LoginOptions {
  readonly scope: string;
  readonly label?: string;
  readonly feature?: readonly string[];
  readonly ip?: readonly string[];
}

/** Prints what was registered or linked, each proof with its verdict. */
function showRegistration(out: Printer, registration: Registration): void {
  const proof = (verified: boolean | null) =>
    verified === null ? 'not shown by the exchange' : verified ? 'verified' : 'NOT verified';
  out.result(registration, () =>
    fields([
      ['name', registration.name],
      ['environment', registration.environment],
      ['client id', registration.clientId],
      ['key id', registration.keyId],
      ['scope', registration.scope],
      ['fingerprint', `${registration.fingerprint} (${proof(registration.fingerprintVerified)})`],
      ['public key', proof(registration.publicKeyVerified)],
      ['login', registration.loginVerified ? 'verified' : 'NOT verified'],
    ]),
  );
}

export const defineRegister: Define = (command, { act }) => {
  command
    .argument('<name>')
    .requiredOption('--scope <scope>', 'what the key may do, such as "account:read trade:read_write"', scopeText)
    .option('--label <label>', 'name of the API key on Deribit (default: made from <name>)')
    .option('--feature <feature>', 'restricted_block_trades or block_trade_approval; may be repeated', collect)
    .option('--ip <address>', 'address or subnet that may use the key; may be repeated', collect)
    .loginOptions()
    .examples(
      'register bot --scope "account:read trade:read_write" --as admin',
      'register bot --scope trade:read_write --ip 203.0.113.7 --client-id AbCdEf12 --client-secret-file secret.txt',
    )
    .action(
      act(async (cx, name: string, flags: RegisterFlags) => {
        const { register, requireRegistrable } = await import('../../workflows/registration/register.js');
        const record = await cx.store.read(name);
        requireRegistrable(record);
        const login = await accountLogin(cx, flags, record);
        const workflow = await withSecondFactor(cx, flags);
        const { scope, label } = flags;
        const registration = await register(workflow, {
          name,
          scope,
          label,
          features: flags.feature ?? [],
          ipWhitelist: flags.ip ?? [],
          login,
        });
        if (registration.adopted)
          cx.out.note('the key was already on the exchange, from an interrupted run: it was adopted');
        showRegistration(cx.out, registration);
      }),
    );
};

export const defineLink: Define = (command, { act }) => {
  command
    .argument('<name>')
    .requiredOption('--client-id <id>', 'client id that Deribit shows for the key', notEmpty)
    .option('--tfa-code <code>', 'second factor: a single code (env DERIBIT_TFA_CODE)', notEmpty)
    .option('--tfa-secret-file <file>', 'second factor: the base32 seed (env DERIBIT_TFA_SECRET)', notEmpty)
    .option('--subaccount <id>', 'subaccount that the key belongs to', wholeNumber(1))
    .examples('link bot --client-id AbCdEf12', 'link bot --client-id AbCdEf12 --env prod')
    .action(
      act(async (cx, name: string, flags: LoginOptions & { clientId: string }) => {
        const { link } = await import('../../workflows/registration/link.js');
        const { selectEndpoint } = await import('../../workflows/context.js');
        const record = await cx.store.read(name);
        const endpoint = selectEndpoint(cx.target, record);
        const { clientId, subaccount } = flags;
        const workflow = await withSecondFactorIfGiven(cx, flags);
        cx.login.attempt = { endpoint, clientId, record, secret: null };
        const registration = await link(workflow, { name, clientId, endpoint, subaccount });
        showRegistration(cx.out, registration);
      }),
    );
};
