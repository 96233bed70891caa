// The last step of the build: makes of dist/ what a user installs. The declarations of each entry point become one file
// for `import` and one for `require`, and modules that no entry point reaches are deleted (the command line is bundled).
import { mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, sep } from 'node:path';
import { build, transform } from 'esbuild';
import { rollup } from 'rollup';
import { dts } from 'rollup-plugin-dts';

const { exports } = JSON.parse(readFileSync('package.json', 'utf8'));

/** Every file that package.json's `exports` name, by a predicate on their path. */
function targets(value, wanted) {
  if (typeof value === 'string') return wanted(value) ? [value] : [];
  return Object.values(value).flatMap((inner) => targets(inner, wanted));
}
const unique = (paths) => [...new Set(paths)];
const declarations = unique(targets(exports, (path) => path.endsWith('.d.ts')));
const modules = unique(targets(exports, (path) => path.startsWith('./dist/') && path.endsWith('.js')));

const bundle = await rollup({
  input: Object.fromEntries(declarations.map((path) => [path.slice('./dist/'.length, -'.d.ts'.length), path])),
  plugins: [dts()],
  external: (id) => !id.startsWith('.') && !id.startsWith('/') && !id.startsWith('#'),
  onwarn: (warning) => {
    process.stderr.write(`${warning.message}\n`);
  },
});
const { output } = await bundle.generate({ format: 'es', chunkFileNames: 'types/[name].ts' });
await bundle.close();

/** What the entry points reach, by their imports; engines that `imports` of package.json choose are entry points too. */
const { metafile } = await build({
  entryPoints: [...modules, ...engines()],
  bundle: true,
  write: false,
  metafile: true,
  format: 'esm',
  platform: 'node',
  packages: 'external',
  outdir: 'dist',
  logLevel: 'warning',
});
function engines() {
  return unique(
    targets(JSON.parse(readFileSync('package.json', 'utf8')).imports, (path) => path.startsWith('./dist/')),
  );
}
const reached = new Set(Object.keys(metafile.inputs).map((path) => relative('.', path)));

function filesIn(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? filesIn(join(folder, entry.name)) : [join(folder, entry.name)],
  );
}
function dropEmpty(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) dropEmpty(join(folder, entry.name));
  }
  if (readdirSync(folder).length === 0) rmdirSync(folder);
}
/** Bundled programs and pages are complete in themselves. */
const isBundled = (path) => path.startsWith(join('dist', 'bin') + sep) || !/\.(js|d\.ts|map)$/.test(path);

for (const path of filesIn('dist')) {
  if (isBundled(path)) continue;
  if (!reached.has(path)) rmSync(path);
  // the comments stand in the declarations
  else if (path.endsWith('.js'))
    writeFileSync(path, (await transform(readFileSync(path, 'utf8'), { target: 'es2022' })).code);
}
dropEmpty('dist');
for (const { fileName, code, isEntry } of output) {
  write(fileName, code);
  write(fileName.replace(/\.ts$/, '.cts'), code.replace(/(from '\.[^']*)\.js'/g, "$1.cjs'"));
  if (!isEntry) continue;
  // for `require`, types and code must both be CommonJS; Node.js loads the ES module behind it
  const name = basename(fileName, '.d.ts');
  write(join(dirname(fileName), `${name}.cjs`), `module.exports = require('./${name}.js');\n`);
}
function write(fileName, code) {
  mkdirSync(dirname(join('dist', fileName)), { recursive: true });
  writeFileSync(join('dist', fileName), code);
}
