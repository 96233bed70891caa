import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import type { checkConformance } from '../../../src/workflows/conformance/conformance.js';
import { afterFile } from '../../support/after-test.js';
import { cli, temporaryFolder } from '../../support/cli.js';
import { engine } from '../../support/engine.js';

// Each run makes an RSA key of 2048 bits, for an exchange that has no other: one such key serves them all.
beforeAll(() => {
  const generate = engine.generateRsaPkcs8;
  let key: ReturnType<typeof generate> | undefined;
  const generating = vi.spyOn(engine, 'generateRsaPkcs8').mockImplementation(async (bits) => {
    expect(bits).toBe(2048);
    key ??= generate(bits);
    return (await key).slice();
  });
  afterFile(() => generating.mockRestore());
});

let sandbox: Sandbox;
afterEach(() => sandbox.close());

interface World {
  readonly folder: string;
  run(...words: string[]): ReturnType<typeof cli>;
}

async function open(options: Parameters<typeof startSandbox>[0] = {}, signal?: AbortSignal): Promise<World> {
  sandbox = await startSandbox(options);
  const folder = temporaryFolder();
  const login = ['--client-id', sandbox.clientId, '--url', sandbox.wsUrl, '--keys-dir', join(folder, 'keys')];
  const env = { DERIBIT_CLIENT_SECRET: sandbox.clientSecret, DERIBIT_TFA_SECRET: sandbox.tfaSecret ?? undefined };
  return {
    folder,
    run: (...words) => cli(['conformance', '--json', ...login, ...words], { env, ...(signal ? { signal } : {}) }),
  };
}

type Conformance = Awaited<ReturnType<typeof checkConformance>>;

const differing = ({ facts }: Conformance) => facts.filter(({ agrees }) => agrees === false).map(({ fact }) => fact);
const labels = () => sandbox.keys().map(({ name }) => name);

describe('conformance', () => {
  it('agrees with the sandbox on every fact, and leaves no key behind', async () => {
    const { run } = await open();
    const before = labels();
    const { exitCode, json, stderr } = await run();
    expect(stderr).toBe('');
    const result = json<Conformance>();
    expect(result.facts.filter(({ agrees }) => agrees !== true)).toEqual([]);
    expect(result.facts.length).toBeGreaterThanOrEqual(12);
    expect(result.facts.some(({ fact }) => fact.includes('fingerprint'))).toBe(true);
    expect(result.cleaned).toBe(true);
    expect(exitCode).toBe(0);
    expect(labels()).toEqual(before);
  });

  it.each([
    ['signature-encoding:hex', 'encoding of signatures in public/auth', 'hex'],
    ['signature-encoding:any', 'encoding of signatures in public/auth', 'base64url, padded base64, hex'],
    ['nonce-once', 'nonce used again with another timestamp', 'refused with 13004'],
    ['replay-accepted', 'the same signed login sent twice', 'accepted'],
    ['future-tolerance:20000', 'timestamp in the future', 'accepted up to 10 s, refused from 30 s'],
    ['stale-accepted', 'timestamp of 90 s ago', 'accepted'],
    ['signature-error:13009', 'signature that is wrong', 'refused with 13009'],
    ['duplicate-key-refused', 'public key that the account has already', 'refused with -32602'],
    ['reset-asymmetric:same', 'private/reset_api_key on an asymmetric key', 'accepted, and the key still logs in'],
    [
      'reset-asymmetric:symmetric',
      'private/reset_api_key on an asymmetric key',
      'accepted, and the key no longer logs in',
    ],
    ['long-names', 'name of 17 characters', 'accepted'],
    ['scope-array-refused', 'max_scope as an array of words', 'refused with -32602'],
    ['fingerprint-digest:sha256', 'fingerprint returned as client_secret', 'SHA-256 of the SPKI DER'],
    ['hide-enabled', 'enabled in the answer to private/create_api_key', 'absent'],
    [
      'hide-secret@private/list_api_keys:masked-others',
      'fields of other keys in private/list_api_keys, for account:read_write',
      'client_secret masked, public_key shown',
    ],
    [
      'hide-public-key@private/list_api_keys:absent-others',
      'fields of other keys in private/list_api_keys, for account:read_write',
      'client_secret shown, public_key absent',
    ],
    // that the fingerprint is not shown is not called a difference
    [
      'hide-secret@private/create_api_key:absent',
      'fields in the answer to private/create_api_key',
      'client_secret absent, public_key shown',
    ],
  ])('names just the fact that differs under %s', async (fault, fact, observed) => {
    const { run } = await open({ faults: [fault] });
    const { exitCode, json, stderr } = await run();
    expect(stderr).toBe('');
    const result = json<Conformance>();
    expect(differing(result)).toEqual([fact]);
    expect(result.facts.find((one) => one.fact === fact)?.observed).toBe(observed);
    expect(result.cleaned).toBe(true);
    expect(exitCode).toBe(1);
  });

  it('works over HTTP', async () => {
    const { run } = await open();
    const { json, exitCode } = await run('--url', sandbox.httpUrl);
    expect(differing(json<Conformance>())).toEqual([]);
    expect(exitCode).toBe(0);
  });

  it('removes what it made when it is interrupted', async () => {
    const interrupt = new AbortController();
    const { run, folder } = await open({ faults: ['silent@private/reset_api_key'] }, interrupt.signal);
    const before = labels();
    const reset = async () => {
      while (!sandbox.calls.some(({ method }) => method === 'private/reset_api_key')) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      interrupt.abort();
    };
    const [{ exitCode }] = await Promise.all([run(), reset()]);
    expect(exitCode).toBe(130);
    expect(labels()).toEqual(before);
    expect(existsSync(join(folder, 'keys', '.conformance.json'))).toBe(false);
  });

  it('removes what a killed run left behind', async () => {
    const { run, folder } = await open({ faults: ['error@private/remove_api_key:10040x3'] });
    const before = labels();
    const first = await run();
    expect(first.exitCode).not.toBe(0);
    expect(labels().length).toBeGreaterThan(before.length);
    expect(existsSync(join(folder, 'keys', '.conformance.json'))).toBe(true);
    sandbox.clearFaults();
    const { exitCode } = await run();
    expect(exitCode).toBe(0);
    expect(labels()).toEqual(before);
  });

  it('names only what is missing where the login may not make keys, and nothing is left for the next run', async () => {
    const { folder, run } = await open();
    const login = ['--url', sandbox.wsUrl, '--keys-dir', join(folder, 'keys')];
    const env = { DERIBIT_CLIENT_ID: sandbox.clientId, DERIBIT_CLIENT_SECRET: sandbox.clientSecret };
    await cli(['generate', 'paper', ...login]);
    expect((await cli(['register', 'paper', '--scope', 'account:read', ...login], { env })).exitCode).toBe(0);
    const refused = await cli(['conformance', '--as', 'paper', ...login]);
    expect(refused.exitCode).toBe(5);
    expect(refused.stderr.split('\n')).toEqual([
      expect.stringMatching(/^error: the login .* it has account:read$/),
      expect.stringMatching(/^hint: /),
      '',
    ]);
    expect(existsSync(join(folder, 'keys/.conformance.json'))).toBe(false);
    expect((await run()).exitCode).toBe(0);
  });

  it('says that the account is full as register does', async () => {
    const { run } = await open({ keyLimit: 1 });
    const refused = await run();
    expect(refused.exitCode).toBe(5);
    expect(refused.error()).toMatchObject({
      message: 'the account can have no more API keys',
      hint: expect.stringContaining('api-keys remove'),
    });
    expect(labels()).toHaveLength(1);
  });

  it('does not look for keys that it could not make, where the login is refused', async () => {
    const { folder } = await open();
    const login = ['--client-id', sandbox.clientId, '--url', sandbox.httpUrl, '--keys-dir', join(folder, 'keys')];
    const { exitCode, stderr } = await cli(['conformance', ...login], { env: { DERIBIT_CLIENT_SECRET: '"quoted"' } });
    expect(exitCode).toBe(5);
    expect(stderr).toMatch(/^error: the exchange refused public\/auth: 13004/);
    expect(stderr).toContain('hint: the client secret is in quotes');
    expect(stderr).not.toContain('throw-away');
    expect(existsSync(join(folder, 'keys', '.conformance.json'))).toBe(false);
  });

  it('writes a report without secrets, and refuses to overwrite one', async () => {
    const { run, folder } = await open();
    const report = join(folder, 'report.json');
    expect((await run('--report', report)).exitCode).toBe(0);
    const text = readFileSync(report, 'utf8');
    expect(JSON.parse(text)).toMatchObject({ tool: 'deribit-keys', environment: 'test', cleaned: true });
    for (const secret of [sandbox.clientId, sandbox.clientSecret, 'BEGIN', folder]) expect(text).not.toContain(secret);
    writeFileSync(report, 'kept');
    const again = await run('--report', report);
    expect(again.exitCode).toBe(1);
    expect(readFileSync(report, 'utf8')).toBe('kept');
  });

  it('does not touch production unless it is told to, twice', async () => {
    const { run } = await open();
    const { exitCode, error } = await run('--env', 'prod');
    expect(exitCode).toBe(2);
    expect(error()).toMatchObject({ code: 'ERR_USAGE' });
    expect(sandbox.calls).toEqual([]);
  });
});
