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
