import { channel } from 'node:diagnostics_channel';
import type { ClientRequest, Agent as HttpAgent } from 'node:http';
import { debuglog } from 'node:util';
import type { Dispatcher } from 'undici';
import { onAbort } from '../../util/checks.js';
import { proxyFor } from '../connect-options.js';
import { parsedUrl } from '../endpoints.js';
import { interruptedError, limitConnecting, statusError } from '../network-errors.js';
import {
  type FrameFault,
  type HttpClient,
  type Platform,
  type Post,
  type PostAnswer,
  type Socket,
  type SocketHandlers,
  type SocketOptions,
  stateOf,
} from './platform.js';

/**
 * Where a host has several addresses, Node.js tries the next one after this time. Its own default of 250 ms is less
 * than a TCP handshake across a slow link takes.
 */
const LONGEST_ATTEMPT_MS = 3_000;
/** Each request has a timer of its own; this one only ends connecting in the background. */
const CONNECT_MS = 60_000;

const diagnostics = channel('deribit-keys');
const log = debuglog('deribit-keys');

export const platform: Platform = {
  sendsOnce: true,
  environment: process.env,
  proxyFor,
  openHttpClient,
  openSocket,
  trace(event) {
    if (diagnostics.hasSubscribers) diagnostics.publish(event());
    if (log.enabled) log('%j', event());
  },
};

function addressOptions(timeoutMs: number) {
  return {
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: Math.max(10, Math.min(LONGEST_ATTEMPT_MS, Math.floor(timeoutMs / 2))),
  };
}

/** The TLS options for an authority that the caller named. */
async function trust(ca: string | undefined) {
  return ca === undefined ? {} : (await import('../trust.js')).trustOf(ca);
}

/**
 * undici's own client, not the platform's `fetch`: that one sends a POST again on Deno when its connection is cut, goes
 * through the environment's proxy under NODE_USE_ENV_PROXY, and does not take an authority. It is imported by file
 * because Bun replaces the package's entry by classes that ignore proxy and authority; the agent is much quicker to load
 * than the package.
 */
async function openHttpClient(_url: string, { proxy, ca, timeoutMs }: SocketOptions): Promise<HttpClient> {
  const tls = { ...(await trust(ca)), ...addressOptions(timeoutMs), timeout: CONNECT_MS };
  // one request at a time on a connection: none waits behind one that is cut; the timers are ours
  const common = { pipelining: 1, allowH2: false, headersTimeout: 0, bodyTimeout: 0 } as const;
  let dispatcher: Dispatcher;
  if (proxy === null) {
    const { default: Agent } = await import('undici/lib/dispatcher/agent.js');
    dispatcher = new Agent({ ...common, connect: tls });
  } else {
    const { ProxyAgent } = await import('undici/index.js');
    dispatcher = new ProxyAgent({ ...common, uri: proxy, proxyTunnel: true, requestTls: tls, proxyTls: tls });
  }
  return { post: (post) => dispatch(dispatcher, post), close: () => dispatcher.destroy() };
}

function dispatch(dispatcher: Dispatcher, post: Post): Promise<PostAnswer> {
  const { signal, headers, body, maxReplyBytes, onSending } = post;
  const { origin, pathname } = new URL(post.url);
  return new Promise((resolve, reject) => {
    let controller: Dispatcher.DispatchController | null = null;
    let status = 0;
    let size = 0;
    const chunks: Uint8Array[] = [];
    const stopListening = onAbort(signal, () => {
      controller?.abort(signal.reason);
      reject(signal.reason);
    });
    const finish = (answer: PostAnswer) => {
      stopListening();
      resolve(answer);
    };
    dispatcher.dispatch(
      { origin, path: pathname, method: 'POST', headers: { ...headers }, body },
      {
        onRequestStart(started) {
          if (signal.aborted) {
            started.abort(signal.reason);
            return;
          }
          controller = started;
          onSending();
        },
        onResponseStart(_, code) {
          status = code;
        },
        onResponseData(_, chunk) {
          size += chunk.length;
          if (size <= maxReplyBytes) chunks.push(chunk);
          else if (controller?.aborted === false) {
            finish({ status, body: null });
            controller.abort(new Error('the answer is too large'));
          }
        },
        onResponseEnd() {
          finish({ status, body: new TextDecoder().decode(Buffer.concat(chunks)) });
        },
        onResponseError(_, error) {
          stopListening();
          reject(error);
        },
      },
    );
  });
}

/** Loaded with the first connection. */
let ws: typeof import('ws') | null = null;

async function openSocket(url: string, options: SocketOptions, handlers: SocketHandlers): Promise<Socket> {
  const { host, proxy, ca, timeoutMs, maxReplyBytes, signal, onReached } = options;
  const addresses = addressOptions(timeoutMs);
  const agent = proxy === null ? {} : { agent: await proxyAgent(proxy, addresses) };
  const authorities = await trust(ca);
  ws ??= await import('ws');
  if (signal?.aborted) throw interruptedError(`connecting to ${host}`, { maybeSent: false });
  const socket = new ws.WebSocket(url, {
    maxPayload: maxReplyBytes,
    perMessageDeflate: false,
    finishRequest: finishing(parsedUrl(url).pathname, onReached),
    ...addresses,
    ...agent,
    ...authorities,
  });
  return new Promise((resolve, reject) => {
    let isOpen = false;
    const fail = (error: unknown) => {
      if (isOpen) return;
      stopLimits();
      reject(error);
      socket.terminate();
    };
    const stopLimits = limitConnecting(options, fail);
    socket.on('open', () => {
      isOpen = true;
      stopLimits();
      resolve({
        get state() {
          return stateOf(socket.readyState);
        },
        get bufferedBytes() {
          return socket.bufferedAmount;
        },
        // a failed write surfaces as the socket's close, too
        send: (text) => socket.send(text, () => {}),
        close: () => socket.close(1000),
        terminate: () => socket.terminate(),
      });
    });
    socket.on('unexpected-response', (_, { statusCode }) =>
      fail(statusError(host, statusCode ?? 0, { maybeSent: false })),
    );
    socket.on('message', (data, isBinary) => {
      if (isBinary) handlers.onFault('is binary');
      else handlers.onText(data.toString());
    });
    socket.on('error', (error) => {
      // what the network does shows as the socket's close; only what the other side did wrong is a fault
      const fault = faultOf(error);
      if (fault !== null) handlers.onFault(fault);
      fail(error);
    });
    socket.on('close', (code) => {
      if (isOpen) handlers.onEnd(code);
    });
  });
}

function faultOf(error: Error): FrameFault | null {
  if (!('code' in error) || !String(error.code).startsWith('WS_ERR_')) return null;
  const isTooLarge = error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH';
  return isTooLarge ? 'is larger than the allowed size' : 'breaks the WebSocket protocol';
}

/** Sends the upgrade request; calls `onReached` as soon as there is a TCP connection (through the proxy, if any). */
function finishing(path: string, onReached: (() => void) | undefined): (request: ClientRequest) => void {
  return (request) => {
    // Deno writes the URL as for a proxy here under NODE_USE_ENV_PROXY, although the connection goes through none
    request.path = path;
    if (onReached !== undefined) {
      request.once('socket', (socket) => (socket.connecting ? socket.once('connect', onReached) : onReached()));
    }
    request.end();
  };
}

async function proxyAgent(proxy: string, addresses: ReturnType<typeof addressOptions>): Promise<HttpAgent> {
  const { HttpsProxyAgent } = await import('https-proxy-agent');
  return new HttpsProxyAgent(proxy, addresses);
}
