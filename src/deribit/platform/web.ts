import { usageError } from '../../errors.js';
import type { ConnectOptions } from '../connect-options.js';
import { limitConnecting } from '../network-errors.js';
import {
  type HttpClient,
  type Platform,
  type Post,
  type PostAnswer,
  type Socket,
  type SocketHandlers,
  type SocketOptions,
  stateOf,
} from './platform.js';

/** What is used of the platform's `WebSocket`. */
interface WebSocketLike {
  readonly readyState: number;
  readonly bufferedAmount: number;
  send(text: string): void;
  close(code?: number): void;
  addEventListener(name: 'open' | 'error', listener: () => void): void;
  addEventListener(name: 'message', listener: (event: { readonly data: unknown }) => void): void;
  addEventListener(name: 'close', listener: (event: { readonly code: number }) => void): void;
}

export const platform: Platform = {
  sendsOnce: false,
  environment: {},
  proxyFor: noProxy,
  openHttpClient,
  openSocket,
  trace() {},
};

/** A browser decides about proxies and authorities itself. */
function noProxy(_url: string, { proxy, ca }: ConnectOptions): null {
  const option = ca !== undefined ? 'ca' : typeof proxy === 'string' && proxy !== '' ? 'proxy' : null;
  if (option === null) return null;
  throw usageError(
    `the option ${option} has no effect in a browser or worker`,
    `leave ${option} out: the platform's own settings apply`,
  );
}

async function openHttpClient(): Promise<HttpClient> {
  return { post, close: async () => {} };
}

async function post({ url, headers, body, signal, maxReplyBytes, onSending }: Post): Promise<PostAnswer> {
  onSending();
  const answer = await fetch(url, {
    method: 'POST',
    headers: { ...headers },
    body,
    signal,
    redirect: 'manual',
    credentials: 'omit',
  });
  const reader = answer.body?.getReader();
  const decoder = new TextDecoder();
  let text = '';
  let size = 0;
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
    if (done) return { status: answer.status, body: text + decoder.decode() };
    size += value.length;
    if (size > maxReplyBytes) {
      await reader?.cancel();
      return { status: answer.status, body: null };
    }
    text += decoder.decode(value, { stream: true });
  }
}

function openSocket(url: string, options: SocketOptions, handlers: SocketHandlers): Promise<Socket> {
  const { WebSocket } = globalThis as unknown as { readonly WebSocket: new (url: string) => WebSocketLike };
  const { onReached, maxReplyBytes } = options;
  const socket = new WebSocket(url);
  let isOpened = false;
  let isEnded = false;
  const end = (code: number) => {
    if (isEnded) return;
    isEnded = true;
    if (isOpened) handlers.onEnd(code);
  };
  return new Promise((resolve, reject) => {
    const stopLimits = limitConnecting(options, (error) => {
      reject(error);
      socket.close();
    });
    socket.addEventListener('open', () => {
      stopLimits();
      isOpened = true;
      onReached?.();
      resolve({
        get state() {
          return isEnded ? 'closed' : stateOf(socket.readyState);
        },
        get bufferedBytes() {
          return socket.bufferedAmount;
        },
        send: (text) => socket.send(text),
        close: () => socket.close(1000),
        terminate() {
          socket.close();
          end(1006);
        },
      });
    });
    socket.addEventListener('message', ({ data }) => {
      if (isEnded) return;
      if (typeof data !== 'string') handlers.onFault('is binary');
      else if (data.length > maxReplyBytes) handlers.onFault('is larger than the allowed size');
      else handlers.onText(data);
    });
    socket.addEventListener('error', () => {});
    socket.addEventListener('close', ({ code }) => {
      stopLimits();
      // the platform does not say what went wrong
      reject(new Error('the WebSocket connection was not opened'));
      end(code);
    });
  });
}
