import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Keystore, openKeystore } from '../../src/keystore/keystore.js';
import type { Step } from '../../src/keystore/steps.js';
import { isLeftover, ownerOfLeftover } from '../../src/keystore/transaction.js';
import { codeOf, errorOf } from '../support/outcomes.js';
import { propertyRuns } from '../support/properties.js';
import { addKey, filesOf, filesOfKey, newStore } from './support.js';

const change = (store: Keystore, steps: readonly Step[]) => store.withLock('bot', (locked) => locked.change(steps));
const textOf = (store: Keystore, file: string) => readFileSync(join(store.folder, file), 'utf8');
const created = (file: string, content: string): Step => ({ do: 'create', file, content });

/** All files below the keystore with their contents. */
function snapshot(store: Keystore): Record<string, string> {
  const files = readdirSync(store.folder, { recursive: true, encoding: 'utf8' }).sort();
  return Object.fromEntries(
    files
      .filter((file) => statSync(join(store.folder, file)).isFile())
      .map((file) => [file, readFileSync(join(store.folder, file), 'utf8')]),
  );
}

/** Puts a decided change into the keystore as a command leaves it that is killed after `applied` of its steps. */
function leaveDecided(store: Keystore, steps: readonly Step[], applied: number): void {
  const folder = join(store.folder, '.bot.commit');
  mkdirSync(folder);
  const logged = steps.map((step, index) => {
    if (step.do !== 'create' && step.do !== 'replace') return step;
    writeFileSync(join(folder, String(index)), step.content);
    return { do: step.do, file: step.file, staged: String(index) };
  });
  writeFileSync(join(folder, 'steps.json'), JSON.stringify(logged));
  const at = (file: string) => join(store.folder, file);
  for (const [index, step] of steps.slice(0, applied).entries()) {
    switch (step.do) {
      case 'create':
        linkSync(join(folder, String(index)), at(step.file));
        break;
      case 'replace':
        renameSync(join(folder, String(index)), at(step.file));
        break;
      case 'append':
        writeFileSync(at(step.file), `${step.line}\n`, { flag: 'a' });
        break;
      case 'move':
        mkdirSync(join(at(step.to), '..'), { recursive: true });
        renameSync(at(step.from), at(step.to));
        break;
      case 'delete':
        rmSync(at(step.file));
    }
  }
}

function storeWith(files: Readonly<Record<string, string>>): Keystore {
  const store = newStore();
  mkdirSync(store.folder, { mode: 0o700 });
  for (const [file, content] of Object.entries(files)) writeFileSync(join(store.folder, file), content);
  return store;
}

const MIXED: readonly Step[] = [
  { do: 'append', file: 'audit.jsonl', line: '{"action":"test"}' },
  created('new.pem', 'NEW'),
  { do: 'replace', file: 'old.pem', content: 'REPLACED' },
  { do: 'move', from: 'moved.pem', to: 'retired/2026-11-23/moved.pem' },
  { do: 'delete', file: 'gone.pem' },
];
const BEFORE = { 'old.pem': 'OLD', 'moved.pem': 'MOVED', 'gone.pem': 'GONE', 'audit.jsonl': '{"action":"first"}\n' };
const AFTER = {
  'new.pem': 'NEW',
  'old.pem': 'REPLACED',
  'retired/2026-11-23/moved.pem': 'MOVED',
  'audit.jsonl': '{"action":"first"}\n{"action":"test"}\n',
};

describe('a change', () => {
  it('does every step, and leaves nothing beside', async () => {
    const store = storeWith(BEFORE);
    await change(store, MIXED);
    expect(snapshot(store)).toMatchObject(AFTER);
    expect(Object.keys(snapshot(store)).filter((file) => !file.endsWith('.gitignore'))).toEqual(
      Object.keys(AFTER).sort(),
    );
    expect(statSync(join(store.folder, 'new.pem')).mode & 0o777).toBe(0o600);
    expect(statSync(join(store.folder, 'old.pem')).mode & 0o777).toBe(0o600);
    expect(statSync(join(store.folder, 'retired/2026-11-23')).mode & 0o777).toBe(0o700);
  });

  it.each(Array.from({ length: MIXED.length + 1 }, (_, applied) => applied))(
    'that was killed after %i of its steps is ended by whoever comes next',
    async (applied) => {
      const store = storeWith(BEFORE);
      leaveDecided(store, MIXED, applied);
      await store.tidy();
      expect(snapshot(store)).toMatchObject(AFTER);
      expect(existsSync(join(store.folder, '.bot.commit'))).toBe(false);
      expect(readdirSync(store.folder).filter((file) => isLeftover(file) || file.endsWith('.lock'))).toEqual([]);
    },
  );

  it.each([0, 1, 2, 3])(
    'that was done, and killed while its log was deleted, stays done (%i files gone)',
    async (gone) => {
      const store = storeWith({});
      const steps = [created('a', 'A'), created('b', 'B'), created('c', 'C')];
      leaveDecided(store, steps, 3);
      for (let index = 0; index < gone; index += 1) rmSync(join(store.folder, '.bot.commit', String(index)));
      await store.tidy();
      expect(snapshot(store)).toEqual({ a: 'A', b: 'B', c: 'C' });
    },
  );

  it('that lost its list was done', async () => {
    const store = storeWith({});
    leaveDecided(store, [created('a', 'A')], 1);
    rmSync(join(store.folder, '.bot.commit/steps.json'));
    expect(await store.withLock('bot', async (locked) => locked.finished)).toBe(true);
    expect(snapshot(store)).toEqual({ a: 'A' });
  });

  it('that was only begun is dropped', async () => {
    const store = storeWith({});
    const staging = join(store.folder, '..bot.commit.0123456789ab.tmp');
    mkdirSync(staging);
    writeFileSync(join(staging, '0'), 'half a k');
    expect(await store.withLock('bot', async (locked) => locked.finished)).toBe(false);
    expect(filesOf(store)).toEqual([]);
  });

  it('is seen by a reader who comes before it is ended', async () => {
    const store = newStore();
    const { record } = await addKey(store, 'bot');
    const other = newStore();
    mkdirSync(other.folder);
    const steps = filesOfKey('bot').map((file) => created(file, textOf(store, file)));
    leaveDecided(other, steps, 1);
    rmSync(join(other.folder, 'bot.json'));
    expect(await other.read('bot')).toEqual(record);
    expect(filesOf(other)).toEqual(filesOfKey('bot'));
  });

  it('of only new files is undone if one of the names is taken', async () => {
    const store = storeWith({});
    leaveDecided(store, [created('a', 'A'), created('b', 'B'), created('c', 'C')], 1);
    writeFileSync(join(store.folder, 'b'), 'ANOTHER’S');
    expect(await codeOf(store.withLock('bot', async () => {}))).toBe('ERR_NAME_TAKEN');
    expect(snapshot(store)).toEqual({ b: 'ANOTHER’S' });
    await store.withLock('bot', async () => {});
  });

  it('of only new files is undone if a step fails, and says that nothing was changed', async () => {
    const store = storeWith({});
    mkdirSync(join(store.folder, 'audit.jsonl'));
    const error = await errorOf(
      store.withLock('bot', (locked) => locked.change([created('a', 'A'), created('b', 'B')], { action: 'test' })),
    );
    expect(error.code).toBe('ERR_KEYSTORE_IO');
    expect(error.hint).toContain('nothing was changed');
    expect(filesOf(store)).toEqual([]);
  });

  it('of old files is not begun where the log cannot be written', async () => {
    const store = storeWith({ 'old.pem': 'OLD' });
    mkdirSync(join(store.folder, 'audit.jsonl'));
    const steps: Step[] = [{ do: 'replace', file: 'old.pem', content: 'NEW' }];
    const error = await errorOf(store.withLock('bot', (locked) => locked.change(steps, { action: 'test' })));
    expect(error.hint).toContain('nothing was changed');
    expect(textOf(store, 'old.pem')).toBe('OLD');
    expect(filesOf(store)).toEqual(['old.pem']);
  });

  it('that fails once something old was touched stays decided, says so, and is ended later', async () => {
    const store = storeWith({ 'a.pem': 'A' });
    mkdirSync(join(store.folder, 'b.pem'));
    const steps: Step[] = [
      { do: 'replace', file: 'a.pem', content: 'A2' },
      { do: 'replace', file: 'b.pem', content: 'B2' },
    ];
    const error = await errorOf(change(store, steps));
    expect(error.code).toBe('ERR_KEYSTORE_IO');
    expect(error.hint).toContain('the change is recorded');
    expect(await codeOf(store.withLock('bot', async () => {}))).toBe('ERR_KEYSTORE_IO');
    rmSync(join(store.folder, 'b.pem'), { recursive: true });
    await store.tidy();
    expect(snapshot(store)).toEqual({ 'a.pem': 'A2', 'b.pem': 'B2' });
  });

  it('that another command left all but done is never undone for a failing line of the log', async () => {
    const store = storeWith({});
    const steps: Step[] = [created('a', 'A'), { do: 'append', file: 'audit.jsonl', line: '{}' }];
    leaveDecided(store, steps, 1);
    mkdirSync(join(store.folder, 'audit.jsonl'));
    expect((await errorOf(store.withLock('bot', async () => {}))).hint).toContain('the change is recorded');
    expect(textOf(store, 'a')).toBe('A');
    rmSync(join(store.folder, 'audit.jsonl'), { recursive: true });
    await store.tidy();
    expect(snapshot(store)).toEqual({ a: 'A', 'audit.jsonl': '{}\n' });
  });

  it('overwrites nothing', async () => {
    const store = storeWith({ a: 'OLD' });
    const error = await errorOf(change(store, [created('b', 'B'), created('a', 'A')]));
    expect(error.code).toBe('ERR_NAME_TAKEN');
    expect(error.message).toContain('a exists');
    expect(snapshot(store)).toEqual({ a: 'OLD' });
  });

  it.each(['../out', '/etc/out', 'a/../../out', './a', '..'])(
    'reaches no file outside the keystore: %s',
    async (file) => {
      const store = storeWith({});
      expect(await codeOf(change(store, [created(file, 'x')]))).toBe('ERR_STATE');
      leaveDecided(store, [{ do: 'delete', file }], 0);
      expect(await codeOf(store.withLock('bot', async () => {}))).toBe('ERR_STATE');
    },
  );

  it.each([
    'no json',
    '{}',
    '[null]',
    '[{"do":"create","file":"a"}]',
    '[{"do":"create","file":"a","staged":"../../bot.pem"}]',
    '[{"do":"delete"}]',
    '[{"do":"move","from":"a"}]',
    '[{"do":"append","file":"a"}]',
    '[{"do":"run","file":"a"}]',
  ])('with a damaged list is refused by name, and harms no other key: %s', async (text) => {
    const store = newStore();
    await addKey(store, 'other');
    mkdirSync(join(store.folder, '.bot.commit'));
    writeFileSync(join(store.folder, '.bot.commit/steps.json'), text);
    const error = await errorOf(store.withLock('bot', async () => {}));
    expect(error.code).toBe('ERR_STATE');
    expect(error.message).toContain('.bot.commit');
    await store.tidy();
    expect((await store.list()).records).toHaveLength(1);
    await store.withLock('other', async (locked) => void (await locked.read()));
  });

  it('of any kind, killed after any step, ends as it would have without', async () => {
    const names = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'), { minLength: 1 });
    const kinds = fc.array(fc.constantFrom('create', 'replace', 'move', 'delete', 'append'), {
      minLength: 6,
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(names, kinds, fc.nat(6), async (files, chosen, killedAfter) => {
        const existing: Record<string, string> = {};
        const steps = files.map((file, index): Step => {
          const kind = chosen[index] as Step['do'];
          if (kind === 'move' || kind === 'delete') existing[file] = `old ${file}`;
          if (kind === 'create' || kind === 'replace') return { do: kind, file, content: `new ${file}` };
          if (kind === 'move') return { do: kind, from: file, to: `retired/${file}` };
          return kind === 'append' ? { do: kind, file: 'log', line: file } : { do: kind, file };
        });
        const [whole, killed] = [storeWith(existing), storeWith(existing)];
        await change(whole, steps);
        leaveDecided(killed, steps, Math.min(killedAfter, steps.length));
        await killed.tidy();
        const contents = (store: Keystore) =>
          Object.entries(snapshot(store)).filter(([file]) => !file.endsWith('.gitignore'));
        expect(contents(killed)).toEqual(contents(whole));
      }),
      { numRuns: propertyRuns(40) },
    );
  });
});

describe('what dead commands leave', () => {
  it('belongs to the key that its name says', () => {
    expect(ownerOfLeftover('..bot.lock.0123456789ab.tmp')).toBe('bot');
    expect(ownerOfLeftover('.bot.lock.0123456789ab.tmp')).toBe('bot');
    expect(ownerOfLeftover('..Bot.commit.0123456789ab.tmp')).toBe('bot');
    expect(ownerOfLeftover('.bot.json.json.0123456789ab.tmp')).toBe('bot.json');
    expect(ownerOfLeftover('.bot.lock')).toBe('bot');
    expect(ownerOfLeftover('.bot.commit')).toBe('bot');
    expect(ownerOfLeftover('.something.tmp')).toBe(null);
  });

  it('is swept up, whatever key it belongs to, and nothing else is', async () => {
    const store = newStore();
    await addKey(store, 'bot');
    const left = ['..bot.lock.0123456789ab.tmp', '.Old.json.0123456789ab.tmp', '.bot.lock.aaaaaaaaaaaa.tmp'];
    const others = ['.env', 'notes.tmp', '.my.backup.tmp'];
    for (const file of [...left, ...others]) writeFileSync(join(store.folder, file), 'x');
    await store.tidy();
    expect(filesOf(store)).toEqual([...filesOfKey('bot'), ...others].sort());
  });

  it('stays while its key is being worked on', async () => {
    const store = newStore();
    await store.withLock('bot', async () => {
      const file = join(store.folder, '.bot.json.0123456789ab.tmp');
      writeFileSync(file, 'x');
      await openKeystore(store.folder).tidy();
      expect(existsSync(file)).toBe(true);
    });
  });
});

describe('the folder of a keystore', () => {
  it('is made 0700 with an ignore file for git, also where that was not written to its end', async () => {
    const store = newStore();
    mkdirSync(store.folder, { mode: 0o700 });
    writeFileSync(join(store.folder, '.gitignore'), '');
    await addKey(store, 'bot');
    expect(textOf(store, '.gitignore')).toBe('*\n');
    const other = newStore();
    await addKey(other, 'bot');
    expect(textOf(other, '.gitignore')).toBe('*\n');
    expect(statSync(other.folder).mode & 0o777).toBe(0o700);
    expect(statSync(join(other.folder, 'bot.pem')).mode & 0o777).toBe(0o600);
  });

  it('that is not empty keeps the ignore file that it has, or has not', async () => {
    const store = storeWith({ 'README.md': 'mine' });
    await addKey(store, 'bot');
    expect(existsSync(join(store.folder, '.gitignore'))).toBe(false);
  });

  it('that is a file is an error that names it', async () => {
    const store = newStore();
    writeFileSync(store.folder, '');
    for (const work of [() => addKey(store, 'bot'), () => store.list(), () => store.read('bot')]) {
      const error = await errorOf(work);
      expect(error.code).toBe('ERR_KEYSTORE_IO');
      expect(error.message).toContain(store.folder);
    }
    await store.tidy();
  });
});
