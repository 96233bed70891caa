import { cpSync, mkdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { fingerprint } from '../../../src/crypto/fingerprint.js';
import { openKeystore } from '../../../src/keystore/keystore.js';
import { takeLock } from '../../../src/keystore/lock.js';
import { openPrivateKey } from '../../../src/keystore/open-key.js';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';
import { temporaryFolder } from '../../support/cli.js';
import { filesOf } from '../../support/desk.js';
import { makeKey, openRotationWorld } from '../../support/rotation-world.js';

let sandbox: Sandbox;
beforeEach(async () => {
  sandbox = await startSandbox();
});
afterEach(() => sandbox.close());

/** A keystore as a process leaves it that dies between the files of a swap: the public key changed, the rest not yet. */
async function halfSwapped() {
  const world = openRotationWorld(sandbox, `${temporaryFolder()}/keys`);
  await makeKey(world, 'bot', 'trade:read');
  await makeKey(world, 'other', 'trade:read');
  const { folder } = world.store;
  const other = await world.store.read('other');
  const commit = join(folder, '.bot.commit');
  mkdirSync(commit);
  const [from, to] = [filesOf(folder, 'other'), filesOf(folder, 'bot')];
  cpSync(from.publicKey, to.publicKey);
  cpSync(from.privateKey, join(commit, '0'));
  await writeFile(join(commit, '1'), `${JSON.stringify({ schema: 1, ...other, name: 'bot' })}\n`);
  await writeFile(
    join(commit, 'steps.json'),
    JSON.stringify([
      { do: 'replace', file: 'bot.pem', staged: '0' },
      { do: 'replace', file: 'bot.json', staged: '1' },
    ]),
  );
  return { folder, other };
}

test('a reader of a swap whose maker died gets the complete new key', async () => {
  const { folder, other } = await halfSwapped();
  const store = openKeystore(folder);
  const record = await store.read('bot');
  expect(record.fingerprint).toBe(other.fingerprint);
  expect(fingerprint((await openPrivateKey(store, record)).publicKey)).toBe(other.fingerprint);
});

test('a reader waits for a swap that another process is making', async () => {
  const { folder, other } = await halfSwapped();
  // taking the lock ends the change; the maker holds on to the lock until the reader has the new key
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const making = openKeystore(folder).withLock('bot', () => held);
  const record = await openKeystore(folder).read('bot');
  expect(record.fingerprint).toBe(other.fingerprint);
  release();
  await making;
});

test('a swap that never ends is told, not waited for without end', async () => {
  const { folder } = await halfSwapped();
  const lock = await takeLock(folder, 'bot');
  await expect(openKeystore(folder, { lockWaitMs: 50 }).read('bot')).rejects.toMatchObject({ code: 'ERR_LOCKED' });
  await lock.release();
});
