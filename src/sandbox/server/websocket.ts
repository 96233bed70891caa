import type { RawData, WebSocket } from 'ws';
import { type Connection, disconnect, type Exchange } from '../core/exchange.js';
import type { Grant } from '../core/tokens.js';
import { handleRequest, type Outcome, refuse, stopReading } from './dispatch.js';
import { longestTimerMs } from './options.js';
import { largestRequest, parseJson, tooLarge } from './requests.js';

const answerToTestRequestMs = 10_000;
const heartbeatUnanswered = 4000;
/** RFC 6455 §7.4.1: the server met an unexpected condition. */
const gatewayFailed = 1011;
const reorderedAtLatestMs = 200;

/**
 * Serves one WebSocket connection: frames in, answers out. It ends by the client's close, an unanswered test request
 * (4000), silence (cut, seen as 1006), a logout (1000) or a fault; `socketOnClose` is the one exit, and clears all.
 */
export function serveWebsocket(
  exchange: Exchange,
  socket: WebSocket,
  { id, peer }: { readonly id: number; readonly peer: string },
): void {
  const { silentSocketMs } = exchange.settings;
  const { later } = exchange.control;
  const channels = new Map<string, boolean>();
  const held: string[] = [];
  let heartbeat: NodeJS.Timeout | null = null;
  let deadline: NodeJS.Timeout | null = null;

  const connection: Connection = {
    id,
    grant: null as Grant | null,
    channels,
    cancelOnDisconnect: null,
    loggedOut: false,
    send: (text) => socket.send(text),
    setHeartbeat(intervalS) {
      if (heartbeat !== null) clearInterval(heartbeat);
      connection.heardFrom();
      heartbeat = intervalS === null ? null : setInterval(testRequest, Math.min(intervalS * 1000, longestTimerMs));
    },
    heardFrom() {
      if (deadline !== null) clearTimeout(deadline);
      deadline = null;
    },
    close: (code) => socket.close(code),
  };
  const onSilence = () => (channels.size === 0 ? socket.terminate() : silence?.refresh());
  const silence = silentSocketMs === null ? undefined : setTimeout(onSilence, silentSocketMs);
  const origin = { connection, peer, credentials: { kind: 'none' }, loose: false } as const;

  function testRequest(): void {
    for (const type of ['heartbeat', 'test_request']) {
      socket.send(JSON.stringify({ jsonrpc: '2.0', method: 'heartbeat', params: { type } }));
    }
    deadline ??= setTimeout(() => socket.close(heartbeatUnanswered), answerToTestRequestMs);
  }

  function socketOnMessage(data: RawData): void {
    // Frames that arrived together with the one that a cut or a logout ended are lost with the connection.
    if (socket.readyState !== socket.OPEN) return;
    silence?.refresh();
    const outcome = answerFrame(data as Buffer);
    if (outcome.stray !== null) socket.send(outcome.stray);
    if (outcome.deafMs !== null) stopReading(exchange, socket, outcome.deafMs);
    if (outcome.delayMs > 0) later(outcome.delayMs, () => sendAnswer(outcome));
    else sendAnswer(outcome);
  }

  function answerFrame(frame: Buffer): Outcome {
    if (frame.length > largestRequest) return refuse(exchange, tooLarge(), { connection });
    try {
      return handleRequest(exchange, parseJson(frame.toString()), origin);
    } catch (error) {
      return refuse(exchange, error, { connection });
    }
  }

  function sendAnswer({ text, cut, hangUp, duplicate, reorder, badGateway }: Outcome): void {
    if (badGateway) socket.close(gatewayFailed);
    if (cut) socket.terminate();
    if (cut || text === null) return;
    if (reorder) {
      held.push(text);
      later(reorderedAtLatestMs, sendHeld);
      return;
    }
    socket.send(text);
    if (duplicate) socket.send(text);
    sendHeld();
    if (hangUp) socket.close(1008);
  }

  function sendHeld(): void {
    for (const text of held.splice(0)) socket.send(text);
  }

  function socketOnClose(): void {
    connection.setHeartbeat(null);
    clearTimeout(silence);
    disconnect(exchange, connection);
  }

  socket.on('message', socketOnMessage);
  socket.on('close', socketOnClose);
  socket.on('error', () => undefined);
}
