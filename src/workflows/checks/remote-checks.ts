import type { PublicKey } from '../../crypto/keys.js';
import type { ApiKey } from '../../deribit/api-keys.js';
import { type Endpoint, sameEndpoint } from '../../deribit/endpoints.js';
import { isDeribitKeysError } from '../../errors.js';
import { type KeyRecord, localRecord } from '../../keystore/record.js';
import { isSameThere } from '../account/match-key.js';
import { onBehalfOf, subaccountOf } from '../account/subaccount.js';
import type { AccountLogin, WorkflowContext } from '../context.js';
import { endpointFields } from '../endpoint-selection.js';
import { type AccountView, cannotAsk, viewAccount } from './account-view.js';
import { checkEndpoint, type EndpointView } from './endpoint-checks.js';
import { checkOnExchange, tryLogin } from './exchange-checks.js';
import type { FileView } from './file-checks.js';
import { type Finding, notesOn, ownCommand } from './finding.js';
import type { KeyView } from './key-checks.js';

/** A key under examination: its record, what its files gave, and where it belongs. */
export interface Patient {
  readonly record: KeyRecord;
  readonly view: Pick<KeyView, 'signer' | 'publicKey'>;
  /** The file of its private half. */
  readonly keyFile: string;
  readonly endpoint: Endpoint | null;
}

export interface RemoteRequest {
  readonly patients: readonly Patient[];
  /** A key that is no record's, with the client id that it may have. */
  readonly stranger: { readonly file: FileView | null; readonly clientId: string | null } | null;
  readonly login: () => Promise<AccountLogin | null>;
  /** Where to go for what belongs nowhere. */
  readonly fallback: () => Endpoint;
  /** The login options for a command that mends. */
  readonly by: string;
}

/** Asks every exchange that is involved: is it there, what does the account say, and what becomes of each key's login. */
export async function checkRemote(context: WorkflowContext, request: RemoteRequest): Promise<Finding[]> {
  const { login, findings: loginFindings } = await loginOf(request);
  const places = await visit(context, request, login);
  const placeFindings = [...places.values()].flatMap(({ findings }) => findings);
  const account = accountBehind(context, login, places);
  const keyFindings: Finding[] = [];
  for (const patient of request.patients)
    keyFindings.push(...(await examine(context, patient, places, account, request.by)));
  keyFindings.push(...(await examineStranger(context, request, places, account)));
  return [...placeFindings, ...loginFindings, ...(await account.findings()), ...keyFindings];
}

async function loginOf({
  login,
}: RemoteRequest): Promise<{ readonly login: AccountLogin | null; readonly findings: readonly Finding[] }> {
  try {
    const given = await login();
    if (given !== null) return { login: given, findings: [] };
    const detail = 'no login was given: what the account keeps of its keys is not looked at, unless a key itself may';
    return {
      login: null,
      findings: [notesOn(null).skipped('account', detail, `${ownCommand('doctor', '--as')} <name>`)],
    };
  } catch (thrown) {
    return { login: null, findings: [cannotAsk(thrown)] };
  }
}

type Places = ReadonlyMap<string, EndpointView>;

/** Each place that a key or the login belongs to; where there is none, the one that the user's words lead to. */
async function visit(context: WorkflowContext, request: RemoteRequest, login: AccountLogin | null): Promise<Places> {
  const endpoints = request.patients.flatMap(({ endpoint }) => (endpoint === null ? [] : [endpoint]));
  if (login !== null) endpoints.push(login.endpoint);
  if (endpoints.length === 0) endpoints.push(request.fallback());
  const places = new Map<string, EndpointView>();
  for (const endpoint of endpoints) {
    if (!places.has(endpoint.url)) places.set(endpoint.url, await checkEndpoint(context, endpoint));
  }
  return places;
}

/** The account's own view of its keys, asked for once for each subaccount. */
interface Account {
  readonly login: AccountLogin | null;
  /** Those of the account or subaccount that the key belongs to. */
  keysFor(record: KeyRecord, endpoint: Endpoint): Promise<readonly ApiKey[] | null>;
  /** Those that the login itself leads to. */
  keys(): Promise<readonly ApiKey[]>;
  findings(): Promise<readonly Finding[]>;
}

function accountBehind(context: WorkflowContext, login: AccountLogin | null, places: Places): Account {
  const views = new Map<number | undefined, AccountView>();
  const usable = login !== null && places.get(login.endpoint.url)?.usable === true;
  const ask = async (account: AccountLogin): Promise<AccountView> => {
    const view = views.get(account.subaccount) ?? (await viewAccount(context, account));
    views.set(account.subaccount, view);
    return view;
  };
  return {
    login: usable ? login : null,
    async keysFor(record, endpoint) {
      if (login === null || !usable || !sameEndpoint(login.endpoint, endpoint)) return null;
      try {
        const own = onBehalfOf(login, record);
        return subaccountOf(own) === record.subaccount ? (await ask(own)).apiKeys : null;
      } catch (error) {
        // the login names another subaccount than the key's
        if (isDeribitKeysError(error, 'ERR_USAGE')) return null;
        throw error;
      }
    },
    keys: async () => (login !== null && usable ? ((await ask(login)).apiKeys ?? []) : []),
    async findings() {
      if (login === null) return [];
      if (!usable) return [notesOn(null).skipped('account', 'not asked: the exchange does not answer')];
      if (views.size === 0) await ask(login);
      return [...views.values()].flatMap(({ findings }) => findings);
    },
  };
}

async function examine(
  context: WorkflowContext,
  { record, view, keyFile, endpoint }: Patient,
  places: Places,
  account: Account,
  by: string,
): Promise<Finding[]> {
  const { clientId } = record;
  if (record.state === 'local') return unlinked(record, view.publicKey, account);
  if (record.state !== 'registered' || clientId === null || endpoint === null) return [];
  const place = places.get(endpoint.url) ?? (await checkEndpoint(context, endpoint));
  const { signer, publicKey } = view;
  const attempt = signer === null || !place.usable ? null : await tryLogin(context, endpoint, clientId, signer);
  const apiKeys = (await account.keysFor(record, endpoint)) ?? attempt?.apiKeys ?? null;
  return checkOnExchange({ record, clientId, publicKey, keyFile, place, attempt, apiKeys, by });
}

/** A key that was never registered from here may be on the exchange all the same, pasted into its web page. */
async function unlinked(record: KeyRecord, publicKey: PublicKey | null, account: Account): Promise<Finding[]> {
  if (publicKey === null) return [];
  for (const key of await account.keys()) {
    if ((await isSameThere(key, publicKey)) !== true) continue;
    const link = ownCommand('link', record.name, '--client-id', key.clientId);
    return [notesOn(record.name).remark('client-id', `the account has this key as ${key.clientId}`, link)];
  }
  return [];
}

/** A key that no record speaks of, looked for by its client id or its public half. */
async function examineStranger(
  context: WorkflowContext,
  { stranger, fallback, by }: RemoteRequest,
  places: Places,
  account: Account,
): Promise<Finding[]> {
  if (stranger === null) return [];
  const { file } = stranger;
  const endpoint = account.login?.endpoint ?? fallback();
  const blank = { name: 'stranger', algorithm: 'ed25519', bits: null, fingerprint: '', publicKey: null } as const;
  const subaccount = account.login === null ? null : subaccountOf(account.login);
  const record = {
    ...localRecord({ ...blank, encrypted: false, createdAt: '' }),
    ...endpointFields(endpoint),
    subaccount,
    state: 'registered',
  } as const;
  const apiKeys = await account.keys();
  const shown = apiKeys.find((key) =>
    stranger.clientId === null
      ? file !== null && key.fingerprint === file.fingerprint
      : key.clientId === stranger.clientId,
  );
  const clientId = stranger.clientId ?? shown?.clientId ?? null;
  if (clientId === null) {
    const detail = 'under which client id the exchange has the key is not known';
    return [notesOn(null).skipped('client-id', detail, 'give --client-id, or a login (--as <name>)')];
  }
  // nothing is on record: what the exchange shows is what is right
  const patient: Patient = {
    record: {
      ...record,
      name: clientId,
      clientId,
      fingerprint: file?.fingerprint ?? '',
      ipWhitelist: shown?.ipWhitelist ?? [],
    },
    view: { signer: file?.signer ?? null, publicKey: file?.publicKey ?? null },
    keyFile: file?.path ?? '<its file>',
    endpoint,
  };
  return examine(context, patient, places, account, by);
}
