import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compareScopes,
  formatScope,
  normaliseScope,
  parseScope,
  SCOPE_WORDS,
  scopeExceeds,
  scopesEqual,
} from '../../src/deribit/scope.js';
import { DeribitKeysError } from '../../src/errors.js';
import { anyText } from '../support/properties.js';
import { failure } from './servers.js';

const RESOURCES = ['account', 'trade', 'wallet', 'block_trade', 'block_rfq', 'custody'];
const LEVELS = ['none', 'read', 'read_write'];
const grants = fc
  .uniqueArray(fc.tuple(fc.constantFrom(...RESOURCES), fc.constantFrom(...LEVELS)), { selector: ([name]) => name })
  .map((words) => words.map(([name, level]) => `${name}:${level}`));
const extras = fc.subarray(['connection', 'session:bot', 'mainaccount', 'expires:600', 'ip:203.0.113.0/24']);

describe('a scope', () => {
  it('is read word by word, in any order and spacing', () => {
    const scope = parseScope(
      '  trade:read_write\n account:read  session:bot expires:60 mainaccount connection ip:::1 ',
    );
    expect([...scope.resources]).toEqual([
      ['trade', 'read_write'],
      ['account', 'read'],
    ]);
    expect(scope.others).toEqual(['session:bot', 'expires:60', 'mainaccount', 'connection', 'ip:::1']);
    expect(formatScope(scope)).toBe(
      'account:read connection expires:60 ip:::1 mainaccount session:bot trade:read_write',
    );
  });

  it.each(['trade:write', 'trades:read', 'trade', 'session:', 'expires:soon', 'expires:0', 'trade:read,wallet:read'])(
    'of a user may not hold %s',
    async (word) => {
      const error = await failure(() => parseScope(`account:read ${word}`), 'ERR_USAGE');
      expect(error.message).toContain('unknown word');
      for (const known of SCOPE_WORDS) expect(error.hint).toContain(known);
    },
  );

  it('does not repeat an unknown word that could be a secret or garble a terminal', async () => {
    const error = await failure(() => parseScope(`\u001b[2J${'x'.repeat(80)}`), 'ERR_USAGE');
    expect(error.message).toBe('the scope holds an unknown word of 84 characters');
  });

  it('of a user may be neither empty nor contradictory', async () => {
    await failure(() => parseScope('  '), 'ERR_USAGE');
    expect((await failure(() => parseScope('trade:read trade:none'), 'ERR_USAGE')).message).toContain('trade');
    expect(formatScope(parseScope('trade:read trade:read'))).toBe('trade:read');
  });

  it('of the exchange may hold words of the future; the higher of two levels counts', () => {
    const scope = parseScope('options:read trade:read_write trade:read brand_new', 'exchange');
    expect(formatScope(scope)).toBe('brand_new options:read trade:read_write');
    expect(compareScopes('trade:read_write', scope)).toEqual({ missing: [], extra: ['brand_new', 'options:read'] });
    expect(compareScopes(scope, scope)).toEqual({ missing: [], extra: [] });
    expect(normaliseScope('')).toBe('');
  });

  it.each(['wallet:withdraw', 'withdrawals', 'WALLET:READ_WRITE', 'wallet2:read_write', 'wallet:read-write'])(
    'that holds %s grants more than was asked for, and less where it was asked for',
    (word) => {
      const asked = 'account:read trade:read';
      expect(compareScopes(asked, `${asked} ${word}`)).toEqual({ missing: [], extra: [word] });
      expect(compareScopes(`${asked} ${word}`, asked)).toEqual({ missing: [word], extra: [] });
    },
  );

  it.each(['wallet2:none', 'OPTIONS:NONE', 'connection', 'mainaccount', 'session:bot', 'expires:60', 'ip:203.0.113.7'])(
    'that holds %s grants nothing more',
    (word) => expect(scopesEqual('trade:read', `trade:read ${word}`)).toBe(true),
  );

  it('equals another whatever the order, and an absent word is `none`', () => {
    expect(scopesEqual('trade:read account:read wallet:none', 'account:read trade:read mainaccount')).toBe(true);
    expect(scopesEqual('trade:read', 'trade:read_write')).toBe(false);
    expect(scopesEqual('trade:read', 'account:read')).toBe(false);
  });

  it('says by words what it lacks and what it has beyond', () => {
    expect(compareScopes('trade:read_write account:read', 'trade:read wallet:read account:read')).toEqual({
      missing: ['trade:read_write'],
      extra: ['wallet:read'],
    });
    expect(compareScopes('trade:read', 'trade:read_write')).toEqual({ missing: [], extra: ['trade:read_write'] });
  });

  it('exceeds a limit only where it grants more', () => {
    expect(scopeExceeds('trade:read_write', 'trade:read account:read_write')).toBe(true);
    expect(scopeExceeds('trade:read', 'trade:read_write')).toBe(false);
    expect(scopeExceeds('wallet:none connection', '')).toBe(false);
  });

  it('survives being written and read, in any order, sorted', () => {
    fc.assert(
      fc.property(grants, extras, fc.infiniteStream(fc.nat()), (words, others, noise) => {
        const all = [...words, ...others];
        if (all.length === 0) return;
        const shuffled = [...all].map((word) => ({ word, key: noise.next().value })).sort((a, b) => a.key - b.key);
        const text = shuffled.map(({ word }) => word).join(' ');
        const formatted = formatScope(parseScope(text));
        expect(formatted).toBe([...all].sort().join(' '));
        expect(normaliseScope(formatted)).toBe(formatted);
        expect(scopesEqual(text, formatted)).toBe(true);
      }),
    );
  });

  it('compares as the levels of each resource do', () => {
    const levelIn = (words: readonly string[], name: string) =>
      Math.max(
        0,
        ...words
          .filter((word) => word.startsWith(`${name}:`))
          .map((word) => LEVELS.indexOf(word.slice(name.length + 1))),
      );
    fc.assert(
      fc.property(grants, grants, (asked, granted) => {
        const names = (words: readonly string[]) => words.map((word) => word.replace(/:.*/, '')).sort();
        const { missing, extra } = compareScopes(asked.join(' '), granted.join(' '));
        const lacking = RESOURCES.filter((name) => levelIn(asked, name) > levelIn(granted, name));
        const beyond = RESOURCES.filter((name) => levelIn(asked, name) < levelIn(granted, name));
        expect([names(missing), names(extra)]).toEqual([lacking.sort(), beyond.sort()]);
      }),
    );
  });

  it('takes any text from the exchange, and refuses any from a user in our own way', () => {
    fc.assert(
      fc.property(anyText(), (text) => {
        expect(scopesEqual(text, normaliseScope(text))).toBe(true);
        try {
          parseScope(text);
        } catch (error) {
          expect(error).toBeInstanceOf(DeribitKeysError);
        }
      }),
    );
  });
});
