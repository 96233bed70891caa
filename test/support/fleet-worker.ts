import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { parsePrivateKey } from '../../src/crypto/formats/index.js';
import { localSigner } from '../../src/crypto/signer.js';
import { isDeribitKeysError } from '../../src/errors.js';
import { redisTokenStore } from '../../src/integrations/token-store/redis-token-store.js';
import { openSession, type Session, type SessionOptions, type TokenStore } from '../../src/session/index.js';
import { openKeystore } from '../../src/workflows/library.js';
import type { WorkerReport, WorkerSetUp } from './fleet.js';

/*
 * A process of bots: each has a session and asks all the time; every fourth request is an order with a label of its own.
 * It begins with the first message, and answers each later one with what has happened so far.
 */

const EVENTS = ['login', 'refresh', 'shared', 'unshared', 'disconnect'] as const;

async function storeOf({ redis }: WorkerSetUp): Promise<TokenStore | undefined> {
  if (redis === null) return undefined;
  const require = createRequire(redis.packageFile);
  const load = async (name: string): Promise<unknown> => require(name) as unknown;
  return redisTokenStore({ url: redis.url, key: Buffer.from(redis.keyHex, 'hex'), load });
}

async function main(setUp: WorkerSetUp): Promise<void> {
  const tokenStore = await storeOf(setUp);
  const report: WorkerReport = { open: 0, answers: 0, failures: [], labels: [], events: {}, clientIds: [] };
  const sessions: Session[] = [];
  process.on('message', () => process.send?.({ ...report, clientIds: sessions.map(({ clientId }) => clientId) }));

  async function bot(index: number): Promise<void> {
    const name = `${setUp.name}-${index}`;
    const options: Partial<SessionOptions> = {
      url: index % 2 === 0 ? setUp.wsUrl : setUp.httpUrl,
      tokenStore,
      timeoutMs: 30_000,
      backoff: { firstMs: 50, longestMs: 500 },
    };
    const { key } = setUp;
    const session =
      'pem' in key
        ? await openSession({
            ...options,
            clientId: key.clientId,
            signer: localSigner(await parsePrivateKey(key.pem)),
          })
        : await openSession({ ...options, keystore: openKeystore({ dir: key.dir }), name: key.name });
    for (const event of EVENTS) {
      session.on(event, () => {
        report.events[event] = (report.events[event] ?? 0) + 1;
      });
    }
    report.open += 1;
    sessions.push(session);
    for (let round = 0; ; round += 1) {
      const label = `${name}-${round}`;
      const order = { instrument_name: 'BTC-PERPETUAL', amount: 10, type: 'market', label };
      try {
        if (round % 4 === 0) await session.request('private/buy', order);
        else await session.request('private/get_account_summary', { currency: 'BTC' });
        report.answers += 1;
        if (round % 4 === 0) report.labels.push(label);
      } catch (error) {
        report.failures.push(
          isDeribitKeysError(error) ? `${error.code} ${error.message}` : `no code: ${String(error)}`,
        );
      }
      await sleep(setUp.everyMs * (0.5 + Math.random()));
    }
  }

  const failed = (error: unknown) => void report.failures.push(`a bot has ended: ${String(error)}`);
  for (let index = 0; index < setUp.bots; index += 1) bot(index).catch(failed);
}

process.once('message', (setUp: WorkerSetUp) => void main(setUp));
