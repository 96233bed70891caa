import { execute } from './execute.js';
import type { CommandGroup, Host } from './program.js';

/** All commands, in the order of the help text. Each module is loaded by the calls that need it. */
export const COMMANDS: readonly CommandGroup[] = [
  {
    title: 'Keys:',
    commands: {
      generate: [
        'Create a key pair on this machine',
        async () => (await import('./commands/generate.js')).defineGenerate,
      ],
      import: [
        'Import a private key that another program made',
        async () => (await import('./commands/import.js')).defineImport,
      ],
      export: ['Write a key in another format', async () => (await import('./commands/export.js')).defineExport],
      list: ['List the keys of the keystore', async () => (await import('./commands/list.js')).defineList],
      show: ['Show what the keystore knows about a key', async () => (await import('./commands/list.js')).defineShow],
      fingerprint: [
        'Print the fingerprint that Deribit shows for a key',
        async () => (await import('./commands/fingerprint.js')).defineFingerprint,
      ],
      passphrase: [
        'Set, change or remove the passphrase of a key',
        async () => (await import('./commands/passphrase.js')).definePassphrase,
      ],
      remove: [
        'Remove a key from the keystore: move it to retired/, or delete it',
        async () => (await import('./commands/remove.js')).defineRemove,
      ],
      backup: [
        'Write all keys and records to one encrypted file',
        async () => (await import('./commands/backup.js')).defineBackup,
      ],
      restore: ['Restore keys from a backup', async () => (await import('./commands/backup.js')).defineRestore],
    },
    plain: { list: async () => (await import('./commands/list.js')).LIST },
  },
  {
    title: 'Keys in an agent, a token or a cloud service:',
    commands: {
      'agent-load': [
        'Load a key of the keystore into the running ssh-agent',
        async () => (await import('./commands/agent-load.js')).defineAgentLoad,
      ],
    },
    more: { prefix: 'add-', load: async () => (await import('./commands/signer-kinds.js')).ADD_COMMANDS },
  },
  {
    title: 'Registration and login:',
    commands: {
      register: [
        'Register a public key with Deribit and verify what was recorded',
        async () => (await import('./commands/register.js')).defineRegister,
      ],
      link: [
        "Record a key whose public half was pasted into Deribit's web page, after logging in with it",
        async () => (await import('./commands/register.js')).defineLink,
      ],
      verify: [
        'Check that keys are intact and log in with the scope on record',
        async () => (await import('./commands/verify.js')).defineVerify,
      ],
      auth: ['Log in with a registered key', async () => (await import('./commands/auth.js')).defineAuth],
      sign: [
        'Print signed parameters for public/auth, without a network',
        async () => (await import('./commands/sign.js')).defineSign,
      ],
      token: ['Print a valid access token', async () => (await import('./commands/token.js')).defineToken],
      exec: [
        'Run a program with an access token in its environment',
        async () => (await import('./commands/exec.js')).defineExec,
      ],
      'auth-server': [
        'Serve logins and tokens to local programs, which never see a key',
        async () => (await import('./commands/auth-server.js')).defineAuthServer,
      ],
    },
    plain: { sign: async () => (await import('./commands/sign.js')).SIGN },
  },
  {
    title: 'Account:',
    commands: {
      'api-keys': [
        "Manage the account's keys on the exchange",
        async () => (await import('./commands/api-keys.js')).defineApiKeys,
      ],
      rotate: [
        'Replace a registered key by a successor that is verified first',
        async () => (await import('./commands/rotate.js')).defineRotate,
      ],
      plan: [
        'Show how the account and the keystore differ from a policy file',
        async () => (await import('./commands/plan.js')).definePlan,
      ],
      apply: [
        'Change the account and the keystore to match a policy file',
        async () => (await import('./commands/plan.js')).defineApply,
      ],
      audit: [
        'Show what was changed in the keystore and on the exchange, oldest first',
        async () => (await import('./commands/audit.js')).defineAudit,
      ],
    },
  },
  {
    title: 'Diagnosis and trial:',
    commands: {
      doctor: [
        'Find what is wrong, and the command that fixes it',
        async () => (await import('./commands/doctor.js')).defineDoctor,
      ],
      conformance: [
        'Test how an exchange behaves where Deribit documents nothing',
        async () => (await import('./commands/conformance.js')).defineConformance,
      ],
      sandbox: [
        'Run a local exchange on 127.0.0.1 until interrupted',
        async () => (await import('./commands/sandbox.js')).defineSandbox,
      ],
      demo: [
        'Generate, register, verify and log in on a local exchange, step by step',
        async () => (await import('./commands/demo.js')).defineDemo,
      ],
      page: [
        'Write the offline web page that creates, compares and tests keys in a browser',
        async () => (await import('./commands/page.js')).definePage,
      ],
      completion: [
        'Print a completion script for a shell',
        async () => (await import('./commands/completion.js')).defineCompletion,
      ],
    },
  },
];

/**
 * Runs the program in this process.
 * @param argv the words behind the program's name
 * @returns the exit code; it never rejects
 */
export function run(argv: readonly string[], host: Host): Promise<number> {
  return execute(COMMANDS, argv, host);
}
