import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import puppeteer, { type Browser, type ElementHandle, type Page } from 'puppeteer-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, vi } from 'vitest';
import { runProcess } from '../support/program.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** How long a step in a browser may take on a busy machine. */
export const WAIT_MS = 60_000;
/** How often a browser looks for what a test waits for: with each frame, which is the default, it would draw them all. */
const POLL_MS = 50;

function executable(...names: readonly string[]): string | null {
  const paths = (process.env.PATH ?? '').split(delimiter).flatMap((folder) => names.map((name) => join(folder, name)));
  return (
    paths.find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    }) ?? null
  );
}

const BROWSERS = {
  Chromium: executable('chromium', 'chromium-browser', 'google-chrome'),
  Firefox: executable('firefox-esr', 'firefox'),
};
export type BrowserName = keyof typeof BROWSERS;

/** Runs as root too, without the traffic of the browser's own services. */
const CHROMIUM_FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // a name that is not a secure context, unlike localhost
  '--host-resolver-rules=MAP page.test 127.0.0.1',
];

async function launch(name: BrowserName, executablePath: string, downloads: string): Promise<Browser> {
  return puppeteer.launch({
    browser: name === 'Chromium' ? 'chrome' : 'firefox',
    executablePath,
    headless: true,
    timeout: WAIT_MS,
    protocolTimeout: 2 * WAIT_MS,
    ...(name === 'Chromium'
      ? { args: CHROMIUM_FLAGS, downloadBehavior: { policy: 'allow', downloadPath: downloads } }
      : {
          extraPrefsFirefox: {
            'browser.download.folderList': 2,
            'browser.download.dir': downloads,
            // frames cost the processor much, and nobody looks at them
            'layout.frame_rate': 10,
          },
        }),
  });
}

/** Writes the page into `file` as the build does. */
export async function buildPage(file: string): Promise<void> {
  const { exitCode, stderr } = await runProcess(process.execPath, [join(root, 'src/page/build.mjs'), file]);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
}

/** A page of one browser, open on the file that the build makes; loaded anew for each test, in the same tab. */
export interface World {
  readonly name: BrowserName;
  /** A folder for the files of a test; the browser saves there, too. */
  readonly folder: string;
  /** The HTML file. */
  readonly file: string;
  readonly page: Page;
  /** Everything that the page asked the network for, but the file itself. */
  readonly requests: readonly string[];
  /** Lets the next test begin in a new tab: called by tests that change more than the page. */
  readonly closeTab: () => Promise<void>;
}

/** Declares tests that share one browser, where it is installed; says so where it is not. */
export function inBrowser(name: BrowserName, body: (world: World) => void): void {
  const path = BROWSERS[name];
  if (path === null) process.stderr.write(`skipped, the page in ${name}: it is not installed\n`);
  describe.skipIf(path === null)(`in ${name}`, () => body(worldOf(name, path ?? '')));
}

function worldOf(name: BrowserName, path: string): World {
  let folder = '';
  let browser: Browser | undefined;
  let page: Page | undefined;
  const requests: string[] = [];
  const world: World = {
    name,
    requests,
    get folder() {
      return folder;
    },
    get file() {
      return join(folder, 'deribit-keys.html');
    },
    get page() {
      if (page === undefined) throw new Error('no page is open');
      return page;
    },
    async closeTab() {
      await page?.close();
      page = undefined;
    },
  };
  const address = () => pathToFileURL(world.file).href;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'deribit-keys-page-'));
    await buildPage(world.file);
    browser = await launch(name, path, folder);
  }, 2 * WAIT_MS);
  const openTab = async () => {
    page = await browser?.newPage();
    world.page.setDefaultTimeout(WAIT_MS);
    world.page.on('dialog', (dialog) => void dialog.accept());
    world.page.on('request', (request) => {
      // a blob is a file that the user saves; Firefox draws the dots of a password in a font of its own, from a data: URL
      if (request.url() !== address() && !/^(blob|data):/.test(request.url())) requests.push(request.url());
    });
  };
  beforeEach(async () => {
    if (page === undefined) await openTab();
    await world.page.goto(address());
  }, 2 * WAIT_MS);
  afterEach(() => {
    requests.length = 0;
  });
  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return world;
}

/** The text of the element that `selector` finds. */
export function textOf(page: Page, selector: string): Promise<string> {
  return page.$eval(selector, (element) => element.textContent ?? '');
}

/** Waits until the text of an element matches. */
export async function waitForText(page: Page, selector: string, pattern: RegExp): Promise<void> {
  await page.waitForFunction(
    (where, source) => new RegExp(source).test(document.querySelector(where)?.textContent ?? ''),
    { polling: POLL_MS },
    selector,
    pattern.source,
  );
}

/** Types `text` into a field in place of what is there. */
export async function fill(page: Page, selector: string, text: string): Promise<void> {
  const field = await page.waitForSelector(selector, { visible: true });
  await field?.evaluate((element, typed) => {
    (element as HTMLInputElement).focus();
    (element as HTMLInputElement).select();
    // as a user's own input, which the page hears of
    document.execCommand(typed === '' ? 'delete' : 'insertText', false, typed);
  }, text);
}

/** Clicks what `selector` finds, once it is there to be clicked. */
export async function press(page: Page, selector: string): Promise<void> {
  const element = await page.waitForSelector(`${selector}:not(:disabled)`, { visible: true });
  await element?.click();
}

/** Chooses a file in one of the fields for key files, and waits until it was read. */
export async function chooseFile(page: Page, field: 'compare-file' | 'sign-file', path: string): Promise<void> {
  const input = await page.$(`#${field}-input`);
  await (input as ElementHandle<HTMLInputElement>).uploadFile(path);
  await page.waitForFunction(
    (where, name) =>
      document.querySelector(`#${where}-text`)?.textContent === name &&
      document.querySelector(`#${where}-note`)?.textContent !== 'Reading…',
    { polling: POLL_MS },
    field,
    basename(path),
  );
}

/** The message and the hint in a box for errors, once they are shown. */
export async function errorIn(page: Page, selector: string): Promise<readonly string[]> {
  await page.waitForSelector(`${selector}:not([hidden]) strong`);
  return page.$$eval(`${selector} > *`, (parts) => parts.map((part) => part.textContent ?? ''));
}

/** The content of a file that the browser saves, once it is complete. */
export async function savedFile(path: string): Promise<string> {
  return vi.waitFor(
    () => {
      const text = readFileSync(path, 'utf8');
      expect(text).toMatch(/-----\n$/);
      return text;
    },
    { timeout: WAIT_MS },
  );
}

/** Fills the form with a suggested passphrase, which is returned, and creates the key. */
export async function createKey(page: Page, type: 'ed25519' | 'rsa' = 'ed25519', bits?: number): Promise<string> {
  await press(page, `[name=type][value=${type}]`);
  if (bits !== undefined) await page.select('#bits', String(bits));
  await press(page, '#suggest');
  const passphrase = await page.$eval('#passphrase', (field) => (field as HTMLInputElement).value);
  await press(page, '#create-button');
  await page.waitForSelector('#sheet:not([hidden])');
  return passphrase;
}
