import fc from 'fast-check';

const times = Number(process.env.PROPERTY_RUNS ?? 1);

/** How often a property is tried: `usual` times, or PROPERTY_RUNS times as often (`PROPERTY_RUNS=10 npm test`). */
export const propertyRuns = (usual: number): number => Math.ceil(usual * times);

const SURROGATES = { from: 0xd800, to: 0xdfff };
const character = fc
  .integer({ min: 0, max: 0x10ffff })
  .filter((code) => code < SURROGATES.from || code > SURROGATES.to)
  .map((code) => String.fromCodePoint(code));

/** Any text: control characters and unassigned ones too. fast-check's own `binary` takes a second to begin. */
export const anyText = (length: { readonly minLength?: number; readonly maxLength?: number } = {}) =>
  fc.string({
    unit: fc.oneof(
      fc.integer({ min: 0, max: 0x7f }).map((code) => String.fromCodePoint(code)),
      character,
    ),
    ...length,
  });
