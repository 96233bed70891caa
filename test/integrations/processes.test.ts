import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { openBotDesk } from '../support/desk.js';
import { builtProgram, runProcess } from '../support/program.js';

const program = builtProgram();
const node = process.execPath;

/** A program that says `up` on stderr, and what it does about signals. */
const WAITS = (onSignal: string) => `${onSignal}; setInterval(() => {}, 1000); process.stderr.write('up ')`;

test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
  'exec hands %s on, and waits for what the program makes of it',
  async (signal) => {
    const s = await openBotDesk();
    const script = WAITS(`process.on('${signal}', () => setTimeout(() => process.exit(9), 50))`);
    let sent = false;
    const end = await runProcess(node, [program.path, 'exec', 'bot', '--', node, '-e', script], {
      env: { DERIBIT_KEYS_DIR: s.keysDir },
      onStderr(text, pid) {
        if (!sent && text.includes('up')) process.kill(pid, signal);
        sent ||= text.includes('up');
      },
    });
    expect(end).toMatchObject({ exitCode: 9, signal: null });
  },
);

test('exec ends as a shell counts it where a signal ends the program', async () => {
  const s = await openBotDesk();
  let sent = false;
  const end = await runProcess(node, [program.path, 'exec', 'bot', '--', node, '-e', WAITS('')], {
    env: { DERIBIT_KEYS_DIR: s.keysDir },
    onStderr(text, pid) {
      if (!sent && text.includes('up')) process.kill(pid, 'SIGTERM');
      sent ||= text.includes('up');
    },
  });
  expect(end).toMatchObject({ exitCode: 128 + 15, signal: null });
});

test('auth-server ends at a signal, and takes the file with its secret along', async () => {
  const s = await openBotDesk();
  let file = '';
  const end = await runProcess(node, [program.path, 'auth-server', 'bot'], {
    env: { DERIBIT_KEYS_DIR: s.keysDir },
    onStderr(text, pid) {
      if (text.includes('running')) process.kill(pid, 'SIGINT');
    },
  });
  file = /secret file +(\S+)/.exec(end.stdout)?.[1] ?? '';
  expect(file).toMatch(/\.secret$/);
  expect(existsSync(file)).toBe(false);
  expect(end.signal).toBeNull();
});
