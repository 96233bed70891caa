import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'puppeteer-core';
import { describe, expect, it } from 'vitest';
import { chooseFile, createKey, errorIn, fill, press, savedFile, textOf, type World, waitForText } from './support.js';

/** The output of openssl, which must succeed. */
function openssl(args: readonly string[], input = ''): Buffer {
  const { status, stdout, stderr } = spawnSync('openssl', args, { input });
  expect({ status, stderr: status === 0 ? '' : stderr.toString() }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

/** Deribit's fingerprint, by openssl: MD5 over the DER of the public key. */
function opensslFingerprint(publicDer: Buffer): string {
  return createHash('md5')
    .update(publicDer)
    .digest('hex')
    .replace(/..(?=.)/g, '$&:');
}

/**
 * Counts the frames that the browser draws while the page creates a key. The derivation, which is what takes time, ends no
 * sooner than three frames later, however fast the machine is: a page that derives on its own thread draws none meanwhile.
 */
function countFrames(page: Page): Promise<void> {
  return page.evaluate(() => {
    const button = document.querySelector('#create-button');
    const frames = { whileBusy: 0 };
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    const drawn = () => {
      if (button?.getAttribute('aria-busy') === 'true') frames.whileBusy++;
      requestAnimationFrame(drawn);
    };
    requestAnimationFrame(drawn);
    const { subtle } = crypto;
    const derive = subtle.deriveBits.bind(subtle);
    subtle.deriveBits = async (...args) => {
      const bits = await derive(...args);
      for (let more = 0; more < 3; more++) await frame();
      return bits;
    };
    Object.assign(window, { frames });
  });
}

function framesWhileBusy(page: Page): Promise<number> {
  return page.evaluate(() => (window as unknown as { frames: { whileBusy: number } }).frames.whileBusy);
}

/** The tests of the form that creates a key. */
export const creating = (world: World) =>
  describe('creating a key', () => {
    // one browser proves the longer keys
    const sizes = [
      ['ed25519', 256, /ED25519/],
      ['rsa', 2048, /2048 bit/],
      ['rsa', 3072, /3072 bit/],
      ['rsa', 4096, /4096 bit/],
    ] as const;
    it.each(world.name === 'Chromium' ? sizes : sizes.slice(0, 2))(
      'does not freeze the page, and saves an encrypted key that openssl opens: %s, %s bits',
      async (type, bits, described) => {
        const { page, folder } = world;
        const name = `${type}-${bits}`;
        await fill(page, '#name', name);
        expect(await textOf(page, '#name-hint')).toContain(`${name}.pem`);
        await countFrames(page);
        const passphrase = await createKey(page, type, type === 'rsa' ? bits : undefined);
        expect(await framesWhileBusy(page)).toBeGreaterThan(2);
        expect(await page.evaluate(() => document.activeElement?.id)).toBe('sheet-title');
        await press(page, '#save-private');
        const file = join(folder, `${name}.pem`);
        const pem = await savedFile(file);

        expect(pem).toMatch(/^-----BEGIN ENCRYPTED PRIVATE KEY-----\n/);
        const layout = openssl(['asn1parse', '-in', file]).toString();
        expect(layout).toMatch(/PBES2[\s\S]*PBKDF2[\s\S]*INTEGER\s+:0927C0[\s\S]*hmacWithSHA256[\s\S]*aes-256-cbc/);
        const opened = ['pkey', '-in', file, '-passin', `pass:${passphrase}`];
        expect(openssl([...opened, '-noout', '-text', '-check']).toString()).toMatch(described);
        expect(openssl([...opened, '-pubout']).toString()).toBe(await textOf(page, '#public-key'));
        expect(await textOf(page, '#fingerprint')).toBe(
          opensslFingerprint(openssl([...opened, '-pubout', '-outform', 'DER'])),
        );

        await press(page, '#save-public');
        expect(await savedFile(join(folder, `${name}.pub.pem`))).toBe(await textOf(page, '#public-key'));
        await press(page, '#check-saved');
        await chooseFile(page, 'compare-file', file);
        await fill(page, '#compare-file-passphrase', passphrase);
        await press(page, '#compare-button');
        await waitForText(page, '#compare-result', /^The same key/);
        expect(world.requests).toEqual([]);
      },
    );

    it('copies the public key and the fingerprint', async () => {
      const { page } = world;
      await createKey(page);
      const shown = await Promise.all([textOf(page, '#public-key'), textOf(page, '#fingerprint')]);
      const pasted: string[] = [];
      for (const button of ['#copy-public', '#copy-fingerprint']) {
        await press(page, '#tab-create');
        await press(page, button);
        await waitForText(page, button, /^Copied$/);
        await press(page, '#tab-compare');
        await fill(page, '#shown', '');
        await page.focus('#shown');
        await page.keyboard.down('Control');
        await page.keyboard.press('KeyV');
        await page.keyboard.up('Control');
        pasted.push(await page.$eval('#shown', (field) => (field as HTMLTextAreaElement).value));
      }
      expect(pasted).toEqual(shown);
    });

    it('can be done with the keyboard only', async () => {
      const { page, folder } = world;
      const tabTo = async (id: string) => {
        for (let presses = 0; presses < 30; presses++) {
          if ((await page.evaluate(() => document.activeElement?.id)) === id) return;
          await page.keyboard.press('Tab');
        }
        throw new Error(`the focus never reached ${id}`);
      };
      await tabTo('tab-create');
      await page.keyboard.press('ArrowRight');
      await page.keyboard.press('End');
      expect(await page.evaluate(() => document.activeElement?.id)).toBe('tab-sign');
      await page.keyboard.press('ArrowRight');
      expect(await page.$eval('#create', (tab) => (tab as HTMLElement).hidden)).toBe(false);
      await tabTo('passphrase');
      await page.keyboard.type('correct horse battery staple');
      await tabTo('repeat');
      await page.keyboard.type('correct horse battery staple');
      await page.keyboard.press('Enter');
      await page.waitForSelector('#sheet:not([hidden])');
      await tabTo('save-private');
      await page.keyboard.press('Enter');
      expect(await savedFile(join(folder, 'deribit-key.pem'))).toContain('ENCRYPTED PRIVATE KEY');
      writeFileSync(join(folder, 'passphrase'), 'correct horse battery staple');
      const args = [
        'pkey',
        '-in',
        join(folder, 'deribit-key.pem'),
        '-passin',
        `file:${join(folder, 'passphrase')}`,
        '-pubout',
      ];
      expect(openssl(args).toString()).toBe(await textOf(page, '#public-key'));
      expect(readFileSync(join(folder, 'deribit-key.pem')).length).toBeGreaterThan(300);
    });

    // the rest depends on the page's own code only: one browser proves it
    if (world.name === 'Firefox') return;

    it('saves without encryption only after a second choice', async () => {
      const { page, folder } = world;
      await fill(page, '#name', 'open');
      await press(page, '#unencrypted');
      await press(page, '#create-button');
      expect(await errorIn(page, '#create-error')).toEqual([
        'The key would be saved without encryption.',
        'Tick the box to confirm it, or use a passphrase.',
      ]);
      await press(page, '#encrypted');
      expect(await page.$eval('#passphrase-fields', (fields) => (fields as HTMLElement).hidden)).toBe(false);
      await press(page, '#unencrypted');
      expect(await page.$eval('#unencrypted-sure', (box) => (box as HTMLInputElement).checked)).toBe(false);
      await press(page, '#unencrypted-sure');
      await press(page, '#create-button');
      await page.waitForSelector('#sheet:not([hidden])');
      expect(await textOf(page, '#sheet-protection')).toMatch(/^Not encrypted/);
      await press(page, '#save-private');
      expect(await savedFile(join(folder, 'open.pem'))).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
      expect(openssl(['pkey', '-in', join(folder, 'open.pem'), '-pubout']).toString()).toBe(
        await textOf(page, '#public-key'),
      );
    });

    it.each([
      ['an empty passphrase', { name: 'bot', passphrase: '', repeat: '' }, /^The passphrase is empty/, 'passphrase'],
      [
        'two passphrases that differ',
        { name: 'bot', passphrase: 'one', repeat: 'two' },
        /^The two passphrases differ/,
        'repeat',
      ],
      [
        'a name with a space',
        { name: 'my bot', passphrase: 'one', repeat: 'one' },
        /cannot be the name of a key/,
        'name',
      ],
      [
        'a name with a folder',
        { name: '../bot', passphrase: 'one', repeat: 'one' },
        /cannot be the name of a key/,
        'name',
      ],
      [
        'a name that ends in .pem',
        { name: 'bot.pem', passphrase: 'one', repeat: 'one' },
        /cannot be the name of a key/,
        'name',
      ],
    ])('refuses %s, and moves the focus there', async (_, values, message, focused) => {
      const { page } = world;
      for (const [id, value] of Object.entries(values)) await fill(page, `#${id}`, value);
      await press(page, '#create-button');
      expect((await errorIn(page, '#create-error'))[0]).toMatch(message);
      expect(await page.evaluate(() => document.activeElement?.id)).toBe(focused);
      expect(await page.$eval(`#${focused}`, (field) => field.getAttribute('aria-invalid'))).toBe('true');
      await page.type(`#${focused}`, 'x');
      expect(await page.$eval('#create-error', (box) => (box as HTMLElement).hidden)).toBe(true);
    });

    it('rates the passphrase while it is typed, and shows it on demand', async () => {
      const { page } = world;
      await page.type('#passphrase', 'password');
      expect(await textOf(page, '#strength')).toMatch(/^Weak/);
      await page.type('#passphrase', ' lantern orbit staple battery quartz seven harbour');
      expect(await textOf(page, '#strength')).toBe('Strong');
      await press(page, '#reveal');
      expect(await page.$eval('#passphrase', (field) => (field as HTMLInputElement).type)).toBe('text');
      await press(page, '#reveal');
      expect(await page.$eval('#passphrase', (field) => (field as HTMLInputElement).type)).toBe('password');
    });

    it('says what to do on the page of Deribit and on the command line, and opens the other tab', async () => {
      const { page } = world;
      await fill(page, '#name', 'maker-1');
      await createKey(page);
      expect(await textOf(page, '#sheet')).toMatch(
        /Account › API › Add new key[\s\S]*Self-generated key[\s\S]*client secret/,
      );
      expect(await textOf(page, '#commands')).toBe(
        'deribit-keys import maker-1 maker-1.pem\nderibit-keys link maker-1 --client-id <client ID>',
      );
      await press(page, '#compare-this');
      expect(await page.$eval('#compare', (tab) => (tab as HTMLElement).hidden)).toBe(false);
    });

    it('forgets the key and its passphrase when another one is created', async () => {
      const { page } = world;
      const passphrase = await createKey(page);
      const first = await textOf(page, '#public-key');
      await page.evaluate(() => Object.assign(window, { print: () => Object.assign(window, { printed: true }) }));
      await press(page, '#print');
      expect(await page.evaluate(() => 'printed' in window)).toBe(true);
      await press(page, '#again');
      expect(await page.$eval('#passphrase', (field) => (field as HTMLInputElement).value)).toBe('');
      expect(await page.content()).not.toContain(passphrase);
      expect(await page.$eval('#save-private', (link) => link.getAttribute('href'))).toBe('#');
      expect(await createKey(page)).not.toBe(passphrase);
      expect(await textOf(page, '#public-key')).not.toBe(first);
    });
  });
