// The last step of the build: makes of dist/ what a user installs. The modules of each entry point become one file and
// its declarations another, with files beside them for what several share and what is loaded when it is used.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { transform } from 'esbuild';
import { rollup } from 'rollup';
import { dts } from 'rollup-plugin-dts';

const { exports, imports } = JSON.parse(readFileSync('package.json', 'utf8'));

/** Every file that package.json's `exports` name, by a predicate on their path. */
function targets(value, wanted) {
  if (typeof value === 'string') return wanted(value) ? [value] : [];
  return Object.values(value).flatMap((inner) => targets(inner, wanted));
}
const unique = (paths) => [...new Set(paths)];
const declarations = unique(targets(exports, (path) => path.endsWith('.d.ts')));
const modules = unique(targets(exports, (path) => path.startsWith('./dist/') && path.endsWith('.js')));

async function bundleOf(paths, ending, inputOptions, outputOptions) {
  const bundle = await rollup({
    input: Object.fromEntries(paths.map((path) => [path.slice('./dist/'.length, -ending.length), path])),
    external: (id) => !id.startsWith('.') && !id.startsWith('/'),
    onwarn: (warning) => {
      process.stderr.write(`${warning.message}\n`);
    },
    ...inputOptions,
  });
  const { output } = await bundle.generate({ format: 'es', ...outputOptions });
  await bundle.close();
  return output;
}

const types = await bundleOf(declarations, '.d.ts', { plugins: [dts()] }, { chunkFileNames: 'types/[name].ts' });

/** The modules that `imports` of package.json chooses from, by the platform, are entry points too. */
const platforms = unique(targets(imports, (path) => path.startsWith('./dist/')));

/** The code, in as few files as the entry points and what is loaded later allow. */
const code = await bundleOf([...modules, ...platforms], '.js', {}, { hoistTransitiveImports: false });

// bundled programs and pages are complete in themselves
for (const entry of readdirSync('dist')) {
  if (!['bin', 'man', 'page'].includes(entry)) rmSync(join('dist', entry), { recursive: true });
}
for (const { fileName, code: text } of code) {
  // the comments stand in the declarations; short lines, so that a crash prints little
  const { code: smaller } = await transform(text, { target: 'es2022', minify: true, lineLimit: 700 });
  write(fileName, smaller);
}
for (const { fileName, code, isEntry } of types) {
  // one copy of the declarations for `import` and `require`: a type is the same type in both
  write(fileName.replace(/\.ts$/, '.cts'), code.replace(/(from '\.[^']*)\.js'/g, "$1.cjs'"));
  if (!isEntry) continue;
  const name = basename(fileName, '.d.ts');
  write(fileName, `export * from './${name}.cjs';\n`);
  // for `require`, types and code must both be CommonJS; Node.js loads the ES module behind it
  write(join(dirname(fileName), `${name}.cjs`), `module.exports = require('./${name}.js');\n`);
}
function write(fileName, code) {
  mkdirSync(dirname(join('dist', fileName)), { recursive: true });
  writeFileSync(join('dist', fileName), code);
}
