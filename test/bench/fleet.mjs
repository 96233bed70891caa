// 500 sessions of one process come back after a restart of the exchange, beside as many bare ws clients that each sign
// with bare crypto.sign, send the same login and read its answer. Counted is the CPU time of the process that holds them.
// The sessions share the token of their key, which is how Deribit lets one key have so many; or each logs in as well.
// And: how long a login takes after the connection is open, where every answer is 50 ms late.
import { fork } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { median, roundsOf, row } from './measure.mjs';

const SESSIONS = Number(process.env.SESSIONS ?? 500);
const CONTENDERS = ['sharing', 'alone', 'bare'];
const ROUNDS = roundsOf(5);
const WARM_UPS = 2;
/** Until everything that belongs to coming back is done. */
const SETTLE_MS = 5_500;
const file = (name) => fileURLToPath(new URL(`./fleet/${name}.mjs`, import.meta.url));

/** A process, and what it answers to a message. */
function start(name) {
  const child = fork(file(name), [], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: ['--expose-gc'] });
  return {
    async ask(message) {
      child.send(message);
      const [answer] = await once(child, 'message');
      return answer;
    },
    stop: () => child.kill(),
  };
}

/** What a restart costs those who hold the connections: the first one, and the last of some, when the code is compiled. */
async function restart(exchange, contender, setUp) {
  await contender.ask({ do: 'open', sessions: SESSIONS, ...setUp });
  const costs = [];
  for (let i = 0; i <= WARM_UPS; i += 1) {
    await sleep(SETTLE_MS);
    const waiting = contender.ask({ do: 'await-return' });
    await exchange.ask({ do: 'restart' });
    costs.push(await waiting);
  }
  return { first: costs[0], last: costs[WARM_UPS] };
}

async function reconnects() {
  const pair = generateKeyPairSync('ed25519');
  const privateKey = pair.privateKey.export({ type: 'pkcs8', format: 'pem' });
  const publicKey = pair.publicKey.export({ type: 'spki', format: 'pem' });
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const results = {};
    for (const name of round % 2 === 0 ? CONTENDERS : [...CONTENDERS].reverse()) {
      const [exchange, contender] = [start('exchange'), start(name === 'bare' ? 'bare' : 'ours')];
      try {
        const { wsUrl, clientId } = await exchange.ask({ do: 'start', publicKey });
        const setUp = { url: wsUrl, clientId, privateKey, sharesToken: name === 'sharing' };
        results[name] = await restart(exchange, contender, setUp);
      } finally {
        contender.stop();
        exchange.stop();
      }
    }
    rounds.push(results);
  }
  const back = `${SESSIONS} sessions back after a restart`;
  return [
    reconnectRow(rounds, 'sharing', 'last', `${back}, sharing a token: CPU`, { atMost: 1.1 }),
    reconnectRow(rounds, 'sharing', 'first', 'the same after the first restart, while code is being compiled', {
      atMost: 1.3,
    }),
    reconnectRow(rounds, 'alone', 'last', `${back}, each with its own login: CPU`, { atMost: 1.5 }),
    reconnectRow(rounds, 'alone', 'first', 'the same after the first restart, while code is being compiled', null),
  ];
}

function reconnectRow(rounds, contender, which, what, bound) {
  const of = (name, figure) => median(rounds.map((results) => results[name][which][figure]));
  const show = (name) =>
    `${(of(name, 'cpuMs') / SESSIONS).toFixed(2)} ms CPU each, ${Math.round(of(name, 'tookMs'))} ms, peak ${Math.round(of(name, 'peakMiB'))} MiB`;
  const ratio = median(rounds.map((results) => results[contender][which].cpuMs / results.bare[which].cpuMs));
  return row(what, ratio, bound, `${show(contender)} : ${show('bare')}`);
}

const DELAY_MS = 50;

async function roundTrips() {
  const pair = generateKeyPairSync('ed25519');
  const exchange = start('exchange');
  const contender = start('ours');
  try {
    const publicKey = pair.publicKey.export({ type: 'spki', format: 'pem' });
    const { wsUrl, clientId } = await exchange.ask({ do: 'start', publicKey, delayMs: DELAY_MS });
    const privateKey = pair.privateKey.export({ type: 'pkcs8', format: 'pem' });
    const { loginMs } = await contender.ask({ do: 'log-in', url: wsUrl, clientId, privateKey });
    const tookMs = median(loginMs);
    const detail = `${tookMs.toFixed(1)} ms from open socket to logged in : ${DELAY_MS} ms, over ${loginMs.length} logins`;
    return row('a login, in round trips', tookMs / DELAY_MS, { atMost: 1.2 }, detail);
  } finally {
    contender.stop();
    exchange.stop();
  }
}

export async function bench() {
  return [await roundTrips(), ...(await reconnects())];
}
