import type { Secret } from '../../crypto/secret.js';
import { usageError } from '../../errors.js';
import { createFile, requireNewFile } from '../../keystore/files.js';
import type { KeyRecord } from '../../keystore/record.js';
import { defined } from '../../util/defined.js';
import type { Context } from '../context.js';
import { notEmpty } from '../options.js';
import type { Define } from '../program.js';
import { requireNewPassphrase } from '../secrets.js';

const FORMATS = ['pkcs8', 'pkcs1', 'openssh', 'jwk', 'der', 'spki', 'ssh'] as const;
type Format = (typeof FORMATS)[number];

interface ExportFlags {
  readonly format?: Format;
  readonly public?: true;
  readonly out?: string;
  readonly encrypt?: boolean;
}

interface Exported {
  readonly format: Format;
  readonly encrypted: boolean;
  readonly content: string | Uint8Array;
}

const ENCRYPTABLE: readonly Format[] = ['pkcs8', 'openssh'];

async function exportPublic(cx: Context, record: KeyRecord, asked: Format | undefined): Promise<Exported> {
  const { readPublicKey } = await import('../../keystore/stored-keys.js');
  const { serialisePublicKey } = await import('../../crypto/formats/index.js');
  const format = asked === 'openssh' ? 'ssh' : (asked ?? 'spki');
  if (format === 'pkcs8') {
    throw usageError('PKCS#8 is a format of private keys', 'use spki, ssh, jwk, der or pkcs1 for the public key');
  }
  const comment = format === 'ssh' ? { comment: record.name } : {};
  const content = await serialisePublicKey(await readPublicKey(cx.store, record), { format, ...comment });
  return { format, encrypted: false, content };
}

interface Leaving {
  readonly encrypt: boolean | undefined;
  /** The passphrase that the key is stored under. */
  readonly kept: Secret | null;
}

/** The passphrase that the key leaves under, or null. */
async function leavesUnder(cx: Context, record: KeyRecord, { encrypt, kept }: Leaving): Promise<Secret | null> {
  if (encrypt === false) return null;
  const { host, secrets } = cx;
  if (kept !== null) return (await secrets.find(['newPassphrase'])) ?? kept;
  if (encrypt !== true) return null;
  const names = ['newPassphrase', 'passphrase'] as const;
  return requireNewPassphrase({ host, secrets, what: 'the exported key', names, key: record.name });
}

async function exportPrivate(
  cx: Context,
  record: KeyRecord,
  { format, encrypt }: { readonly format: Exclude<Format, 'spki' | 'ssh'>; readonly encrypt: boolean | undefined },
): Promise<Exported> {
  const { requirePrivateFile } = await import('../../keystore/stored-keys.js');
  const { serialisePrivateKey } = await import('../../crypto/formats/index.js');
  requirePrivateFile(record);
  if ((encrypt ?? record.encrypted) && !ENCRYPTABLE.includes(format)) {
    throw usageError(
      `the format ${format} cannot be encrypted`,
      'use pkcs8 or openssh, or write the private key unencrypted with --no-encrypt',
    );
  }
  const { key, passphrase: kept } = await cx.openKey(record);
  const passphrase = await leavesUnder(cx, record, { encrypt, kept });
  const comment = format === 'openssh' ? record.name : undefined;
  const content = await serialisePrivateKey(key, {
    format,
    ...defined({ comment, passphrase: passphrase ?? undefined }),
  });
  const { name, fingerprint, clientId, environment } = record;
  await cx.store.audit({ action: 'export', name, fingerprint, clientId, environment });
  return { format, encrypted: passphrase !== null, content };
}

export const define: Define = (command, { look }) => {
  command
    .eitherOr('encrypt')
    .argument('<name>')
    .choice('--format <format>', 'default pkcs8, or spki with --public', FORMATS)
    .option('--public', 'export only the public key (always so for spki and ssh)')
    .option('--out <file>', 'write to this new file (mode 0600); - for stdout, even on a terminal', notEmpty)
    .option('--encrypt', 'encrypt it (pkcs8 and openssh): DERIBIT_KEYS_NEW_PASSPHRASE, else the passphrase of the key')
    .option('--no-encrypt', 'write an encrypted key unencrypted')
    .secret('newPassphrase')
    .examples(
      'export bot --public',
      'export bot --format openssh --out id_bot',
      'export bot --format ssh',
      'export bot --format jwk --no-encrypt --out bot.jwk',
    )
    .action(
      look(async (cx, name: string, flags: ExportFlags) => {
        const record = await cx.store.read(name);
        const { format } = flags;
        const isPublic = flags.public === true || format === 'spki' || format === 'ssh';
        if (isPublic && flags.encrypt === true) {
          throw usageError(
            'a public key is not encrypted',
            'leave out --encrypt, or export the private key as pkcs8 or openssh',
          );
        }
        const toStdout = flags.out === undefined || flags.out === '-';
        if (!isPublic && flags.out === undefined && cx.host.stdout.isTTY === true) {
          throw usageError(
            'a private key is shown on a terminal only with --out -',
            'write it to a file with --out <file>, or show it with --out -',
          );
        }
        if (flags.out !== undefined && !toStdout) await requireNewFile(flags.out);
        const exported = isPublic
          ? await exportPublic(cx, record, format)
          : await exportPrivate(cx, record, { format: format ?? 'pkcs8', encrypt: flags.encrypt });
        const { content, encrypted } = exported;
        if (flags.out !== undefined && !toStdout) await createFile(flags.out, content, isPublic ? 0o644 : 0o600);
        const text = typeof content === 'string' ? content : Buffer.from(content).toString('base64');
        const file = toStdout ? null : flags.out;
        const document = { name, format: exported.format, public: isPublic, encrypted, file };
        if (toStdout && !cx.out.json) cx.host.stdout.write(content);
        else cx.out.result(toStdout ? { ...document, content: text } : document, () => `${flags.out}`);
      }),
    );
};
