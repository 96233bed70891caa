import { fork } from 'node:child_process';
import { once } from 'node:events';
import { type Order, startSandbox } from '../../src/sandbox/index.js';

const TOKEN_LIFE_S = 3;

/** A sandbox as the soak uses it, in this process or in another. */
export interface SoakExchange {
  readonly httpUrl: string;
  readonly wsUrl: string;
  readonly clientId: string;
  addFault(spec: string): Promise<void>;
  clearFaults(): Promise<void>;
  dropConnections(): Promise<void>;
  /** Away for `downMs`; resolves when it is back. */
  restart(downMs: number): Promise<void>;
  orders(): Promise<readonly Order[]>;
  close(): Promise<void>;
}

/** One in this process, which knows the public key. */
export async function exchangeHere(publicKey: string): Promise<SoakExchange> {
  const sandbox = await startSandbox({ expiresInS: TOKEN_LIFE_S, callLimit: 0 });
  return {
    httpUrl: sandbox.httpUrl,
    wsUrl: sandbox.wsUrl,
    clientId: sandbox.addKey({ publicKey }).client_id,
    addFault: async (spec) => sandbox.addFault(spec),
    clearFaults: async () => sandbox.clearFaults(),
    dropConnections: async () => sandbox.dropConnections(),
    restart: (downMs) => sandbox.restart(downMs),
    orders: async () => sandbox.orders(),
    close: () => sandbox.close(),
  };
}

type Command = readonly [name: keyof SoakExchange | 'start', argument: unknown];

/** One in a process of its own, which runs `program`: its memory is not ours. */
export async function exchangeElsewhere(program: string, publicKey: string): Promise<SoakExchange> {
  const child = fork(program, ['exchange'], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  let busy: Promise<unknown> = Promise.resolve();
  const ask = (...command: Command): Promise<unknown> => {
    busy = busy.then(async () => {
      child.send(command);
      const [answer] = (await once(child, 'message')) as unknown[];
      return answer;
    });
    return busy;
  };
  const { httpUrl, wsUrl, clientId } = (await ask('start', publicKey)) as SoakExchange;
  return {
    httpUrl,
    wsUrl,
    clientId,
    addFault: async (spec) => void (await ask('addFault', spec)),
    clearFaults: async () => void (await ask('clearFaults', null)),
    dropConnections: async () => void (await ask('dropConnections', null)),
    restart: async (downMs) => void (await ask('restart', downMs)),
    orders: async () => (await ask('orders', null)) as readonly Order[],
    close: async () => {
      await ask('close', null);
      const gone = once(child, 'exit');
      child.kill();
      await gone;
    },
  };
}

/** What the other process does. */
export function serveExchange(): void {
  let exchange: SoakExchange | null = null;
  process.on('message', async ([name, argument]: Command) => {
    if (name === 'start') {
      exchange = await exchangeHere(String(argument));
      const { httpUrl, wsUrl, clientId } = exchange;
      process.send?.({ httpUrl, wsUrl, clientId });
      return;
    }
    const work = exchange?.[name] as ((argument: unknown) => Promise<unknown>) | undefined;
    process.send?.((await work?.(argument)) ?? null);
  });
}
