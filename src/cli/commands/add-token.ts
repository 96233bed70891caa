import type { Command } from 'commander';
import { examples } from '../options.js';
import type { Act } from '../program.js';
import { showStoredKey } from './generate.js';

interface AddTokenFlags {
  readonly module: string;
  readonly token: string;
  readonly label?: string;
  readonly id?: string;
}

export function defineAddToken(program: Command, act: Act): void {
  program
    .command('add-token')
    .description('use a key that a PKCS#11 token holds: a smart card, an HSM, a cloud HSM …')
    .argument('<name>', 'what to call it here')
    .requiredOption('--module <file>', "the PKCS#11 library of the token's maker")
    .requiredOption('--token <label>', "the token's label, or its serial number")
    .option('--label <text>', "the key's label …")
    .option('--id <hex>', '… or its id; both where one is not enough')
    .addHelpText(
      'after',
      examples(
        'add-token bot --module /usr/lib/softhsm/libsofthsm2.so --token bots --label bot --pin-file pin.txt',
        'add-token bot --module /usr/lib/x86_64-linux-gnu/opensc-pkcs11.so --token "PIV_II" --id 02',
      ),
    )
    .action(
      act(async (cx, name: string, flags: AddTokenFlags) => {
        const { addTokenKey } = await import('../../workflows/external-keys.js');
        const { module, token, label, id } = flags;
        await showStoredKey(cx, await addTokenKey(cx.store, name, { module, token, label, id }, cx.signerAccess));
      }),
    );
}
