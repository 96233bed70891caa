import { expect, test } from 'vitest';
import { defined } from '../../src/util/defined.js';

test('defined drops the properties that are undefined, and only those', () => {
  expect(Object.keys(defined({ a: undefined, b: null, c: 0, d: '' }))).toEqual(['b', 'c', 'd']);
});
