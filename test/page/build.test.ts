import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildPage } from './support.js';

const MOST_COMPRESSED_BYTES = 150 * 1000;

const hash = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

describe('the file of the web page', () => {
  let folder: string;
  let html: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'deribit-keys-page-'));
    await buildPage(join(folder, 'page.html'));
    html = readFileSync(join(folder, 'page.html'), 'utf8');
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const between = (tag: string) =>
    [...html.matchAll(new RegExp(`<${tag}>([\\s\\S]*?)</${tag}>`, 'g'))].map(([, text]) => text ?? '');

  /** The HTML without the script, the style and comments. */
  const markup = () => html.replace(/<(script|style)>[\s\S]*?<\/\1>/g, '').replace(/<!--[\s\S]*?-->/g, '');

  it('is smaller than 150 kB compressed, with everything in it', () => {
    expect(gzipSync(html, { level: 9 }).length).toBeLessThan(MOST_COMPRESSED_BYTES);
  });

  it('has the same bytes each time that it is built', async () => {
    await buildPage(join(folder, 'again.html'));
    expect(readFileSync(join(folder, 'again.html'), 'utf8')).toBe(html);
  });

  it('allows its one script and its one style by hash, and nothing else, before either begins', () => {
    const [script, ...otherScripts] = between('script');
    const [style, ...otherStyles] = between('style');
    expect([...otherScripts, ...otherStyles]).toEqual([]);
    expect(html.match(/<script|<style/g)).toHaveLength(2);
    const policy = /<meta http-equiv="Content-Security-Policy" content="([^"]*)">/.exec(html);
    expect(policy?.[1]?.split('; ')).toEqual([
      "default-src 'none'",
      `script-src ${hash(script ?? '')}`,
      `style-src ${hash(style ?? '')}`,
      "connect-src 'none'",
      "form-action 'none'",
      "base-uri 'none'",
      "require-trusted-types-for 'script'",
      "trusted-types 'none'",
    ]);
    expect(policy?.index).toBeLessThan(html.search(/<script|<style/));
  });

  it('names no other resource, has no inline handler and no inline style', () => {
    expect(markup()).not.toMatch(/\s(src|srcset|action|ping|background)=/);
    expect(markup()).not.toMatch(/\son\w+=|\sstyle=|<(link|iframe|object|embed|base|img)\b/);
    expect([...markup().matchAll(/href="([^"]*)"/g)].map(([, address]) => address)).toEqual(['#', '#']);
    expect(between('style').join('')).not.toMatch(/url\(|@import/);
  });

  it('has no button, link or tab that the tests in browsers do not press', () => {
    const ids = [...markup().matchAll(/<(?:button|a)\b[^>]*\bid="([^"]+)"/g)].map(([, id]) => id);
    expect(ids.length).toBeGreaterThan(15);
    expect(markup().match(/<(button|a)\b/g)).toHaveLength(ids.length);
    const here = fileURLToPath(new URL('.', import.meta.url));
    const tests = readdirSync(here)
      .filter((name) => name.endsWith('.ts'))
      .map((name) => readFileSync(join(here, name), 'utf8'));
    expect(ids.filter((id) => !tests.join('').includes(`'#${id}'`))).toEqual([]);
  });

  it('keeps the licences of the packages in it', () => {
    expect(html).toMatch(/noble-ed25519|@noble\/ed25519/);
    expect(html).toContain('node-forge');
    expect(html).toMatch(/Copyright \(c\) \d{4}.* Digital Bazaar/);
  });
});
