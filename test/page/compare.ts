import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { fingerprint, parsePrivateKey, serialisePrivateKey, serialisePublicKey } from '../../src/crypto/index.js';
import { chooseFile, errorIn, fill, press, textOf, type World, waitForText } from './support.js';

const PASSPHRASE = 'correct horse';

function run(command: string, ...args: readonly string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
}

/** One key in many files, made by openssl, ssh-keygen and this package; and another key. */
async function makeFiles(folder: string) {
  const at = (name: string) => join(folder, name);
  run('openssl', 'genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', at('pkcs8.pem'));
  const pkcs8 = ['pkcs8', '-topk8', '-in', at('pkcs8.pem'), '-passout', `pass:${PASSPHRASE}`];
  run('openssl', ...pkcs8, '-out', at('encrypted.pem'));
  run('openssl', ...pkcs8, '-scrypt', '-scrypt_N', '1024', '-out', at('scrypt.pem'));
  const old = ['-traditional', '-aes128', '-passout', `pass:${PASSPHRASE}`];
  run('openssl', 'rsa', '-in', at('pkcs8.pem'), ...old, '-out', at('pkcs1.pem'));
  run('openssl', 'rsa', '-in', at('pkcs8.pem'), '-traditional', '-outform', 'DER', '-out', at('pkcs1.der'));
  run('openssl', 'pkey', '-in', at('pkcs8.pem'), '-pubout', '-out', at('public.pem'));
  run('openssl', 'req', '-x509', '-key', at('pkcs8.pem'), '-subj', '/CN=bot', '-out', at('certificate.pem'));
  run('openssl', 'genpkey', '-algorithm', 'ed25519', '-out', at('other.pem'));
  run('openssl', 'genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024', '-out', at('short.pem'));
  const key = await parsePrivateKey(readFileSync(at('pkcs8.pem')));
  writeFileSync(at('openssh'), await serialisePrivateKey(key, { format: 'openssh', passphrase: PASSPHRASE }));
  writeFileSync(at('key.jwk'), await serialisePrivateKey(key, { format: 'jwk' }));
  writeFileSync(at('openssh.pub'), await serialisePublicKey(key.publicKey, { format: 'ssh' }));
  writeFileSync(at('large.bin'), Buffer.alloc(200_000, 'A'));
  return { fingerprint: fingerprint(key), publicPem: readFileSync(at('public.pem'), 'utf8') };
}

const FORMATS = [
  ['pkcs8.pem', 'private key, PKCS#8'],
  ['encrypted.pem', 'private key, PKCS#8, encrypted'],
  ['scrypt.pem', 'private key, PKCS#8, encrypted'],
  ['pkcs1.pem', 'private key, PKCS#1, encrypted'],
  ['pkcs1.der', 'private key, PKCS#1'],
  ['openssh', 'private key, OpenSSH, encrypted'],
  ['key.jwk', 'private key, JWK'],
  ['public.pem', 'public key, SPKI'],
  ['openssh.pub', 'public key, OpenSSH line'],
  ['certificate.pem', 'certificate, X.509'],
] as const;

/** Formats that need the cryptography of the browser; the others are read by the page's own code: one browser proves it. */
const BROWSERS_OWN = ['encrypted.pem', 'pkcs1.pem', 'public.pem'];

/** The tests of the form that compares a key file with what Deribit shows. */
export const comparing = (world: World) =>
  describe('comparing a key', () => {
    let key: Awaited<ReturnType<typeof makeFiles>>;
    beforeAll(async () => {
      key = await makeFiles(world.folder);
    });
    const choose = async (file: string) => {
      await press(world.page, '#tab-compare');
      await chooseFile(world.page, 'compare-file', join(world.folder, file));
    };
    const verdict = () => world.page.$eval('.verdict h3', (heading) => heading.textContent);

    it('reads a file in any format', async () => {
      const { page } = world;
      await press(page, '#tab-compare');
      await fill(page, '#shown', key.fingerprint);
      const formats = world.name === 'Firefox' ? FORMATS.filter(([file]) => BROWSERS_OWN.includes(file)) : FORMATS;
      for (const [file, description] of formats) {
        await chooseFile(page, 'compare-file', join(world.folder, file));
        expect([file, await textOf(page, '#compare-file-note')]).toEqual([file, description]);
        if (description.endsWith('encrypted')) await fill(page, '#compare-file-passphrase', PASSPHRASE);
        await press(page, '#compare-button');
        await page.waitForSelector('.verdict');
        expect([file, await verdict()]).toEqual([file, 'The same key']);
        expect(await textOf(page, '.seen')).toContain(`RSA, 2048 bits (${description})`);
      }
      expect(world.requests).toEqual([]);
    });

    it('takes a file that is dropped, and one that misses its field does not replace the page', async () => {
      const { page } = world;
      await press(page, '#tab-compare');
      const dropped = await page.evaluate((pem) => {
        const data = new DataTransfer();
        data.items.add(new File([pem], 'dropped.pem'));
        const drop = (where: Element | null) =>
          where?.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
        return [drop(document.querySelector('h1')), drop(document.querySelector('#compare-file .drop'))];
      }, key.publicPem);
      expect(dropped).toEqual([false, false]);
      await waitForText(page, '#compare-file-note', /^public key, SPKI$/);
      expect(await textOf(page, '#compare-file-text')).toBe('dropped.pem');
    });

    // the rest depends on the page's own code only: one browser proves it
    if (world.name === 'Firefox') return;

    describe('compares it with', () => {
      it('the fingerprint and the public key, however they were copied', async () => {
        const { page } = world;
        await choose('public.pem');
        for (const shown of [
          key.fingerprint.toUpperCase(),
          key.fingerprint.replaceAll(':', ''),
          `MD5:${key.fingerprint}\n`,
          key.publicPem,
          key.publicPem.replaceAll('\n', ' '),
        ]) {
          await fill(page, '#shown', shown);
          await press(page, '#compare-button');
          await page.waitForSelector('.verdict');
          expect([shown, await verdict()]).toEqual([shown, 'The same key']);
        }
      });

      it('a fingerprint that differs in one pair, which is marked in both', async () => {
        const { page } = world;
        const first = key.fingerprint.slice(0, 2);
        const changed = (first === '00' ? '01' : '00') + key.fingerprint.slice(2);
        await choose('public.pem');
        await fill(page, '#shown', changed);
        await press(page, '#compare-button');
        await page.waitForSelector('.verdict');
        expect(await verdict()).toBe('Different keys');
        const marked = await page.$$eval('.seen mark', (marks) => marks.map((mark) => mark.textContent));
        expect(marked).toEqual([first, changed.slice(0, 2)]);
      });

      it('another public key', async () => {
        await choose('other.pem');
        await fill(world.page, '#shown', key.publicPem);
        await press(world.page, '#compare-button');
        await world.page.waitForSelector('.verdict');
        expect(await verdict()).toBe('Different keys');
        await fill(world.page, '#shown', 'aa');
        expect(await textOf(world.page, '#compare-result')).toBe('');
      });

      it('nothing: it shows the fingerprint and the public key of the file', async () => {
        await choose('pkcs8.pem');
        await press(world.page, '#compare-button');
        await waitForText(world.page, '#compare-result', /Public key/);
        expect(await textOf(world.page, '#compare-result')).toContain(key.fingerprint);
        expect(await textOf(world.page, '#compare-result pre')).toBe(key.publicPem);
      });
    });

    it('shows the message and the hint of the library for a file that is no key', async () => {
      await choose('large.bin');
      expect(await errorIn(world.page, '#compare-error')).toEqual([
        'The input is too large for a key: 65537, at most 65536.',
        'Give the file that holds the key and nothing else.',
      ]);
    });

    it('shows them for a key that Deribit does not take, and for a wrong or missing passphrase', async () => {
      const { page } = world;
      await choose('short.pem');
      await press(page, '#compare-button');
      expect((await errorIn(page, '#compare-error'))[0]).toBe('RSA 1024 bits: at least 2048.');
      await choose('encrypted.pem');
      await press(page, '#compare-button');
      expect((await errorIn(page, '#compare-error'))[0]).toMatch(/^The key is encrypted/);
      expect(await page.evaluate(() => document.activeElement?.id)).toBe('compare-file-passphrase');
      await fill(page, '#compare-file-passphrase', 'wrong');
      await press(page, '#compare-button');
      await waitForText(page, '#compare-error', /^Wrong passphrase/);
    });

    it.each([
      ['a short fingerprint', 'aa:bb:cc', /^A fingerprint has 32 hexadecimal digits; this has 6\./],
      [
        'a fingerprint of OpenSSH',
        'SHA256:uNiVztksCsDhcc0u9e8BrnKvdQaN8c9R9Gf5DTXlO8Q',
        /fingerprint of OpenSSH, not of Deribit/,
      ],
      ['other text', 'hello, this is no key at all', /^Not recognised as a key/],
    ])('refuses %s as what Deribit shows', async (_, text, message) => {
      await choose('public.pem');
      await fill(world.page, '#shown', text);
      await press(world.page, '#compare-button');
      expect((await errorIn(world.page, '#compare-error'))[0]).toMatch(message);
      expect(await world.page.$eval('#shown', (field) => field.getAttribute('aria-invalid'))).toBe('true');
    });

    it('refuses a private key as what Deribit shows, and a comparison without a file', async () => {
      const { page, folder } = world;
      await press(page, '#tab-compare');
      await press(page, '#compare-button');
      expect((await errorIn(page, '#compare-error'))[0]).toBe('No key file is chosen.');
      await choose('public.pem');
      await fill(page, '#shown', readFileSync(join(folder, 'other.pem'), 'utf8'));
      await press(page, '#compare-button');
      await waitForText(page, '#compare-error', /^This is a private key: Deribit never shows one/);
    });
  });
