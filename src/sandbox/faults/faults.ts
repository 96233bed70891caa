import { SandboxError } from '../core/errors.js';

/** Every fault, with what stands after its colon. */
const catalogue = {
  'cut-before': 'none',
  'cut-after': 'none',
  'drop-answer': 'none',
  silent: 'none',
  garbage: 'none',
  duplicate: 'none',
  reorder: 'none',
  'wrong-testnet': 'none',
  'refuse-login': 'none',
  'refuse-refresh': 'none',
  'wrong-fingerprint': 'none',
  'wrong-public-key': 'none',
  'hide-public-key': 'none',
  'swap-key': 'none',
  'other-scope': 'optional-scope',
  delay: 'number',
  error: 'number',
  clock: 'number',
  huge: 'optional-number',
} as const;

export type FaultName = keyof typeof catalogue;

/** The names of all faults. */
export const faultNames = Object.keys(catalogue) as readonly FaultName[];

/** A fault as it was asked for: `name[@method][:arg][+skip][xtimes]`. */
export interface FaultSpec {
  readonly name: FaultName;
  /** The one method that it strikes; null for all that it can. */
  readonly method: string | null;
  readonly arg: string | null;
  /** How many requests pass before it strikes. */
  readonly skip: number;
  /** How many requests it strikes; null for all. */
  readonly times: number | null;
}

const grammar =
  /^([a-z-]+?)(?:@([a-z]+\/[a-z0-9_]+?))?(?::(-?\d{1,15}|[a-z_]+:[a-z_]+(?: [a-z_]+:[a-z_]+)*))?(?:\+(\d{1,9}))?(?:x(\d{1,9}))?$/;

/** Reads `name[@method][:arg][+skip][xtimes]`; throws a {@link SandboxError} with `ERR_USAGE`. */
export function parseFault(spec: string): FaultSpec {
  const match = grammar.exec(spec);
  if (match === null) throw usage('a fault is not of the form name[@method][:arg][+skip][xtimes]');
  const [, word, method = null, arg = null, skip = '0', times] = match;
  const name = faultNames.find((known) => known === word);
  if (name === undefined) throw usage('a fault has an unknown name');
  const wanted = catalogue[name];
  const isNumber = arg !== null && /^-?\d+$/.test(arg);
  if (wanted === 'none' && arg !== null) throw usage(`the fault ${name} takes no argument`);
  if (wanted === 'number' && !isNumber) throw usage(`the fault ${name} needs a number, as in ${name}:100`);
  if (wanted === 'optional-number' && arg !== null && !isNumber) throw usage(`the fault ${name} takes a number`);
  if (wanted === 'optional-scope' && isNumber) throw usage(`the fault ${name} takes a scope, as in ${name}:trade:read`);
  if ((name === 'delay' || name === 'huge') && arg?.startsWith('-'))
    throw usage(`the fault ${name} takes no negative number`);
  if (name === 'clock' && (method !== null || skip !== '0' || times !== undefined)) {
    throw usage('the fault clock holds for everything: it takes no method, skip or times');
  }
  if (times !== undefined && Number(times) === 0) throw usage('a fault that strikes no request is none');
  return { name, method, arg, skip: Number(skip), times: times === undefined ? null : Number(times) };
}

/** The text that {@link parseFault} reads back to the same. */
export function formatFault(spec: FaultSpec): string {
  const method = spec.method === null ? '' : `@${spec.method}`;
  const arg = spec.arg === null ? '' : `:${spec.arg}`;
  const skip = spec.skip === 0 ? '' : `+${spec.skip}`;
  const times = spec.times === null ? '' : `x${spec.times}`;
  return `${spec.name}${method}${arg}${skip}${times}`;
}

/** What strikes one request: each fault's name with its argument, null where it has none. */
export type Struck = ReadonlyMap<FaultName, string | null>;

const nothing: Struck = new Map();

const keyMethods = new Set([
  'private/create_api_key',
  'private/list_api_keys',
  'private/edit_api_key',
  'private/enable_api_key',
  'private/disable_api_key',
  'private/reset_api_key',
  'private/change_scope_in_api_key',
  'private/change_api_key_name',
]);

/** When a fault is looked for: as the request comes in, once it may be handled, or with its result at hand. */
export type Phase = 'request' | 'handling' | 'answer';

function phaseOf(name: FaultName): Phase {
  switch (name) {
    case 'swap-key':
      return 'handling';
    case 'wrong-fingerprint':
    case 'wrong-public-key':
    case 'hide-public-key':
    case 'other-scope':
      return 'answer';
    default:
      return 'request';
  }
}

/** Which requests a fault strikes when it names no method. */
function strikesByItself(name: FaultName, method: string): boolean {
  switch (phaseOf(name)) {
    case 'request':
      return true;
    case 'handling':
      return method === 'private/create_api_key';
    case 'answer':
      return keyMethods.has(method);
  }
}

/** Refusals strike logins alone, of one kind each. */
function isOfKind(name: FaultName, method: string, grantType: unknown): boolean {
  if (name === 'refuse-login') return method === 'public/auth' && grantType !== 'refresh_token';
  if (name === 'refuse-refresh') return method === 'public/auth' && grantType === 'refresh_token';
  return true;
}

/** The faults in force, and how often each may still strike. */
export class Faults {
  #active: { spec: FaultSpec; skip: number; left: number }[] = [];
  #clockOffsetMs = 0;

  /** What the exchange's clock is off by. */
  get clockOffsetMs(): number {
    return this.#clockOffsetMs;
  }

  /** Replaces all faults; where one cannot be read, none changes. */
  set(specs: readonly string[]): void {
    const parsed = specs.map(parseFault);
    this.clear();
    for (const spec of parsed) this.#start(spec);
  }

  add(spec: string): void {
    this.#start(parseFault(spec));
  }

  clear(): void {
    this.#active = [];
    this.#clockOffsetMs = 0;
  }

  /** Counts a request and says what strikes it in this phase. */
  strike(phase: Phase, method: string, params: Readonly<Record<string, unknown>>): Struck {
    if (this.#active.length === 0 || method.startsWith('sandbox/')) return nothing;
    const struck = new Map<FaultName, string | null>();
    for (const fault of this.#active) {
      const { name, method: only, arg } = fault.spec;
      if (phaseOf(name) !== phase || !isOfKind(name, method, params.grant_type)) continue;
      if (only === null ? !strikesByItself(name, method) : only !== method) continue;
      if (fault.skip > 0) {
        fault.skip -= 1;
      } else if (fault.left > 0) {
        fault.left -= 1;
        struck.set(name, arg);
      }
    }
    return struck;
  }

  #start(spec: FaultSpec): void {
    if (spec.name === 'clock') this.#clockOffsetMs += Number(spec.arg);
    else this.#active.push({ spec, skip: spec.skip, left: spec.times ?? Number.POSITIVE_INFINITY });
  }
}

function usage(message: string): SandboxError {
  return new SandboxError('ERR_USAGE', message, `the faults are: ${faultNames.join(', ')}`);
}
