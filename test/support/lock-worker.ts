import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeribitKeysError } from '../../src/errors.js';
import { takeLock } from '../../src/keystore/lock.js';

/*
 * A process of its own that takes the lock `bot` of a folder: once, until its stdin ends, telling what becomes of it on
 * stdout; or with `rounds` again and again, writing to a journal as it comes and goes.
 */

const [, , folder = '', json = '{}'] = process.argv;
const {
  aheadMs = 0,
  rounds = 0,
  ...options
} = JSON.parse(json) as {
  aheadMs?: number;
  rounds?: number;
  waitMs?: number;
  leaseMs?: number;
};
const now = Date.now;
Date.now = () => now() + aheadMs;

async function main(): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    const lock = await takeLock(folder, 'bot', options);
    const who = `${process.pid} ${aheadMs} ${round}\n`;
    appendFileSync(join(folder, 'journal'), `in ${who}`);
    await lock.check();
    appendFileSync(join(folder, 'journal'), `out ${who}`);
    await lock.release();
  }
  if (rounds > 0) return void process.stdout.write('done\n');
  const lock = await takeLock(folder, 'bot', options);
  process.stdout.write('held\n');
  await process.stdin.resume().toArray();
  await lock.check();
  await lock.release();
  process.stdout.write('released\n');
}

main().catch((error: unknown) => {
  process.stdout.write(`${isDeribitKeysError(error) ? error.code : String(error)}\n`);
});
