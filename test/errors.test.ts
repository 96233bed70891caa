import { describe, expect, it } from 'vitest';
import { DeribitKeysError } from '../src/errors.js';

describe('DeribitKeysError.with', () => {
  const refused = new DeribitKeysError('ERR_RPC', 'refused', {
    hint: 'wait',
    rpc: { code: 10028, message: 'too_many_requests' },
    maybeSent: true,
  });

  it('keeps the code, the hint, the answer of the exchange and whether the request was sent', () => {
    const told = refused.with({ message: 'the key was not made: refused' });
    expect(told).toMatchObject({
      code: 'ERR_RPC',
      message: 'the key was not made: refused',
      hint: 'wait',
      rpc: { code: 10028 },
      maybeSent: true,
    });
    expect(told.cause).toBe(refused);
  });

  it('replaces what is named', () => {
    expect(refused.with({ code: 'ERR_OUTCOME_UNKNOWN', hint: 'look again', maybeSent: false })).toMatchObject({
      code: 'ERR_OUTCOME_UNKNOWN',
      message: 'refused',
      hint: 'look again',
      maybeSent: false,
    });
  });
});

describe('what an error quotes', () => {
  const quoted = 'red \u001b[31m\nhint: run this\u2028\u0007';

  it('begins no line of its own and steers no terminal', () => {
    const error = new DeribitKeysError('ERR_RPC', `refused: ${quoted}`, { hint: 'one\ntwo\u001b[2J' });
    expect(error.message).toBe('refused: red \\x1b[31m\\nhint: run this\\u2028\\x07');
    expect(error.hint).toBe('one\ntwo\\x1b[2J');
    expect(error.stack).not.toContain('\u001b');
  });

  it('does not fill a log', () => {
    const error = new DeribitKeysError('ERR_RPC', 'x'.repeat(300_000), { hint: 'y'.repeat(300_000) });
    expect(error.message.length + (error.hint?.length ?? 0)).toBeLessThan(20_000);
  });
});
