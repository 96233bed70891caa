import { bitLength, bytesToBigInt, modPow } from './numbers.js';

const TRIAL_LIMIT = 752;

function primesBelow(limit: number): readonly bigint[] {
  const primes: number[] = [];
  for (let n = 2; n < limit; n++) {
    if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  }
  return primes.map(BigInt);
}

const SMALL_PRIMES = primesBelow(TRIAL_LIMIT);

/** Whether one of the primes below 752 divides `n` (NIST SP 800-89 §5.3.3). */
export function hasSmallFactor(n: bigint): boolean {
  return SMALL_PRIMES.some((prime) => n % prime === 0n);
}

/** How to test a number for being prime. */
export interface MillerRabinOptions {
  readonly rounds: number;
  readonly randomBytes: (length: number) => Uint8Array;
  /** Lets other work run; called before each round. */
  readonly pause: () => Promise<unknown>;
}

/**
 * Miller-Rabin with random bases (FIPS 186-5 §B.3.1), after trial division, for odd numbers over 752. For a number that
 * was not chosen to deceive, one round errs with a chance below 2^-80 at 512 bits already, and far less above.
 */
export async function passesMillerRabin(
  candidate: bigint,
  { rounds, randomBytes, pause }: MillerRabinOptions,
): Promise<boolean> {
  if (hasSmallFactor(candidate)) return false;
  const last = candidate - 1n;
  let twos = 0;
  let odd = last;
  for (; odd % 2n === 0n; odd /= 2n) twos++;
  const length = Math.ceil(bitLength(candidate) / 8) + 8;
  for (let round = 0; round < rounds; round++) {
    await pause();
    const base = 2n + (bytesToBigInt(randomBytes(length)) % (candidate - 3n));
    if (!isWitnessed(modPow(base, odd, candidate), twos, last, candidate)) return false;
  }
  return true;
}

function isWitnessed(power: bigint, twos: number, last: bigint, candidate: bigint): boolean {
  let current = power;
  if (current === 1n || current === last) return true;
  for (let i = 1; i < twos; i++) {
    current = (current * current) % candidate;
    if (current === last) return true;
  }
  return false;
}
