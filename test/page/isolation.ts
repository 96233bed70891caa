import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import axe, { type AxeResults } from 'axe-core';
import type { Page } from 'puppeteer-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { chooseFile, createKey, errorIn, fill, press, type World } from './support.js';

const ALL_RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const COLOURS = ['color-contrast'];

/** What axe finds wrong by rules or tags of rules, as `rule: element`. */
async function violations(page: Page, rules: readonly string[]): Promise<readonly string[]> {
  // the driver evaluates it apart from the page's policy, which lets no such script in
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axe.source);
  const results = await page.evaluate(
    (tags) =>
      (window as unknown as { axe: typeof axe }).axe.run(document, { runOnly: [...tags] }) as Promise<AxeResults>,
    rules,
  );
  expect(results.passes.length).toBeGreaterThan(rules === ALL_RULES ? 20 : 0);
  return results.violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}

/** Everything that a user sees, one state after another. */
async function everyState(page: Page, folder: string, look: (state: string) => Promise<void>): Promise<void> {
  await press(page, '.promise summary');
  await press(page, '[name=type][value=rsa]');
  await page.type('#passphrase', 'password');
  await press(page, '#create-button');
  await errorIn(page, '#create-error');
  await look('the form with an error');
  await press(page, '#unencrypted');
  await look('the choice to go without encryption');
  await press(page, '#encrypted');
  await createKey(page);
  await look('the sheet of a new key');
  writeFileSync(join(folder, 'key.pem'), await page.$eval('#public-key', (key) => key.textContent ?? ''));
  await press(page, '#tab-compare');
  await look('an empty comparison');
  await chooseFile(page, 'compare-file', join(folder, 'key.pem'));
  await fill(page, '#shown', '00'.repeat(16));
  await press(page, '#compare-button');
  await page.waitForSelector('.verdict');
  await look('a comparison that fails');
  await press(page, '#tab-sign');
  await press(page, '.options summary');
  await press(page, '#sign-button');
  await errorIn(page, '#sign-error');
  await look('the form for a signature');
}

/** The tests of what the page keeps apart from: the network, the disk, and what is written into its file. */
export const isolation = (world: World) =>
  describe('the page', () => {
    beforeAll(() => world.closeTab());
    afterEach(() => world.closeTab());

    it('asks the network for nothing, stores nothing, has no fault that axe finds and fits 320 pixels in any state', async () => {
      const { page, folder, name } = world;
      // axe judges the page's own elements and colours: one browser proves it
      const schemes = name === 'Chromium' ? (['light', 'dark'] as const) : [];
      await everyState(page, folder, async (state) => {
        for (const scheme of schemes) {
          await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
          const faults = await violations(page, scheme === 'light' ? ALL_RULES : COLOURS);
          expect({ state, scheme, faults }).toEqual({ state, scheme, faults: [] });
        }
        await page.setViewport({ width: 320, height: 640 });
        const beyond = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        expect({ state, beyond }).toEqual({ state, beyond: 0 });
        await page.setViewport({ width: 800, height: 600 });
      });
      expect(world.requests).toEqual([]);
      expect(await page.evaluate(() => performance.getEntriesByType('resource').map((entry) => entry.name))).toEqual(
        [],
      );
      const stored = await page.evaluate(async () => ({
        local: localStorage.length,
        session: sessionStorage.length,
        cookies: document.cookie,
        databases: (await indexedDB.databases()).length,
      }));
      expect(stored).toEqual({ local: 0, session: 0, cookies: '', databases: 0 });
    });

    it.skipIf(world.name === 'Firefox')('prints the public part of a new key and nothing to click', async () => {
      const { page } = world;
      await createKey(page);
      await page.emulateMediaType('print');
      const text = await page.evaluate(() => document.body.innerText);
      expect(text).toContain(await page.$eval('#public-key', (key) => (key.textContent ?? '').trim()));
      expect(text).toContain(await page.$eval('#fingerprint', (print) => print.textContent ?? ''));
      expect(text).toMatch(/API key for Deribit[\s\S]*Client ID:[\s\S]*holds no secret/);
      const clickable = await page.$$eval(
        'button, a, input',
        (all) => all.filter((one) => one.checkVisibility()).length,
      );
      expect(clickable).toBe(0);
    });

    describe('under its policy', () => {
      let server: Server;
      let url: string;
      const reached: string[] = [];
      beforeAll(async () => {
        server = createServer((request, response) => {
          reached.push(`${request.method} ${request.url}`);
          response.setHeader('access-control-allow-origin', '*');
          if (request.url !== '/page') response.end('document.title = "reached"');
          else response.setHeader('content-type', 'text/html').end(readFileSync(world.file));
        });
        server.on('upgrade', (request, socket) => {
          reached.push(`upgrade ${request.url}`);
          socket.destroy();
        });
        await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
        url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      });
      beforeEach(() => {
        reached.length = 0;
      });
      afterAll(() => server.close());

      it('says so when it came from a web server, and asks that server for nothing more', async () => {
        const { page } = world;
        expect(await page.$eval('#served', (notice) => notice.checkVisibility())).toBe(false);
        await page.goto(`${url}/page`);
        expect(await page.$eval('#served', (notice) => notice.checkVisibility())).toBe(true);
        await createKey(page);
        expect(reached).toEqual(['GET /page']);
      });

      // Firefox has no flag for a name of a test's own
      it.skipIf(world.name === 'Firefox')(
        'names what is missing where the browser offers no cryptography',
        async () => {
          const { page } = world;
          await page.goto(`${url.replace('127.0.0.1', 'page.test')}/page`);
          await press(page, '#suggest');
          await press(page, '#create-button');
          expect(await errorIn(page, '#create-error')).toEqual([
            'WebCrypto (crypto.subtle) is not available: this page is not a secure context.',
            'Open the page over https:, from localhost, or as a file on this computer.',
          ]);
        },
      );

      it('runs and loads nothing that was written into the file, which would all run without it', async () => {
        const { page } = world;
        const injected = `<script>document.title = 'inline'; fetch('${url}/inline')</script>
        <script src="${url}/script"></script>
        <img src="${url}/image" onerror="document.title = 'handler'">
        <link rel="stylesheet" href="${url}/style"><link rel="prefetch" href="${url}/prefetch"><link rel="preload" as="fetch" href="${url}/preload">
        <style>body { background: url(${url}/background) }</style>
        <div style="background-image: url(${url}/attribute)">x</div>
        <iframe src="${url}/frame"></iframe><object data="${url}/object"></object><video src="${url}/video"></video>
        <base href="${url}/base/"><body onload="document.title = 'onload'">`;
        const file = join(world.folder, 'injected.html');
        const html = readFileSync(world.file, 'utf8').replace('<footer', () => `${injected}<footer`);

        writeFileSync(file, html.replace(/<meta http-equiv[^>]*>/, '').replaceAll(url, `${url}/without`));
        await page.goto(pathToFileURL(file).href);
        expect(await page.title()).not.toBe('deribit-keys: offline key page');
        expect(reached).toEqual(
          expect.arrayContaining(['script', 'image', 'style', 'frame'].map((name) => `GET /without/${name}`)),
        );

        writeFileSync(file, html);
        await page.goto(pathToFileURL(file).href);
        await createKey(page);
        expect(await page.title()).toBe('deribit-keys: offline key page');
        expect(await page.evaluate(() => document.baseURI)).toBe(pathToFileURL(file).href);
        expect(reached.filter((request) => !request.includes('/without/'))).toEqual([]);
      });

      it('lets no script send anything, even one that got in', async () => {
        const { page } = world;
        const outcome = await page.evaluate(async (address) => {
          const failed = (work: () => unknown) =>
            Promise.resolve()
              .then(work)
              .then(
                () => 'done',
                () => 'failed',
              );
          const ends = (target: EventTarget) =>
            new Promise((resolve, reject) => {
              target.addEventListener('load', resolve);
              target.addEventListener('open', resolve);
              target.addEventListener('message', resolve);
              target.addEventListener('error', reject);
            });
          const add = (tag: string, attributes: Readonly<Record<string, string>>) => {
            const element = document.createElement(tag);
            const end = ends(element);
            for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
            document.body.append(element);
            return end;
          };
          // a browser may block these two without a word: what counts is that nothing arrives
          await failed(() => navigator.sendBeacon(`${address}/beacon`, 'x'));
          const form = document.createElement('form');
          form.action = `${address}/form`;
          form.method = 'post';
          document.body.append(form);
          await failed(() => form.submit());
          const code = `fetch('${address}/worker')`;
          return {
            fetch: await failed(() => fetch(`${address}/fetch`)),
            image: await failed(() => add('img', { src: `${address}/image` })),
            style: await failed(() => add('link', { rel: 'stylesheet', href: `${address}/style` })),
            socket: await failed(() => ends(new WebSocket(`${address.replace('http', 'ws')}/socket`))),
            events: await failed(() => ends(new EventSource(`${address}/events`))),
            xhr: await failed(() => {
              const request = new XMLHttpRequest();
              request.open('GET', `${address}/xhr`);
              const end = ends(request);
              request.send();
              return end;
            }),
            worker: await failed(() => ends(new Worker(URL.createObjectURL(new Blob([code]))))),
            eval: await failed(() => new Function('return 1')()),
            script: await failed(() => add('script', { src: `${address}/script` })),
            inline: await failed(() => {
              const script = document.createElement('script');
              script.textContent = 'document.title = "inline"';
              document.body.append(script);
              if (document.title !== 'inline') throw new Error('it did not run');
            }),
          };
        }, url);
        expect(new Set(Object.values(outcome))).toEqual(new Set(['failed']));
        expect(await page.title()).toBe('deribit-keys: offline key page');
        expect(page.url()).toBe(pathToFileURL(world.file).href);
        expect(reached).toEqual([]);
      });
    });
  });
