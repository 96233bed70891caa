import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const dayMs = 86_400_000;
const validDays = 30;
const caName = 'deribit-keys sandbox CA (throw-away)';
/** The names that a client may connect by: Deribit's own are for clients that hard-code them, with an entry in /etc/hosts. */
const serverNames = ['127.0.0.1', '::1', 'localhost', 'test.deribit.com', 'www.deribit.com'];

// Object identifiers in DER: RFC 5758 §3.2, RFC 5280 §4.2 and appendix A.
const ecdsaWithSha256 = hex('06082a8648ce3d040302');
const commonName = hex('0603550403');
const subjectKeyIdentifier = hex('0603551d0e');
const keyUsage = hex('0603551d0f');
const subjectAltName = hex('0603551d11');
const basicConstraints = hex('0603551d13');
const authorityKeyIdentifier = hex('0603551d23');
const extendedKeyUsage = hex('0603551d25');
const serverAuth = hex('06082b06010505070301');

/** A server's key and certificate, and the certificate of the authority that signed it; all PEM. */
export type ServerCertificate = ReturnType<typeof makeServerCertificate>;

/** A new ECDSA P-256 authority, whose private key is forgotten at once, and a certificate of it for 127.0.0.1. */
function makeServerCertificate() {
  const authority = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const server = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const issuer = { name: caName, ...authority };
  const ca = certificate({ name: caName, publicKey: authority.publicKey }, issuer, [
    extension(basicConstraints, true, sequence(hex('0101ff'))),
    extension(keyUsage, true, hex('03020106')), // keyCertSign, cRLSign
  ]);
  const cert = certificate({ name: 'localhost', publicKey: server.publicKey }, issuer, [
    extension(basicConstraints, true, sequence()),
    extension(keyUsage, true, hex('03020780')), // digitalSignature
    extension(extendedKeyUsage, false, sequence(serverAuth)),
    extension(subjectAltName, false, sequence(...serverNames.map(generalName))),
  ]);
  return { key: server.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(), cert, ca };
}

interface Subject {
  readonly name: string;
  readonly publicKey: KeyObject;
}

/** An X.509 v3 certificate (RFC 5280 §4.1) in PEM. */
function certificate(subject: Subject, issuer: Subject & { privateKey: KeyObject }, extensions: Uint8Array[]): string {
  const nowMs = Date.now();
  const algorithm = sequence(ecdsaWithSha256);
  const body = sequence(
    der(0xa0, hex('020102')), // version 3
    der(0x02, hex('01'), randomBytes(15)),
    algorithm,
    distinguishedName(issuer.name),
    sequence(utcTime(nowMs - dayMs), utcTime(nowMs + validDays * dayMs)),
    distinguishedName(subject.name),
    spki(subject.publicKey),
    der(
      0xa3,
      sequence(
        ...extensions,
        extension(subjectKeyIdentifier, false, der(0x04, keyId(subject.publicKey))),
        extension(authorityKeyIdentifier, false, sequence(der(0x80, keyId(issuer.publicKey)))),
      ),
    ),
  );
  const signature = sign('sha256', body, issuer.privateKey);
  const text = Buffer.from(sequence(body, algorithm, der(0x03, hex('00'), signature))).toString('base64');
  return `-----BEGIN CERTIFICATE-----\n${text.replace(/.{64}(?=.)/g, '$&\n')}\n-----END CERTIFICATE-----\n`;
}

function extension(id: Uint8Array, isCritical: boolean, value: Uint8Array): Uint8Array {
  return sequence(id, ...(isCritical ? [hex('0101ff')] : []), der(0x04, value));
}

function distinguishedName(name: string): Uint8Array {
  return sequence(der(0x31, sequence(commonName, der(0x0c, Buffer.from(name)))));
}

/** RFC 5280 §4.2.1.6: a DNS name or an address. */
function generalName(name: string): Uint8Array {
  if (isIP(name) === 0) return der(0x82, Buffer.from(name));
  const address = isIP(name) === 4 ? name.split('.').map(Number) : [...Array(15).fill(0), 1];
  return der(0x87, Buffer.from(address));
}

function utcTime(timeMs: number): Uint8Array {
  const digits = new Date(timeMs).toISOString().replace(/\D/g, '');
  return der(0x17, Buffer.from(`${digits.slice(2, 14)}Z`));
}

function spki(key: KeyObject): Uint8Array {
  return key.export({ format: 'der', type: 'spki' });
}

function keyId(key: KeyObject): Uint8Array {
  return createHash('sha256').update(spki(key)).digest().subarray(0, 20);
}

function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return der(0x30, ...parts);
}

function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts);
  const { length } = content;
  const header = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...header]), content]);
}

function hex(digits: string): Uint8Array {
  return Buffer.from(digits, 'hex');
}

/** Makes a certificate and writes its authority's to `caFile`; to a temporary file where that is null. */
export function openTls(caFile: string | null) {
  const certificate = makeServerCertificate();
  const folder = caFile === null ? mkdtempSync(join(tmpdir(), 'deribit-keys-sandbox-')) : null;
  const file = caFile ?? join(folder ?? '', 'ca.pem');
  writeFileSync(file, certificate.ca);
  const remove = () => {
    if (folder !== null) rmSync(folder, { recursive: true, force: true });
  };
  return { certificate, caFile: file, remove };
}
