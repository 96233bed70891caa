import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bitStringOf,
  constructed,
  type DerNode,
  integer,
  integerOf,
  octetString,
  octetStringOf,
  oid,
  oidOf,
  primitive,
  readDer,
  sequence,
  sequenceOf,
  TAG,
  writeDer,
} from '../../src/crypto/asn1/der.js';
import { bytesToHex } from '../../src/crypto/bytes.js';
import { propertyRuns } from '../support/properties.js';
import { failure, hex } from './support.js';

describe('DER that is not the one canonical encoding is refused', () => {
  test.each([
    ['nothing', ''],
    ['only a tag', '30'],
    ['fewer bytes than the length says', '300302'],
    ['data after the value', '050000'],
    ['a length of four bytes with the sign bit set', '0484ffffffff00'],
    ['a length longer than any number', `04ff${'01'.repeat(127)}`],
    ['a long length where a short one does', '04810100'],
    ['a length with a leading zero', `04820080${'00'.repeat(128)}`],
    ['an indefinite length', '30800000'],
    ['an indefinite length of a primitive', '0480000000'],
    ['an INTEGER with a superfluous 00', '02020001'],
    ['an INTEGER with a superfluous FF', '0202ff80'],
    ['an INTEGER without bytes', '0200'],
    ['a BOOLEAN other than 00 and FF', '010101'],
    ['a BOOLEAN of two bytes', '0102ffff'],
    ['a NULL with contents', '050100'],
    ['a BIT STRING without the count of unused bits', '0300'],
    ['a BIT STRING with eight unused bits', '03020800'],
    ['a BIT STRING with unused bits of nothing', '030101'],
    ['a BIT STRING with an unused bit set', '03020101'],
    ['a constructed OCTET STRING', '240304010a'],
    ['a primitive SEQUENCE', '1000'],
    ['an OID without arcs', '0600'],
    ['an OID that ends inside an arc', '060188'],
    ['an OID with a superfluous 80', '06032a8001'],
    ['an end-of-contents marker', '0000'],
    ['a tag number over 30', '1f2000'],
    ['a BMPString of an odd length', '1e0141'],
  ])('%s', async (_, encoded) => {
    const { message } = await failure('ERR_KEY_UNREADABLE', () => readDer(hex(encoded), 'the test'));
    expect(message).toContain('the test');
  });

  test('nesting deeper than 16', async () => {
    const nested = (depth: number): DerNode => (depth === 0 ? sequence() : sequence(nested(depth - 1)));
    expect(readDer(writeDer(nested(15)))).toEqual(nested(15));
    await failure('ERR_KEY_UNREADABLE', () => readDer(writeDer(nested(16))));
    await failure('ERR_KEY_UNREADABLE', () => readDer(Uint8Array.from({ length: 65_536 }, () => 0x30)));
    await failure('ERR_KEY_UNREADABLE', () =>
      readDer(Uint8Array.from({ length: 65_536 }, (_, i) => (i % 2 ? 0x80 : 0x30))),
    );
  });

  test('more than 64 KB', async () => {
    expect(readDer(writeDer(octetString(new Uint8Array(65_530)))).contents.length).toBe(65_530);
    const { message } = await failure('ERR_KEY_UNREADABLE', () =>
      readDer(writeDer(octetString(new Uint8Array(65_536)))),
    );
    expect(message).toContain('too large');
  });
});

test('contents that only an INTEGER or a BMPString may not have are kept under other classes', () => {
  for (const encoded of ['82020001', '9e0400410042', '1e0400410042', '420100', 'c2021234', 'a2020500']) {
    expect(bytesToHex(writeDer(readDer(hex(encoded))))).toBe(encoded);
  }
});

test('an INTEGER keeps its value', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 1n << 600n }), (value) => {
      expect(integerOf(readDer(writeDer(integer(value))), 'n')).toBe(value);
    }),
  );
});

test.each(['1.3.101.112', '1.2.840.113549.1.1.1', '2.16.840.1.101.3.4.2.1', '2.999.1', '0.9.2342'])(
  'the OID %s keeps its arcs',
  (dotted) => {
    expect(oidOf(readDer(writeDer(oid(dotted))), 'oid')).toBe(dotted);
  },
);

test('an OID whose arc is too large for a machine word is not mistaken for another', () => {
  // rsaEncryption with 2^35 added to an arc.
  expect(oidOf(primitive(TAG.oid, hex('2a864881808086f70d010101')), 'oid')).not.toBe('1.2.840.113549.1.1.1');
});

test('an OID longer than any algorithm has is refused before it is written out', async () => {
  const long = (length: number) =>
    primitive(
      TAG.oid,
      Uint8Array.from({ length }, (_, i) => (i < length - 1 ? 0xff : 1)),
    );
  expect(oidOf(readDer(writeDer(long(64))), 'the thing')).toMatch(/^2\.\d{130,140}$/);
  const { message } = await failure('ERR_KEY_UNREADABLE', () => oidOf(readDer(writeDer(long(65))), 'the thing'));
  expect(message).toBe('the thing is an OBJECT IDENTIFIER of 65 bytes');
});

describe('an accessor refuses a node of another type by name', () => {
  test.each([
    ['SEQUENCE', () => sequenceOf(integer(1n), 'the thing')],
    ['INTEGER', () => integerOf(sequence(), 'the thing')],
    ['OCTET STRING', () => octetStringOf(undefined, 'the thing')],
    ['OCTET STRING', () => octetStringOf(constructed(TAG.octetString, [], 'context'), 'the thing')],
    ['BIT STRING', () => bitStringOf(octetString(new Uint8Array(1)), 'the thing')],
    ['BIT STRING without unused bits', () => bitStringOf(primitive(TAG.bitString, hex('0180')), 'the thing')],
    ['OBJECT IDENTIFIER', () => oidOf(integer(1n), 'the thing')],
    ['negative', () => integerOf(primitive(TAG.integer, hex('ff')), 'the thing')],
  ])('%s', async (type, run) => {
    const { message } = await failure('ERR_KEY_UNREADABLE', run);
    expect(message).toContain('the thing');
    expect(message).toContain(type);
  });
});

const { node } = fc.letrec<{ node: DerNode }>((tie) => ({
  node: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.uint8Array({ maxLength: 200 }).map(octetString),
    fc.bigInt({ min: 0n, max: 1n << 80n }).map(integer),
    fc
      .uint8Array({ maxLength: 9 })
      .chain((data) =>
        fc
          .tuple(fc.nat(29), fc.constantFrom('context', 'application', 'private'))
          .map(([tag, type]) => primitive(tag, data, type as DerNode['class'])),
      ),
    fc.array(tie('node'), { maxLength: 4 }).map((children) => sequence(...children)),
    fc.array(tie('node'), { maxLength: 2 }).map((children) => constructed(3, children, 'context')),
  ),
}));

test('whatever is written is read again', () => {
  fc.assert(
    fc.property(node, (tree) => {
      expect(readDer(writeDer(tree))).toEqual(tree);
    }),
  );
});

test('any bytes are refused as unreadable, or are the encoding of what was read', () => {
  const derLike = fc.array(
    fc.constantFrom(0x30, 0x02, 0x03, 0x04, 0x05, 0x06, 0x1e, 0x80, 0x81, 0x82, 0xa0, 0, 1, 2, 3, 4, 255),
  );
  fc.assert(
    fc.property(
      fc.oneof(
        derLike.map((list) => Uint8Array.from(list)),
        fc.uint8Array(),
      ),
      (bytes) => {
        let read: DerNode;
        try {
          read = readDer(bytes);
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_KEY_UNREADABLE' });
          return;
        }
        expect(writeDer(read)).toEqual(bytes);
      },
    ),
    { numRuns: propertyRuns(2000) },
  );
});
