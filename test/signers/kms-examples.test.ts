import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parsePublicKey } from '../../src/crypto/formats/index.js';
import { transitSigner } from '../fixtures/signers/examples/vault-transit.js';
import { bytes, load, noKmsClient, opensslVerifies } from './support.js';

type Answer = (path: string, body: string, headers: Readonly<Record<string, string | string[] | undefined>>) => unknown;

/** A stand-in of a service: `answer` gives the document, or null for a refusal. */
async function serve(answer: Answer): Promise<string> {
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      const document = answer(`${request.method} ${request.url}`, body, request.headers);
      response.writeHead(document === null ? 400 : 200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(document ?? { errors: ['no'] }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function keyPair(type: 'ed25519' | 'rsa') {
  return type === 'rsa' ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : generateKeyPairSync('ed25519');
}
const pemOf = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }) as string;

async function proves(signer: Awaited<ReturnType<typeof transitSigner>>, publicKey: KeyObject): Promise<void> {
  expect(signer.publicKey.equals(await parsePublicKey(pemOf(publicKey)))).toBe(true);
  expect(opensslVerifies(signer.publicKey, bytes('1\n2\n'), await signer.sign(bytes('1\n2\n')))).toBe(true);
}

describe('the worked signer for the transit engine of HashiCorp Vault', () => {
  /** What its HTTP API documents of reading a key and of signing. */
  const vault = (type: 'ed25519' | 'rsa', pair: ReturnType<typeof keyPair>, seen: string[]) =>
    serve((path, body, headers) => {
      if (headers['x-vault-token'] !== 'hvs.token') return null;
      if (path === 'GET /v1/transit/keys/bot') {
        const raw = Buffer.from(pair.publicKey.export({ format: 'jwk' }).x ?? '', 'base64url').toString('base64');
        const shown = type === 'rsa' ? pemOf(pair.publicKey) : raw;
        const old = { public_key: 'of an older version' };
        const keys = { 1: old, 2: { public_key: shown } };
        return { data: { type: type === 'rsa' ? 'rsa-2048' : 'ed25519', latest_version: 2, keys } };
      }
      seen.push(path);
      const { input, key_version, signature_algorithm } = JSON.parse(body) as Record<string, string | number>;
      if (key_version !== 2) return null;
      const message = Buffer.from(String(input), 'base64');
      if (type === 'rsa') {
        if (path !== 'POST /v1/transit/sign/bot/sha2-256') return null;
        const padding = signature_algorithm === 'pkcs1v15' ? 1 : 6;
        const signature = sign('sha256', message, { key: pair.privateKey, padding });
        return { data: { signature: `vault:v2:${signature.toString('base64')}` } };
      }
      if (path !== 'POST /v1/transit/sign/bot') return null;
      return { data: { signature: `vault:v2:${sign(null, message, pair.privateKey).toString('base64')}` } };
    });

  it.each(['ed25519', 'rsa'] as const)('signs with %s', async (type) => {
    const pair = keyPair(type);
    const seen: string[] = [];
    const address = await vault(type, pair, seen);
    await proves(await transitSigner({ address, token: 'hvs.token' }, 'bot'), pair.publicKey);
    expect(seen).toHaveLength(2);
    await expect(transitSigner({ address, token: 'another' }, 'bot')).rejects.toThrow(/Vault answered 400/);
  });
});

describe.skipIf(noKmsClient)('the worked signer for AWS KMS, with the client of AWS', () => {
  it.each(['ed25519', 'rsa'] as const)('signs with %s', async (type) => {
    const { KMSClient } = (await load('@aws-sdk/client-kms')) as typeof import('@aws-sdk/client-kms');
    const { kmsSigner } = await import('../fixtures/signers/examples/aws-kms.js');
    const pair = keyPair(type);
    const seen: unknown[] = [];
    const endpoint = await serve((_path, body, headers) => {
      const input = JSON.parse(body) as Record<string, string>;
      if (input.KeyId !== 'alias/bot' || !String(headers.authorization).startsWith('AWS4-HMAC-SHA256 ')) return null;
      if (headers['x-amz-target'] === 'TrentService.GetPublicKey') {
        const PublicKey = pair.publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
        return { PublicKey, KeySpec: type === 'rsa' ? 'RSA_2048' : 'ECC_NIST_EDWARDS25519', KeyUsage: 'SIGN_VERIFY' };
      }
      if (headers['x-amz-target'] !== 'TrentService.Sign') return null;
      const { Message = '', ...rest } = input;
      seen.push(rest);
      const signature = sign(type === 'rsa' ? 'sha256' : null, Buffer.from(Message, 'base64'), pair.privateKey);
      return { Signature: signature.toString('base64'), SigningAlgorithm: rest.SigningAlgorithm };
    });
    const credentials = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret' };
    const kms = new KMSClient({ region: 'eu-central-1', endpoint, credentials });
    await proves(await kmsSigner(kms, 'alias/bot'), pair.publicKey);
    const SigningAlgorithm = type === 'rsa' ? 'RSASSA_PKCS1_V1_5_SHA_256' : 'ED25519_SHA_512';
    expect(seen).toEqual([1, 2].map(() => ({ KeyId: 'alias/bot', MessageType: 'RAW', SigningAlgorithm })));
    kms.destroy();
  });
});
