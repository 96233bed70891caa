// Builds the web page: one HTML file with its style and its script inside, and a Content-Security-Policy that allows
// exactly these two, by their hashes. The same sources give the same bytes.
//
//   node src/page/build.mjs [file]      default: dist/page/deribit-keys.html
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, transform } from 'esbuild';
import { notices } from './notices.mjs';

const folder = dirname(fileURLToPath(import.meta.url));
const root = resolve(folder, '../..');
// The first versions with all that the style uses, such as `:has()` and `color-mix()`.
const target = ['chrome111', 'firefox121', 'safari16.4'];

/** In this order, in which later rules win: the last one holds those for narrow screens and for print. */
const STYLES = ['base', 'forms', 'answers', 'sheet'];

const hashOf = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** Of tweetnacl, bcrypt-pbkdf calls only SHA-512, which the page has already: a tenth of the page less. */
const sha512Once = {
  name: 'sha512-once',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^tweetnacl$/ }, ({ path }) => ({ path, namespace: 'sha512-once' }));
    onLoad({ filter: /.*/, namespace: 'sha512-once' }, () => ({
      contents: `import { sha512 } from '@noble/hashes/sha2.js';
        export const lowlevel = { crypto_hash: (out, message, length) => out.set(sha512(message.subarray(0, length))) };`,
      resolveDir: root,
    }));
  },
};

async function script() {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: [join(folder, 'main.ts')],
    outdir: root,
    write: false,
    bundle: true,
    minify: true,
    metafile: true,
    platform: 'browser',
    format: 'iife',
    target,
    charset: 'utf8',
    legalComments: 'none',
    alias: { '#engine': join(root, 'src/crypto/engine/portable.ts') },
    plugins: [sha512Once],
    logLevel: 'warning',
  });
  const code = outputFiles[0].text.trim();
  if (/<\/script|<!--/i.test(code)) throw new Error('the script holds text that would end it within HTML');
  return { code, inputs: Object.keys(metafile.inputs) };
}

async function page() {
  const [html, css, { code, inputs }, { version }] = await Promise.all([
    readFile(join(folder, 'page.html'), 'utf8'),
    Promise.all(STYLES.map((name) => readFile(join(folder, 'style', `${name}.css`), 'utf8'))),
    script(),
    readFile(join(root, 'package.json'), 'utf8').then(JSON.parse),
  ]);
  const style = (await transform(css.join('\n'), { loader: 'css', minify: true, target })).code.trim();
  const policy = [
    "default-src 'none'",
    `script-src ${hashOf(code)}`,
    `style-src ${hashOf(style)}`,
    "connect-src 'none'",
    "form-action 'none'",
    "base-uri 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ');
  const parts = {
    csp: `<meta http-equiv="Content-Security-Policy" content="${policy}">`,
    style: `<style>${style}</style>`,
    version,
    script: `<script>${code}</script>\n<!--\nThis page includes:\n\n${(await notices(inputs)).replaceAll('-->', '->')}\n-->`,
  };
  return html.replace(/<!-- (\w+) -->/g, (_, name) => {
    if (parts[name] === undefined) throw new Error(`page.html asks for an unknown part: ${name}`);
    return parts[name];
  });
}

const file = resolve(process.argv[2] ?? join(root, 'dist/page/deribit-keys.html'));
await mkdir(dirname(file), { recursive: true });
await writeFile(file, await page());
