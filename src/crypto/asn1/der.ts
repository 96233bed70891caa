import asn1 from 'node-forge/lib/asn1.js';
import type { DeribitKeysError } from '../../errors.js';
import { equalBytes, fromBinary, toBinary } from '../bytes.js';
import { requireSmall, unreadable } from '../key-errors.js';
import { bigIntToBytes, bytesToBigInt } from '../numbers.js';

/** One value of a DER document (X.690), with its contents either as child nodes or as bytes. */
export interface DerNode {
  readonly class: 'universal' | 'application' | 'context' | 'private';
  /** The tag number, 0 to 30. */
  readonly tag: number;
  /** The nodes inside a constructed value; null for a primitive one. */
  readonly children: readonly DerNode[] | null;
  /** The contents of a primitive value; empty for a constructed one. */
  readonly contents: Uint8Array;
}

/** The universal tag numbers that keys use. */
export const TAG = {
  boolean: 1,
  integer: 2,
  bitString: 3,
  octetString: 4,
  null: 5,
  oid: 6,
  utf8String: 12,
  sequence: 16,
  set: 17,
} as const;

const CLASSES = ['universal', 'application', 'context', 'private'] as const;
const MAX_DEPTH = 16;
/** Bytes: that of no algorithm is half as long, and one of 64 KB takes a second to write out. */
const MAX_OID_LENGTH = 64;
const LONG_TAG = 31;
const CONSTRUCTED_ONLY: readonly number[] = [TAG.sequence, TAG.set];

/**
 * Reads exactly one DER value. Everything that is not its one canonical encoding is refused: data after it, lengths that
 * are indefinite or longer than needed, INTEGERs and OIDs with superfluous bytes, BOOLEANs other than 00 and FF, BIT
 * STRINGs with padding bits set, constructed strings, nesting deeper than 16, input over 64 KB.
 *
 * Throws `ERR_KEY_UNREADABLE`. `name` says in the message what is read.
 */
export function readDer(bytes: Uint8Array, name = 'DER'): DerNode {
  requireSmall(bytes, name);
  let parsed: asn1.Asn1;
  try {
    const options = { strict: true, parseAllBytes: true, decodeBitStrings: false, maxDepth: MAX_DEPTH };
    parsed = asn1.fromDer(toBinary(bytes), options as unknown as boolean);
  } catch (cause) {
    throw unreadable(`${name} is not valid DER`, { cause });
  }
  const node = fromForge(parsed, name);
  if (!equalBytes(writeDer(node), bytes)) throw unreadable(`${name} is not in canonical DER`);
  return node;
}

/** The DER encoding of a node. */
export function writeDer(node: DerNode): Uint8Array {
  return fromBinary(asn1.toDer(toForge(node)).getBytes());
}

/** A primitive node, universal unless said otherwise. */
export function primitive(tag: number, contents: Uint8Array, tagClass: DerNode['class'] = 'universal'): DerNode {
  return { class: tagClass, tag, children: null, contents };
}

/** A constructed node, universal unless said otherwise. */
export function constructed(
  tag: number,
  children: readonly DerNode[],
  tagClass: DerNode['class'] = 'universal',
): DerNode {
  return { class: tagClass, tag, children, contents: new Uint8Array() };
}

export function sequence(...children: readonly DerNode[]): DerNode {
  return constructed(TAG.sequence, children);
}

/** An INTEGER that is not negative. */
export function integer(value: bigint): DerNode {
  const magnitude = bigIntToBytes(value);
  const signed = (magnitude[0] ?? 0) < 0x80 ? magnitude : Uint8Array.of(0, ...magnitude);
  return primitive(TAG.integer, signed);
}

export function octetString(contents: Uint8Array): DerNode {
  return primitive(TAG.octetString, contents);
}

/** A BIT STRING of whole bytes. */
export function bitString(contents: Uint8Array): DerNode {
  return primitive(TAG.bitString, Uint8Array.of(0, ...contents));
}

export function nullNode(): DerNode {
  return primitive(TAG.null, new Uint8Array());
}

/** An OBJECT IDENTIFIER from its dotted form. */
export function oid(dotted: string): DerNode {
  return primitive(TAG.oid, fromBinary(asn1.oidToDer(dotted).getBytes()));
}

/** Whether the node is of this tag (and class). */
export function isTag(
  node: DerNode | undefined,
  tag: number,
  tagClass: DerNode['class'] = 'universal',
): node is DerNode {
  return node !== undefined && node.class === tagClass && node.tag === tag;
}

/** The children of a SEQUENCE; `ERR_KEY_UNREADABLE` for anything else. */
export function sequenceOf(node: DerNode | undefined, name: string): readonly DerNode[] {
  if (!isTag(node, TAG.sequence) || node.children === null) throw unexpected(name, 'SEQUENCE');
  return node.children;
}

/** The value of an INTEGER that is not negative; `ERR_KEY_UNREADABLE` for anything else. */
export function integerOf(node: DerNode | undefined, name: string): bigint {
  const contents = contentsOf(node, TAG.integer, name, 'INTEGER');
  if ((contents[0] ?? 0) >= 0x80) throw unreadable(`${name} is negative`);
  return bytesToBigInt(contents);
}

export function octetStringOf(node: DerNode | undefined, name: string): Uint8Array {
  return contentsOf(node, TAG.octetString, name, 'OCTET STRING');
}

/** The bytes of a BIT STRING of whole bytes. `tag` and `tagClass` are for an implicitly tagged one. */
export function bitStringOf(
  node: DerNode | undefined,
  name: string,
  tag: number = TAG.bitString,
  tagClass: DerNode['class'] = 'universal',
): Uint8Array {
  const contents = contentsOf(node, tag, name, 'BIT STRING', tagClass);
  if (contents[0] !== 0) throw unreadable(`${name} is not a BIT STRING of whole bytes`);
  return contents.slice(1);
}

/** The dotted form of an OBJECT IDENTIFIER (X.690 §8.19) of at most 64 bytes; else `ERR_KEY_UNREADABLE`. */
export function oidOf(node: DerNode | undefined, name: string): string {
  const contents = contentsOf(node, TAG.oid, name, 'OBJECT IDENTIFIER');
  if (contents.length > MAX_OID_LENGTH) throw unreadable(`${name} is an OBJECT IDENTIFIER of ${contents.length} bytes`);
  const arcs: bigint[] = [];
  let arc = 0n;
  for (const byte of contents) {
    arc = (arc << 7n) | BigInt(byte & 0x7f);
    if (byte < 0x80) {
      arcs.push(arc);
      arc = 0n;
    }
  }
  const [first = 0n, ...rest] = arcs;
  const root = first < 80n ? first / 40n : 2n;
  return [root, first - root * 40n, ...rest].join('.');
}

function contentsOf(
  node: DerNode | undefined,
  tag: number,
  name: string,
  type: string,
  tagClass: DerNode['class'] = 'universal',
): Uint8Array {
  if (!isTag(node, tag, tagClass) || node.children !== null) throw unexpected(name, type);
  return node.contents;
}

function unexpected(name: string, type: string): DeribitKeysError {
  return unreadable(`${name} is not ${type === 'INTEGER' || type.startsWith('O') ? 'an' : 'a'} ${type}`);
}

function fromForge(parsed: asn1.Asn1, name: string): DerNode {
  const tagClass = CLASSES[parsed.tagClass >> 6] ?? 'universal';
  const tag: number = parsed.type;
  if (tag === LONG_TAG) throw unreadable(`${name} has a tag number over 30`);
  const { value } = parsed;
  if (tagClass === 'universal' && (tag === 0 || parsed.constructed !== CONSTRUCTED_ONLY.includes(tag))) {
    throw unreadable(`${name} has a value of universal type ${tag} in the wrong form`);
  }
  if (Array.isArray(value)) {
    return constructed(
      tag,
      value.map((child) => fromForge(child, name)),
      tagClass,
    );
  }
  const contents = tag === asn1.Type.BMPSTRING ? fromUtf16(value) : fromBinary(value);
  if (tagClass === 'universal') requireCanonical(tag, contents, name);
  return primitive(tag, contents, tagClass);
}

function requireCanonical(tag: number, contents: Uint8Array, name: string): void {
  const ok = CANONICAL.get(tag)?.(contents) ?? true;
  if (!ok) throw unreadable(`${name} has a value of universal type ${tag} that is not canonical DER`);
}

/** X.690 §8.3.2, §11.1, §11.2.1, §8.6.2, §8.8.2, §8.19.2: what each type's contents must be like. */
const CANONICAL: ReadonlyMap<number, (contents: Uint8Array) => boolean> = new Map([
  [TAG.boolean, ([value, ...rest]: Uint8Array) => rest.length === 0 && (value === 0 || value === 0xff)],
  [TAG.null, (contents: Uint8Array) => contents.length === 0],
  [
    TAG.integer,
    ([first, second]: Uint8Array) =>
      first !== undefined &&
      (second === undefined || !((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))),
  ],
  [
    TAG.bitString,
    (contents: Uint8Array) => {
      const unused = contents[0];
      if (unused === undefined || unused > 7) return false;
      return unused === 0 || (contents.length > 1 && ((contents.at(-1) ?? 0) & ((1 << unused) - 1)) === 0);
    },
  ],
  [
    TAG.oid,
    (contents: Uint8Array) =>
      contents.length > 0 &&
      (contents.at(-1) ?? 0) < 0x80 &&
      contents.every((byte, i) => byte !== 0x80 || (i > 0 && (contents[i - 1] ?? 0) >= 0x80)),
  ],
]);

/**
 * Forge treats every tag number 2 as an INTEGER and 30 as a BMPString, whatever the class: so the whole identifier goes
 * in as the class, with type 0, and forge only nests and measures.
 */
function toForge(node: DerNode): asn1.Asn1 {
  const identifier = (CLASSES.indexOf(node.class) << 6) | node.tag;
  const value = node.children === null ? toBinary(node.contents) : node.children.map(toForge);
  return asn1.create(identifier as asn1.Class, 0 as asn1.Type, node.children !== null, value);
}

function fromUtf16(text: string): Uint8Array {
  return Uint8Array.from(
    { length: text.length * 2 },
    (_, i) => (text.charCodeAt(i >> 1) >> (i % 2 === 0 ? 8 : 0)) & 0xff,
  );
}
