import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** A bearer secret: 256 random bits as base64url. */
export function newBearer(): string {
  return randomBytes(32).toString('base64url');
}

const digest = (text: string) => createHash('sha256').update(text).digest();

/** Whether an `Authorization` header presents `secret`; the time that it takes tells nothing of how much was right. */
export function presents(header: string | undefined, secret: string): boolean {
  const given = /^Bearer +([\x21-\x7e]+) *$/i.exec(header ?? '')?.[1] ?? '';
  return timingSafeEqual(digest(given), digest(secret));
}
