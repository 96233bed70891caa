import { DeribitKeysError } from '../errors.js';

const UNIT_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;
const DURATION = /^(\d{1,7})([smhdw])$/;

/**
 * The milliseconds of a duration such as `90d`: a whole number and one of s, m, h, d, w.
 * @throws `ERR_USAGE` for any other text
 */
export function parseDuration(text: string): number {
  const [, count, unit] = DURATION.exec(text) ?? [];
  if (count !== undefined && unit !== undefined) return Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS];
  throw new DeribitKeysError('ERR_USAGE', `a text of ${text.length} characters is not a duration`, {
    hint: 'write a whole number and a unit, such as 30m, 12h, 90d or 2w',
  });
}

/** A duration in words, in its largest fitting unit, rounded down: `90 days`. */
export function formatDuration(ms: number): string {
  const [size, word] =
    ms >= UNIT_MS.d
      ? [UNIT_MS.d, 'day']
      : ms >= UNIT_MS.h
        ? [UNIT_MS.h, 'hour']
        : ms >= UNIT_MS.m
          ? [UNIT_MS.m, 'minute']
          : [UNIT_MS.s, 'second'];
  const count = Math.floor(ms / size);
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}
