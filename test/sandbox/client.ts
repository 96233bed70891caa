import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { once } from 'node:events';
import WebSocket from 'ws';
import type { Sandbox } from '../../src/sandbox/index.js';

export type Json = Readonly<Record<string, unknown>>;

/** An answer of the exchange, as it came. */
export interface Answer {
  readonly id?: number | string;
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: Json | string };
  readonly method?: string;
  readonly params?: Json;
  readonly testnet?: boolean;
  readonly usIn?: number;
  readonly usOut?: number;
  readonly usDiff?: number;
}

export function record(value: unknown): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('not an object');
  return value as Json;
}

/** POST of an envelope. */
export async function post(sandbox: Sandbox, method: string, params: Json = {}, token?: string): Promise<Answer> {
  const response = await fetch(sandbox.httpUrl, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
  });
  return (await response.json()) as Answer;
}

/** GET with a query string as it stands. */
export async function get(
  sandbox: Sandbox,
  pathAndQuery: string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(`${sandbox.httpUrl}/${pathAndQuery}`, { headers });
  return (await response.json()) as Answer;
}

/** The bootstrap key's credentials. */
export function bootstrap(sandbox: Sandbox, scope?: string): Json {
  return {
    grant_type: 'client_credentials',
    client_id: sandbox.clientId,
    client_secret: sandbox.clientSecret,
    ...(scope === undefined ? {} : { scope }),
  };
}

/** A token over HTTP for the bootstrap key. */
export async function token(sandbox: Sandbox, scope?: string): Promise<string> {
  const { result } = await post(sandbox, 'public/auth', bootstrap(sandbox, scope));
  return String(record(result).access_token);
}

export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly pem: string;
}

export function ed25519(): KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { privateKey, pem: publicKey.export({ format: 'pem', type: 'spki' }).toString() };
}

export function rsa(modulusLength = 2048): KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength });
  return { privateKey, pem: publicKey.export({ format: 'pem', type: 'spki' }).toString() };
}

let nonces = 0;

/** `public/auth` parameters signed with a private key, or with a symmetric key's secret. */
export function signed(
  clientId: string,
  key: KeyObject | string,
  {
    timestamp = Date.now(),
    nonce = `n${nonces++}`,
    data = '',
  }: { timestamp?: number; nonce?: string; data?: string } = {},
): Json {
  const message = `${timestamp}\n${nonce}\n${data}`;
  const signature =
    typeof key === 'string'
      ? createHmac('sha256', key).update(message).digest('hex')
      : sign(key.asymmetricKeyType === 'rsa' ? 'sha256' : null, Buffer.from(message), key).toString('base64url');
  return { grant_type: 'client_signature', client_id: clientId, timestamp, nonce, data, signature };
}

/** A bare WebSocket client that keeps what it is sent. */
export class Socket {
  readonly ws: WebSocket;
  readonly frames: string[] = [];
  closeCode: number | null = null;
  #next = 1;
  readonly #listeners = new Set<() => void>();

  private constructor(url: string) {
    this.ws = new WebSocket(url);
    this.ws.on('message', (data: Buffer) => {
      this.frames.push(data.toString());
      for (const listener of this.#listeners) listener();
    });
    this.ws.on('close', (code) => {
      this.closeCode = code;
      for (const listener of this.#listeners) listener();
    });
    this.ws.on('error', () => undefined);
  }

  static async open(sandbox: Sandbox): Promise<Socket> {
    const socket = new Socket(sandbox.wsUrl);
    await once(socket.ws, 'open');
    return socket;
  }

  send(method: string, params: Json = {}): number {
    const id = this.#next++;
    this.ws.send(JSON.stringify({ jsonrpc: '2.0', id, method, params }));
    return id;
  }

  /** Answers and notifications that came, garbage left out. */
  get answers(): readonly Answer[] {
    return this.frames.flatMap((frame) => (frame.startsWith('{') ? [JSON.parse(frame) as Answer] : []));
  }

  /** Waits until `done` returns something; undefined once the connection has closed. */
  async until<T>(done: () => T | undefined): Promise<T | undefined> {
    for (;;) {
      const value = done();
      if (value !== undefined || this.closeCode !== null) return value;
      await new Promise<void>((resolve) => {
        const listener = () => {
          this.#listeners.delete(listener);
          resolve();
        };
        this.#listeners.add(listener);
      });
    }
  }

  /** Undefined where the connection closed before there was an answer. */
  async request(method: string, params: Json = {}): Promise<Answer | undefined> {
    const id = this.send(method, params);
    return this.until(() => this.answers.find((answer) => answer.id === id));
  }

  /** The close code, once it has closed. */
  async closed(): Promise<number> {
    while (this.closeCode === null) await this.until(() => undefined);
    return this.closeCode;
  }

  close(): void {
    this.ws.terminate();
  }
}
