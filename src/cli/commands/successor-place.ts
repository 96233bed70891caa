import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { DeribitKeysError } from '../../errors.js';
import type { SuccessorPlace } from '../../keystore/journal.js';

/** Where a successor is to be made, if not where the old key lives. */
export interface PlaceFlags {
  readonly inFile?: true;
  readonly inAgent?: true;
  readonly socket?: string;
  readonly inToken?: true;
  readonly module?: string;
  readonly token?: string;
}

export function addPlaceOptions(command: Command): Command {
  return command
    .optionsGroup('Where the successor is made (default: where the old key lives):')
    .addOption(new Option('--in-file', 'as a file of the keystore').conflicts(['inAgent', 'inToken']))
    .addOption(new Option('--in-agent', 'in the running ssh-agent, on no disk').conflicts('inToken'))
    .option('--socket <path>', "the agent's socket (env SSH_AUTH_SOCK)")
    .option('--in-token', 'inside a PKCS#11 token …')
    .option('--module <file>', "… of this token's library …")
    .option('--token <label>', '… with this label or serial number');
}

/** The place that the flags name, or undefined where they name none. @throws `ERR_USAGE` */
export function placeFrom(flags: PlaceFlags): SuccessorPlace | undefined {
  const { inFile, inAgent, socket, inToken, module, token } = flags;
  if ((socket !== undefined && !inAgent) || ((module !== undefined || token !== undefined) && !inToken)) {
    throw new DeribitKeysError('ERR_USAGE', '--socket goes with --in-agent, --module and --token with --in-token');
  }
  if (inFile) return { kind: 'file' };
  if (inAgent) return { kind: 'ssh-agent', socket: socket ?? null };
  if (!inToken) return undefined;
  if (module === undefined || token === undefined) {
    throw new DeribitKeysError('ERR_USAGE', '--in-token needs --module and --token');
  }
  return { kind: 'pkcs11', module: resolve(module), token };
}
