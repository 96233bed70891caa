// Bundles the program, after `tsc`, so that it starts quickly: a small file that loads one of two bundles, of `sign` alone
// (which bots call at each login) or of all commands. Of the packages it takes in commander alone, which every command
// needs; the others are loaded by the commands that use them.
import { readFileSync } from 'node:fs';
import { build } from 'esbuild';

const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'));

/** commander loads this for subcommands that are programs of their own; it is slow to load, and none of ours is one. */
const lazyChildProcess = {
  name: 'lazy-child-process',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:child_process$/ }, ({ importer }) =>
      importer.includes('commander') ? { path: 'child-process', namespace: 'lazy' } : null,
    );
    onLoad({ filter: /.*/, namespace: 'lazy' }, () => ({
      contents: "exports.spawn = (...words) => require('node:child_process').spawn(...words);",
    }));
  },
};

/** The two bundles are files of their own beside the one that loads them. */
const bundlesApart = {
  name: 'bundles-apart',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/run(-sign)?\.js$/ }, ({ path, kind }) =>
      kind === 'dynamic-import' ? { path: path.replace('.js', '.cjs'), external: true } : null,
    );
  },
};

const common = {
  outdir: 'dist/bin',
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  define: { 'import.meta.dirname': '__dirname' },
  minify: true,
  logLevel: 'warning',
};

await build({
  ...common,
  entryPoints: { 'deribit-keys': 'dist/cli/main.js' },
  plugins: [bundlesApart],
  // what it loads is CommonJS: `require` is quicker
  supported: { 'dynamic-import': false },
});
await build({
  ...common,
  entryPoints: { run: 'dist/cli/run.js', 'run-sign': 'dist/cli/run-sign.js' },
  external: Object.keys(dependencies)
    .filter((name) => name !== 'commander')
    .flatMap((name) => [name, `${name}/*`]),
  plugins: [lazyChildProcess],
});
