import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Secret } from '../../src/crypto/secret.js';
import {
  promptSecondFactor,
  singleCodeSecondFactor,
  totpSecondFactor,
  withSecondFactor,
} from '../../src/deribit/second-factor.js';
import { anyText } from '../support/properties.js';
import { accountOn, again, challengeWith, clock, exchange, METHOD, SEED } from './challenges.js';
import { failure, shown } from './servers.js';

describe('codes from a seed', () => {
  it.each([
    [59, '287082'],
    [1111111109, '081804'],
    [1111111111, '050471'],
    [1234567890, '005924'],
    [2000000000, '279037'],
    [20000000000, '353130'],
  ])('are those of RFC 6238 at %d s', async (seconds, code) => {
    const { nowMs, sleep } = clock(seconds * 1000);
    expect(await totpSecondFactor(SEED, { nowMs, sleep })(challengeWith())).toBe(code);
  });

  it('are the same however the seed is written', async () => {
    const writings = [
      SEED.toLowerCase(),
      SEED.replace(/(.{4})/g, '$1 '),
      ` ${SEED}==\n`,
      SEED.replace(/(.{4})/g, '$1-'),
    ];
    for (const seed of [...writings, new Secret(SEED)]) {
      expect(await totpSecondFactor(seed, clock(59_000))(challengeWith())).toBe('287082');
    }
  });

  it('are those of an independent computation in Python, for any seed (needs python3)', async (context) => {
    const program = [
      'import sys,base64,hmac,struct',
      'for line in sys.stdin:',
      ' s,t=line.split(); k=base64.b32decode(s+"="*(-len(s)%8)); d=hmac.new(k,struct.pack(">Q",int(t)//30000),"sha1").digest()',
      ' o=d[-1]&15; print("%06d"%((struct.unpack(">I",d[o:o+4])[0]&0x7fffffff)%10**6))',
    ].join('\n');
    const byte = fc.uint8Array({ minLength: 1, maxLength: 40 });
    const samples = fc.sample(fc.tuple(byte, fc.integer({ min: 0, max: 4e12 })), 60);
    const lines = samples.map(([bytes, timeMs]) => [base32(bytes), timeMs] as const);
    let codes: string[];
    try {
      const input = lines.map((line) => line.join(' ')).join('\n');
      codes = execFileSync('python3', ['-c', program], { input }).toString().trim().split('\n');
    } catch {
      return context.skip('there is no python3');
    }
    const ours = await Promise.all(
      lines.map(([seed, timeMs]) => totpSecondFactor(seed, clock(timeMs))(challengeWith())),
    );
    expect(ours).toEqual(codes);
  });

  it('wait for the next step where the code was used, with a note', async () => {
    const time = clock(59_000);
    const notes: string[] = [];
    const note = (text: string) => notes.push(text);
    const provider = totpSecondFactor(SEED, time);
    expect(await provider({ ...challengeWith(), note })).toBe('287082');
    const next = await totpSecondFactor(SEED, clock(60_000))(challengeWith());
    expect(await provider({ ...again('used_tfa_code'), note })).toBe(next);
    expect(time.slept).toEqual([1000]);
    expect(notes).toEqual(['the current code was used already: waiting 1 s for the next one']);
  });

  it('are never given twice by the same provider, even at once', async () => {
    const time = clock(30_000);
    const provider = totpSecondFactor(SEED, time);
    const codes = [
      await provider(challengeWith()),
      ...(await Promise.all([provider(challengeWith()), provider(challengeWith())])),
    ];
    expect(new Set(codes).size).toBe(3);
  });

  it('are not tried again within the step where they do not match, but in the next', async () => {
    const time = clock(59_999);
    const provider = totpSecondFactor(SEED, time);
    await provider(challengeWith());
    await failure(provider(again('tfa_code_not_matched')), 'ERR_SECOND_FACTOR_REFUSED');
    time.advance(1);
    expect(await provider(again('tfa_code_not_matched'))).toMatch(/^\d{6}$/);
  });

  it('come after a real wait that a signal can end', async () => {
    const nowMs = () => 29_950;
    const provider = totpSecondFactor(SEED, { nowMs });
    const first = await provider(challengeWith());
    expect(await provider(again('used_tfa_code'))).not.toBe(first);
    const controller = new AbortController();
    controller.abort();
    const ended = provider({ ...again('used_tfa_code'), signal: controller.signal });
    expect((await failure(ended, 'ERR_INTERRUPTED')).maybeSent).toBe(false);
  });

  it('carry a call past a used code', async () => {
    const time = clock(1_000_000_000);
    const spent = new Set([await totpSecondFactor(SEED, clock(time.nowMs()))(challengeWith())]);
    const judge = (code: string) => {
      if (spent.has(code)) return 'used_tfa_code';
      spent.add(code);
      return null;
    };
    const { transport } = exchange(judge);
    const notes: string[] = [];
    const options = { secondFactor: totpSecondFactor(SEED, time), onNote: (text: string) => notes.push(text) };
    for (let call = 0; call < 3; call += 1)
      expect(await withSecondFactor(accountOn(transport), { method: METHOD, ...options })).toBe('done');
    expect(notes).toHaveLength(3);
    expect(time.slept.every((ms) => ms > 0 && ms <= 30_000)).toBe(true);
  });

  it('are the same from an otpauth: URI', async () => {
    const uri = 'otpauth://totp/Deribit:me?secret=JBSWY3DPEHPK3PXP&issuer=Deribit';
    const code = await totpSecondFactor('JBSWY3DPEHPK3PXP', clock(0))(challengeWith());
    for (const text of [
      uri,
      `${uri}&digits=6&period=30&algorithm=SHA1\n`,
      uri.replace('otpauth', 'OTPAUTH'),
      `QR-Code:${uri}\n`,
      uri.toUpperCase(),
    ])
      expect(await totpSecondFactor(text, clock(0))(challengeWith())).toBe(code);
  });

  it.each([
    'otpauth://hotp/x?secret=JBSWY3DPEHPK3PXP&counter=1',
    'otpauth://totp/x?secret=JBSWY3DPEHPK3PXP&digits=8',
    'otpauth://totp/x?secret=JBSWY3DPEHPK3PXP&period=60',
    'otpauth://totp/x?secret=JBSWY3DPEHPK3PXP&algorithm=SHA256',
    'otpauth://totp/x?issuer=Deribit',
    'otpauth://totp/x?secret=canary1',
    'otpauth://',
  ])('are not from the URI %s', async (uri) => {
    const error = await failure(() => totpSecondFactor(uri), 'ERR_USAGE');
    expect(shown(error)).not.toMatch(/JBSWY3DP|canary/);
  });

  it.each(['', '   ', 'canary1', 'ABC', 'ABCDEFGHIJK0', 'A', '=', 'ÄÖÜ'])(
    'need a seed that is base32, not %j',
    async (seed) => {
      const error = await failure(() => totpSecondFactor(seed), 'ERR_USAGE');
      if (seed.length > 3) expect(shown(error)).not.toContain(seed.trim() || 'nothing to find');
    },
  );

  it.each([
    ['123456', /^the second-factor seed is a code of six digits: give it with --tfa-code instead$/],
    ['123 456', /is a code of six digits/],
    ['JBSWY3DPEHPK3PXP\nJBSWY3DPEHPK3PXP', /has several lines/],
    ['otpauth-migration://offline?data=canary', /is an export of Google Authenticator/],
    ['"JBSWY3DPEHPK3PXP"', /is in quotes/],
    ['DERIBIT_TFA_SECRET=JBSWY3DPEHPK3PXP', /is a line "NAME=value"/],
    ['{"secret":"JBSWY3DPEHPK3PXP"}', /is JSON/],
  ])('need a seed: %s is named as what it is', async (text, message) => {
    const error = await failure(() => totpSecondFactor(text), 'ERR_USAGE');
    expect(error.message).toMatch(message);
    expect(shown(error)).not.toMatch(/JBSWY3DP|canary/);
  });

  it('come from every seed of complete bytes, and any other text is refused without being shown', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 64 }), async (bytes) => {
        expect(await totpSecondFactor(base32(bytes), clock(0))(challengeWith())).toMatch(/^\d{6}$/);
      }),
    );
    await fc.assert(
      fc.asyncProperty(anyText({ minLength: 12 }), async (text) => {
        try {
          expect(await totpSecondFactor(text, clock(0))(challengeWith())).toMatch(/^\d{6}$/);
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_USAGE' });
          expect((error as Error).message).not.toContain(text);
        }
      }),
    );
  });
});

describe('a single code', () => {
  it('answers only the first challenge', async () => {
    const provider = singleCodeSecondFactor(' 123 456 ');
    expect(await provider(challengeWith())).toBe('123456');
    const error = await failure(provider(challengeWith()), 'ERR_SECOND_FACTOR_REQUIRED');
    expect(error).toMatchObject({ maybeSent: false, hint: expect.stringContaining('seed') });
  });

  it('is not tried again where it is refused', async () => {
    const { transport, asked } = exchange(() => 'tfa_code_not_matched');
    const work = withSecondFactor(accountOn(transport), {
      method: METHOD,
      secondFactor: singleCodeSecondFactor('123456'),
    });
    expect((await failure(work, 'ERR_SECOND_FACTOR_REFUSED')).rpc?.code).toBe(13668);
    expect(asked.filter(({ params }) => params.challenge !== undefined)).toHaveLength(1);
  });

  it.each(['', '12345', '1234567', 'canary', '１２３４５６', SEED])('is refused where it is %j', async (code) => {
    const error = await failure(() => singleCodeSecondFactor(code), 'ERR_USAGE');
    if (code.length > 0) expect(shown(error)).not.toContain(code);
  });
});

describe('codes from a prompt', () => {
  it('may be wrong three times, each with a question that says why', async () => {
    const typed = ['111111', '222222', ' 333 333 ', '444444'];
    const questions: string[] = [];
    const reasons = ['tfa_code_not_matched', 'used_tfa_code', 'challenge_timeout'];
    const { transport } = exchange((code, attempt) => (code === '444444' ? null : (reasons[attempt - 1] ?? null)));
    const secondFactor = promptSecondFactor(async (question) => {
      questions.push(question);
      return typed[questions.length - 1] ?? '';
    });
    expect(await withSecondFactor(accountOn(transport), { method: METHOD, secondFactor })).toBe('done');
    expect(questions).toHaveLength(4);
    expect(new Set(questions).size).toBe(4);
  });

  it('are asked for again where they are not six digits, but not for ever', async () => {
    const typed = ['', 'abc', '12345', '123456'];
    let asked = 0;
    expect(await promptSecondFactor(async () => typed[asked++] ?? '')(challengeWith())).toBe('123456');
    await failure(promptSecondFactor(async () => '')(challengeWith()), 'ERR_SECOND_FACTOR_REQUIRED');
    expect(asked).toBe(4);
  });
});

/** RFC 4648 §6, without padding; our own, to have something to compare with. */
function base32(bytes: Uint8Array): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const groups = bits.match(/.{1,5}/g) ?? [];
  return groups.map((group) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[Number.parseInt(group.padEnd(5, '0'), 2)]).join('');
}
