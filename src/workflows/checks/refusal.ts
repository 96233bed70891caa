import { describeSpoiltText, mayBeClientSecret, type Secret } from '../../crypto/secret.js';
import {
  CLOCK_LIMIT_MS,
  type ClockReading,
  clockCommand,
  describeOffset,
  FARTHEST_CORRECTION_MS,
  getTime,
  readClock,
} from '../../deribit/clock.js';
import { type Endpoint, isOfDeribit } from '../../deribit/endpoints.js';
import { isRefusedLogin } from '../../deribit/json-rpc.js';
import type { KeyRecord } from '../../keystore/record.js';
import { requestOptions, withTransport } from '../account/account.js';
import type { WorkflowContext } from '../context.js';
import { asFound, ownCommand } from './finding.js';

/** A login as it was tried. */
export interface LoginAttempt {
  readonly endpoint: Endpoint;
  readonly clientId: string;
  /** The key of the keystore that signed; null for another. */
  readonly record: KeyRecord | null;
  /** The shared secret that signed instead; null where a private key did. */
  readonly secret: Secret | null;
}

/**
 * The likely reasons for a refused login, the likeliest first, each one sentence: what is known here comes before what
 * can only be guessed. The clock is compared with the exchange's over a connection of its own.
 */
export async function likelyReasons(context: WorkflowContext, refused: LoginAttempt): Promise<readonly string[]> {
  const told = { ...refused, clientId: inOneLine(refused.clientId) };
  const guesses = told.secret !== null ? secretReasons(told) : keyReasons(told);
  const known = await knownReasons(context, refused);
  const { isWrong, sentence } = await clockReason(context, refused.endpoint);
  const ofClock = sentence === null ? [] : [sentence];
  return isWrong ? [...known, ...ofClock, ...guesses] : [...known, ...guesses, ...ofClock];
}

/**
 * The same error with the likely reasons as its hint, a line each, where it is a login refused without a reason; any
 * other error unchanged.
 */
export async function explainRefusal(
  context: WorkflowContext,
  error: unknown,
  refused: LoginAttempt,
): Promise<unknown> {
  if (!isRefusedLogin(error)) return error;
  const reasons = await likelyReasons(context, refused);
  if (refused.record === null) return error.with({ hint: reasons.join('\n') });
  const more = `find out more with: ${ownCommand('doctor', refused.record.name)} --as <another key>`;
  return error.with({ hint: [...reasons, more].join('\n') });
}

/** Compares the exchange's clock with the local one, over a connection of its own. */
export function compareClocks(context: WorkflowContext, endpoint: Endpoint): Promise<ClockReading> {
  return withTransport(context, endpoint, (transport) =>
    readClock(() => getTime(transport, requestOptions(context)), { samples: 3 }),
  );
}

/**
 * A clock that is far off was corrected before the exchange refused for good, unless it is days off or was unreadable then.
 * Null where the clock is not the reason.
 */
async function clockReason(
  context: WorkflowContext,
  endpoint: Endpoint,
): Promise<{ readonly isWrong: boolean; readonly sentence: string | null }> {
  try {
    const { offsetMs } = await compareClocks(context, endpoint);
    const offset = `the clock here is ${describeOffset(offsetMs)}`;
    if (Math.abs(offsetMs) > FARTHEST_CORRECTION_MS) {
      return { isWrong: true, sentence: `${offset}, too far off to be corrected: ${clockCommand()}` };
    }
    if (Math.abs(offsetMs - context.clock.correctionMs) >= CLOCK_LIMIT_MS) {
      return { isWrong: true, sentence: `${offset}, so that the signature is too old or too new: ${clockCommand()}` };
    }
    return { isWrong: false, sentence: null };
  } catch (error) {
    asFound(error);
    return { isWrong: false, sentence: 'the clock here may be off by a minute: it could not be compared' };
  }
}

/**
 * A client id that was spoilt on its way may have newlines in it: it is shown as a JSON string then. One that may be a
 * client secret is not shown.
 */
function inOneLine(clientId: string): string {
  if (mayBeClientSecret(clientId)) return `<${clientId.length} characters>`;
  return /[\s\p{C}]/u.test(clientId) ? JSON.stringify(clientId) : clientId;
}

/** Reasons that the keystore, or the form of the input, shows. */
async function knownReasons(context: WorkflowContext, { record, clientId, secret }: LoginAttempt): Promise<string[]> {
  const reasons: string[] = [];
  const spoiltId = describeSpoiltText(clientId);
  if (spoiltId !== null) {
    reasons.push(`the client id ${spoiltId}`);
  } else if (mayBeClientSecret(clientId)) {
    reasons.push(`the client id has ${clientId.length} characters: it may be the client secret, given in its place`);
  } else if (!/^[A-Za-z0-9_-]{8,}$/.test(clientId)) {
    reasons.push(
      `${inOneLine(clientId)} does not look like a client id of Deribit's: 8 or more letters, digits, _ and -`,
    );
  }
  const { records } = await context.store.list();
  const owner = records.find((other) => other.clientId === clientId && other.fingerprint !== record?.fingerprint);
  if (owner !== undefined) reasons.push(`the client id ${clientId} is that of the key "${owner.name}"`);
  const text = secret?.reveal() ?? '';
  if (/^[0-9a-f]{2}(:[0-9a-f]{2}){15}$/i.test(text.trim())) {
    reasons.push('the client secret is a fingerprint: an asymmetric key logs in with its private key (--as <name>)');
  } else if (secret !== null) {
    const spoilt = describeSpoiltText(text);
    if (spoilt !== null) reasons.push(`the client secret ${spoilt}`);
    else if (text.startsWith(`${clientId}:`)) reasons.push('the client secret begins with the client id');
  }
  return reasons;
}

/** Only Deribit's own hosts have another environment beside them. */
function environmentReason({ clientId, endpoint }: LoginAttempt): string[] {
  const url = new URL(endpoint.url);
  if (!isOfDeribit(url)) return [];
  const [here, there] = endpoint.environment === 'prod' ? ['prod', 'test'] : ['test', 'prod'];
  return [
    `${clientId} may belong to the other environment: this was ${here} (${url.host}), the other is --env ${there}`,
  ];
}

function keyReasons(refused: LoginAttempt): string[] {
  const { record, clientId } = refused;
  const name = record?.name ?? clientId;
  const enable = `${ownCommand('api-keys', 'enable', name)} --as <another key>`;
  const disabled = `the key may be disabled: ${enable}`;
  const addresses =
    record !== null && record.ipWhitelist.length > 0
      ? `this address may not be in its whitelist, which is on record as ${record.ipWhitelist.join(' ')}`
      : 'a whitelist that was set in the web page may not hold this address';
  const print = record === null ? '' : `: Deribit must show the fingerprint ${record.fingerprint} for it`;
  const other = `${clientId} may be unknown, removed, or have a different public key${print}`;
  // a key that was registered or linked did log in here once
  return record?.state === 'registered'
    ? [disabled, addresses, other]
    : [other, ...environmentReason(refused), disabled, addresses];
}

function secretReasons(refused: LoginAttempt): string[] {
  return [
    `the client id ${refused.clientId} may be unknown, or the client secret another key's or an old one`,
    ...environmentReason(refused),
    "the key may be disabled, or its whitelist may not hold this address: see Account > API on Deribit's web page",
  ];
}
