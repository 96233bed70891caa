import { bitLength, bytesToBigInt, modPow, type RsaPrivateNumbers, type RsaPublicNumbers } from './bytes.js';
import { invalid, unsupported } from './key-errors.js';

/** The shortest modulus that Deribit takes, in bits. */
const MIN_RSA_BITS = 2048;
/** The longest that is read: OpenSSL's own limit. */
const MAX_RSA_BITS = 16_384;

// OpenSSL verifies nothing under a longer exponent once the modulus has more than 3072 bits.
const LARGE_MODULUS_BITS = 3072;
const MAX_LARGE_EXPONENT_BITS = 64;

/**
 * Checks what can be seen from the public numbers: 2048 to 16384 bits, an odd modulus without small factors, an odd
 * exponent of at least 3. Returns the length of the modulus in bits.
 * @throws ERR_KEY_UNSUPPORTED for a size, ERR_KEY_INVALID for a number that cannot be right
 */
export function checkRsaPublic({ n, e }: RsaPublicNumbers): number {
  const bits = bitLength(n);
  if (bits < MIN_RSA_BITS) throw unsupported(`RSA ${bits} bits: at least ${MIN_RSA_BITS}`);
  if (bits > MAX_RSA_BITS) throw unsupported(`RSA ${bits} bits: at most ${MAX_RSA_BITS}`);
  if (n % 2n === 0n) throw invalid('the RSA modulus is even');
  if (e < 3n) throw invalid(`the RSA public exponent is ${e}: at least 3`);
  if (e % 2n === 0n) throw invalid('the RSA public exponent is even');
  if (e >= n) throw invalid('the RSA public exponent is not below the modulus');
  if (bits > LARGE_MODULUS_BITS && bitLength(e) > MAX_LARGE_EXPONENT_BITS) {
    throw unsupported(`an RSA public exponent of ${bitLength(e)} bits: at most ${MAX_LARGE_EXPONENT_BITS}`);
  }
  if (hasSmallFactor(n)) throw invalid('the RSA modulus has a small factor');
  return bits;
}

/**
 * Checks that the private numbers belong to the public ones and to each other (RFC 8017 §3.2), and that the modulus
 * cannot be factored by the sizes of its factors. Whether p and q are prime is left to the caller. Returns the length of
 * the modulus in bits.
 * @throws as {@link checkRsaPublic}
 */
export function checkRsaPrivate(numbers: RsaPrivateNumbers): number {
  const bits = checkRsaPublic(numbers);
  if (!belongTogether(numbers)) throw invalid('the private numbers do not belong together');
  const { p, q } = numbers;
  if (Math.min(bitLength(p), bitLength(q)) < bits / 4) throw invalid('an RSA prime is too short for the modulus');
  // FIPS 186-5 §A.1.1: primes that lie close together are found at once by Fermat's method.
  if (bitLength(p > q ? p - q : q - p) <= bits / 2 - 100) throw invalid('the RSA primes lie too close together');
  return bits;
}

function belongTogether({ n, e, d, p, q, dp, dq, qi }: RsaPrivateNumbers): boolean {
  // Sizes first: the arithmetic below then costs no more than the modulus allows.
  const inRange = p > 2n && p < n && q > 2n && q < n && d > 0n && d < n && dp < p && dq < q && qi < p;
  return (
    inRange &&
    p * q === n &&
    (e * d) % (p - 1n) === 1n &&
    (e * d) % (q - 1n) === 1n &&
    dp === d % (p - 1n) &&
    dq === d % (q - 1n) &&
    (qi * q) % p === 1n
  );
}

const TRIAL_LIMIT = 752;

function primesBelow(limit: number): readonly bigint[] {
  const primes: number[] = [];
  for (let n = 2; n < limit; n++) {
    if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  }
  return primes.map(BigInt);
}

let smallPrimes: readonly bigint[] | undefined;

/** Whether one of the primes below 752 divides `n` (NIST SP 800-89 §5.3.3). */
function hasSmallFactor(n: bigint): boolean {
  smallPrimes ??= primesBelow(TRIAL_LIMIT);
  return smallPrimes.some((prime) => n % prime === 0n);
}

/** How to test a number for being prime. */
interface MillerRabinOptions {
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
    let power = modPow(base, odd, candidate);
    let passes = power === 1n || power === last;
    for (let i = 1; i < twos && !passes; i++) {
      power = (power * power) % candidate;
      passes = power === last;
    }
    if (!passes) return false;
  }
  return true;
}
