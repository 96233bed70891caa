import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  isSignerLocation,
  isSignerTarget,
  kindOf,
  SIGNER_KINDS,
  type SignerLocation,
} from '../../src/signers/kinds.js';

const VAULT = {
  kind: 'vault',
  address: 'https://v.example',
  mount: 'transit',
  namespace: null,
  auth: 'token',
  authMount: null,
  role: null,
  caFile: null,
} as const;
const LOCATIONS: readonly SignerLocation[] = [
  { kind: 'ssh-agent', fingerprint: 'SHA256:x', comment: 'bot', socket: null },
  { kind: 'pkcs11', module: '/p11.so', token: 'bots', label: 'bot', id: null },
  { ...VAULT, key: 'bot', version: 3 },
  { kind: 'kms', provider: 'aws', keyId: 'arn:aws:kms:eu-central-1:1:key/k', region: null, endpoint: null },
  {
    kind: 'kms',
    provider: 'gcp',
    keyId: 'projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1',
    region: null,
    endpoint: null,
  },
  { kind: 'kms', provider: 'azure', keyId: 'https://v.vault.azure.net/keys/k/1', region: null, endpoint: null },
];

describe('the table of signer kinds', () => {
  it('has one entry per kind, with commands and options of its own', () => {
    for (const value of [
      SIGNER_KINDS.map(({ kind }) => kind),
      SIGNER_KINDS.map(({ add }) => add.command),
      SIGNER_KINDS.map(({ make }) => make.flag),
    ]) {
      expect(new Set(value).size).toBe(SIGNER_KINDS.length);
    }
    // all kinds' options stand side by side in generate and rotate
    for (const use of ['generate', 'rotate'] as const) {
      const flags = SIGNER_KINDS.flatMap(({ options }) =>
        options.filter(({ on }) => on === undefined || on.includes(use)).map((option) => option.flags.split(' ')[0]),
      );
      expect(new Set(flags).size).toBe(flags.length);
    }
  });

  it.each(LOCATIONS.map((location) => ({ location })))(
    'recognises, describes and succeeds $location',
    ({ location }) => {
      expect(isSignerLocation(JSON.parse(JSON.stringify(location)))).toBe(true);
      const kind = kindOf(location);
      expect(kind.describe(location)).toMatch(new RegExp(`^${location.kind} `));
      const target = kind.targetOf(location);
      expect(isSignerTarget(JSON.parse(JSON.stringify(target)))).toBe(true);
      expect(kind.describeTarget(target)).not.toContain('undefined');
      // the options that find a key made under a name lead back to the same target
      const values = kind.valuesOf('bot.next-01234567', target);
      expect(Object.keys(values).length).toBeGreaterThan(0);
      if (location.kind !== 'kms') expect(kind.targetFrom(values, {})).toEqual(target);
    },
  );

  it('makes the successor of an AWS key in the region of its ARN', () => {
    const aws = LOCATIONS[3];
    if (aws === undefined) throw new Error('no location');
    expect(kindOf(aws).targetOf(aws)).toMatchObject({ provider: 'aws', region: 'eu-central-1', parent: null });
  });

  it('refuses a location with a field missing or of another type', () => {
    const damaged = fc
      .constantFrom(...LOCATIONS)
      .chain((location) =>
        fc.tuple(
          fc.constant(location),
          fc.constantFrom(...Object.keys(location)),
          fc.constantFrom<unknown>(undefined, 7.5, {}, [], true),
        ),
      );
    fc.assert(
      fc.property(damaged, ([location, field, value]) => {
        expect(isSignerLocation({ ...location, [field]: value })).toBe(false);
      }),
    );
  });

  it('refuses anything else', () => {
    fc.assert(
      fc.property(fc.anything(), (value) => {
        expect(isSignerLocation(value)).toBe(false);
        expect(isSignerTarget(value)).toBe(false);
      }),
    );
    expect(isSignerLocation({ kind: 'kms', provider: 'toString', keyId: 'x', region: null, endpoint: null })).toBe(
      false,
    );
  });
});
