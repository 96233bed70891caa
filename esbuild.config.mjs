// Bundles the program into one file, after `tsc`. Of the packages it takes in commander alone, which every command needs;
// the others are loaded by the commands that use them: the less there is to read, the sooner it starts.
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

await build({
  entryPoints: ['dist/cli/main.js'],
  outfile: 'dist/bin/deribit-keys.cjs',
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  minify: true,
  external: Object.keys(dependencies)
    .filter((name) => name !== 'commander')
    .flatMap((name) => [name, `${name}/*`]),
  legalComments: 'linked',
  plugins: [lazyChildProcess],
  logLevel: 'warning',
});
