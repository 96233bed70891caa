import { execFile, execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import { loadOptionalPackage, npmCommand } from '../../src/signers/optional-package.js';
import { installProgram } from '../support/program.js';
import { FIXTURE, folder, noAgent, startAgent } from './support.js';

describe('loadOptionalPackage', () => {
  // the packages themselves may be installed here
  const missing = (name: string) => Promise.reject(new Error(`Cannot find package '${name}'`));

  it('names a package that is not installed, and how to install it', async () => {
    await expect(loadOptionalPackage('ssh2', 'a key in an ssh-agent', missing)).rejects.toMatchObject({
      code: 'ERR_SIGNER',
      message: 'a key in an ssh-agent needs the package ssh2, which is not installed',
      hint: expect.stringMatching(/^npm install ssh2/),
    });
  });

  it('names packages that go together at once', async () => {
    await expect(loadOptionalPackage('@azure/identity', 'a key', missing)).rejects.toMatchObject({
      hint: expect.stringMatching(/ @azure\/keyvault-keys @azure\/identity/),
    });
  });

  it('tells one that is installed and does not load from one that is not', async () => {
    const broken = () => Promise.reject(new Error("Cannot find module './build/Release/pkcs11.node'"));
    await expect(loadOptionalPackage('pkcs11js', 'a token', broken)).rejects.toMatchObject({
      message: 'the package pkcs11js is installed, but does not load',
      hint: expect.stringMatching(/^npm rebuild pkcs11js/),
    });
    await expect(loadOptionalPackage('pkcs11js', 'a token', async () => ({ default: 1 }))).rejects.toMatchObject({
      message: expect.stringContaining('is not what it should be'),
    });
  });

  it('returns the default export, or the module if there is none', async () => {
    const inner = { a: 1 };
    expect(await loadOptionalPackage('ssh2', 'x', async () => ({ default: inner }))).toBe(inner);
    expect(await loadOptionalPackage('ssh2', 'x', async () => inner)).toBe(inner);
  });
});

describe('npmCommand', () => {
  /** A folder with these package.json files, and what the command is for a module in it. */
  function world(...packages: readonly string[]) {
    const home = realpathSync(folder());
    for (const path of packages) {
      mkdirSync(join(home, path), { recursive: true });
      writeFileSync(join(home, path, 'package.json'), '{}');
    }
    const command = (module: string, cwd: string, which: 'install' | 'rebuild' = 'install') =>
      npmCommand(which, ['ssh2'], { module: join(home, module), cwd: join(home, cwd) }).replaceAll(home, '~');
    return { home, command };
  }
  const inside = 'node_modules/deribit-keys/dist/bin';

  it('is for the project that has this package, named unless npm finds it from here', () => {
    const { command } = world('app', 'app/sub', 'other');
    expect(command(`app/${inside}`, 'app')).toBe('npm install ssh2');
    expect(command(`app/${inside}`, 'app/src')).toBe('npm install ssh2');
    expect(command(`app/${inside}`, 'app/sub')).toBe('npm install ssh2 --prefix ~/app');
    expect(command(`app/${inside}`, 'other')).toBe('npm install ssh2 --prefix ~/app');
    expect(command(`app/${inside}`, 'app', 'rebuild')).toBe('npm rebuild ssh2');
  });

  it('is global for a global installation, with its prefix where that is not of this Node.js', () => {
    const { command } = world('app');
    expect(command(`prefix/lib/${inside}`, 'app')).toBe('npm install ssh2 --global --prefix ~/prefix');
    const own = join(process.execPath, '../../lib', inside);
    expect(npmCommand('install', ['ssh2'], { module: own, cwd: '/' })).toBe('npm install ssh2 --global');
  });

  it('is for the clone, by a way that npm 11 takes', () => {
    const { command } = world('clone');
    expect(command('clone/dist/bin', 'clone')).toBe('npm install ssh2 --no-save --save-dev');
    expect(command('clone/dist/bin', '')).toBe('npm install ssh2 --no-save --save-dev --prefix ~/clone');
    expect(command('clone/dist/bin', '', 'rebuild')).toBe('npm rebuild ssh2 --prefix ~/clone');
  });

  it('is for the clone with the peers that are there, which npm would remove', () => {
    const { home, command } = world('clone', 'clone/node_modules/pkcs11js', 'clone/node_modules/redis');
    const peerDependencies = { ssh2: '1', pkcs11js: '2', redis: '5', '@azure/identity': '4' };
    const listed = { peerDependencies, devDependencies: { redis: '5' } };
    writeFileSync(join(home, 'clone/package.json'), JSON.stringify(listed));
    expect(command('clone/dist/bin', 'clone')).toBe('npm install ssh2 pkcs11js --no-save --save-dev');
    expect(command('clone/dist/bin', 'clone', 'rebuild')).toBe('npm rebuild ssh2');
  });

  it('is of npx and pnpm where they run it', () => {
    const { command } = world('app', 'cache/_npx/ab');
    expect(command(`cache/_npx/ab/${inside}`, 'app')).toBe(
      'npx --package deribit-keys --package ssh2 deribit-keys <command>',
    );
    expect(command(`app/node_modules/.pnpm/deribit-keys@1.0.0/${inside}`, 'app')).toBe('pnpm add ssh2');
  });

  it('quotes a path with blanks, and says something where nothing is known', () => {
    const { home } = world('my app');
    const module = join(home, 'my app', inside);
    expect(npmCommand('install', ['ssh2'], { module, cwd: '/' })).toBe(`npm install ssh2 --prefix "${home}/my app"`);
    expect(npmCommand('install', ['ssh2'], { module: '/', cwd: '' })).toBe('npm install ssh2 --no-save --save-dev');
  });
});

/** A registry that has ssh2 and what it needs, from the fixture. */
async function registry(): Promise<string> {
  const home = folder();
  const server = createServer((request, response) => {
    const name = decodeURIComponent((request.url ?? '').slice(1)).replace(/\.tgz$/, '');
    if (!['ssh2', 'asn1', 'bcrypt-pbkdf', 'safer-buffer', 'tweetnacl'].includes(name)) {
      response.writeHead(404).end('{}');
      return;
    }
    const tarball = join(home, `${name}.tgz`);
    if (request.url?.endsWith('.tgz')) {
      response.end(readFileSync(tarball));
      return;
    }
    const stage = join(home, name);
    cpSync(join(FIXTURE, 'node_modules', name), join(stage, 'package'), { recursive: true });
    const manifest = JSON.parse(readFileSync(join(stage, 'package/package.json'), 'utf8'));
    const { scripts: _scripts, optionalDependencies: _optional, ...rest } = manifest;
    writeFileSync(join(stage, 'package/package.json'), JSON.stringify(rest));
    execFileSync('tar', ['czf', tarball, '-C', stage, 'package']);
    const version = { ...rest, dist: { tarball: `http://${request.headers.host}/${name}.tgz` } };
    response.end(
      JSON.stringify({ name, 'dist-tags': { latest: rest.version }, versions: { [rest.version]: version } }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

const run = promisify(execFile);

describe.skipIf(noAgent)('the hint for a missing package, followed literally with npm', () => {
  it.each([
    ['in a project', 'app/node_modules/deribit-keys', 'app', 'npm install ../deribit-keys-*.tgz'],
    [
      'globally',
      'prefix/lib/node_modules/deribit-keys',
      'elsewhere',
      'npm install --global ../deribit-keys-*.tgz --prefix ../prefix',
    ],
    ['in a clone, run from elsewhere', 'clone', 'elsewhere', null],
  ])('leads to a program that can use the agent, installed %s', async (_where, root, cwd, install) => {
    const home = realpathSync(folder());
    const agent = await startAgent();
    agent.addKey('ed25519', 'bot');
    for (const path of ['app', 'elsewhere', 'clone']) mkdirSync(join(home, path), { recursive: true });
    writeFileSync(join(home, 'app/package.json'), '{"name":"app","private":true}');
    const { peerDependencies, peerDependenciesMeta, name, version } = JSON.parse(
      readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'),
    );
    const own = { name, version, peerDependencies, peerDependenciesMeta };
    writeFileSync(join(home, 'clone/package.json'), JSON.stringify(own));
    await installProgram(join(home, 'clone/dist/bin/deribit-keys.cjs'));
    const env = {
      PATH: process.env.PATH,
      HOME: home,
      SSH_AUTH_SOCK: agent.socket,
      npm_config_registry: await registry(),
      npm_config_cache: join(home, 'cache'),
      npm_config_audit: 'false',
      npm_config_fund: 'false',
      npm_config_update_notifier: 'false',
    };
    const options = { cwd: join(home, cwd), env };
    if (install !== null) {
      await run('npm', ['pack', '--pack-destination', home], { cwd: join(home, 'clone'), env });
      await run('sh', ['-c', install], options);
    }
    const program = join(home, root, 'dist/bin/deribit-keys.cjs');
    const add = [program, 'add-agent', 'bot', '--comment', 'bot', '--json'];
    const failure = await run(process.execPath, add, options).catch((error: { stderr: string }) => error);
    const { hint } = JSON.parse(failure.stderr).error as { hint: string };
    await run('sh', ['-c', hint], options);
    const { stdout } = await run(process.execPath, add, options);
    expect(JSON.parse(stdout)).toMatchObject({ name: 'bot' });
  });
});
