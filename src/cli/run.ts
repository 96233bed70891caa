import { defineAgentLoad } from './commands/agent-load.js';
import { defineApiKeys } from './commands/api-keys.js';
import { defineAudit } from './commands/audit.js';
import { defineAuth } from './commands/auth.js';
import { defineAuthServer } from './commands/auth-server.js';
import { defineBackup, defineRestore } from './commands/backup.js';
import { defineConformance } from './commands/conformance.js';
import { defineDemo } from './commands/demo.js';
import { defineDoctor } from './commands/doctor.js';
import { defineExec } from './commands/exec.js';
import { defineExport } from './commands/export.js';
import { defineFingerprint } from './commands/fingerprint.js';
import { defineGenerate } from './commands/generate.js';
import { defineImport } from './commands/import.js';
import { defineList, defineShow } from './commands/list.js';
import { definePage } from './commands/page.js';
import { definePassphrase } from './commands/passphrase.js';
import { defineApply, definePlan } from './commands/plan.js';
import { defineLink, defineRegister } from './commands/register.js';
import { defineRemove } from './commands/remove.js';
import { defineRotate } from './commands/rotate.js';
import { defineSandbox } from './commands/sandbox.js';
import { defineSign } from './commands/sign.js';
import { ADD_COMMANDS } from './commands/signer-kinds.js';
import { defineToken } from './commands/token.js';
import { defineVerify } from './commands/verify.js';
import { execute } from './execute.js';
import type { Host } from './host.js';
import type { Commands } from './program.js';

/** All commands. */
export const COMMANDS: Commands = {
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
  conformance: defineConformance,
  plan: definePlan,
  apply: defineApply,
  ...ADD_COMMANDS,
  'agent-load': defineAgentLoad,
  backup: defineBackup,
  restore: defineRestore,
  page: definePage,
  sandbox: defineSandbox,
  demo: defineDemo,
};

/**
 * Runs the program in this process.
 * @param argv the words behind the program's name
 * @returns the exit code; it never rejects
 */
export function run(argv: readonly string[], host: Host): Promise<number> {
  return execute(COMMANDS, argv, host);
}
