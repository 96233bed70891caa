import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { isDeribitKeysError } from '../../../src/errors.js';
import { MAX_POLICY_BYTES, parsePolicy } from '../../../src/workflows/policy/parse-policy.js';
import { propertyRuns } from '../../support/properties.js';

function refusal(text: string): { code: string; message: string; hint: string } {
  try {
    parsePolicy(text);
  } catch (error) {
    if (!isDeribitKeysError(error)) throw error;
    return { code: error.code, message: error.message, hint: error.hint ?? '' };
  }
  throw new Error('the policy was taken');
}

const key = (fields: string) => `keys:\n  - { name: bot, scope: trade:read, ${fields} }`;

describe('A policy', () => {
  it('is read with all its fields', () => {
    const text = `
# the desk's keys
version: 1
environment: prod
keys:
  - name: bot
    type: rsa
    bits: 4096
    scope: trade:read_write   account:read
    label: Bot_1
    features: [restricted_block_trades, restricted_block_trades]
    whitelist:
      - 203.0.113.7
      - 2001:db8::/32
    maxAge: 2w
    encrypt: true
    environment: prod
`;
    expect(parsePolicy(text)).toEqual({
      environment: 'prod',
      keys: [
        {
          name: 'bot',
          type: 'rsa',
          bits: 4096,
          scope: 'account:read trade:read_write',
          label: 'Bot_1',
          features: ['restricted_block_trades'],
          whitelist: ['203.0.113.7', '2001:db8::/32'],
          maxAgeMs: 14 * 86_400_000,
          encrypt: true,
        },
      ],
    });
  });

  it('leaves to chance what it leaves out, but not what it empties', () => {
    const [left, emptied] = parsePolicy(
      'keys:\n  - { name: a, scope: trade:read, label: }\n  - { name: b, scope: trade:read, features: [], whitelist: [] }',
    ).keys;
    expect(left).toMatchObject({
      type: null,
      bits: null,
      label: null,
      features: null,
      whitelist: null,
      maxAgeMs: null,
    });
    expect(emptied).toMatchObject({ features: [], whitelist: [] });
  });

  it('takes its environment from the keys where they agree', () => {
    expect(parsePolicy(key('environment: prod')).environment).toBe('prod');
    expect(parsePolicy(key('label: x')).environment).toBeNull();
  });

  it('may be JSON', () => {
    const text = JSON.stringify({ keys: [{ name: 'bot', scope: ['trade:read', 'account:read'] }] });
    expect(parsePolicy(text).keys[0]).toMatchObject({ name: 'bot', scope: 'account:read trade:read' });
  });
});

describe('A policy is refused, its place named and its value not shown, where', () => {
  const SECRET = 's3cr3tVALUE';
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['it is empty', '', /^the policy must be a mapping: it is empty$/],
    ['it is a list', '- a', /^the policy must be a mapping: it is a list of 1$/],
    ['it has no keys', 'environment: test', /^keys of the policy must be a list: it is missing$/],
    ['a field is unknown', 'kees: []', /^the policy has an unknown field: "kees"$/],
    ['a field is no text', '? [a]\n: 1', /unknown field: a name that is not a word$/],
    ['a field of a key is unknown', key('scoop: x'), /^keys\[0\] has an unknown field: "scoop"$/],
    [
      'a key is no mapping',
      `keys: [${SECRET}]`,
      /^keys\[0\] must be|^keys\[0\] of the policy must be a mapping: it is text of 11/,
    ],
    ['the version is another', 'version: 2\nkeys: []', /^version of the policy must be one of 1/],
    [
      'the environment is another',
      'environment: live\nkeys: []',
      /^environment of the policy must be one of test, prod/,
    ],
    ['there is no name', 'keys: [{ scope: trade:read }]', /^keys\[0\]\.name of the policy.*missing$/],
    [
      'the name is a number',
      'keys: [{ name: 5, scope: trade:read }]',
      /^keys\[0\]\.name of the policy must be text: it is a number$/,
    ],
    [
      'the name is none',
      'keys: [{ name: ../x, scope: trade:read }]',
      /^keys\[0\]\.name of the policy: "\.\.\/x" is not a key name$/,
    ],
    [
      'a name is there twice',
      `${key('label: a')}\n  - { name: BOT, scope: trade:read }`,
      /^keys\[1\]\.name of the policy is used twice/,
    ],
    ['there is no scope', 'keys: [{ name: a }]', /^keys\[0\]\.scope of the policy must be text: it is missing$/],
    [
      'the scope has an unknown word',
      'keys: [{ name: a, scope: trade:rw }]',
      /^keys\[0\]\.scope of the policy: the scope holds/,
    ],
    [
      'a word of the scope is no text',
      'keys: [{ name: a, scope: [trade:read, 7] }]',
      /^keys\[0\]\.scope\[1\] of the policy must be text/,
    ],
    [
      'the scope is of a session',
      'keys: [{ name: a, scope: session:x trade:read }]',
      /^keys\[0\]\.scope .*belong to a session/,
    ],
    ['the type is another', key('type: dsa'), /^keys\[0\]\.type of the policy must be one of ed25519, rsa/],
    ['bits are given without rsa', key('bits: 2048'), /^keys\[0\]\.bits of the policy is only for the type rsa/],
    ['bits are another number', key('type: rsa, bits: 1024'), /^keys\[0\]\.bits of the policy must be one of 2048/],
    [
      'the label is too long',
      key(`label: ${SECRET}_and_more`),
      /^keys\[0\]\.label of the policy: the label of 20 characters/,
    ],
    [
      'features are no list',
      key('features: block_trade_approval'),
      /^keys\[0\]\.features of the policy must be a list/,
    ],
    ['a feature is unknown', key('features: [x]'), /^keys\[0\]\.features\[0\] of the policy must be one of restricted/],
    [
      'an address is none',
      key('whitelist: [203.0.113.7, 300.1.1.1]'),
      /^keys\[0\]\.whitelist\[1\] of the policy: entry 1/,
    ],
    ['the age is none', key('maxAge: 90'), /^keys\[0\]\.maxAge of the policy must be text: it is a number$/],
    [
      'the age has no unit',
      key('maxAge: "90"'),
      /^keys\[0\]\.maxAge of the policy: a text of 2 characters is not a duration$/,
    ],
    ['the age is nothing', key('maxAge: 0d'), /^keys\[0\]\.maxAge of the policy must be longer/],
    ['encrypt is a word', key('encrypt: yes'), /^keys\[0\]\.encrypt of the policy must be true or false: it is text/],
    [
      'an environment contradicts',
      `environment: test\n${key('environment: prod')}`,
      /^keys\[0\]\.environment of the policy differs from the one named before/,
    ],
    [
      'two keys are of two environments',
      `${key('environment: prod')}\n  - { name: b, scope: trade:read, environment: test }`,
      /^keys\[1\]\.environment of the policy differs from the one named before/,
    ],
    ['a field is doubled', 'keys: []\nkeys: []', /cannot be read: duplicate key, line \d/],
    ['it is not YAML', 'keys: [', /cannot be read: \D+, line \d/],
    ['there are two documents', '--- {keys: []}\n--- {keys: []}', /cannot be read: multiple docs/],
    ['there is a tag', key('label: !!js/function x'), /cannot be read: tag resolve failed/],
    ['there is an alias', `a: &x [1]\nkeys: *x`, /cannot be read: aliases and deep nesting are not allowed/],
    ['it is too large', `keys: []\n#${'x'.repeat(MAX_POLICY_BYTES)}`, /cannot be read: it has \d+ bytes/],
    ['it is nested without end', `keys: ${'['.repeat(30_000)}`, /cannot be read/],
    ['it is nested in mappings without end', '{a: '.repeat(15_000), /cannot be read/],
  ];
  for (const [what, text, message] of cases) {
    it(what, () => {
      const refused = refusal(text);
      expect(refused.code).toBe('ERR_USAGE');
      expect(refused.message).toMatch(message);
      expect(refused.message + refused.hint).not.toContain(SECRET);
      expect(refused.hint).not.toBe('');
    });
  }

  it('aliases would make it a thousand times its size', () => {
    const levels = Array.from(
      { length: 12 },
      (_, i) => `k${i + 1}: &k${i + 1} [${Array(9).fill(`*k${i}`).join(', ')}]`,
    );
    expect(refusal(['k0: &k0 [x]', ...levels].join('\n')).message).toMatch(/aliases and deep nesting are not allowed/);
  });
});

describe('Whatever is written', () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9_-]{0,20}$/);
  const policyKey = fc.record(
    {
      name,
      scope: fc.constantFrom('trade:read', 'account:read trade:read_write', 'wallet:read'),
      label: fc.stringMatching(/^[A-Za-z0-9_]{1,16}$/),
      features: fc.subarray(['restricted_block_trades', 'block_trade_approval']),
      whitelist: fc.array(fc.ipV4(), { maxLength: 4 }),
      maxAge: fc.integer({ min: 1, max: 999 }).map((days) => `${days}d`),
      encrypt: fc.boolean(),
    },
    { requiredKeys: ['name', 'scope'] },
  );
  const document = fc.record({
    environment: fc.constantFrom('test', 'prod'),
    keys: fc.uniqueArray(policyKey, { selector: (one) => one.name, maxLength: 8 }),
  });

  it('a policy is the same in YAML and in JSON', () => {
    fc.assert(
      fc.property(document, (value) => {
        const parsed = parsePolicy(JSON.stringify(value));
        expect(parsePolicy(stringify(value))).toEqual(parsed);
        expect(parsed.keys.map((one) => one.name)).toEqual(value.keys.map((one) => one.name));
        expect(parsed.environment).toBe(value.environment);
      }),
    );
  });

  it('text is a policy or refused by ERR_USAGE, and nothing else happens', () => {
    const fragments = fc.constantFrom(
      'keys:',
      '\n',
      '  - ',
      'name: bot',
      'scope: trade:read',
      '{',
      '}',
      '[',
      ']',
      '&a',
      '*a',
      '!!',
      '"',
      ': ',
      ', ',
      '? ',
      '<<: ',
      '%YAML 1.1',
      '---',
      '...',
      '\t',
      '|',
      '>',
      '\u0000',
      '\ufeff',
      'null',
      '1e999',
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(fragments, fc.string()), { maxLength: 30 }), (context) => {
        try {
          expect(Array.isArray(parsePolicy(context.join('')).keys)).toBe(true);
        } catch (error) {
          expect(isDeribitKeysError(error, 'ERR_USAGE')).toBe(true);
        }
      }),
      { numRuns: propertyRuns(2000) },
    );
  });

  it('a value of another kind in a policy is refused by ERR_USAGE', () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        fc.constantFrom('name', 'scope', 'type', 'features', 'whitelist', 'maxAge', 'keys'),
        (value, field) => {
          const one = { name: 'bot', scope: 'trade:read', [field]: value };
          const text = JSON.stringify(field === 'keys' ? { keys: value } : { keys: [one] });
          try {
            const [read] = parsePolicy(text).keys;
            if (read !== undefined) expect(read.name).toMatch(/^[A-Za-z0-9_]/);
          } catch (error) {
            expect(isDeribitKeysError(error, 'ERR_USAGE')).toBe(true);
          }
        },
      ),
      { numRuns: propertyRuns(1000) },
    );
  });
});
