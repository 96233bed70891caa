import { bigIntToBytes, bytesToBigInt, concatBytes } from '../bytes.js';
import { requireSmall, unreadable } from '../key-errors.js';

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
  sequence: 16,
  set: 17,
  utcTime: 23,
  generalizedTime: 24,
  bmpString: 30,
} as const;

const CLASSES = ['universal', 'application', 'context', 'private'] as const;
const MAX_DEPTH = 16;
/** Bytes: that of no algorithm is half as long, and one of 64 KB takes a second to write out. */
const MAX_OID_LENGTH = 64;
const LONG_TAG = 31;
/** Enough for all input that is read. */
const MAX_LENGTH_BYTES = 3;
const CONSTRUCTED_ONLY: readonly number[] = [TAG.sequence, TAG.set];

/**
 * Reads exactly one DER value. Everything that is not its one canonical encoding is refused: data after it, lengths that
 * are indefinite or longer than needed, INTEGERs and OIDs with superfluous bytes, BOOLEANs other than 00 and FF, BIT
 * STRINGs with padding bits set, constructed strings, tag numbers over 30, nesting deeper than 16, input over 64 KB.
 *
 * @param name what is read, for the message
 * @throws ERR_KEY_UNREADABLE
 */
export function readDer(input: Uint8Array, name = 'DER'): DerNode {
  requireSmall(input, name);
  const bytes = new Uint8Array(input);
  const refuse = (why: string) => unreadable(`${name} is not valid DER: ${why}`);
  const readAll = (from: number, to: number, depth: number): readonly DerNode[] => {
    if (depth > MAX_DEPTH) throw refuse(`it is nested deeper than ${MAX_DEPTH}`);
    const nodes: DerNode[] = [];
    for (let at = from; at < to; ) {
      if (depth === 0 && nodes.length > 0) throw refuse('data follows it');
      const header = readHeader(bytes, at, to);
      if (typeof header === 'string') throw refuse(header);
      const { tagClass, tag, constructed: isConstructed, contentsAt, end } = header;
      if (tagClass === 'universal' && (tag === 0 || isConstructed !== CONSTRUCTED_ONLY.includes(tag))) {
        throw refuse(`a value of universal type ${tag} is encoded in the wrong form`);
      }
      if (isConstructed) {
        nodes.push(constructed(tag, readAll(contentsAt, end, depth + 1), tagClass));
      } else {
        const contents = bytes.slice(contentsAt, end);
        if (tagClass === 'universal' && CANONICAL[tag]?.(contents) === false) {
          throw refuse(`a value of universal type ${tag} is not canonical`);
        }
        nodes.push(primitive(tag, contents, tagClass));
      }
      at = end;
    }
    return nodes;
  };
  const [node] = readAll(0, bytes.length, 0);
  if (node === undefined) throw refuse('it is empty');
  return node;
}

/** The identifier and length octets at `at` (X.690 §8.1.2, §10.1), or why they are not valid. */
function readHeader(bytes: Uint8Array, at: number, limit: number) {
  const identifier = bytes[at] ?? 0;
  const tag = identifier & 0x1f;
  if (tag === LONG_TAG) return 'it has a tag number over 30';
  const first = at + 1 < limit ? bytes[at + 1] : undefined;
  if (first === undefined) return 'it ends inside a value';
  if (first === 0x80) return 'it has an indefinite length (BER)';
  const count = first < 0x80 ? 0 : first & 0x7f;
  const contentsAt = at + 2 + count;
  if (count > MAX_LENGTH_BYTES || contentsAt > limit) return 'a length runs past the end';
  const length = count === 0 ? first : Number(bytesToBigInt(bytes.subarray(at + 2, contentsAt)));
  if (count > 0 && (length < 0x80 || bytes[at + 2] === 0)) return 'a length is longer than needed';
  const end = contentsAt + length;
  if (end > limit) return 'a length runs past the end';
  const tagClass = CLASSES[identifier >> 6] ?? 'universal';
  return { tagClass, tag, constructed: (identifier & 0x20) !== 0, contentsAt, end };
}

/** The DER encoding of a node. */
export function writeDer({ class: tagClass, tag, children, contents }: DerNode): Uint8Array {
  const body = children === null ? contents : concatBytes(...children.map(writeDer));
  const identifier = (CLASSES.indexOf(tagClass) << 6) | (children === null ? 0 : 0x20) | tag;
  const length = bigIntToBytes(BigInt(body.length));
  const header = body.length < 0x80 ? [identifier, body.length] : [identifier, 0x80 | length.length, ...length];
  return concatBytes(Uint8Array.from(header), body);
}

/** A value of a {@link berOutline}. */
export interface OutlineValue {
  /** The identifier octet. */
  readonly identifier: number;
  /** The contents of a primitive value; empty for a constructed one. */
  readonly contents: Uint8Array;
}

/**
 * The first values of a BER document (X.690 §8), each constructed one before what is in it. It takes any form of length,
 * and bytes that are damaged or cut short further on: to name a document that {@link readDer} refuses, not to read it.
 */
export function berOutline(bytes: Uint8Array, count: number): readonly OutlineValue[] {
  const values: OutlineValue[] = [];
  for (let at = 0; values.length < count && at + 1 < bytes.length; ) {
    const identifier = bytes[at] ?? 0;
    const first = bytes[at + 1] ?? 0;
    const lengthBytes = first > 0x80 ? first & 0x7f : 0;
    const contentsAt = at + 2 + lengthBytes;
    if (lengthBytes > MAX_LENGTH_BYTES) break;
    if ((identifier & 0x20) !== 0) {
      values.push({ identifier, contents: new Uint8Array() });
      at = contentsAt;
    } else {
      const length = lengthBytes === 0 ? first : Number(bytesToBigInt(bytes.subarray(at + 2, contentsAt)));
      values.push({ identifier, contents: bytes.slice(contentsAt, contentsAt + length) });
      at = contentsAt + length;
    }
  }
  return values;
}

/** A primitive node; of the universal class by default. */
export function primitive(tag: number, contents: Uint8Array, tagClass: DerNode['class'] = 'universal'): DerNode {
  return { class: tagClass, tag, children: null, contents };
}

/** A constructed node; of the universal class by default. */
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

/** A BIT STRING without unused bits. */
export function bitString(contents: Uint8Array): DerNode {
  return primitive(TAG.bitString, Uint8Array.of(0, ...contents));
}

export function nullNode(): DerNode {
  return primitive(TAG.null, new Uint8Array());
}

/** An OBJECT IDENTIFIER from its dotted form (X.690 §8.19). */
export function oid(dotted: string): DerNode {
  const [root = 0n, second = 0n, ...rest] = dotted.split('.').map(BigInt);
  const bytes = [root * 40n + second, ...rest].flatMap((arc) => {
    const digits = [Number(arc & 0x7fn)];
    for (let high = arc >> 7n; high > 0n; high >>= 7n) digits.unshift(Number(high & 0x7fn) | 0x80);
    return digits;
  });
  return primitive(TAG.oid, Uint8Array.from(bytes));
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
  if (!isTag(node, TAG.sequence) || node.children === null) throw unreadable(`${name} is not a SEQUENCE`);
  return node.children;
}

/** The types that are read as bytes, as messages name them. */
const PRIMITIVES = {
  integer: 'an INTEGER',
  bitString: 'a BIT STRING',
  octetString: 'an OCTET STRING',
  oid: 'an OBJECT IDENTIFIER',
} as const;

function contentsOf(node: DerNode | undefined, type: keyof typeof PRIMITIVES, name: string): Uint8Array {
  if (!isTag(node, TAG[type]) || node.children !== null) throw unreadable(`${name} is not ${PRIMITIVES[type]}`);
  return node.contents;
}

/** The value of an INTEGER that is not negative; `ERR_KEY_UNREADABLE` for anything else. */
export function integerOf(node: DerNode | undefined, name: string): bigint {
  const contents = contentsOf(node, 'integer', name);
  if ((contents[0] ?? 0) >= 0x80) throw unreadable(`${name} is negative`);
  return bytesToBigInt(contents);
}

export function octetStringOf(node: DerNode | undefined, name: string): Uint8Array {
  return contentsOf(node, 'octetString', name);
}

/** The bytes of a BIT STRING without unused bits. */
export function bitStringOf(node: DerNode | undefined, name: string): Uint8Array {
  const contents = contentsOf(node, 'bitString', name);
  if (contents[0] !== 0) throw unreadable(`${name} is not a BIT STRING without unused bits`);
  return contents.slice(1);
}

/** The dotted form of an OBJECT IDENTIFIER (X.690 §8.19) of at most 64 bytes; else `ERR_KEY_UNREADABLE`. */
export function oidOf(node: DerNode | undefined, name: string): string {
  const contents = contentsOf(node, 'oid', name);
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

/** What the contents of each type must be like: X.690 §8.3.2, §11.1, §11.2.1, §8.6.2, §8.8.2, §8.19.2. */
const CANONICAL: Readonly<Record<number, (contents: Uint8Array) => boolean>> = {
  [TAG.boolean]: ([value, ...rest]) => rest.length === 0 && (value === 0 || value === 0xff),
  [TAG.null]: (contents) => contents.length === 0,
  [TAG.integer]: ([first, second]) =>
    first !== undefined &&
    (second === undefined || !((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))),
  [TAG.bitString](contents) {
    const unused = contents[0];
    if (unused === undefined || unused > 7) return false;
    return unused === 0 || (contents.length > 1 && ((contents.at(-1) ?? 0) & ((1 << unused) - 1)) === 0);
  },
  [TAG.bmpString]: (contents) => contents.length % 2 === 0,
  [TAG.oid]: (contents) =>
    contents.length > 0 &&
    (contents.at(-1) ?? 0) < 0x80 &&
    contents.every((byte, i) => byte !== 0x80 || (i > 0 && (contents[i - 1] ?? 0) >= 0x80)),
};
