import { usageError } from '../../errors.js';
import { requireNewKeyName } from '../../keystore/names.js';
import type { KeyRecord } from '../../keystore/record.js';
import { type NewKey, SIGNER_KINDS } from '../../signers/kinds.js';
import type { Context } from '../context.js';
import type { Define } from '../program.js';
import { showStoredKey } from '../show-record.js';
import { addKindOptions, type ChosenKind, chosenKind } from './signer-kinds.js';

interface GenerateFlags {
  readonly type?: 'ed25519' | 'rsa';
  readonly bits?: '2048' | '3072' | '4096';
  readonly encrypt?: boolean;
}

/** Makes a key of the kind that the flags chose. */
async function generateElsewhere(cx: Context, key: NewKey, { kind, values }: ChosenKind): Promise<KeyRecord> {
  const { generateExternalKey } = await import('../../workflows/external-keys.js');
  const target = kind.targetFrom(values, cx.host.env);
  const record = await generateExternalKey(cx.store, { key, target, values, access: cx.signerAccess });
  const warning = kind.warning?.(values);
  if (warning !== undefined) cx.out.note(`warning: ${warning}`);
  return record;
}

export const define: Define = (command, { act }) => {
  addKindOptions(
    command
      .eitherOr('encrypt')
      .argument('<name>', 'name of the new key')
      .choice('--type <type>', 'algorithm (default ed25519)', ['ed25519', 'rsa'])
      .choice('--bits <bits>', 'length of an RSA key (default 3072)', ['2048', '3072', '4096'])
      .option(
        '--encrypt',
        'encrypt the private key; DERIBIT_KEYS_PASSPHRASE or --passphrase-file, else a prompt (default if one is given)',
      )
      .option('--no-encrypt', 'store it unencrypted'),
    'generate',
  )
    .examples(
      'generate bot',
      'generate bot --encrypt --passphrase-file secret.txt',
      'generate legacy --type rsa --bits 2048 --json | jq -r .publicKey',
      ...SIGNER_KINDS.flatMap(({ make }) => make.examples.map((line) => `generate bot ${line}`)),
    )
    .action(
      act(async (cx, name: string, flags: GenerateFlags) => {
        const { generate } = await import('../../keystore/stored-keys.js');
        const { newKeyPassphrase } = await import('../secrets.js');
        const { type = 'ed25519', encrypt } = flags;
        if (flags.bits !== undefined && type !== 'rsa') {
          throw usageError(
            '--bits is only for RSA keys: the length of an Ed25519 key is fixed',
            'leave out --bits, or add --type rsa',
          );
        }
        const bits = flags.bits === undefined ? {} : { bits: Number(flags.bits) as 2048 | 3072 | 4096 };
        await cx.store.requireFree(requireNewKeyName(name));
        const chosen = chosenKind({ ...flags }, 'generate');
        if (chosen !== null && encrypt) {
          throw usageError(
            'only a key in a file can be encrypted under a passphrase',
            `leave out --encrypt, or leave out ${chosen.kind.make.flag}`,
          );
        }
        if (type === 'rsa') cx.out.note(`generating an RSA key of ${flags.bits ?? 3072} bits …`);
        if (chosen === null) {
          const passphrase = await newKeyPassphrase(cx, { name, encrypt });
          await showStoredKey(cx, await generate(cx.store, name, { type, ...bits, passphrase }));
        } else {
          await showStoredKey(cx, await generateElsewhere(cx, { name, type, ...bits }, chosen));
        }
        cx.out.note(
          `next: register the public key (deribit-keys register ${name} --help), or paste it into Deribit's web page and run: deribit-keys link ${name} --client-id <id>`,
        );
      }),
    );
};
