import { execute } from './execute.js';
import type { CommandGroup, Host } from './program.js';

/** All commands, in the order of the help text. Each module is loaded by the calls that need it. */
export const COMMANDS: readonly CommandGroup[] = [
  {
    title: 'Keys:',
    commands: {
      generate: ['Create a key pair on this machine', () => import('./commands/generate.js')],
      import: ['Import a private key that another program made', () => import('./commands/import.js')],
      export: ['Write a key in another format', () => import('./commands/export.js')],
      list: ['List the keys of the keystore', async () => (await import('./commands/list.js')).defineList],
      show: ['Show what the keystore knows about a key', async () => (await import('./commands/list.js')).defineShow],
      fingerprint: ['Print the fingerprint that Deribit shows for a key', () => import('./commands/fingerprint.js')],
      passphrase: ['Set, change or remove the passphrase of a key', () => import('./commands/passphrase.js')],
      remove: [
        'Remove a key from the keystore: move it to retired/, or delete it',
        () => import('./commands/remove.js'),
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
      'agent-load': ['Load a key of the keystore into the running ssh-agent', () => import('./commands/agent-load.js')],
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
      verify: ['Check that keys are intact and log in with the scope on record', () => import('./commands/verify.js')],
      auth: ['Log in with a registered key', () => import('./commands/auth.js')],
      sign: ['Print signed parameters for public/auth, without a network', () => import('./commands/sign.js')],
      token: ['Print a valid access token', () => import('./commands/token.js')],
      exec: ['Run a program with an access token in its environment', () => import('./commands/exec.js')],
      'auth-server': [
        'Serve logins and tokens to local programs, which never see a key',
        () => import('./commands/auth-server.js'),
      ],
    },
    plain: { sign: async () => (await import('./commands/sign.js')).SIGN },
  },
  {
    title: 'Account:',
    commands: {
      'api-keys': ["Manage the account's keys on the exchange", () => import('./commands/api-keys.js')],
      rotate: ['Replace a registered key by a successor that is verified first', () => import('./commands/rotate.js')],
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
        () => import('./commands/audit.js'),
      ],
    },
  },
  {
    title: 'Diagnosis and trial:',
    commands: {
      doctor: ['Find what is wrong, and the command that fixes it', () => import('./commands/doctor.js')],
      conformance: [
        'Test how an exchange behaves where Deribit documents nothing',
        () => import('./commands/conformance.js'),
      ],
      sandbox: ['Run a local exchange on 127.0.0.1 until interrupted', () => import('./commands/sandbox.js')],
      demo: [
        'Generate, register, verify and log in on a local exchange, step by step',
        () => import('./commands/demo.js'),
      ],
      page: [
        'Write the offline web page that creates, compares and tests keys in a browser',
        () => import('./commands/page.js'),
      ],
      completion: ['Print a completion script for a shell', () => import('./commands/completion.js')],
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
