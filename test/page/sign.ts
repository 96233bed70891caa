import { spawnSync } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { encodePublicKeyPem, generateKeyPair, serialisePrivateKey } from '../../src/crypto/index.js';
import type { AuthParams } from '../../src/deribit/auth-params.js';
import { chooseFile, errorIn, fill, press, textOf, type World, waitForText } from './support.js';

const PASSPHRASE = 'correct horse';

/** Whether node:crypto verifies the signature of the parameters. */
function verifies({ timestamp, nonce, data, signature }: AuthParams, publicPem: string): boolean {
  const key = createPublicKey(publicPem);
  const hash = key.asymmetricKeyType === 'rsa' ? 'sha256' : null;
  return verify(hash, Buffer.from(`${timestamp}\n${nonce}\n${data}`), key, Buffer.from(signature, 'base64url'));
}

/** The tests of the form that signs a login. */
export const signing = (world: World) =>
  describe('signing a login', () => {
    const publicPem = { ed25519: '', rsa: '' };
    beforeAll(async () => {
      for (const type of ['ed25519', 'rsa'] as const) {
        const key = await generateKeyPair(type === 'rsa' ? { type, bits: 2048 } : { type });
        publicPem[type] = encodePublicKeyPem(key.publicKey);
        const pem = await serialisePrivateKey(key, { format: 'pkcs8', passphrase: PASSPHRASE });
        writeFileSync(join(world.folder, `${type}.pem`), pem);
      }
      writeFileSync(join(world.folder, 'public.pem'), publicPem.ed25519);
    });
    const open = async (file: string) => {
      await press(world.page, '#tab-sign');
      await chooseFile(world.page, 'sign-file', join(world.folder, file));
    };
    const sign = async (type: 'ed25519' | 'rsa') => {
      await open(`${type}.pem`);
      await fill(world.page, '#sign-file-passphrase', PASSPHRASE);
      await fill(world.page, '#client-id', 'AbCdEf12');
      await press(world.page, '#sign-button');
      await world.page.waitForSelector('#signed:not([hidden])');
      return JSON.parse(await textOf(world.page, '#signed-text')) as AuthParams;
    };

    it.each(['ed25519', 'rsa'] as const)('with an %s key makes parameters that node:crypto verifies', async (type) => {
      const before = Date.now();
      const params = await sign(type);
      expect(Object.keys(params)).toEqual(['grant_type', 'client_id', 'timestamp', 'nonce', 'data', 'signature']);
      expect(params).toMatchObject({ grant_type: 'client_signature', client_id: 'AbCdEf12', data: '' });
      expect(params.timestamp).toBeGreaterThanOrEqual(before);
      expect(verifies(params, publicPem[type])).toBe(true);
      expect(world.requests).toEqual([]);
    });

    // the rest depends on the page's own code only: one browser proves it
    if (world.name === 'Firefox') return;

    it('signs what the options say', async () => {
      const { page } = world;
      await press(page, '#tab-sign');
      await press(page, '.options summary');
      const options = {
        scope: 'session:test',
        state: 's1',
        timestamp: '1576074319000',
        nonce: '1iqt2wls',
        data: "it's ü",
      };
      for (const [id, value] of Object.entries(options)) await fill(page, `#${id}`, value);
      const params = await sign('ed25519');
      expect(params).toMatchObject({ ...options, timestamp: 1576074319000 });
      expect(verifies(params, publicPem.ed25519)).toBe(true);
    });

    it('shows them as a request and as commands that a shell takes', async () => {
      const { page } = world;
      await press(page, '#tab-sign');
      await press(page, '.options summary');
      await fill(page, '#data', "it's");
      const params = await sign('ed25519');
      const request = { jsonrpc: '2.0', id: 1, method: 'public/auth', params };
      await press(page, '[name=form][value=request]');
      expect(JSON.parse(await textOf(page, '#signed-text'))).toEqual(request);
      for (const [form, url] of [
        ['curl', 'https://test.deribit.com/api/v2'],
        ['curl-prod', 'https://www.deribit.com/api/v2'],
      ] as const) {
        await press(page, `[name=form][value=${form}]`);
        const command = await textOf(page, '#signed-text');
        const shell = spawnSync('sh', ['-c', `curl() { for word; do printf '%s\\n' "$word"; done; }; ${command}`], {
          encoding: 'utf8',
        });
        const words = shell.stdout.trimEnd().split('\n');
        expect(words.slice(0, -1)).toEqual(['-s', url, '-H', 'Content-Type: application/json', '-d']);
        expect(JSON.parse(words.at(-1) ?? '')).toEqual(request);
      }
      await press(page, '#copy-signed');
      await waitForText(page, '#copy-signed', /^Copied$/);
    });

    it('forgets the signature when a field or the file is changed', async () => {
      await sign('ed25519');
      await fill(world.page, '#client-id', 'GhIjKl34');
      expect(await world.page.$eval('#signed', (part) => (part as HTMLElement).hidden)).toBe(true);
      await sign('ed25519');
      await open('rsa.pem');
      expect(await world.page.$eval('#signed', (part) => (part as HTMLElement).hidden)).toBe(true);
    });

    it('shows the message and the hint of the library for what is missing or wrong', async () => {
      const { page } = world;
      await press(page, '#tab-sign');
      await press(page, '#sign-button');
      expect((await errorIn(page, '#sign-error'))[0]).toBe('No key file is chosen.');
      await open('public.pem');
      await press(page, '#sign-button');
      await waitForText(page, '#sign-error', /^The client id is empty/);
      await fill(page, '#client-id', 'AbCdEf12');
      await press(page, '#sign-button');
      await waitForText(page, '#sign-error', /^This is a public key; a private key is needed/);
      await open('ed25519.pem');
      await fill(page, '#sign-file-passphrase', 'wrong');
      await press(page, '#sign-button');
      await waitForText(page, '#sign-error', /^Wrong passphrase/);
      await fill(page, '#sign-file-passphrase', PASSPHRASE);
      await press(page, '.options summary');
      await fill(page, '#timestamp', 'yesterday');
      await press(page, '#sign-button');
      await waitForText(page, '#sign-error', /^The timestamp is not a whole number of milliseconds/);
    });
  });
