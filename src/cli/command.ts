import type { Command } from 'commander';
import { addOptions, examples, notEmpty, secretSpec, wholeNumber } from './options.js';
import type { SecretName } from './secret-sources.js';

/**
 * Extends commander's class by what several commands have in common. The class is an argument because only some calls load
 * commander.
 */
export function commandClass(Base: typeof Command) {
  return class CliCommand extends Base {
    override createCommand(name?: string) {
      return new CliCommand(name);
    }

    /** Examples at the end of the help text: see {@link examples}. */
    examples(...lines: readonly string[]): this {
      return this.addHelpText('after', examples(...lines));
    }

    /** An option with one of these values. */
    choice(flags: string, description: string, choices: readonly string[]): this {
      return this.addOption(this.createOption(flags, description).choices(choices));
    }

    /** The option that names a file with this secret; `help` replaces what the list says of it. */
    secret(name: SecretName, help?: string): this {
      return addOptions(this, [secretSpec(name, help)]);
    }

    /** Makes `--name` together with `--no-name` a usage error; call it before the options are added. */
    eitherOr(name: string): this {
      const said = new Set<string>();
      for (const option of [name, `no-${name}`]) {
        this.on(`option:${option}`, () => {
          if (said.add(option).size > 1) this.error(`--${name} and --no-${name} contradict each other`);
        });
      }
      return this;
    }

    /** The login of commands that act on the account. */
    loginOptions(): this {
      return this.optionsGroup('Login options:')
        .option('--as <name>', 'log in with this registered key of the keystore', notEmpty)
        .secret('asPassphrase')
        .option('--client-id <id>', 'log in with this symmetric key and its secret (env DERIBIT_CLIENT_ID)', notEmpty)
        .secret('clientSecret')
        .option('--tfa-code <code>', 'second factor: a single code (env DERIBIT_TFA_CODE)', notEmpty)
        .secret('tfaSecret')
        .option('--subaccount <id>', 'act on this subaccount of the main account', wholeNumber(1));
    }

    /** Where `token`, `exec` and `auth-server` share tokens. */
    tokenStoreOptions(): this {
      const away = '--token-store-away <what>';
      return addOptions(this, [
        {
          flags: '--token-store <url>',
          description: 'share tokens through this redis: or rediss: server (env DERIBIT_KEYS_TOKEN_STORE)',
          parse: notEmpty,
        },
        {
          flags: '--token-store-file <file>',
          description: 'read that URL, which may hold a password, from this file (env DERIBIT_KEYS_TOKEN_STORE_FILE)',
          parse: notEmpty,
          conflicts: ['tokenStore'],
        },
        {
          flags: '--token-store-key-file <file>',
          description: 'the 32 bytes that stored tokens are encrypted under (env DERIBIT_KEYS_TOKEN_STORE_KEY_FILE)',
          parse: notEmpty,
        },
      ]).addOption(
        this.createOption(away, 'while the store cannot be reached: log in without it, or refuse')
          .choices(['login', 'refuse'])
          .default('login'),
      );
    }
  };
}

/** A command as {@link commandClass} makes it. */
export type CliCommand = InstanceType<ReturnType<typeof commandClass>>;
