import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ed25519Point, isEdwards25519 } from '../../src/signers/pkcs11/key-objects.js';
import { concurrencyLimit } from '../../src/signers/signer-kind.js';
import { propertyRuns } from '../support/properties.js';

describe('concurrencyLimit', () => {
  it('runs all work, in order, and never more than the limit at once, also where some of it fails', async () => {
    const work = fc.array(fc.record({ turns: fc.integer({ min: 1, max: 3 }), fails: fc.boolean() }), { maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 5 }), work, async (limit, pieces) => {
        const limited = concurrencyLimit(limit);
        const started: number[] = [];
        let running = 0;
        let most = 0;
        const results = await Promise.allSettled(
          pieces.map(({ turns, fails }, index) =>
            limited(async () => {
              started.push(index);
              running += 1;
              most = Math.max(most, running);
              for (let i = 0; i < turns; i += 1) await sleep(0);
              running -= 1;
              if (fails) throw new Error('no');
              return index;
            }),
          ),
        );
        expect(started).toEqual(pieces.map((_piece, index) => index));
        expect(most).toBe(Math.min(limit, pieces.length));
        expect(results.map(({ status }) => status === 'rejected')).toEqual(pieces.map(({ fails }) => fails));
      }),
      { numRuns: propertyRuns(30) },
    );
  });
});

describe('the attributes of Ed25519 keys in tokens', () => {
  const hex = (text: string) => new Uint8Array(Buffer.from(text, 'hex'));

  it('names the curve by its OIDs or as a PrintableString', () => {
    for (const params of ['06032b6570', '06092b06010401da470f01', '130c656477617264733235353139']) {
      expect(isEdwards25519(hex(params))).toBe(true);
    }
    for (const params of ['', '06032b6571', '06082a8648ce3d030107', '130a63757276653235353139', '06032b657000']) {
      expect(isEdwards25519(hex(params))).toBe(false);
    }
  });

  it('holds the point as it is, in an OCTET STRING, in a BIT STRING, or marked as compressed', () => {
    const point = fc.uint8Array({ minLength: 32, maxLength: 32 });
    const before = fc.constantFrom('', '0420', '032100', '40', '042140');
    fc.assert(
      fc.property(point, before, (raw, wrapping) => {
        expect(ed25519Point(Buffer.concat([hex(wrapping), raw]))).toEqual(raw);
      }),
    );
  });

  it('holds no point in anything else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (noise) => {
        const point = ed25519Point(noise);
        const wrapping = Buffer.from(noise.subarray(0, Math.max(0, noise.length - 32))).toString('hex');
        const known = noise.length >= 32 && ['', '0420', '032100', '40', '042140'].includes(wrapping);
        expect(point !== null).toBe(known);
      }),
    );
  });
});
