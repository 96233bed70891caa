// Bundles the program, after `tsc`, so that it starts quickly: rollup puts the modules together that are used together,
// and esbuild minifies each of these chunks and makes one of commander. All are CommonJS, which Node.js loads sooner.
// The other packages are loaded by the commands that use them.
import { chmodSync, readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { build, transform } from 'esbuild';
import { rollup } from 'rollup';

const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'));
const OUT = join('dist', 'bin');

/** commander loads this for subcommands that are programs of their own; it is slow to load, and none of ours is one. */
const lazyChildProcess = {
  name: 'lazy-child-process',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:child_process$/ }, () => ({ path: 'child-process', namespace: 'lazy' }));
    onLoad({ filter: /.*/, namespace: 'lazy' }, () => ({
      contents: "exports.spawn = (...words) => require('node:child_process').spawn(...words);",
    }));
  },
};

/** What rollup does not know: the engine that package.json's `imports` chooses, and where a module lies. */
const asNode = {
  name: 'as-node',
  resolveId: (id) => (id === '#engine' ? resolve('dist/crypto/engine/native.js') : null),
  // `import()` would start the loader of ES modules for it
  renderDynamicImport: ({ targetModuleId }) =>
    targetModuleId === 'commander' ? { left: 'Promise.resolve(require(', right: '))' } : null,
  resolveImportMeta: (property) => (property === 'dirname' ? '__dirname' : null),
};

/**
 * Loads these parts of Node.js when they are used: a command that reads a file needs no more than `node:fs`. rollup writes
 * each use as a property of the loaded module.
 */
const lazyBuiltins = {
  name: 'lazy-builtins',
  renderChunk: (code) =>
    code.replace(
      /^var (\w+) = require\('(node:(?:fs\/promises|crypto|os))'\);$/gm,
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

/** Three chunks are made by hand: what `--version` loads, what every command loads, and `sign`. rollup makes the others. */
function chunkOf(id, api) {
  const isLoadedBy = (name) => loadedBy(resolve('dist', name), api).has(id);
  if (id === resolve('dist/cli/main.js')) return null;
  if (isLoadedBy('cli/main.js')) return 'base';
  if (isLoadedBy('cli/run.js')) return 'core';
  return SIGN.some(isLoadedBy) ? 'sign' : null;
}

const bundle = await rollup({
  input: { 'deribit-keys': 'dist/cli/main.js' },
  external: (id) =>
    id.startsWith('node:') || Object.keys(dependencies).some((name) => id === name || id.startsWith(`${name}/`)),
  plugins: [asNode, lazyBuiltins],
  onwarn({ code, message }) {
    if (code !== 'UNRESOLVED_IMPORT') process.stderr.write(`${message}\n`);
  },
});
const { output } = await bundle.generate({
  format: 'cjs',
  interop: 'auto',
  entryFileNames: '[name].cjs',
  chunkFileNames: '[name].cjs',
  paths: { commander: './commander.cjs' },
  manualChunks: chunkOf,
  minifyInternalExports: true,
  // else each chunk would load what its lazy chunks need
  hoistTransitiveImports: false,
});
await bundle.close();
await rm(OUT, { recursive: true, force: true });
const options = { platform: 'node', target: 'node20', format: 'cjs', minify: true, logLevel: 'warning' };
await build({
  ...options,
  stdin: {
    contents: "export * from 'commander';",
    resolveDir: '.',
  },
  outfile: join(OUT, 'commander.cjs'),
  bundle: true,
  plugins: [lazyChildProcess],
});
for (const { fileName, code } of output) {
  const { code: minified } = await transform(code, options);
  await writeFile(join(OUT, fileName), minified);
}
chmodSync(join(OUT, 'deribit-keys.cjs'), 0o755);
