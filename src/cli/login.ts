import type { Endpoint } from '../deribit/endpoints.js';
import {
  promptSecondFactor,
  type SecondFactor,
  singleCodeSecondFactor,
  totpSecondFactor,
} from '../deribit/second-factor.js';
import { usageError } from '../errors.js';
import type { KeyRecord } from '../keystore/record.js';
import { type AccountLogin, selectEndpoint, type WorkflowContext } from '../workflows/context.js';
import type { Context } from './context.js';
import type { LoginOptions } from './options.js';
import { ask, canAsk } from './prompt.js';

/** The second factor that was given beforehand: one code, or a seed. */
async function secondFactorGiven(cx: Context, options: LoginOptions): Promise<SecondFactor | undefined> {
  const code = options.tfaCode ?? (cx.host.env.DERIBIT_TFA_CODE || undefined);
  if (code !== undefined) return singleCodeSecondFactor(code);
  const seed = await cx.secrets.find(['tfaSecret']);
  return seed === null ? undefined : totpSecondFactor(seed, { nowMs: () => cx.workflow.clock.timestampMs() });
}

const withFactor = (workflow: WorkflowContext, secondFactor: SecondFactor | undefined): WorkflowContext =>
  secondFactor === undefined ? workflow : { ...workflow, secondFactor };

/** The workflow with the second factor that the options give, or else the one who sits at the terminal. */
export async function withSecondFactor(cx: Context, options: LoginOptions): Promise<WorkflowContext> {
  const asked = canAsk(cx.host)
    ? promptSecondFactor((question) => ask(cx.host, question, { hidden: false }))
    : undefined;
  return withFactor(cx.workflow, (await secondFactorGiven(cx, options)) ?? asked);
}

/** The same for a look that can be done without: nobody is asked. */
export async function withSecondFactorIfGiven(cx: Context, options: LoginOptions): Promise<WorkflowContext> {
  return withFactor(cx.workflow, await secondFactorGiven(cx, options));
}

/** Whether the user gave a login at all, for commands that can do without. */
export function saysLogin(cx: Context, options: LoginOptions): boolean {
  if (options.as !== undefined || options.clientId !== undefined || options.clientSecretFile !== undefined) return true;
  return Boolean(cx.host.env.DERIBIT_CLIENT_ID && cx.host.env.DERIBIT_CLIENT_SECRET);
}

interface KeyLogin {
  readonly record: KeyRecord;
  readonly clientId: string;
  readonly endpoint: Endpoint;
  readonly subaccount: number | undefined;
}

/** The login with a key of the keystore. */
export async function keyLogin(cx: Context, workflow: WorkflowContext, login: KeyLogin): Promise<AccountLogin> {
  const { record, clientId, endpoint, subaccount } = login;
  cx.login.attempt = { endpoint, clientId, record, secret: null };
  return {
    endpoint,
    credentials: { clientId, signer: await workflow.signerOf(record) },
    subaccount,
    homeSubaccount: record.subaccount ?? undefined,
  };
}

/**
 * The login for work on the account, by the options; `records` are the keys that the command is about.
 * @throws `ERR_USAGE` where the options say too little or contradict each other
 */
export async function accountLogin(
  cx: Context,
  options: LoginOptions,
  ...records: readonly KeyRecord[]
): Promise<AccountLogin> {
  if (options.as !== undefined) {
    if (options.clientId !== undefined || options.clientSecretFile !== undefined) {
      throw usageError('--as and --client-id are two ways to log in: use one');
    }
    const record = await cx.store.read(options.as);
    if (record.clientId === null) {
      throw usageError(
        `the key "${record.name}" cannot log in: it is not registered`,
        'name a registered key, or use --client-id with its secret',
      );
    }
    cx.setLoginKey(record.name);
    const endpoint = selectEndpoint(cx.target, record, ...records);
    return keyLogin(cx, cx.workflow, { record, clientId: record.clientId, endpoint, subaccount: options.subaccount });
  }
  const clientId = options.clientId ?? (cx.host.env.DERIBIT_CLIENT_ID || undefined);
  if (clientId === undefined) {
    throw usageError(
      'no login was given',
      'use --as <name> (a registered key), or --client-id <id> with --client-secret-file <file> or DERIBIT_CLIENT_SECRET',
    );
  }
  const clientSecret = await cx.secrets.find(['clientSecret']);
  if (clientSecret === null) {
    // the client id may be a secret that was given in its place: it is not shown
    throw usageError(
      'a client id was given, but no client secret',
      'use --client-secret-file <file> or DERIBIT_CLIENT_SECRET',
    );
  }
  const endpoint = selectEndpoint(cx.target, ...records);
  cx.login.attempt = { endpoint, clientId, record: null, secret: clientSecret };
  return { endpoint, credentials: { clientId, clientSecret }, subaccount: options.subaccount };
}
