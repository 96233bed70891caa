// Writes the version of package.json into src/version.ts; `npm version` runs it.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const path = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const { version } = JSON.parse(readFileSync(path('package.json'), 'utf8'));
const source = readFileSync(path('src/version.ts'), 'utf8');
writeFileSync(path('src/version.ts'), source.replace(/'[^']*'/, `'${version}'`));
