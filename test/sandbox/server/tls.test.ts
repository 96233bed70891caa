import { execFile, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { describe, expect, it, onTestFinished } from 'vitest';
import WebSocket from 'ws';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../../src/sandbox/index.js';

async function start(options: SandboxOptions = {}): Promise<Sandbox> {
  const sandbox = await startSandbox(options);
  onTestFinished(() => sandbox.close());
  return sandbox;
}

describe('TLS', () => {
  const getOver = (sandbox: Sandbox, ca: Buffer | undefined, servername: string) =>
    new Promise<string>((resolve, reject) => {
      const options = { headers: {}, servername, ...(ca === undefined ? {} : { ca }) };
      httpsRequest(`${sandbox.httpUrl}/public/test`, options, (response) => {
        response.on('data', (data) => resolve(String(data)));
      })
        .on('error', reject)
        .end();
    });

  it('is spoken to clients that trust the authority, by every name of the certificate', async () => {
    const sandbox = await start({ tls: true });
    expect([sandbox.httpUrl, sandbox.wsUrl]).toEqual([
      expect.stringMatching(/^https:\/\/127\.0\.0\.1:/),
      expect.stringMatching(/^wss:\/\/127\.0\.0\.1:/),
    ]);
    const ca = readFileSync(sandbox.caFile ?? '');
    for (const name of ['', 'localhost', 'test.deribit.com'])
      expect(await getOver(sandbox, ca, name)).toContain('version');
    await expect(getOver(sandbox, undefined, '')).rejects.toThrow(/unable to verify|self-signed/);
    const socket = new WebSocket(sandbox.wsUrl, { ca });
    socket.on('open', () => socket.send('{"jsonrpc":"2.0","id":1,"method":"public/test"}'));
    expect(await new Promise((resolve) => socket.on('message', (data) => resolve(String(data))))).toContain('version');
    const closed = new Promise((resolve) => socket.on('close', resolve));
    sandbox.dropConnections();
    expect(await closed).toBe(1006);
    await sandbox.restart();
    expect(await getOver(sandbox, ca, '')).toContain('version');
  });

  it('counts connections, and forgets its authority when it closes', async () => {
    const sandbox = await startSandbox({ tls: true, limits: { connectionsPerIp: 1 } });
    const ca = readFileSync(sandbox.caFile ?? '');
    const first = new WebSocket(sandbox.wsUrl, { ca });
    await new Promise((resolve) => first.on('open', resolve));
    const second = new WebSocket(sandbox.wsUrl, { ca });
    expect(String(await new Promise((resolve) => second.on('error', resolve)))).toContain('429');
    await sandbox.close();
    expect(existsSync(sandbox.caFile ?? '')).toBe(false);
  });

  const openssl = spawnSync('openssl', ['version']);
  it.skipIf(openssl.status !== 0)('has a certificate that openssl verifies strictly (needs openssl)', async () => {
    const sandbox = await start({ tls: true });
    const { port } = new URL(sandbox.httpUrl);
    const args = ['s_client', '-connect', `127.0.0.1:${port}`, '-CAfile', sandbox.caFile ?? '', '-x509_strict'];
    const verifying = [...args, '-verify_return_error', '-verify_ip', '127.0.0.1'];
    const said = await new Promise<string>((resolve) => {
      execFile('openssl', verifying, (_error, stdout) => resolve(stdout)).stdin?.end();
    });
    expect(said).toContain('Verification: OK');
  });
});
