import { type FaultName, type FaultSpec, kindOf, type Phase, parseFault } from './catalogue.js';

/** What strikes one request: each fault's name with its argument or that argument's default, null where it has none. */
export type Struck = ReadonlyMap<FaultName, string | null>;

/** A request that no fault strikes. */
export const nothingStruck: Struck = new Map();

/** The faults in force, and how often each may still strike. */
export class Faults {
  #active: { readonly spec: FaultSpec; skip: number; left: number }[] = [];
  #clockOffsetMs = 0;

  /** How far the exchange's clock is ahead of its true one. */
  get clockOffsetMs(): number {
    return this.#clockOffsetMs;
  }

  /** Replaces all faults; where one cannot be read, none changes. @throws SandboxError `ERR_USAGE` */
  set(specs: readonly string[]): void {
    const parsed = specs.map(parseFault);
    this.clear();
    for (const spec of parsed) this.#start(spec);
  }

  /** @throws SandboxError `ERR_USAGE` */
  add(spec: string): void {
    this.#start(parseFault(spec));
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
      if (!strikes(fault.spec, phase, method, params)) continue;
      if (fault.skip > 0) {
        fault.skip -= 1;
      } else if (fault.left > 0) {
        fault.left -= 1;
        struck.set(fault.spec.name, argumentOf(fault.spec));
      }
    }
    return struck;
  }

  #start(spec: FaultSpec): void {
    if (spec.name === 'clock') this.#clockOffsetMs += Number(spec.arg);
    else this.#active.push({ spec, skip: spec.skip, left: spec.times ?? Number.POSITIVE_INFINITY });
  }
}

function strikes(
  { name, method: only }: FaultSpec,
  phase: Phase,
  method: string,
  params: Readonly<Record<string, unknown>>,
): boolean {
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
