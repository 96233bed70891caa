import { Command } from 'commander';
import { VERSION } from '../version.js';
import { defineApiKeys } from './commands/api-keys.js';
import { defineAudit } from './commands/audit.js';
import { defineAuth } from './commands/auth.js';
import { defineBackup, defineRestore } from './commands/backup.js';
import { defineDemo } from './commands/demo.js';
import { defineExport } from './commands/export.js';
import { defineFingerprint } from './commands/fingerprint.js';
import { defineGenerate } from './commands/generate.js';
import { defineImport } from './commands/import.js';
import { defineList, defineShow } from './commands/list.js';
import { definePassphrase } from './commands/passphrase.js';
import { defineLink, defineRegister } from './commands/register.js';
import { defineRemove } from './commands/remove.js';
import { defineSandbox } from './commands/sandbox.js';
import { defineSign } from './commands/sign.js';
import { defineVerify } from './commands/verify.js';
import type { Context } from './context.js';
import { addGlobalOptions, examples } from './options.js';

/** Makes a command's context from the options that it was called with. */
export type Open = (command: Command) => Context;

const COMMANDS = [
  defineGenerate,
  defineImport,
  defineExport,
  definePassphrase,
  defineRemove,
  defineList,
  defineShow,
  defineFingerprint,
  defineRegister,
  defineLink,
  defineVerify,
  defineAuth,
  defineSign,
  defineApiKeys,
  defineAudit,
  defineBackup,
  defineRestore,
  defineSandbox,
  defineDemo,
];

/** The program with all its commands; an action loads the code that it needs. */
export function createProgram(open: Open): Command {
  const program = new Command('deribit-keys')
    .description('Asymmetric API keys for Deribit: make them here, register them, prove them, log in with them.')
    .version(VERSION, '--version', 'print the version')
    .helpCommand(true)
    .showHelpAfterError(false)
    .addHelpText('after', examples('demo', 'generate bot', 'link bot --client-id AbCdEf12', 'auth bot'));
  addGlobalOptions(program);
  for (const define of COMMANDS) define(program, open);
  return program;
}
