import type { RotationJournal } from '../../keystore/journal.js';

/** When the grace of a rotation ends, in milliseconds since the epoch; null before the successor has its name. */
export function graceEndMs({ promotedAt, graceMs }: RotationJournal): number | null {
  return promotedAt === null ? null : Date.parse(promotedAt) + graceMs;
}

/** Whether the old key of a rotation is still enabled on purpose. */
export function isInGrace(journal: RotationJournal, nowMs: number): boolean {
  return nowMs < (graceEndMs(journal) ?? Number.NEGATIVE_INFINITY);
}
