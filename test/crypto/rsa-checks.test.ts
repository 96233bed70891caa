import { checkPrimeSync, generateKeyPairSync, generatePrimeSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { rsaPkcs8 } from '../../src/crypto/asn1/key-der.js';
import { decodePkcs8 } from '../../src/crypto/asn1/spki-pkcs8.js';
import { privateKeyFromRsaNumbers, publicKeyFromRsa } from '../../src/crypto/build-keys.js';
import { bigIntToBytes, bitLength, bytesToBigInt, type RsaPrivateNumbers } from '../../src/crypto/bytes.js';
import { encodePem, loadPkcs8Pem } from '../../src/crypto/pem.js';
import { localSigner } from '../../src/crypto/signer.js';
import type { ErrorCode } from '../../src/errors.js';
import { ENGINES, failure, native } from './support.js';

function numbersOf(bits: number, publicExponent = 0x10001): RsaPrivateNumbers {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: bits, publicExponent });
  const jwk = privateKey.export({ format: 'jwk' });
  const read = (name: 'n' | 'e' | 'd' | 'p' | 'q' | 'dp' | 'dq' | 'qi'): bigint =>
    bytesToBigInt(Buffer.from(jwk[name] ?? '', 'base64url'));
  return {
    n: read('n'),
    e: read('e'),
    d: read('d'),
    p: read('p'),
    q: read('q'),
    dp: read('dp'),
    dq: read('dq'),
    qi: read('qi'),
  };
}

/** Extended Euclid. */
function inverse(value: bigint, modulus: bigint): bigint {
  let [r0, r1, s0, s1] = [modulus, value % modulus, 0n, 1n];
  while (r1 !== 0n) {
    const quotient = r0 / r1;
    [r0, r1, s0, s1] = [r1, r0 - quotient * r1, s1, s0 - quotient * s1];
  }
  if (r0 !== 1n) throw new Error('the numbers have a common factor');
  return ((s0 % modulus) + modulus) % modulus;
}

function gcd(a: bigint, b: bigint): bigint {
  return b === 0n ? a : gcd(b, a % b);
}

/** Numbers that fit together as far as arithmetic goes, from factors that need not be prime. */
function fromFactors(p: bigint, q: bigint, e = 65_537n): RsaPrivateNumbers {
  const d = inverse(e, (p - 1n) * (q - 1n));
  return { n: p * q, e, d, p, q, dp: d % (p - 1n), dq: d % (q - 1n), qi: inverse(q, p) };
}

/** A factor of `bits` bits for which 65537 is a usable exponent. */
function usable(make: () => bigint): bigint {
  for (;;) {
    const factor = make();
    if ((factor - 1n) % 65_537n !== 0n) return factor;
  }
}

const primes = new Map<number, bigint>();
/** A prime of `bits` bits: the same one for both engines. */
function prime(bits: number): bigint {
  const one = primes.get(bits) ?? usable(() => generatePrimeSync(bits, { bigint: true }));
  primes.set(bits, one);
  return one;
}
let composite: RsaPrivateNumbers | undefined;
/** A key with a factor that is the product of two large primes: the same one for both engines. */
function largeComposite(): RsaPrivateNumbers {
  const half = () => generatePrimeSync(1100, { bigint: true });
  composite ??= fromFactors(
    usable(() => half() * half()),
    prime(2100),
  );
  return composite;
}

const valid = numbersOf(2048);
const { n, e, d, p, q } = valid;

describe.each(ENGINES)('on the $name engine', (engine) => {
  test('valid numbers make a key, with the factors in either order', async () => {
    const key = await privateKeyFromRsaNumbers(valid, engine);
    expect(key).toMatchObject({ algorithm: 'rsa', bits: 2048 });
    const swapped = await privateKeyFromRsaNumbers(fromFactors(q, p), engine);
    expect(swapped.publicKey.equals(key.publicKey)).toBe(true);
  });

  test('a key signs whichever of its factors is longer, by however much', async () => {
    const [short, long] = [prime(700), prime(1400)];
    for (const [first, second] of [
      [short, long],
      [long, short],
      [q, p],
    ] as const) {
      const key = await privateKeyFromRsaNumbers(fromFactors(first, second), engine);
      const message = new TextEncoder().encode('message');
      const signature = await localSigner(key, engine).sign(message);
      expect(await native.verify(key.publicKey, message, signature)).toBe(true);
    }
  });

  test('a private exponent that is right for only one factor is refused', async () => {
    for (const [right, wrong] of [
      [p, q],
      [q, p],
    ] as const) {
      const changed = (d + right - 1n) % n;
      expect([(e * changed) % (right - 1n) === 1n, (e * changed) % (wrong - 1n) === 1n]).toEqual([true, false]);
      const numbers = { ...valid, d: changed, dp: changed % (p - 1n), dq: changed % (q - 1n) };
      await failure('ERR_KEY_INVALID', () => privateKeyFromRsaNumbers(numbers, engine));
    }
  });

  test('a signature to which the modulus was added is refused, though it is the same modulo it', async () => {
    // 2049 bits leave seven more in the signature's first byte.
    const numbers = fromFactors(prime(1025), prime(1024));
    const key = await privateKeyFromRsaNumbers(numbers, engine);
    const message = new TextEncoder().encode('message');
    const signature = await localSigner(key, engine).sign(message);
    expect(await engine.verify(key.publicKey, message, signature)).toBe(true);
    const larger = bigIntToBytes(bytesToBigInt(signature) + numbers.n, signature.length);
    expect(await engine.verify(key.publicKey, message, larger)).toBe(false);
  });

  test('d may be taken modulo the least common multiple of p - 1 and q - 1, or modulo their product', async () => {
    const product = (p - 1n) * (q - 1n);
    for (const modulus of [product, product / gcd(p - 1n, q - 1n)]) {
      const key = await privateKeyFromRsaNumbers({ ...valid, d: inverse(e, modulus) }, engine);
      expect(key.bits).toBe(2048);
    }
  });

  test.each([
    ['an even modulus', { ...valid, n: n + 1n }, 'even'],
    ['a modulus that is not the product', { ...valid, n: n + 2n }, ''],
    ['another d', { ...valid, d: d + 2n }, 'do not belong together'],
    ['d of 0', { ...valid, d: 0n }, 'do not belong together'],
    ['d above the modulus', { ...valid, d: d + (p - 1n) * (q - 1n) * 2n }, 'do not belong together'],
    ['another dp', { ...valid, dp: valid.dp + 2n }, 'do not belong together'],
    ['another dq', { ...valid, dq: valid.dq + 2n }, 'do not belong together'],
    ['another qi', { ...valid, qi: valid.qi + 1n }, 'do not belong together'],
    ['the factors 1 and n', { ...valid, p: n, q: 1n }, 'do not belong together'],
    ['the factors 0 and 0', { ...valid, p: 0n, q: 0n }, 'do not belong together'],
    ['e of 0', { ...valid, e: 0n }, 'exponent'],
    ['e of 1', { ...valid, e: 1n }, 'exponent'],
    ['an even e', { ...valid, e: 65_536n }, 'even'],
    ['e above the modulus', { ...valid, e: n + 2n }, 'exponent'],
    ['another e', { ...valid, e: 3n }, 'do not belong together'],
  ] as const)('%s is refused', async (_, numbers, part) => {
    const { message } = await failure('ERR_KEY_INVALID', () => privateKeyFromRsaNumbers(numbers, engine));
    expect(message).toContain(part);
    await failure('ERR_KEY_INVALID', () => decodePkcs8(rsaPkcs8(numbers), engine));
    await failure('ERR_KEY_INVALID', () => loadPkcs8Pem(encodePem('PRIVATE KEY', rsaPkcs8(numbers)), engine));
  });

  test('a factor that is not prime is refused, on the quick way as well', async () => {
    const composite = usable(() => generatePrimeSync(512, { bigint: true }) * generatePrimeSync(512, { bigint: true }));
    const numbers = fromFactors(composite, prime(1024 + 2));
    const { message } = await failure('ERR_KEY_INVALID', () => privateKeyFromRsaNumbers(numbers, engine));
    expect(message).toContain('not prime');
    await failure('ERR_KEY_INVALID', () => loadPkcs8Pem(encodePem('PRIVATE KEY', rsaPkcs8(numbers)), engine));
  });

  test('a factor that is a large composite is refused', async () => {
    await failure('ERR_KEY_INVALID', () => privateKeyFromRsaNumbers(largeComposite(), engine));
  });
});

test.each([
  ['a short factor', prime(300), prime(1800), 'too short'],
  ['factors that lie close together', ...closePrimes(), 'close together'],
] as const)('%s is refused', async (_, first, second, part) => {
  const { message } = await failure('ERR_KEY_INVALID', () => privateKeyFromRsaNumbers(fromFactors(first, second)));
  expect(message).toContain(part);
});

function closePrimes(): readonly [bigint, bigint] {
  let second = p + 2n;
  while (!checkPrimeSync(second) || (second - 1n) % 65_537n === 0n) second += 2n;
  return [p, second];
}

test.each([
  ['RSA 1024 bits: at least 2048', (1n << 1023n) + 1n, 65_537n, 'ERR_KEY_UNSUPPORTED'],
  ['RSA 2047 bits: at least 2048', (1n << 2046n) + 1n, 65_537n, 'ERR_KEY_UNSUPPORTED'],
  ['RSA 0 bits: at least 2048', 0n, 65_537n, 'ERR_KEY_UNSUPPORTED'],
  ['RSA 16385 bits: at most 16384', (1n << 16_384n) + 1n, 65_537n, 'ERR_KEY_UNSUPPORTED'],
  ['an RSA public exponent of 65 bits: at most 64', (1n << 4095n) + 1n, (1n << 64n) + 1n, 'ERR_KEY_UNSUPPORTED'],
  ['the RSA modulus has a small factor', 751n * (1n << 2040n) + 751n, 65_537n, 'ERR_KEY_INVALID'],
] as const)('%s', async (message, modulus, exponent, code: ErrorCode) => {
  const error = await failure(code, () => publicKeyFromRsa({ n: modulus, e: exponent }));
  expect(error.message).toBe(message);
});

test('an exponent of 3 is taken', async () => {
  expect((await privateKeyFromRsaNumbers(numbersOf(2048, 3))).bits).toBe(2048);
});

test('a modulus whose length is no multiple of eight is taken', async () => {
  const odd = numbersOf(2052);
  expect(bitLength(odd.n) % 8).not.toBe(0);
  const key = await privateKeyFromRsaNumbers(odd);
  expect(key.bits).toBe(bitLength(odd.n));
});
