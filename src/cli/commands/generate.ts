import { type Command, Option } from 'commander';
import type { KeyRecord } from '../../keystore/record.js';
import type { Context } from '../context.js';
import { eitherOr, examples } from '../options.js';
import { fields } from '../output.js';
import type { Act } from '../program.js';
import { signerLine } from '../show-record.js';
import { addElsewhereOptions, type ElsewhereFlags, generateElsewhere } from './generate-elsewhere.js';

interface GenerateFlags extends ElsewhereFlags {
  readonly type?: 'ed25519' | 'rsa';
  readonly bits?: '2048' | '3072' | '4096';
  readonly encrypt?: boolean;
}

/** The JSON form that `generate` and `import` give. */
export async function storedKeyDocument(cx: Context, record: KeyRecord) {
  const { readPublicKey } = await import('../../keystore/stored-keys.js');
  const { encodePublicKeyPem } = await import('../../crypto/key-pem.js');
  const { name, algorithm, bits, fingerprint, encrypted, createdAt, signer } = record;
  const files = cx.store.files(name);
  return {
    name,
    algorithm,
    bits,
    fingerprint,
    publicKey: encodePublicKeyPem(await readPublicKey(cx.store, record)),
    publicKeyFile: files.publicKey,
    privateKeyFile: signer === null ? files.privateKey : null,
    encrypted,
    createdAt,
    ...(signer === null ? {} : { signer }),
  };
}

/** Prints a key that was just stored. */
export async function showStoredKey(cx: Context, record: KeyRecord): Promise<void> {
  const stored = await storedKeyDocument(cx, record);
  cx.out.result(stored, () => [
    ...fields([
      ['name', stored.name],
      ['algorithm', stored.bits === null ? stored.algorithm : `${stored.algorithm} ${stored.bits}`],
      ['fingerprint', stored.fingerprint],
      [
        'private key',
        stored.privateKeyFile === null ? null : `${stored.privateKeyFile}${stored.encrypted ? ' (encrypted)' : ''}`,
      ],
      ['signer', record.signer === null ? null : signerLine(record.signer)],
      ['public key', stored.publicKeyFile],
    ]),
    '',
    stored.publicKey.trimEnd(),
  ]);
}

export function defineGenerate(program: Command, act: Act): void {
  addElsewhereOptions(
    eitherOr(program.command('generate'), 'encrypt')
      .description('make a keypair on this machine')
      .argument('<name>', 'what to call it here')
      .addOption(new Option('--type <type>', 'default ed25519').choices(['ed25519', 'rsa']))
      .addOption(new Option('--bits <bits>', 'for RSA; default 3072').choices(['2048', '3072', '4096']))
      .option('--encrypt', 'encrypt the private key under a passphrase (default if one is given)')
      .option('--no-encrypt', 'store it unencrypted'),
  )
    .addHelpText(
      'after',
      examples(
        'generate bot',
        'generate bot --encrypt --passphrase-file secret.txt',
        'generate legacy --type rsa --bits 2048 --json | jq -r .publicKey',
        'generate bot --in-agent --lifetime 12h',
        'generate bot --in-token --module /usr/lib/softhsm/libsofthsm2.so --token bots --pin-file pin.txt',
      ),
    )
    .action(
      act(async (cx, name: string, flags: GenerateFlags) => {
        const { generate } = await import('../../workflows/generate.js');
        const { newKeyPassphrase } = await import('../secrets.js');
        const type = flags.type ?? 'ed25519';
        const bits = flags.bits === undefined ? {} : { bits: Number(flags.bits) as 2048 | 3072 | 4096 };
        cx.store.files(name);
        await cx.store.requireFree(name);
        if (type === 'rsa') cx.out.note(`making an RSA key of ${flags.bits ?? 3072} bits …`);
        const elsewhere = await generateElsewhere(cx, name, { type, ...bits }, flags);
        const { encrypt } = flags;
        const generateHere = async () => {
          const passphrase = await newKeyPassphrase(cx, { name, encrypt });
          return generate(cx.store, name, { type, ...bits, passphrase });
        };
        await showStoredKey(cx, elsewhere ?? (await generateHere()));
        cx.out.note(
          `next: give the public key to Deribit (deribit-keys register ${name} --help, or its web page and deribit-keys link ${name})`,
        );
      }),
    );
}
