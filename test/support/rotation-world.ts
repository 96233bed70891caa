import { expect } from 'vitest';
import { Secret } from '../../src/crypto/secret.js';
import type { SecondFactor } from '../../src/deribit/second-factor.js';
import { readJournal } from '../../src/keystore/journal.js';
import { type Keystore, type LockedKey, openKeystore } from '../../src/keystore/keystore.js';
import { generate } from '../../src/keystore/stored-keys.js';
import type { Sandbox } from '../../src/sandbox/index.js';
import { defined } from '../../src/util/defined.js';
import type { AccountLogin, WorkflowContext } from '../../src/workflows/context.js';
import { proveLogin } from '../../src/workflows/registration/proof.js';
import { register } from '../../src/workflows/registration/register.js';
import { abortRotation, type Rotation, rotate } from '../../src/workflows/rotation/rotate.js';
import { localSuccessor } from '../../src/workflows/rotation/start.js';
import { contextOn, loginOf as firstLogin } from './world.js';

/** Counts the writes to the keystore, and dies before or after one of them, as a process that is killed does. */
export interface CrashPlan {
  at: number;
  when: 'before' | 'after';
}

export class Crash extends Error {}

export interface RotationWorld {
  readonly store: Keystore;
  readonly sandbox: Sandbox;
  readonly context: WorkflowContext;
  readonly login: AccountLogin;
  readonly notes: readonly string[];
  /** The next crash; null for none. */
  crash: CrashPlan | null;
  /** How many writes there were since `crash` was set last. */
  writes: number;
  rotate(name: string, options?: { graceMs?: number; login?: AccountLogin }): Promise<Rotation>;
  abort(name: string, login?: AccountLogin): Promise<Rotation>;
}

export interface RotationWorldOptions {
  readonly kind?: 'ws' | 'http';
  readonly nowMs?: () => number;
  readonly secondFactor?: SecondFactor;
  readonly passphrase?: string;
  /** How long an answer may take; short where one is to be lost. */
  readonly timeoutMs?: number;
  /** Changes what the workflows see. */
  readonly around?: (context: WorkflowContext) => WorkflowContext;
}

/** The workflows' context on a sandbox, without the command line. */
export function openRotationWorld(sandbox: Sandbox, folder: string, options: RotationWorldOptions = {}): RotationWorld {
  const { nowMs = Date.now, secondFactor, around = (context) => context } = options;
  const plain = openKeystore(folder, { now: () => new Date(nowMs()) });
  const step = async <T>(work: () => Promise<T>): Promise<T> => {
    world.writes += 1;
    const strikes = world.crash !== null && world.crash.at === world.writes;
    if (strikes && world.crash?.when === 'before') throw new Crash('killed before a write');
    const result = await work();
    if (strikes) throw new Crash('killed after a write');
    return result;
  };
  const counted = (locked: LockedKey): LockedKey => ({
    ...locked,
    save: (record, note) => step(() => locked.save(record, note)),
    change: (steps, ...notes) => step(() => locked.change(steps, ...notes)),
  });
  const store: Keystore = {
    ...plain,
    withLock: (name, work) => plain.withLock(name, (locked) => work(counted(locked))),
    withLocks: (names, work) => plain.withLocks(names, (locked) => work(locked.map(counted))),
  };
  const passphrase = new Secret(options.passphrase ?? 'none');
  const notes: string[] = [];
  const context = around(
    contextOn(store, notes, { ...defined({ timeoutMs: options.timeoutMs, secondFactor }), nowMs, passphrase }),
  );
  const makeSuccessor = localSuccessor(store, () => Promise.resolve(passphrase));
  const world: RotationWorld = {
    store,
    sandbox,
    context,
    login: firstLogin(sandbox, options.kind ?? 'http'),
    notes,
    crash: null,
    writes: 0,
    rotate: (name, { graceMs, login = world.login } = {}) =>
      rotate(context, { name, graceMs, login: () => Promise.resolve(login), makeSuccessor }),
    abort: (name, login = world.login) => abortRotation(context, { name, login: () => Promise.resolve(login) }),
  };
  return world;
}

export async function makeKey(world: RotationWorld, name: string, scope: string, ipWhitelist: readonly string[] = []) {
  await generate(world.store, name);
  return register(world.context, { name, scope, ipWhitelist, login: world.login });
}

/** The login of a registered key of the keystore. */
export async function loginOf(world: RotationWorld, name: string): Promise<AccountLogin> {
  const record = await world.store.read(name);
  const { endpoint } = world.login;
  return { endpoint, credentials: { clientId: record.clientId ?? '', signer: await world.context.signerOf(record) } };
}

/** Client ids of enabled keys of the main account that the keystore's private keys log in with. */
export async function waysIn(world: RotationWorld): Promise<readonly string[]> {
  const ways: string[] = [];
  for (const record of (await world.store.list()).records) {
    const shown = world.sandbox.keys().find((key) => key.client_secret === record.fingerprint && key.enabled);
    // the files of a key may be on their way while a transaction is half done
    const signer = await world.context.signerOf(record).catch(() => null);
    if (shown === undefined || signer === null) continue;
    const login = await proveLogin(world.context, {
      endpoint: world.login.endpoint,
      clientId: shown.client_id,
      signer,
    });
    if (login !== null) ways.push(shown.client_id);
  }
  return ways;
}

/** What must hold once no rotation of `name` is under way: one enabled key, which is the name's, and no other. */
export async function expectSettled(world: RotationWorld, name: string, original: string): Promise<void> {
  expect(await readJournal(world.store, name)).toBeNull();
  const { records, damaged } = await world.store.list();
  expect(damaged).toEqual([]);
  const record = records.find((one) => one.name === name);
  expect(record?.state).toBe('registered');
  const onExchange = world.sandbox.keys().filter(({ client_id: id }) => id !== world.sandbox.clientId);
  expect(onExchange).toMatchObject([
    { client_id: record?.clientId, client_secret: record?.fingerprint, id: record?.keyId, enabled: true },
  ]);
  expect(await waysIn(world)).toEqual([record?.clientId]);
  expect(records.map(({ fingerprint }) => fingerprint)).toContain(original);
  for (const other of records) {
    await expect(world.context.signerOf(other)).resolves.toBeDefined();
    if (other.name !== name) expect(other.state).toBe('retired');
  }
}
