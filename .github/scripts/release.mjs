// For the release workflow.
//   node .github/scripts/release.mjs check v1.2.3   stops where the release cannot be published
//   node .github/scripts/release.mjs notes v1.2.3   prints the changelog's section of that version
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const read = (path) => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');
const stop = (sentence) => {
  console.error(`error: ${sentence}`);
  process.exit(1);
};

/** The section of one version, without its heading; null where the changelog has none. */
function notesOf(changelog, version) {
  const lines = changelog.split('\n');
  const start = lines.findIndex((line) => line.startsWith(`## [${version}]`));
  if (start === -1) return null;
  const length = lines.slice(start + 1).findIndex((line) => line.startsWith('## ') || /^\[.+\]: /.test(line));
  const end = length === -1 ? lines.length : start + 1 + length;
  return lines
    .slice(start + 1, end)
    .join('\n')
    .trim();
}

const [, , action, tag = ''] = process.argv;
const manifest = JSON.parse(read('package.json'));
const version = tag.replace(/^v/, '');
const notes = notesOf(read('CHANGELOG.md'), version);

if (action === 'check') {
  const missing = ['repository', 'bugs', 'homepage'].filter((field) => !manifest[field]);
  if (missing.length > 0) {
    stop(`package.json has no ${missing.join(', ')}: see "Before the first release" in .github/CONTRIBUTING.md`);
  }
  if (manifest.version !== version) stop(`the tag ${tag} is not the version of package.json (${manifest.version})`);
  if (!notes) stop(`CHANGELOG.md has no section "## [${version}]"`);
} else if (action === 'notes') {
  if (notes === null) stop(`CHANGELOG.md has no section "## [${version}]"`);
  console.log(notes);
} else {
  stop('usage: release.mjs check|notes <tag>');
}
