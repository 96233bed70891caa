import { unreadable } from '../key-errors.js';
import { base64ToBytes, bytesToBase64 } from '../pem.js';
import type { PublicNumbers } from './key-numbers.js';
import { isSshCertificateType, readSshPublicBlob, sshKeyType, writeSshPublicBlob } from './ssh-key-blob.js';

/** A public key line of OpenSSH, its key not read yet. */
export interface SshLine {
  readonly type: string;
  readonly certificate: boolean;
  readonly base64: string;
}

/**
 * The keys of a text that is a .pub, authorized_keys or known_hosts file: options or hosts before the key and a comment
 * after it are passed over, as are blank lines and lines that begin with `#`. None where the text is something else.
 */
export function findSshLines(text: string): readonly SshLine[] {
  const found: SshLine[] = [];
  for (const line of text.split(/\r?\n|\r/)) {
    const words = line.startsWith('#') ? [] : unquotedWords(line);
    const at = words.findIndex(
      (word, i) => /^[a-z][a-z0-9@.-]*$/.test(word) && (words[i + 1] ?? '').startsWith('AAAA'),
    );
    const [type, base64] = [words[at], words[at + 1]];
    if (at !== -1 && type !== undefined && base64 !== undefined) {
      found.push({ type, base64, certificate: isSshCertificateType(type) });
    }
  }
  return found;
}

/** The key of a line. @throws ERR_KEY_UNREADABLE, ERR_KEY_UNSUPPORTED */
export function readSshLine(line: SshLine): PublicNumbers {
  const blob = base64ToBytes(line.base64);
  if (blob === null) throw unreadable(`the SSH public key is not canonical base64 (${line.base64.length} characters)`);
  if (sshKeyType(blob) !== line.type) throw unreadable('the SSH public key is of another type than its line says');
  return readSshPublicBlob(blob);
}

/** The line of a .pub file, with its newline. */
export function encodeSshLine(key: PublicNumbers, comment: string): string {
  const type = key.algorithm === 'ed25519' ? 'ssh-ed25519' : 'ssh-rsa';
  return `${[type, bytesToBase64(writeSshPublicBlob(key)), comment].filter((word) => word !== '').join(' ')}\n`;
}

/** The words of a line, where white space in double quotes does not part them (sshd(8), AUTHORIZED_KEYS FILE FORMAT). */
function unquotedWords(line: string): readonly string[] {
  const words: string[] = [''];
  let quoted = false;
  for (let i = 0; i < line.length; i++) {
    const char = line[i] ?? '';
    if (char === '"' && line[i - 1] !== '\\') quoted = !quoted;
    if (!quoted && (char === ' ' || char === '\t')) words.push('');
    else words[words.length - 1] += char;
  }
  return words.filter((word) => word !== '');
}
