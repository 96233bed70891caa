import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { signerError } from '../crypto/signer.js';

/** The packages that only some signers, token stores and services need. */
type OptionalPackage =
  | 'ssh2'
  | 'pkcs11js'
  | '@aws-sdk/client-kms'
  | '@google-cloud/kms'
  | '@azure/keyvault-keys'
  | '@azure/identity'
  | 'redis'
  | 'prom-client';

/** How a package is loaded that is not among our own dependencies. */
export type LoadPackage = (name: string) => Promise<unknown>;

const importPackage: LoadPackage = (name) => import(name);

/** Packages that are of no use without each other. */
const TOGETHER: readonly (readonly OptionalPackage[])[] = [['@azure/keyvault-keys', '@azure/identity']];

/**
 * Loads an optional peer of this package, as an ordinary import from where this package is finds it.
 * @throws `ERR_SIGNER` if it is not installed, or is installed and does not load
 */
export async function loadOptionalPackage(
  name: OptionalPackage,
  purpose: string,
  load: LoadPackage = importPackage,
): Promise<object> {
  let loaded: unknown;
  try {
    loaded = await load(name);
  } catch (cause) {
    const missing = cause instanceof Error && [`'${name}'`, `"${name}"`].some((word) => cause.message.includes(word));
    const names = TOGETHER.find((group) => group.includes(name)) ?? [name];
    throw missing
      ? signerError(`${purpose} needs the package ${name}, which is not installed`, npmCommand('install', names), cause)
      : signerError(`the package ${name} is installed, but does not load`, npmCommand('rebuild', [name]), cause);
  }
  const value = (loaded as { default?: unknown }).default ?? loaded;
  if (typeof value === 'object' && value !== null) return value;
  throw signerError(
    `the package ${name} is installed, but is not what it should be`,
    npmCommand('install', [`${name}@latest`]),
  );
}

const PACKAGE = 'deribit-keys';

/** Where a process runs from: the folder of this module (real, not through links) and the working directory. */
interface RunsFrom {
  readonly module?: string | undefined;
  readonly cwd?: string | undefined;
}

/**
 * The command that installs or rebuilds packages where an import from this package finds them. That depends on how the
 * program was installed:
 *
 *   in a project        <project>/node_modules/deribit-keys         npm install ssh2
 *   with npx            <cache>/_npx/<hash>/node_modules/…          npx --package deribit-keys --package ssh2 …
 *   with pnpm           <project>/node_modules/.pnpm/…              pnpm add ssh2
 *   globally            <prefix>/lib/node_modules/deribit-keys      npm install ssh2 --global
 *   from a clone        no node_modules above it; npm 11 installs   npm install ssh2 --no-save --save-dev
 *                       no optional peer of the package itself
 */
export function npmCommand(
  command: 'install' | 'rebuild',
  names: readonly string[],
  { module = import.meta.dirname, cwd = workingDirectory() }: RunsFrom = {},
): string {
  const words = names.join(' ');
  const parts = (module ?? '').split(sep);
  const at = parts.lastIndexOf('node_modules');
  const isInstalled = at > 0 && parts[at + 1] === PACKAGE;
  if (parts.includes('.pnpm')) return command === 'install' ? `pnpm add ${words}` : `pnpm rebuild ${words}`;
  if (!isInstalled) {
    const clone = cloneAbove(module);
    // npm removes what an earlier --no-save installed, unless it is named again
    const others = command === 'install' && clone !== null ? installedPeers(clone, names) : [];
    const only = command === 'install' ? ' --no-save --save-dev' : '';
    return `npm ${command} ${[words, ...others].join(' ')}${only}${clone === null ? '' : prefixed(clone, cwd)}`;
  }
  const home = parts.slice(0, at).join(sep) || sep;
  if (parts.includes('_npx') && command === 'install') {
    return `npx ${[PACKAGE, ...names].map((name) => `--package ${name}`).join(' ')} ${PACKAGE} <command>`;
  }
  if (existsSync(join(home, 'package.json')) || isWithin(cwd, home)) {
    return `npm ${command} ${words}${prefixed(home, cwd)}`;
  }
  const prefix = process.platform === 'win32' ? home : dirname(home);
  const own = prefix === dirname(dirname(process.execPath)) ? '' : ` --prefix ${quoted(prefix)}`;
  return `npm ${command} ${words} --global${own}`;
}

function workingDirectory(): string {
  try {
    return process.cwd();
  } catch {
    return '';
  }
}

const quoted = (path: string) => (/^[\w./:\\@-]+$/.test(path) ? path : JSON.stringify(path));

function isWithin(path: string, folder: string): boolean {
  return path !== '' && !relative(folder, path).startsWith('..');
}

/** Nothing where npm finds the folder from the working directory, as the nearest with a package.json. */
function prefixed(folder: string, cwd: string): string {
  if (isWithin(cwd, folder)) {
    let nearest = cwd;
    while (nearest !== folder && !existsSync(join(nearest, 'package.json'))) nearest = dirname(nearest);
    if (nearest === folder) return '';
  }
  return ` --prefix ${quoted(folder)}`;
}

/** The optional peers that are in a clone, besides `names` and those that its package.json lists for development. */
function installedPeers(clone: string, names: readonly string[]): readonly string[] {
  const listed: { peerDependencies?: object; devDependencies?: object } = JSON.parse(
    readFileSync(join(clone, 'package.json'), 'utf8'),
  );
  return Object.keys(listed.peerDependencies ?? {}).filter(
    (peer) =>
      !names.some((name) => name === peer || name.startsWith(`${peer}@`)) &&
      !Object.hasOwn(listed.devDependencies ?? {}, peer) &&
      existsSync(join(clone, 'node_modules', peer)),
  );
}

/** The clone that `module` is in, by its package.json. */
function cloneAbove(module: string | undefined): string | null {
  for (let folder = module ?? ''; folder !== '' && folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
  }
  return null;
}
