import { describe, expect, it } from 'vitest';
import { describeHost, networkError } from '../../src/deribit/network-errors.js';

const coded = (code: string, more: object = {}) => Object.assign(new Error('words'), { code, ...more });

describe('a failure of the network', () => {
  it.each([
    ['EHOSTUNREACH', 'cannot be reached', true],
    ['EAI_AGAIN', 'cannot be resolved', false],
    ['CERT_HAS_EXPIRED', 'certificate', false],
    ['ETIMEDOUT', 'cannot be reached', true],
    ['EPIPE', 'was cut', true],
    ['EOTHER', 'failed', true],
  ])('%s is told in words', (code, words, maybeSent) => {
    const error = networkError('host:1', coded(code), { maybeSent: true });
    expect(error).toMatchObject({ code: 'ERR_NETWORK', maybeSent });
    expect(error.message).toContain(words);
    expect(error.message).toContain(code);
  });

  it('of a port without TLS is told as such, whichever way Node reports it', () => {
    const words = '80E:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:ssl3_record.c:350:';
    for (const failure of [
      coded('ERR_SSL_WRONG_VERSION_NUMBER'),
      Object.assign(new Error(words), { code: 'EPROTO', syscall: 'write' }),
    ]) {
      const error = networkError('host:1', failure, { maybeSent: true });
      expect(error.message).toContain('host:1 does not speak TLS');
      expect(error).toMatchObject({ maybeSent: false, hint: expect.stringContaining('ws: or http:') });
    }
    expect(networkError('host:1', coded('EPROTO'), { maybeSent: true }).message).toContain('failed (EPROTO)');
  });

  it('while connecting leaves no doubt that nothing was sent', () => {
    for (const code of ['EHOSTUNREACH', 'ETIMEDOUT', 'ECONNRESET']) {
      expect(networkError('host:1', coded(code, { syscall: 'connect' }), { maybeSent: true }).maybeSent).toBe(false);
      expect(networkError('host:1', coded(code, { syscall: 'read' }), { maybeSent: true }).maybeSent).toBe(true);
    }
  });

  it('is recognised by what caused it, several addresses included', () => {
    const refused = coded('ECONNREFUSED');
    const wrapped = new TypeError('fetch failed', { cause: new AggregateError([refused, refused]) });
    expect(networkError('host:1', wrapped, { maybeSent: true }).maybeSent).toBe(false);
  });

  it('is told without its words where it has no code, however odd it is', () => {
    const endless: { cause?: unknown } = {};
    endless.cause = endless;
    for (const failure of [new Error('canary'), 'canary', null, endless, { code: 5 }]) {
      expect(networkError('host:1', failure, { maybeSent: false }).message).toBe('the connection to host:1 failed');
    }
  });
});

it('the other side is called by host and port, never by credentials', () => {
  expect(describeHost('wss://host:8443/ws/api/v2', null)).toBe('host:8443');
  expect(describeHost('wss://host/ws', 'http://user:canary@proxy:3128')).toBe('host (through the proxy proxy:3128)');
});
