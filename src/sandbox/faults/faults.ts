import { SandboxError } from '../core/errors.js';

/** What strikes one request: each fault's name with its argument or that argument's default, null where it has none. */
export type Struck = ReadonlyMap<FaultName, string | null>;

/** A request that no fault strikes. */
export const nothingStruck: Struck = new Map();

/** The faults in force, and how often each may still strike. */
export class Faults {
  readonly #methods: readonly string[];
  #active: { readonly spec: FaultSpec; skip: number; left: number }[] = [];
  #clockOffsetMs = 0;

  /** @param methods the names of those that faults can strike */
  constructor(methods: readonly string[]) {
    this.#methods = methods;
  }

  /** How far the exchange's clock is ahead of its true one. */
  get clockOffsetMs(): number {
    return this.#clockOffsetMs;
  }

  /** Replaces all faults; where one cannot be read, none changes. @throws SandboxError `ERR_USAGE` */
  set(specs: readonly string[]): void {
    const parsed = specs.map((spec) => this.#read(spec));
    this.clear();
    for (const spec of parsed) this.#start(spec);
  }

  /** @throws SandboxError `ERR_USAGE` */
  add(spec: string): void {
    this.#start(this.#read(spec));
  }

  clear(): void {
    this.#active = [];
    this.#clockOffsetMs = 0;
  }

  /** Counts a request and says what strikes it in this phase. */
  strike(phase: Phase, method: string, params: Readonly<Record<string, unknown>>): Struck {
    if (this.#active.length === 0 || method.startsWith('sandbox/')) return nothingStruck;
    const struck = new Map<FaultName, string | null>();
    for (const fault of this.#active) {
      if (!strikes(fault.spec, { phase, method, params })) continue;
      if (fault.skip > 0) {
        fault.skip -= 1;
      } else if (fault.left > 0) {
        fault.left -= 1;
        struck.set(fault.spec.name, argumentOf(fault.spec));
      }
    }
    return struck;
  }

  #read(text: string): FaultSpec {
    const spec = parseFault(text);
    if (spec.method === null || this.#methods.includes(spec.method)) return spec;
    throw new SandboxError('ERR_USAGE', `there is no method ${spec.method} for the fault ${spec.name}`, {
      hint: 'name a method that the sandbox has, such as private/create_api_key',
    });
  }

  #start(spec: FaultSpec): void {
    if (spec.name === 'clock') this.#clockOffsetMs += Number(spec.arg);
    else this.#active.push({ spec, skip: spec.skip, left: spec.times ?? Number.POSITIVE_INFINITY });
  }
}

/** A request in one of its phases. */
interface Moment {
  readonly phase: Phase;
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>>;
}

function strikes({ name, method: only }: FaultSpec, { phase, method, params }: Moment): boolean {
  const kind = kindOf(name);
  if (kind.phase !== phase) return false;
  if (only === null ? kind.methods?.includes(method) === false : only !== method) return false;
  if (kind.refresh === undefined) return true;
  return method === 'public/auth' && (params.grant_type === 'refresh_token') === kind.refresh;
}

function argumentOf({ name, arg }: FaultSpec): string | null {
  const { argument } = kindOf(name);
  return arg ?? (typeof argument === 'string' ? null : argument[0]);
}

/**
 * When a fault is looked for: as the request comes in, once it may be handled (logged in, scope and second factor passed),
 * or with its result at hand. `always`: it holds for everything until it is cleared.
 */
type Phase = 'request' | 'handling' | 'answer' | 'always';

/** The forms of an argument, which is empty where it was left out, and what the error says of any other. */
const argumentForms = {
  none: { form: /^$/, says: () => 'takes no argument' },
  count: { form: /^\d+$/, says: (name: string) => `needs a number, as in ${name}:100` },
  'count?': { form: /^\d*$/, says: () => 'takes a number' },
  integer: { form: /^-?\d+$/, says: (name: string) => `needs an integer, as in ${name}:10040` },
  'scope?': { form: /^$|:/, says: (name: string) => `takes a scope, as in ${name}:trade:read` },
};

/** The argument after the colon. The first word of a list is the default. */
type Argument = keyof typeof argumentForms | readonly [string, ...string[]];

interface FaultKind {
  readonly phase: Phase;
  readonly argument: Argument;
  /** The methods that it strikes where it names none; absent: all. */
  readonly methods?: readonly string[];
  /** Strikes `public/auth` with a refresh token, or only without one. */
  readonly refresh?: boolean;
}

const login = ['public/auth'];
const create = ['private/create_api_key'];
const list = ['private/list_api_keys'];
const keyAnswers = [
  ...create,
  ...list,
  'private/edit_api_key',
  'private/enable_api_key',
  'private/disable_api_key',
  'private/reset_api_key',
  'private/change_scope_in_api_key',
  'private/change_api_key_name',
];
const named = [...create, 'private/edit_api_key', 'private/change_api_key_name'];
const scoped = [...create, 'private/edit_api_key', 'private/change_scope_in_api_key'];

/** Ways to hide a field: of every key, or of the keys that the caller is not logged in with. */
const hidden = ['absent', 'empty', 'masked', 'absent-others', 'empty-others', 'masked-others'] as const;

/** Every fault. The README says what each does. */
const catalogue = {
  // the connection and the answer
  'cut-before': { phase: 'request', argument: 'none' },
  'cut-after': { phase: 'request', argument: 'none' },
  silent: { phase: 'request', argument: 'none' },
  'drop-answer': { phase: 'request', argument: 'none' },
  'late-cut': { phase: 'handling', argument: 'count' },
  'late-502': { phase: 'handling', argument: 'count' },
  'late-silent': { phase: 'handling', argument: 'count' },
  'stop-reading': { phase: 'request', argument: 'count?' },
  delay: { phase: 'request', argument: 'count' },
  duplicate: { phase: 'request', argument: 'none' },
  reorder: { phase: 'request', argument: 'none' },
  garbage: { phase: 'request', argument: 'none' },
  huge: { phase: 'request', argument: 'count?' },
  'wrong-testnet': { phase: 'request', argument: 'none' },
  clock: { phase: 'always', argument: 'integer' },
  // refusals
  error: { phase: 'request', argument: 'integer' },
  'stray-error': { phase: 'request', argument: 'integer' },
  'refuse-login': { phase: 'request', argument: 'none', methods: login, refresh: false },
  'refuse-refresh': { phase: 'request', argument: 'none', methods: login, refresh: true },
  // what answers say of keys
  'wrong-fingerprint': { phase: 'answer', argument: 'none', methods: keyAnswers },
  'wrong-public-key': { phase: 'answer', argument: 'none', methods: keyAnswers },
  'other-scope': { phase: 'answer', argument: 'scope?', methods: keyAnswers },
  'swap-key': { phase: 'handling', argument: 'none', methods: create },
  'hide-secret': { phase: 'answer', argument: hidden, methods: keyAnswers },
  'hide-public-key': { phase: 'answer', argument: hidden, methods: keyAnswers },
  'hide-key': { phase: 'answer', argument: hidden, methods: keyAnswers },
  'hide-enabled': { phase: 'answer', argument: 'none', methods: keyAnswers },
  'fingerprint-form': { phase: 'answer', argument: ['upper', 'bare', 'spaced'], methods: keyAnswers },
  // deviations: what the exchange may do otherwise than the sandbox
  'signature-encoding': { phase: 'handling', argument: ['hex', 'base64', 'base64url', 'any'], methods: login },
  'nonce-once': { phase: 'handling', argument: 'none', methods: login },
  'replay-accepted': { phase: 'handling', argument: 'none', methods: login },
  'future-tolerance': { phase: 'handling', argument: 'count', methods: login },
  'stale-accepted': { phase: 'handling', argument: 'none', methods: login },
  'signature-error': { phase: 'handling', argument: 'integer', methods: login },
  'duplicate-key-refused': { phase: 'handling', argument: 'none', methods: create },
  'reset-asymmetric': { phase: 'handling', argument: ['same', 'symmetric'], methods: ['private/reset_api_key'] },
  'long-names': { phase: 'handling', argument: 'none', methods: named },
  'scope-array-refused': { phase: 'handling', argument: 'none', methods: scoped },
  'raw-without-login': { phase: 'handling', argument: 'none', methods: ['public/subscribe'] },
  'fingerprint-digest': { phase: 'answer', argument: ['sha256', 'pem'], methods: keyAnswers },
} as const satisfies Readonly<Record<string, FaultKind>>;

/** The name of a fault. */
export type FaultName = keyof typeof catalogue;

/** The names of all faults. */
export const faultNames = Object.keys(catalogue) as readonly FaultName[];

/** What is to be known of a fault. */
export function kindOf(name: FaultName): FaultKind {
  return catalogue[name];
}

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
  /^([a-z0-9-]+?)(?:@([a-z]+\/[a-z0-9_]+?))?(?::(-?\d{1,15}|[a-z_]+:[a-z_]+(?: [a-z_]+:[a-z_]+)*|[a-z][a-z0-9-]*?))?(?:\+(\d{1,9}))?(?:x(\d{1,9}))?$/;

/** Reads `name[@method][:arg][+skip][xtimes]`. @throws SandboxError `ERR_USAGE` */
export function parseFault(spec: string): FaultSpec {
  const match = grammar.exec(spec);
  if (match === null) throw usage('a fault is not of the form name[@method][:arg][+skip][xtimes]');
  const [, word, method = null, arg = null, skip = '0', times] = match;
  const name = faultNames.find((known) => known === word);
  if (name === undefined) throw usage(`there is no fault ${word}`);
  checkArgument(name, kindOf(name).argument, arg);
  if (kindOf(name).phase === 'always' && (method !== null || skip !== '0' || times !== undefined)) {
    throw usage(`the fault ${name} holds for everything: it takes no method, skip or times`);
  }
  if (times !== undefined && Number(times) === 0) throw usage('a fault cannot strike zero times');
  return { name, method, arg, skip: Number(skip), times: times === undefined ? null : Number(times) };
}

function checkArgument(name: FaultName, wanted: Argument, arg: string | null): void {
  if (typeof wanted !== 'string') {
    if (arg !== null && !wanted.includes(arg)) throw usage(`the fault ${name} takes one of ${wanted.join(', ')}`);
    return;
  }
  const { form, says } = argumentForms[wanted];
  if (!form.test(arg ?? '')) throw usage(`the fault ${name} ${says(name)}`);
}

/** The text that {@link parseFault} reads back to the same. */
export function formatFault(spec: FaultSpec): string {
  const method = spec.method === null ? '' : `@${spec.method}`;
  const arg = spec.arg === null ? '' : `:${spec.arg}`;
  const skip = spec.skip === 0 ? '' : `+${spec.skip}`;
  const times = spec.times === null ? '' : `x${spec.times}`;
  return `${spec.name}${method}${arg}${skip}${times}`;
}

function usage(message: string): SandboxError {
  return new SandboxError('ERR_USAGE', message, { hint: `the faults are: ${faultNames.join(', ')}` });
}
