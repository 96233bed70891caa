import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * The licence of each package in a bundle, as its copyright holders ask for. `inputs` are the paths of the bundled modules,
 * relative to the root of the repository, where the build runs.
 */
export async function notices(inputs) {
  const folders = new Set(
    inputs.flatMap((input) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input)?.slice(1, 2) ?? []),
  );
  const texts = [...folders].sort().map(async (path) => {
    const { name, version } = JSON.parse(await readFile(join(path, 'package.json'), 'utf8'));
    const file = (await readdir(path)).find((entry) => /^licen[cs]e/i.test(entry));
    if (file === undefined) throw new Error(`${name} has no licence file`);
    const text = await readFile(join(path, file), 'utf8');
    // node-forge offers the BSD licence or the GPL: it is used under the former
    return `${name} ${version}\n\n${text.replace(/^\s*GNU GENERAL PUBLIC LICENSE[\s\S]*/m, '').trim()}`;
  });
  return (await Promise.all(texts)).join('\n\n=====\n\n').replaceAll('\r', '');
}
