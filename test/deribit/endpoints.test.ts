import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  httpUrlOf,
  isLoopback,
  isWebSocketUrl,
  resolveEndpoint,
  sameEndpoint,
  websocketUrlOf,
} from '../../src/deribit/endpoints.js';
import { DeribitKeysError } from '../../src/errors.js';
import { failure, shown } from './servers.js';

const at = (url: string) => resolveEndpoint({ url });

describe('an endpoint', () => {
  it('is the test exchange over wss where nothing is said', () => {
    expect(resolveEndpoint()).toEqual({
      url: 'wss://test.deribit.com/ws/api/v2',
      environment: 'test',
      expectTestnet: true,
      custom: false,
    });
  });

  it('is production when named', () => {
    expect(resolveEndpoint({ environment: 'prod' })).toEqual({
      url: 'wss://www.deribit.com/ws/api/v2',
      environment: 'prod',
      expectTestnet: false,
      custom: false,
    });
  });

  it('knows Deribit by its hosts, and lets a URL win over an environment', () => {
    const endpoint = resolveEndpoint({ environment: 'prod', url: 'https://TEST.deribit.com./api/v2' });
    expect(endpoint).toMatchObject({ environment: 'test', expectTestnet: true, custom: true });
    for (const url of [
      'https://deribit.com/api/v2',
      'wss://streams.deribit.com/ws/api/v2',
      'https://history.deribit.com',
    ]) {
      expect(at(url)).toMatchObject({ environment: 'prod', expectTestnet: false });
    }
    const node = at('wss://test.deribit.com/den/ws');
    expect(node).toMatchObject({ url: 'wss://test.deribit.com/den/ws', environment: 'test', expectTestnet: true });
    expect(httpUrlOf(node.url)).toBe('https://test.deribit.com/api/v2');
    expect(at('wss://test.deribit.com.example.org/')).toMatchObject({ environment: 'test', expectTestnet: true });
  });

  it('gets the usual path where it has none', () => {
    expect(at('ws://127.0.0.1:8080').url).toBe('ws://127.0.0.1:8080/ws/api/v2');
    expect(at('http://[::1]:8080/').url).toBe('http://[::1]:8080/api/v2');
    expect(at('wss://gate.example/deribit/ws/api/v2').url).toBe('wss://gate.example/deribit/ws/api/v2');
  });

  it.each([
    ['not a URL', 'cannot be read'],
    ['ftp://test.deribit.com/', 'not a ws:, wss:, http: or https: URL'],
    ['file:///etc/passwd', 'not a ws:, wss:, http: or https: URL'],
    ['wss://user:canary@test.deribit.com/', 'credentials'],
    ['wss://canary@test.deribit.com/', 'credentials'],
    ['wss://test.deribit.com/ws/api/v2?token=canary', 'query'],
    ['wss://test.deribit.com/ws/api/v2#canary', 'fragment'],
    ['ws://test.deribit.com/ws/api/v2', 'unencrypted'],
    ['http://10.0.0.1/api/v2', 'unencrypted'],
    ['ws://127.0.0.1.example.org/', 'unencrypted'],
    ['ws://localhost.example.org/', 'unencrypted'],
  ])('refuses %s', async (url, words) => {
    const error = await failure(() => at(url), 'ERR_USAGE');
    expect(error.message).toContain(words);
    expect(shown(error)).not.toContain('canary');
  });

  it('refuses an unknown environment', async () => {
    for (const environment of ['live', 'toString', '__proto__']) {
      await failure(() => resolveEndpoint({ environment: environment as 'test' }), 'ERR_USAGE');
    }
  });

  it('lets every way of writing loopback go unencrypted', () => {
    for (const host of ['localhost', 'LOCALHOST', '127.0.0.1', '127.8.9.10', '127.1', '[::1]']) {
      expect(isLoopback(new URL(at(`ws://${host}:1/`).url))).toBe(true);
    }
  });

  it('is the same where host and port are', () => {
    const test = resolveEndpoint();
    expect(sameEndpoint(test, at('https://test.deribit.com/api/v2'))).toBe(true);
    expect(sameEndpoint(test, at('wss://test.deribit.com:443/'))).toBe(true);
    expect(sameEndpoint(test, at('wss://test.deribit.com:8443/'))).toBe(false);
    expect(sameEndpoint(test, resolveEndpoint({ environment: 'prod' }))).toBe(false);
    expect(sameEndpoint(at('https://deribit.com/'), resolveEndpoint({ environment: 'prod' }))).toBe(true);
    expect(sameEndpoint(at('ws://127.0.0.1:9/'), at('http://127.0.0.1:9/'))).toBe(true);
    expect(sameEndpoint(at('ws://127.0.0.1/'), at('http://127.0.0.1:80/'))).toBe(true);
    expect(sameEndpoint(at('ws://127.0.0.1:9/'), at('ws://127.0.0.1:10/'))).toBe(false);
    expect(sameEndpoint(at('ws://127.0.0.1:9/'), at('ws://127.0.0.2:9/'))).toBe(false);
  });

  it('has an HTTP and a WebSocket form', () => {
    expect(httpUrlOf('wss://www.deribit.com/ws/api/v2')).toBe('https://www.deribit.com/api/v2');
    expect(websocketUrlOf('https://www.deribit.com/api/v2')).toBe('wss://www.deribit.com/ws/api/v2');
    expect(httpUrlOf('ws://127.0.0.1:9/ws/api/v2')).toBe('http://127.0.0.1:9/api/v2');
    expect(websocketUrlOf('http://[::1]:9/api/v2')).toBe('ws://[::1]:9/ws/api/v2');
    expect(httpUrlOf('wss://gate.example/other')).toBe('https://gate.example/other');
  });

  it('comes back from its other form unchanged', () => {
    const scheme = fc.constantFrom('ws', 'http');
    const prefix = fc.constantFrom('', '/gate', '/api/v1');
    fc.assert(
      fc.property(scheme, fc.integer({ min: 1, max: 65535 }), prefix, (kind, port, before) => {
        const path = kind === 'ws' ? '/ws/api/v2' : '/api/v2';
        const { url } = at(`${kind}://127.0.0.1:${port}${before}${path}`);
        const [http, ws] = [httpUrlOf(url), websocketUrlOf(url)];
        expect([websocketUrlOf(http), httpUrlOf(ws)]).toEqual([ws, http]);
        expect([httpUrlOf(http), websocketUrlOf(ws)]).toEqual([http, ws]);
        expect([isWebSocketUrl(http), isWebSocketUrl(ws)]).toEqual([false, true]);
        expect(sameEndpoint(at(http), at(ws))).toBe(true);
      }),
    );
  });

  it('is never anything else than encrypted or on loopback, whatever is given', () => {
    const odd = fc.tuple(
      fc.constantFrom('ws://', 'http://', 'wss://', 'https:', 'HTTP:\\\\', ' ws://', 'data:', ''),
      fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6(), fc.string(), fc.constantFrom('localhost', '127.0.0.1@evil.example')),
      fc.webPath(),
    );
    fc.assert(
      fc.property(odd, ([scheme, host, path]) => {
        try {
          const url = new URL(at(scheme + host + path).url);
          expect(/^(wss|https):$/.test(url.protocol) || /^(localhost\.?|127\..*|\[::1\])$/.test(url.hostname)).toBe(
            true,
          );
        } catch (error) {
          if (!(error instanceof DeribitKeysError)) throw error;
          expect(error.code).toBe('ERR_USAGE');
        }
      }),
    );
  });
});
