import { afterAll, describe, expect, test } from 'vitest';
import { builtProgram } from '../support/program.js';
import {
  canIsolate,
  chosenIn,
  copiesOf,
  expectNeitherTwiceNorLost,
  HIDINGS,
  onStage,
  type RunOptions,
  STORM_ROUNDS,
  STORM_SCOPE,
  TRANSPORTS,
  writePolicy,
} from './storm.js';

/* The same rule as in second-key.test.ts, by processes: they are killed, run at the same moment, and in containers. */

const CREATE = 'private/create_api_key';
const CUTS = [
  'cut-after',
  'cut-before',
  'drop-answer',
  'late-cut:40',
  'late-502:40',
  'garbage',
  'kill',
  'kill',
] as const;

const program = builtProgram();
const isolates = canIsolate();
const figures: string[] = [];
afterAll(() => process.stderr.write(`${figures.join('\n')}\n`));

describe('a process that is cut or killed, in every way of hiding', () => {
  test.each(['register', 'rotate', 'apply'] as const)('%s makes no second key and loses none', async (how) => {
    const counts = { cut: 0, killed: 0, finished: 0 };
    let usualMs = 0;
    for (let round = 0; round < STORM_ROUNDS; round += 1) {
      const { cut, hiding, kind } = chosenIn(round, { cut: CUTS, hiding: HIDINGS, kind: TRANSPORTS });
      await onStage(program.path, { kind }, async (stage) => {
        const { sandbox } = stage;
        const others = ['bot', 'decoy'].map((name) => sandbox.addKey({ name }).id);
        const words = {
          register: ['register', 'bot', '--scope', STORM_SCOPE],
          rotate: ['rotate', 'bot'],
          apply: ['apply', writePolicy(stage), '--yes'],
        }[how];
        if (how !== 'apply') await stage.done('generate', 'bot');
        if (how === 'rotate') await stage.done('register', 'bot', '--scope', STORM_SCOPE);
        const isKill = cut === 'kill';
        if (isKill) sandbox.setFaults([`delay@${CREATE}:${Math.round(20 + Math.random() * 80)}`]);
        else sandbox.setFaults([cut.replace(/^([a-z0-9-]+)(:\d+)?$/, `$1@${CREATE}$2x1`)]);
        const startMs = performance.now();
        const first = await stage.run(
          [...words, '--timeout', '250'],
          isKill ? { killAfterMs: usualMs * (0.4 + Math.random() * 0.6) } : {},
        );
        if (!isKill) usualMs = performance.now() - startMs;
        counts[first.exitCode === 0 ? 'finished' : first.exitCode === null ? 'killed' : 'cut'] += 1;
        sandbox.setFaults([`hide-key@private/list_api_keys:${hiding}`]);
        const again = await stage.run(words);
        // a process that was killed may have done all of it
        const isComplete = how === 'register' && /"ERR_STATE".* is registered already/.test(again.said);
        if (!isComplete) expect(again).toMatchObject({ exitCode: 0, said: '' });
        const bot = (await stage.records()).find(({ name }) => name === 'bot');
        expect(bot?.state).toBe('registered');
        expect(copiesOf(stage, bot?.fingerprint ?? '')).toBe(1);
        await expectNeitherTwiceNorLost(stage, others);
      });
    }
    figures.push(`${how}: ${STORM_ROUNDS} rounds: ${JSON.stringify(counts)}`);
  });
});

/** Where three processes run: side by side, or two of them in containers whose clocks are apart. */
const SIDE_BY_SIDE: readonly RunOptions[] = [{}, {}, {}];
const inContainers = (...clocksMs: readonly [number, number]): readonly RunOptions[] => [
  ...clocksMs.map((clockMs) => ({ container: { clockMs } })),
  {},
];
const PLACES = isolates
  ? [SIDE_BY_SIDE, inContainers(90_000, -90_000), inContainers(3_600_000, 0), inContainers(-3_600_000, 90_000)]
  : [SIDE_BY_SIDE];

describe('processes at the same moment', () => {
  test(`register one key pair once, under one name and under two${isolates ? '' : ' (no containers: skipped)'}`, async () => {
    const counts = { registered: 0, refused: 0 };
    for (let round = 0; round < STORM_ROUNDS; round += 1) {
      const { places, names, isSlow, kind } = chosenIn(round, {
        places: PLACES,
        names: [
          ['bot', 'twin', 'bot'],
          ['bot', 'bot', 'twin'],
        ],
        isSlow: [true, false],
        kind: TRANSPORTS,
      });
      await onStage(program.path, { kind }, async (stage) => {
        await stage.done('generate', 'bot');
        await stage.done('import', 'twin', `${stage.keysDir}/bot.pem`);
        if (isSlow) stage.sandbox.setFaults([`delay@${CREATE}:50`]);
        const runs = names.map((name, i) => stage.run(['register', name, '--scope', STORM_SCOPE], places[i]));
        const ended = await Promise.all(runs);
        for (const { exitCode, said } of ended) {
          counts[exitCode === 0 ? 'registered' : 'refused'] += 1;
          if (exitCode !== 0) expect(said).toMatch(/"code":"ERR_(STATE|LOCKED|DUPLICATE_KEY|KEY_IN_USE)"/);
        }
        expect(ended.some(({ exitCode }) => exitCode === 0)).toBe(true);
        const [record] = await stage.records();
        expect(copiesOf(stage, record?.fingerprint ?? '')).toBe(1);
        await expectNeitherTwiceNorLost(stage);
      });
    }
    figures.push(`register at the same moment: ${STORM_ROUNDS} rounds: ${JSON.stringify(counts)}`);
  });

  test('apply a policy without a second key, and keep what another has registered', async () => {
    const counts = { applied: 0, refused: 0 };
    for (let round = 0; round < STORM_ROUNDS; round += 1) {
      const { places, isFresh, delayMs, kind } = chosenIn(round, {
        places: PLACES,
        isFresh: [true, false],
        delayMs: [0, 30, 60],
        kind: TRANSPORTS,
      });
      await onStage(program.path, { kind }, async (stage) => {
        const { sandbox } = stage;
        const policy = writePolicy(stage);
        if (!isFresh) {
          await stage.done('apply', policy, '--yes');
          const id = sandbox.keys().find((key) => key.name === 'bot')?.id ?? 0;
          // its record stays: each run finds that the key is gone, and decides to replace it
          await stage.done('api-keys', 'remove', `id:${id}`, '--yes');
        }
        if (delayMs > 0) sandbox.setFaults([`delay@${CREATE}:${delayMs}`]);
        const ended = await Promise.all(places.map((place) => stage.run(['apply', policy, '--yes'], place)));
        for (const { exitCode } of ended) counts[exitCode === 0 ? 'applied' : 'refused'] += 1;
        expect(ended.some(({ exitCode }) => exitCode === 0)).toBe(true);
        const record = (await stage.records()).find(({ name }) => name === 'bot');
        expect(record?.state).toBe('registered');
        expect(
          sandbox
            .keys()
            .filter((key) => key.name === 'bot')
            .map((key) => key.client_id),
        ).toEqual([record?.clientId]);
        await expectNeitherTwiceNorLost(stage);
      });
    }
    figures.push(`apply at the same moment: ${STORM_ROUNDS} rounds: ${JSON.stringify(counts)}`);
  });
});
