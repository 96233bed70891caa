import { engine as defaultEngine } from '#engine';
import type { DeribitKeysError } from '../errors.js';
import { base64ToBytes, bytesToBase64 } from './bytes.js';
import type { Engine } from './engine/engine.js';
import { requireSmall, unreadable } from './key-errors.js';
import type { PrivateKey, PublicKey } from './keys.js';

/** One block of a PEM text (RFC 7468). */
export interface PemBlock {
  /** The text after BEGIN, such as `PRIVATE KEY`. */
  readonly label: string;
  /** Headers of RFC 1421 §4.6, such as `DEK-Info`, by their names as written. */
  readonly headers: ReadonlyMap<string, string>;
  readonly bytes: Uint8Array;
}

const BEGIN = /-----BEGIN ([A-Z0-9][A-Z0-9 .#-]{0,62}?)-----/g;
const LINE_LENGTH = 64;

/** How a key goes into a variable or a file that has one line for each value, as part of a hint. */
export const ONE_LINE =
  "give the key on one line: with \\n for each line break, or in base64: base64 < <file> | tr -d '\\n'";

/**
 * The blocks of a PEM text, in their order; empty where there is no BEGIN line.
 *
 * Tolerated: CRLF, a byte order mark, text around the blocks, newlines that became spaces, vanished, or are written out (as
 * `\n`, or with the backtick of PowerShell), a BEGIN line that occurs twice. Refused: input over 64 KB, a block without its
 * END line, base64 that is not canonical (RFC 4648 §3.5).
 *
 * @throws ERR_KEY_UNREADABLE
 */
export function decodePem(text: string): PemBlock[] {
  requireSmall(text, 'the PEM text');
  const unfolded = text.replace(/\\{1,4}r\\{1,4}n|\\{1,4}[nr]|`r`n|`[nr]|\r\n?/g, '\n');
  const blocks: PemBlock[] = [];
  let from = 0;
  for (;;) {
    BEGIN.lastIndex = from;
    const begin = BEGIN.exec(unfolded);
    if (begin === null) return blocks;
    const label = begin[1] ?? '';
    const end = `-----END ${label}-----`;
    const bodyAt = begin.index + begin[0].length;
    const endAt = unfolded.indexOf(end, bodyAt);
    if (endAt === -1) throw cutShort(label, unfolded.slice(bodyAt));
    blocks.push(decodeBody(label, unfolded.slice(bodyAt, endAt).replace(begin[0], '')));
    from = endAt + end.length;
  }
}

/** The PEM text of `der`: lines of 64 characters, each ended by a newline. */
export function encodePem(label: string, der: Uint8Array): string {
  const base64 = bytesToBase64(der);
  const lines: string[] = [];
  for (let at = 0; at < base64.length; at += LINE_LENGTH) lines.push(base64.slice(at, at + LINE_LENGTH));
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n');
}

function decodeBody(label: string, body: string): PemBlock {
  const { headers, rest } = /\n/.test(body.trim()) ? headersByLine(body) : headersByWord(body);
  const bytes = base64ToBytes(rest);
  if (bytes === null) throw brokenBase64(label, rest);
  if (bytes.length === 0) throw unreadable(`the PEM block "${label}" is empty`);
  return { label, headers, bytes };
}

/** The error for a PEM block whose END line is missing; `body` is all that follows its BEGIN line. */
function cutShort(label: string, body: string): DeribitKeysError {
  if (/^[^-]*-----END /.test(body)) {
    return unreadable(`the PEM block "${label}" has no END line of the same label, but another one`, {
      hint: 'copy both lines from the source of the key; they differ only in BEGIN and END',
    });
  }
  return unreadable(
    body.trim() === ''
      ? `the PEM block "${label}" has no END line: only its first line arrived`
      : `the PEM block "${label}" has no END line: it is cut short`,
    { hint: `copy all of it, from BEGIN to END; in an environment variable or an env file, ${ONE_LINE}` },
  );
}

/** The error for a PEM block whose body is not base64. */
function brokenBase64(label: string, body: string): DeribitKeysError {
  const what = `the PEM block "${label}" does not hold valid base64`;
  const compact = body.trim().replace(/\s*\n\s*/g, '');
  if (/\S \S/.test(body.trim()) && /^[A-Za-z0-9+/ ]+={0,2}$/.test(compact) && compact.length % 4 === 0) {
    return unreadable(`${what}: spaces stand where + was`, {
      hint: 'the text was decoded as a web form on its way: encode it first (%2B for +), or give it in base64',
    });
  }
  if (/\.{3}|\u2026|\*{3}/.test(body)) {
    return unreadable(`${what}: part of it was left out when it was displayed`, {
      hint: 'copy the key from where it is kept, not from a screen or a document',
    });
  }
  return unreadable(what, { hint: `copy the block again from its source; in a variable, ${ONE_LINE}` });
}

interface SplitBody {
  readonly headers: ReadonlyMap<string, string>;
  readonly rest: string;
}

/** Headers on lines of their own; a line that starts with white space goes on with the header before it. */
function headersByLine(body: string): SplitBody {
  const headers = new Map<string, string>();
  const lines = body.replace(/^\s+/, '').split('\n');
  let at = 0;
  let name: string | undefined;
  const isHeader = (line = '') => /^[ \t]*[A-Za-z][A-Za-z0-9-]*:/.test(line);
  for (; at < lines.length; at++) {
    const line = lines[at] ?? '';
    // where line breaks were doubled, empty lines stand between headers too
    if (line.trim() === '' && isHeader(lines[at + 1])) continue;
    const header = /^[ \t]*([A-Za-z][A-Za-z0-9-]*):(.*)$/s.exec(line);
    if (header?.[1] !== undefined) {
      name = header[1];
      headers.set(name, (header[2] ?? '').trim());
    } else if (name !== undefined && /^[ \t]+\S/.test(line)) {
      headers.set(name, `${headers.get(name) ?? ''}${line.trim()}`);
    } else {
      break;
    }
  }
  return { headers, rest: lines.slice(at).join('\n') };
}

/** Headers in a body whose newlines became spaces: the values that matter have no space in them. */
function headersByWord(body: string): SplitBody {
  const headers = new Map<string, string>();
  const header = /\s*([A-Za-z][A-Za-z0-9-]*):\s*(\S+)\s/y;
  let at = 0;
  for (let match = header.exec(body); match !== null; match = header.exec(body)) {
    headers.set(match[1] ?? '', match[2] ?? '');
    at = header.lastIndex;
  }
  return { headers, rest: body.slice(at) };
}

const PRIVATE_LABEL = 'PRIVATE KEY';

/** SPKI PEM, the form in which Deribit is given a public key; ends with a newline. */
export function encodePublicKeyPem(publicKey: PublicKey): string {
  return encodePem('PUBLIC KEY', publicKey.spki);
}

/** Unencrypted PKCS#8 PEM: the secret itself; ends with a newline. */
export function encodePrivateKeyPem(privateKey: PrivateKey): string {
  return encodePem(PRIVATE_LABEL, privateKey.exposePkcs8());
}

/**
 * The private key in a PEM text whose one block is unencrypted PKCS#8: the quick way for keys that this package wrote,
 * without loading a DER reader. Any other format is for `parsePrivateKey`.
 * @throws ERR_KEY_UNREADABLE, ERR_KEY_UNSUPPORTED, ERR_KEY_INVALID
 */
export async function loadPkcs8Pem(text: string, engine: Engine = defaultEngine): Promise<PrivateKey> {
  const [block, ...more] = decodePem(text);
  if (block === undefined || more.length > 0 || block.label !== PRIVATE_LABEL || block.headers.size > 0) {
    throw unreadable('the text is not one PEM block of an unencrypted PKCS#8 private key');
  }
  const quick = await engine.quickPrivateKey?.(block.bytes);
  if (quick != null) return quick;
  const { decodePkcs8 } = await import('./asn1/spki-pkcs8.js');
  return decodePkcs8(block.bytes, engine);
}
