import { defineSign } from './commands/sign.js';
import { execute } from './execute.js';
import type { Host } from './host.js';

/** Runs `sign` alone, as the whole program would: bots call it at each login, so that it must start quickly. */
export function run(argv: readonly string[], host: Host): Promise<number> {
  return execute({ sign: defineSign }, argv, host);
}
