// Bundles the program, after `tsc`, so that it starts quickly: rollup puts the modules together that are used together,
// and esbuild minifies each of these chunks and makes one of commander and one of what backups need. All are CommonJS, which
// Node.js loads sooner. The other packages are loaded by the commands that use them.
import { chmodSync, readdirSync, readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { build, transform } from 'esbuild';
import { rollup } from 'rollup';
import { notices } from './src/page/notices.mjs';

const { dependencies, imports } = JSON.parse(readFileSync('package.json', 'utf8'));
const OUT = join('dist', 'bin');

/** Packages that are bundled: to the file that each lies in. */
const BUNDLED = { commander: 'commander', 'age-encryption': 'backup-format', nanotar: 'backup-format' };
/** What these files export. */
const CONTENTS = {
  commander: "export * from 'commander';",
  'backup-format':
    "export { Decrypter, Encrypter, Stanza } from 'age-encryption'; export { createTar, parseTar } from 'nanotar';",
};

/**
 * Modules that the bundled packages load and that never run here: commander starts subcommands that are programs of their
 * own, which none of ours is; age encrypts to public keys, and backups are encrypted to a passphrase.
 */
const unused = {
  name: 'unused',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(node:child_process|@noble\/curves\/.+|@noble\/post-quantum\/.+)$/ }, () => ({
      path: 'unused',
      namespace: 'unused',
    }));
    onLoad({ filter: /.*/, namespace: 'unused' }, () => ({ contents: 'module.exports = {};' }));
  },
};

/** The entry points of the bundled packages. */
const contents = {
  name: 'contents',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /.*/ }, ({ path, kind }) =>
      kind === 'entry-point' ? { path, namespace: 'contents' } : undefined,
    );
    onLoad({ filter: /.*/, namespace: 'contents' }, ({ path }) => ({ contents: CONTENTS[path], resolveDir: '.' }));
  },
};

/** What rollup does not know: what package.json's `imports` choose for Node.js, and where a module lies. */
const asNode = {
  name: 'as-node',
  resolveId: (id) => (id in imports ? resolve(imports[id].node) : null),
  // `import()` would start the loader of ES modules for it
  renderDynamicImport: ({ targetModuleId }) =>
    targetModuleId in BUNDLED ? { left: 'Promise.resolve(require(', right: '))' } : null,
  resolveImportMeta: (property) => (property === 'dirname' ? '__dirname' : null),
};

/** The files of the kinds of signers. */
const KINDS = readdirSync('dist/signers', { recursive: true })
  .filter((file) => /-kind\.js$/.test(file))
  .map((file) => `signers/${file.replaceAll('\\', '/').slice(0, -'.js'.length)}`);

/** Modules that most calls name but few call: changes of the keystore, keys that are no files, the readers of DER, JSON-RPC, words. */
const RARE = {
  changes: ['keystore/transaction', 'keystore/lock', 'keystore/steps', 'keystore/holder', 'keystore/audit-log'],
  kinds: ['signers/kinds', ...KINDS],
  der: ['crypto/asn1/der', 'crypto/asn1/key-der', 'crypto/rsa-checks'],
  rpc: ['deribit/clock', 'deribit/endpoints', 'deribit/json-rpc', 'deribit/rpc-codes', 'deribit/shapes'],
  text: ['util/text'],
};

/**
 * Loads the rare chunks and these parts of Node.js when they are used. rollup writes each use as a property of the loaded
 * module, and none of our modules does anything when it is loaded.
 */
const lazyRequire = {
  name: 'lazy-require',
  renderChunk: (code) =>
    code.replace(
      new RegExp(
        `^var ([\\w$]+) = require\\('(node:(?:fs/promises|timers/promises|crypto|os|util)|\\./(?:${Object.keys(RARE).join('|')})\\.cjs)'\\);$`,
        'gm',
      ),
      "var $1 = new Proxy({}, { get: (_, name) => require('$2')[name] });",
    ),
};

/** Every module that runs when `entry` is loaded. */
function loadedBy(entry, { getModuleInfo }, found = new Set()) {
  if (found.has(entry)) return found;
  found.add(entry);
  for (const id of getModuleInfo(entry)?.importedIds ?? []) loadedBy(id, { getModuleInfo }, found);
  return found;
}

/** What `sign` loads, which bots run at each login, for a key that is not encrypted. */
const SIGN = ['cli/commands/sign.js', 'deribit/auth-params.js', 'keystore/open-key.js', 'crypto/signer.js'];

/** Besides the rare ones, two chunks are made by hand: what every command loads, and `sign`. rollup makes the others; the entry and `base` are what `--version` loads. */
function chunkOf(id, api) {
  const isLoadedBy = (name) => loadedBy(resolve('dist', name), api).has(id);
  if (id === resolve('dist/cli/main.js')) return null;
  if (isLoadedBy('cli/main.js')) return 'base';
  const name = relative(resolve('dist'), id).replaceAll('\\', '/');
  const rare = Object.entries(RARE).find(([, modules]) => modules.some((module) => name === `${module}.js`));
  if (rare !== undefined) return rare[0];
  if (isLoadedBy('cli/process.js')) return 'core';
  return SIGN.some(isLoadedBy) ? 'sign' : null;
}

const bundle = await rollup({
  input: { 'deribit-keys': 'dist/cli/main.js' },
  external: (id) =>
    id.startsWith('node:') ||
    // the package holds the sandbox already
    id.endsWith('/sandbox/index.js') ||
    id in BUNDLED ||
    Object.keys(dependencies).some((name) => id === name || id.startsWith(`${name}/`)),
  plugins: [asNode, lazyRequire],
  onwarn({ code, message }) {
    if (code !== 'UNRESOLVED_IMPORT' && code !== 'CIRCULAR_CHUNK') process.stderr.write(`${message}\n`);
  },
});
const { output } = await bundle.generate({
  format: 'cjs',
  interop: 'auto',
  entryFileNames: '[name].cjs',
  chunkFileNames: '[name].cjs',
  paths: (id) =>
    id in BUNDLED ? `./${BUNDLED[id]}.cjs` : id.endsWith('/sandbox/index.js') ? '../sandbox/index.js' : id,
  manualChunks: chunkOf,
  minifyInternalExports: true,
  // else each chunk would load what its lazy chunks need
  hoistTransitiveImports: false,
});
await bundle.close();
await rm(OUT, { recursive: true, force: true });
const options = {
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  minify: true,
  lineLimit: 700,
  logLevel: 'warning',
};
const { metafile } = await build({
  ...options,
  entryPoints: Object.keys(CONTENTS),
  outdir: OUT,
  outExtension: { '.js': '.cjs' },
  bundle: true,
  metafile: true,
  legalComments: 'none',
  plugins: [contents, unused],
});
await writeFile(join(OUT, 'THIRD-PARTY-NOTICES.txt'), `${await notices(Object.keys(metafile.inputs))}\n`);
for (const { fileName, code } of output) {
  const { code: minified } = await transform(code, options);
  await writeFile(join(OUT, fileName), minified);
}
chmodSync(join(OUT, 'deribit-keys.cjs'), 0o755);
