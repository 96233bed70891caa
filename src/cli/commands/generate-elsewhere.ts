import { type Command, Option } from 'commander';
import type { GenerateOptions } from '../../crypto/generate.js';
import { DeribitKeysError } from '../../errors.js';
import type { KeyRecord } from '../../keystore/record.js';
import type { Context } from '../context.js';

/** Where a new key is to live, if not in a file. */
export interface ElsewhereFlags {
  readonly inAgent?: true;
  readonly socket?: string;
  readonly lifetime?: string;
  readonly confirm?: true;
  readonly inToken?: true;
  readonly module?: string;
  readonly token?: string;
  readonly tokenLabel?: string;
}

/** How long an agent keeps a key, in seconds. */
export async function lifetimeS(text: string | undefined): Promise<number | undefined> {
  if (text === undefined) return undefined;
  const { parseDuration } = await import('../../util/duration.js');
  return parseDuration(text) / 1000;
}

export function addElsewhereOptions(command: Command): Command {
  return command
    .optionsGroup('Keys that are no files:')
    .addOption(
      new Option('--in-agent', 'load it into the running ssh-agent, and write it to no disk').conflicts('inToken'),
    )
    .option('--socket <path>', "the agent's socket (env SSH_AUTH_SOCK)")
    .option('--lifetime <duration>', 'the agent forgets it after this long, such as 12h')
    .option('--confirm', 'the agent asks before each signature')
    .option('--in-token', 'make it inside a PKCS#11 token, which never gives it away …')
    .option('--module <file>', "… of this token's library …")
    .option('--token <label>', '… with this label or serial number …')
    .option('--token-label <text>', '… under this label (default: <name>)');
}

const AGENT_FLAGS = ['socket', 'lifetime', 'confirm'] as const;
const TOKEN_FLAGS = ['module', 'token', 'tokenLabel'] as const;

function requireUnused(flags: ElsewhereFlags, names: readonly (keyof ElsewhereFlags)[], owner: string): void {
  const used = names.find((name) => flags[name] !== undefined);
  if (used === undefined) return;
  const option = `--${used.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  throw new DeribitKeysError('ERR_USAGE', `${option} goes with ${owner}`);
}

/**
 * Makes a key in an agent or a token where the flags ask for that; null where they do not.
 * @throws `ERR_USAGE` for flags that do not go together
 */
export async function generateElsewhere(
  cx: Context,
  name: string,
  kind: GenerateOptions,
  flags: ElsewhereFlags & { readonly encrypt?: boolean },
): Promise<KeyRecord | null> {
  if (!flags.inAgent) requireUnused(flags, AGENT_FLAGS, '--in-agent');
  if (!flags.inToken) requireUnused(flags, TOKEN_FLAGS, '--in-token');
  if (!flags.inAgent && !flags.inToken) return null;
  if (flags.encrypt) {
    throw new DeribitKeysError('ERR_USAGE', 'a key that is no file cannot be encrypted under a passphrase', {
      hint: 'leave out --encrypt',
    });
  }
  const { generateInAgent, generateInToken } = await import('../../workflows/external-keys.js');
  if (flags.inAgent) {
    const { socket, lifetime, confirm } = flags;
    const constraints = { socket, confirm, lifetimeS: await lifetimeS(lifetime) };
    const record = await generateInAgent(cx.store, name, kind, constraints, cx.signerAccess);
    const end = lifetime === undefined ? 'ends' : `ends, or in ${lifetime}`;
    cx.out.note(`warning: the private key is in the agent alone: it is gone when the agent ${end}`);
    return record;
  }
  const { module, token, tokenLabel: label } = flags;
  if (module === undefined || token === undefined) {
    throw new DeribitKeysError('ERR_USAGE', '--in-token needs --module and --token', {
      hint: 'such as --module /usr/lib/softhsm/libsofthsm2.so --token bots',
    });
  }
  return generateInToken(cx.store, name, kind, { module, token, label }, cx.signerAccess);
}
