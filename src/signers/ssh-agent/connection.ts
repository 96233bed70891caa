import { stat } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import { wireString } from '../../crypto/formats/ssh-public.js';
import { signerError } from '../../crypto/signer.js';
import type { DeribitKeysError } from '../../errors.js';
import { type LoadPackage, loadOptionalPackage } from '../optional-package.js';

/** What is used of a client connection of ssh2: a duplex stream that speaks the agent's protocol. */
interface AgentProtocol extends Duplex {
  sign(
    publicKey: unknown,
    data: Buffer,
    options: { readonly hash?: 'sha256' },
    done: (error: Error | null | undefined, signature?: Buffer) => void,
  ): void;
}

/** What is used of ssh2. */
interface Ssh2 {
  createAgent(path: string): { getStream(done: (error: Error | null | undefined, stream?: Duplex) => void): void };
  readonly AgentProtocol: new (client: true) => AgentProtocol;
  readonly utils: { parseKey(blob: Buffer): unknown };
}

/** How an agent is reached. */
export interface SshAgentOptions {
  /** The agent's socket, or named pipe; default: the environment variable SSH_AUTH_SOCK. */
  readonly socket?: string | undefined;
  /** Time limit of each answer, in milliseconds. Default 10,000, and 60,000 where somebody may have to confirm. */
  readonly timeoutMs?: number | undefined;
  /** How the optional package `ssh2` is loaded; default: an ordinary import. */
  readonly load?: LoadPackage | undefined;
}

/** A running agent. Each call has its own connection, which is closed when the call ends. */
export interface AgentConnection {
  readonly socket: string;
  /** One request and its answer, both without their length prefix: a type byte and its content. */
  exchange(request: Uint8Array, usualMs: number): Promise<Uint8Array>;
  /**
   * A function that signs with the key of this blob. It returns the bytes of a signature, or null if the agent refuses.
   * `sha256` sets flag 2 for RSA.
   */
  signWith(keyBlob: Uint8Array, sha256: boolean, usualMs: number): (message: Uint8Array) => Promise<Uint8Array | null>;
}

/** The longest answer of OpenSSH's agent. */
const MAX_ANSWER_BYTES = 256 * 1024;
const WINDOWS_PIPE = '\\\\.\\pipe\\openssh-ssh-agent';

/** How ssh2 reports a refusal of the agent. */
const REFUSAL = 'Agent responded with failure';

/**
 * Prepares requests to an agent; nothing is sent yet. Each has its usual time limit, unless `timeoutMs` says another one.
 * @throws `ERR_SIGNER` if there is no socket, or ssh2 is not installed
 */
export async function connectAgent({ socket, timeoutMs: limitMs, load }: SshAgentOptions): Promise<AgentConnection> {
  const path = (socket ?? process.env.SSH_AUTH_SOCK) || (process.platform === 'win32' ? WINDOWS_PIPE : '');
  if (path === '') {
    throw signerError(
      'there is no ssh-agent: SSH_AUTH_SOCK is not set',
      'start one (eval "$(ssh-agent)"), or set SSH_AUTH_SOCK to the socket of one',
    );
  }
  const ssh2 = (await loadOptionalPackage('ssh2', 'a key in an ssh-agent', load)) as Ssh2;
  const agent = ssh2.createAgent(path);

  const open = () =>
    new Promise<Duplex>((resolve, reject) => {
      agent.getStream((error, stream) => {
        if (stream !== undefined && !error) resolve(stream);
        else noAgent(path, error).then(reject, reject);
      });
    });

  /** Runs `work` on a new connection, which is closed afterwards. */
  const connected = async <T>(usualMs: number, work: (stream: Duplex) => Promise<T>): Promise<T> => {
    const timeoutMs = limitMs ?? usualMs;
    const stream = await open();
    let timer: NodeJS.Timeout | undefined;
    const ended = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(late(path, timeoutMs)), timeoutMs);
      stream.on('error', (cause) => reject(hungUp(path, cause)));
      stream.on('close', () => reject(hungUp(path)));
    });
    try {
      return await Promise.race([work(stream), ended]);
    } finally {
      clearTimeout(timer);
      stream.destroy();
    }
  };

  return {
    socket: path,
    exchange: (request, usualMs) =>
      connected(usualMs, (stream) => {
        stream.write(wireString(request));
        return readFrame(stream, path);
      }),
    signWith(keyBlob, sha256, usualMs) {
      const key = ssh2.utils.parseKey(Buffer.from(keyBlob));
      const options = sha256 ? { hash: 'sha256' as const } : {};
      return (message) =>
        connected(
          usualMs,
          (stream) =>
            new Promise((resolve, reject) => {
              const protocol = new ssh2.AgentProtocol(true);
              protocol.on('error', (cause) => reject(nonsense(path, cause)));
              protocol.pipe(stream).pipe(protocol);
              protocol.sign(key, Buffer.from(message), options, (error, bytes) => {
                if (bytes !== undefined && !error) resolve(bytes);
                else if (error?.message === REFUSAL) resolve(null);
                else reject(hungUp(path, error));
              });
            }),
        );
    },
  };
}

function readFrame(stream: Duplex, path: string): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0);
    stream.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 4) return;
      const length = received.readUInt32BE();
      if (length === 0 || length > MAX_ANSWER_BYTES) reject(nonsense(path));
      else if (received.length >= 4 + length) resolve(new Uint8Array(received.subarray(4, 4 + length)));
    });
  });
}

async function noAgent(path: string, cause: unknown): Promise<DeribitKeysError> {
  const code = cause instanceof Error && 'code' in cause ? cause.code : '';
  if (code === 'EACCES' || code === 'EPERM') {
    return signerError(
      `the socket of the ssh-agent cannot be opened by this user: ${path} (${code})`,
      'run this as the user who started the agent, or start one for this user: eval "$(ssh-agent)"',
      cause,
    );
  }
  const there = process.platform === 'win32' || (await stat(path).catch(() => null))?.isSocket() === true;
  return signerError(
    there ? `no ssh-agent answers on ${path}` : `there is no ssh-agent: ${path} is not a socket`,
    'start one (eval "$(ssh-agent)") and check SSH_AUTH_SOCK or --socket; in a container, mount the socket there',
    cause,
  );
}

function late(path: string, timeoutMs: number): DeribitKeysError {
  return signerError(
    `the ssh-agent on ${path} did not answer within ${timeoutMs / 1000} s`,
    'it may be waiting for you: look for its window, or touch the device; or allow more time with --timeout',
  );
}

function hungUp(path: string, cause?: unknown): DeribitKeysError {
  return signerError(
    `the ssh-agent on ${path} closed the connection without an answer`,
    'check that it still runs: ssh-add -l',
    cause,
  );
}

/** The error for an answer that does not follow the protocol. */
export function nonsense(path: string, cause?: unknown): DeribitKeysError {
  return signerError(
    `what answers on ${path} does not speak the ssh-agent protocol`,
    'set SSH_AUTH_SOCK, or --socket of the command that added the key, to the socket of an ssh-agent',
    cause,
  );
}
