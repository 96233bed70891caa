import { Command } from 'commander';
import { VERSION } from '../version.js';
import { defineAddAgent } from './commands/add-agent.js';
import { defineAddToken } from './commands/add-token.js';
import { defineAgentLoad } from './commands/agent-load.js';
import { defineApiKeys } from './commands/api-keys.js';
import { defineAudit } from './commands/audit.js';
import { defineAuth } from './commands/auth.js';
import { defineAuthServer } from './commands/auth-server.js';
import { defineBackup, defineRestore } from './commands/backup.js';
import { defineDemo } from './commands/demo.js';
import { defineDoctor } from './commands/doctor.js';
import { defineExec } from './commands/exec.js';
import { defineExport } from './commands/export.js';
import { defineFingerprint } from './commands/fingerprint.js';
import { defineGenerate } from './commands/generate.js';
import { defineImport } from './commands/import.js';
import { defineList, defineShow } from './commands/list.js';
import { definePassphrase } from './commands/passphrase.js';
import { defineApply, definePlan } from './commands/plan.js';
import { defineLink, defineRegister } from './commands/register.js';
import { defineRemove } from './commands/remove.js';
import { defineRotate } from './commands/rotate.js';
import { defineSandbox } from './commands/sandbox.js';
import { defineSign } from './commands/sign.js';
import { defineToken } from './commands/token.js';
import { defineVerify } from './commands/verify.js';
import type { Context } from './context.js';
import { addGlobalOptions, examples } from './options.js';

/** Makes a command's context from the options that it was called with. */
export type Open = (command: Command) => Context;

/** By name, in the order of the help text. */
const COMMANDS: Readonly<Record<string, (program: Command, open: Open) => void>> = {
  generate: defineGenerate,
  import: defineImport,
  export: defineExport,
  passphrase: definePassphrase,
  remove: defineRemove,
  list: defineList,
  show: defineShow,
  fingerprint: defineFingerprint,
  register: defineRegister,
  link: defineLink,
  verify: defineVerify,
  auth: defineAuth,
  sign: defineSign,
  token: defineToken,
  exec: defineExec,
  'auth-server': defineAuthServer,
  'api-keys': defineApiKeys,
  rotate: defineRotate,
  audit: defineAudit,
  doctor: defineDoctor,
  plan: definePlan,
  apply: defineApply,
  'add-agent': defineAddAgent,
  'add-token': defineAddToken,
  'agent-load': defineAgentLoad,
  backup: defineBackup,
  restore: defineRestore,
  sandbox: defineSandbox,
  demo: defineDemo,
};

/**
 * The commands that `words` may call, or all where none of them is the name of one: what is not asked for need not be
 * set up.
 */
function commandsFor(words: readonly string[]) {
  const named = Object.keys(COMMANDS).filter((name) => words.includes(name));
  const some = named.length > 0 && !words.includes('help');
  return Object.entries(COMMANDS).filter(([name]) => !some || named.includes(name));
}

/** The program with the commands that `words` may call; an action loads the code that it needs. */
export function createProgram(open: Open, words: readonly string[] = []): Command {
  const program = new Command('deribit-keys')
    .description('Asymmetric API keys for Deribit: make them here, register them, prove them, log in with them.')
    .version(VERSION, '--version', 'print the version')
    .helpCommand(true)
    .showHelpAfterError(false)
    .addHelpText('after', examples('demo', 'generate bot', 'link bot --client-id AbCdEf12', 'auth bot'));
  addGlobalOptions(program);
  for (const [, define] of commandsFor(words)) define(program, open);
  return program;
}
