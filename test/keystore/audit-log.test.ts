import { appendFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { appendLines, auditLine, parseAuditLine, readAudit } from '../../src/keystore/audit-log.js';
import { addKey, newStore } from './support.js';

const logOf = (folder: string) => join(folder, 'audit.jsonl');
const now = () => new Date('2026-11-23T16:00:00.000Z');

describe('the audit log', () => {
  it('tells what was done, when and to which key, and holds no secret', async () => {
    const store = newStore({ now });
    const { record } = await addKey(store, 'bot');
    const { entries, damagedLines } = await readAudit(store.folder);
    expect(damagedLines).toBe(0);
    expect(entries).toEqual([
      {
        time: '2026-11-23T16:00:00.000Z',
        action: 'generate',
        name: 'bot',
        fingerprint: record.fingerprint,
        clientId: null,
        environment: null,
        outcome: 'ok',
        actor: { user: expect.any(String), host: hostname(), as: null },
      },
    ]);
    expect(statSync(logOf(store.folder)).mode & 0o777).toBe(0o600);
    expect(readFileSync(logOf(store.folder), 'utf8')).not.toContain('PRIVATE');
  });

  it('is empty where nothing was ever done', async () => {
    expect(await readAudit(newStore().folder)).toEqual({ entries: [], damagedLines: 0 });
  });

  it('goes on behind a line that a crash cut short, and counts it', async () => {
    const store = newStore();
    await store.audit({ action: 'first' });
    appendFileSync(logOf(store.folder), '{"time":"2026-11-2');
    await store.audit({ action: 'second' });
    const { entries, damagedLines } = await readAudit(store.folder);
    expect(entries.map(({ action }) => action)).toEqual(['first', 'second']);
    expect(damagedLines).toBe(1);
  });

  it('takes lines from many writers at once, each complete', async () => {
    const store = newStore();
    await Promise.all(Array.from({ length: 50 }, (_, index) => store.audit({ action: `action ${index}` })));
    const { entries, damagedLines } = await readAudit(store.folder);
    expect(damagedLines).toBe(0);
    expect(new Set(entries.map(({ action }) => action)).size).toBe(50);
  });

  it('passes over lines that are no entries', async () => {
    const store = newStore();
    await store.audit({ action: 'first' });
    const bad = ['null', '7', '[]', '{}', '{"action":"x"}', '{"action":1,"time":"t","outcome":"ok"}', 'noise'];
    appendFileSync(logOf(store.folder), `${bad.join('\n')}\n\n`);
    expect(await readAudit(store.folder)).toMatchObject({ entries: [{ action: 'first' }], damagedLines: bad.length });
  });

  it('writes a line once, however often it is asked to', async () => {
    const store = newStore();
    await store.audit({ action: 'first' });
    const path = logOf(store.folder);
    for (let round = 0; round < 3; round += 1) await appendLines(path, ['the line'], { once: true });
    expect(readFileSync(path, 'utf8').match(/the line/g)).toHaveLength(1);
    writeFileSync(path, 'the line');
    await appendLines(path, ['the line'], { once: true });
    expect(readFileSync(path, 'utf8')).toBe('the line\nthe line\n');
    writeFileSync(path, `${'x'.repeat(70_000)}\nthe line\n`);
    await appendLines(path, ['the line'], { once: true });
    await appendLines(path, ['x'], { once: true });
    expect(readFileSync(path, 'utf8').slice(70_000)).toBe('\nthe line\nx\n');
  });

  it('reads every entry back from its line', () => {
    const text = fc.string();
    const maybe = fc.option(text);
    const entry = fc.record({
      time: text,
      action: text,
      name: maybe,
      fingerprint: maybe,
      clientId: maybe,
      environment: maybe,
      outcome: text,
      actor: fc.option(fc.record({ user: maybe, host: text, as: maybe })),
    });
    fc.assert(
      fc.property(entry, (one) => {
        expect(auditLine(one)).not.toContain('\n');
        expect(parseAuditLine(auditLine(one))).toEqual(one);
      }),
    );
  });

  it('reads any line as an entry or as none', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (line) => {
        const entry = parseAuditLine(line);
        if (entry !== null) expect(typeof entry.action).toBe('string');
      }),
    );
  });
});
