import type { PublicKey } from '../../crypto/keys.js';
import type { ApiKey } from '../../deribit/api-keys.js';
import { type Endpoint, sameEndpoint } from '../../deribit/endpoints.js';
import { isDeribitKeysError } from '../../errors.js';
import { type KeyRecord, localRecord } from '../../keystore/record.js';
import { onBehalfOf, subaccountOf } from '../account/account.js';
import { matchKeys } from '../account/api-keys.js';
import { type AccountLogin, endpointFields, type WorkflowContext } from '../context.js';
import {
  type AccountView,
  cannotAsk,
  checkAccessLog,
  checkEndpoint,
  checkTwins,
  type EndpointView,
  viewAccount,
} from './exchange-checks.js';
import type { UnmanagedKey } from './file-checks.js';
import { type Finding, notesOn, ownCommand } from './finding.js';
import type { KeyView } from './key-checks.js';
import { checkOnExchange, findSame, tryLogin } from './login-checks.js';

/** A key to check: its record, what its files hold, and where it belongs. */
export interface CheckedKey {
  readonly record: KeyRecord;
  readonly view: Pick<KeyView, 'signer' | 'publicKey'>;
  /** The file of its private half. */
  readonly keyFile: string;
  readonly endpoint: Endpoint | null;
  /** What it is where it has no record of its own. */
  readonly unmanaged?: UnmanagedKey;
}

interface RemoteRequest {
  readonly keys: readonly CheckedKey[];
  readonly unmanaged: UnmanagedKey | null;
  readonly login: () => Promise<AccountLogin | null>;
  /** Where to go for what belongs nowhere. */
  readonly fallback: () => Endpoint;
  /** The login options for a command that fixes what is wrong. */
  readonly by: string;
}

/** Asks every exchange that is involved: is it there, what does the account say, and what becomes of each key's login. */
export async function checkRemote(context: WorkflowContext, request: RemoteRequest): Promise<Finding[]> {
  const { login, findings: loginFindings } = await loginOf(request);
  const views = await visit(context, request, login);
  const endpointFindings = [...views.values()].flatMap(({ findings }) => findings);
  const account = accountBehind(context, login, views);
  const scene: Scene = { views, account, by: request.by };
  const keyFindings: Finding[] = [];
  for (const key of request.keys) keyFindings.push(...(await examine(context, key, scene)));
  keyFindings.push(...(await examineUnmanaged(context, request, scene)));
  const refused = keyFindings.some(({ check, ok }) => check === 'login' && ok === false);
  const log = refused && account.login !== null ? await checkAccessLog(context, account.login) : null;
  const managed = request.keys.flatMap(({ record }) => record.clientId ?? []);
  const twins = (await checkTwins(await account.keys(), null, request.by)).filter(
    ({ detail }) => !managed.some((clientId) => detail.includes(clientId)),
  );
  return [
    ...endpointFindings,
    ...loginFindings,
    ...(await account.findings()),
    ...twins,
    ...keyFindings,
    ...(log === null ? [] : [log]),
  ];
}

async function loginOf({
  login,
}: RemoteRequest): Promise<{ readonly login: AccountLogin | null; readonly findings: readonly Finding[] }> {
  try {
    const given = await login();
    if (given !== null) return { login: given, findings: [] };
    const detail = "no login was given: the account's own list of keys is checked only for keys that may read it";
    const finding = notesOn(null).skipped('account', detail, `${ownCommand('doctor', '--as')} <name>`);
    return { login: null, findings: [finding] };
  } catch (thrown) {
    return { login: null, findings: [cannotAsk(thrown)] };
  }
}

type EndpointViews = ReadonlyMap<string, EndpointView>;

/** What keys are examined against. */
interface Scene {
  readonly views: EndpointViews;
  readonly account: Account;
  readonly by: string;
}

/** Each endpoint that a key or the login belongs to; without any, the one that the user's words lead to. */
async function visit(
  context: WorkflowContext,
  request: RemoteRequest,
  login: AccountLogin | null,
): Promise<EndpointViews> {
  const endpoints = request.keys.flatMap(({ endpoint }) => (endpoint === null ? [] : [endpoint]));
  if (request.unmanaged?.endpoint) endpoints.push(request.unmanaged.endpoint);
  if (login !== null) endpoints.push(login.endpoint);
  if (endpoints.length === 0) endpoints.push(request.fallback());
  const views = new Map<string, EndpointView>();
  for (const endpoint of endpoints) {
    if (!views.has(endpoint.url)) views.set(endpoint.url, await checkEndpoint(context, endpoint));
  }
  return views;
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

function accountBehind(context: WorkflowContext, login: AccountLogin | null, views: EndpointViews): Account {
  const seen = new Map<number | undefined, AccountView>();
  const usable = login !== null && views.get(login.endpoint.url)?.usable ? login : null;
  const ask = async (account: AccountLogin): Promise<AccountView> => {
    const view = seen.get(account.subaccount) ?? (await viewAccount(context, account));
    seen.set(account.subaccount, view);
    return view;
  };
  return {
    login: usable,
    async keysFor(record, endpoint) {
      if (usable === null || !sameEndpoint(usable.endpoint, endpoint)) return null;
      try {
        const own = onBehalfOf(usable, record);
        return subaccountOf(own) === record.subaccount ? (await ask(own)).apiKeys : null;
      } catch (error) {
        // the login names another subaccount than the key's
        if (isDeribitKeysError(error, 'ERR_USAGE')) return null;
        throw error;
      }
    },
    keys: async () => (usable === null ? [] : ((await ask(usable)).apiKeys ?? [])),
    async findings() {
      if (login === null) return [];
      if (usable === null) return [notesOn(null).skipped('account', 'not asked: the exchange does not answer')];
      if (seen.size === 0) await ask(usable);
      return [...seen.values()].flatMap(({ findings }) => findings);
    },
  };
}

async function examine(
  context: WorkflowContext,
  { record, view, keyFile, endpoint, unmanaged }: CheckedKey,
  { views, account, by }: Scene,
): Promise<Finding[]> {
  const { clientId } = record;
  if (record.state === 'local') return unlinked(record, view.publicKey, account);
  if (record.state !== 'registered' || clientId === null || endpoint === null) return [];
  const endpointView = views.get(endpoint.url) ?? (await checkEndpoint(context, endpoint));
  const { signer, publicKey } = view;
  const { clockOffsetMs } = endpointView;
  const attempt =
    signer === null || !endpointView.usable ? null : await tryLogin(context, { endpoint, clientId, signer });
  const apiKeys = (await account.keysFor(record, endpoint)) ?? attempt?.apiKeys ?? null;
  const evidence = { record, clientId, publicKey, keyFile, clockOffsetMs, attempt, apiKeys, by, unmanaged };
  const twins = await checkTwins(apiKeys ?? [], record, by);
  return [...(await checkOnExchange(evidence)), ...twins];
}

/** A key that was never registered from here may be on the exchange all the same, pasted into its web page. */
async function unlinked(record: KeyRecord, publicKey: PublicKey | null, account: Account): Promise<Finding[]> {
  const found = publicKey === null ? null : await findSame(await account.keys(), publicKey);
  if (found === null) return [];
  const link = ownCommand('link', record.name, '--client-id', found.clientId);
  return [notesOn(record.name).remark('client-id', `the account has this key as ${found.clientId}`, link)];
}

/** A key without a record, looked for by its client id or its public half. */
async function examineUnmanaged(
  context: WorkflowContext,
  { unmanaged, fallback }: RemoteRequest,
  scene: Scene,
): Promise<Finding[]> {
  if (unmanaged === null) return [];
  const { file } = unmanaged;
  const { account, by } = scene;
  const endpoint = account.login?.endpoint ?? unmanaged.endpoint ?? fallback();
  const apiKeys = await account.keys();
  const { same, hidden } = file?.publicKey ? await matchKeys(apiKeys, file.publicKey) : { same: [], hidden: [] };
  const shown = unmanaged.clientId === null ? same[0] : apiKeys.find(({ clientId }) => clientId === unmanaged.clientId);
  const clientId = unmanaged.clientId ?? shown?.clientId ?? null;
  if (clientId === null) return [unknownClientId(unmanaged, { isListed: apiKeys.length > 0, hidden, by })];
  const blank = { algorithm: 'ed25519', bits: null, publicKey: null, encrypted: false, createdAt: '' } as const;
  const record: KeyRecord = {
    ...localRecord({ ...blank, name: clientId, fingerprint: file?.fingerprint ?? '' }),
    ...endpointFields(endpoint),
    state: 'registered',
    clientId,
    // nothing is on record: what the exchange shows is what is right
    ipWhitelist: shown?.ipWhitelist ?? [],
    subaccount: account.login === null ? null : subaccountOf(account.login),
  };
  const view = { signer: file?.signer ?? null, publicKey: file?.publicKey ?? null };
  return examine(context, { record, view, keyFile: file?.path ?? '<its file>', endpoint, unmanaged }, scene);
}

/** A file whose client id neither the user nor the account's list says. */
function unknownClientId(
  { file, again, stored, freeName }: UnmanagedKey,
  { isListed, hidden, by }: { readonly isListed: boolean; readonly hidden: readonly ApiKey[]; readonly by: string },
): Finding {
  const notes = notesOn(null);
  if (!isListed) {
    const detail = 'it is not known under which client id the exchange has the key';
    return notes.skipped('client-id', detail, `give --client-id, or a login that may list the keys: ${again} ${by}`);
  }
  if (hidden.length > 0) {
    const ids = hidden.map(({ clientId }) => clientId).join(', ');
    const detail = `the account shows no key with this fingerprint, but hides those of ${ids}`;
    return notes.skipped('client-id', detail, `try it with each of them: ${again} --client-id <id>`);
  }
  const detail = 'the account has no key with this fingerprint: it is not registered there';
  if (file === null || file.signer === null) return notes.skipped('client-id', detail);
  const bring = stored === null ? `${ownCommand('import', freeName, file.path)} && ` : '';
  const register = ownCommand('register', stored?.name ?? freeName, '--scope', 'trade:read');
  return notes.skipped('client-id', detail, `${bring}${register} ${by}`);
}
