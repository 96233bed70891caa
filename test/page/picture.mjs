// Takes the picture of the web page that the README shows: npm run pictures
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import puppeteer from 'puppeteer-core';

const root = fileURLToPath(new URL('../..', import.meta.url));
const picture = join(root, '.github/assets/page.png');
const folder = mkdtempSync(join(tmpdir(), 'deribit-keys-picture-'));
const file = join(folder, 'deribit-keys.html');
execFileSync(process.execPath, [join(root, 'src/page/build.mjs'), file]);

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-sync'],
});
try {
  const page = await browser.newPage();
  await page.setViewport({ width: 840, height: 1000, deviceScaleFactor: 1.5 });
  await page.goto(pathToFileURL(file).href);
  for (const id of ['passphrase', 'repeat']) await page.type(`#${id}`, 'seven lanterns orbit a quartz harbour');
  await page.evaluate(() => document.activeElement.blur());
  mkdirSync(join(root, '.github/assets'), { recursive: true });
  await page.screenshot({ path: picture, fullPage: true });
} finally {
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}
