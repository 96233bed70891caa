// Bundles the program into one file: `node esbuild.config.mjs`, after `tsc`.
import { build } from 'esbuild';

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

await build({
  entryPoints: ['dist/cli/main.js'],
  outfile: 'dist/bin/deribit-keys.cjs',
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  minifySyntax: true,
  minifyWhitespace: true,
  external: ['undici'],
  legalComments: 'linked',
  plugins: [lazyChildProcess],
  logLevel: 'warning',
});
