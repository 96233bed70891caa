import { readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const source = (path: string) => fileURLToPath(new URL(`./src/${path}`, import.meta.url));

/**
 * Where tests make their folders: in memory, where Linux has room there and runs programs from there, since keystores flush
 * what they write, and a disk takes milliseconds for that. TMPDIR overrules it.
 */
function folderOfTests(): string {
  const memory = '/dev/shm';
  try {
    const mounted = readFileSync('/proc/mounts', 'utf8').split('\n');
    const options = mounted
      .find((line) => line.split(' ')[1] === memory)
      ?.split(' ')[3]
      ?.split(',');
    const { bavail, bsize } = statfsSync(memory);
    const serves = options?.includes('rw') && !options.includes('noexec') && bavail * bsize > 2 ** 30;
    return serves && process.env.TMPDIR === undefined ? memory : tmpdir();
  } catch {
    return tmpdir();
  }
}

const ISOLATED = [
  // they replace a module of Node.js, and must not find ours loaded with the real one
  'test/keystore/files.test.ts',
  'test/keystore/odd-file-systems.test.ts',
  // the library of a token reads its configuration once in a process
  'test/signers/pkcs11.test.ts',
  'test/signers/commands.test.ts',
  'test/signers/tpm.test.ts',
];

/** The longest: of each two, the first needs the processor, and the second waits most of the time. */
const FIRST = [
  'test/page/chromium.test.ts',
  'test/integrations/fleet.test.ts',
  'test/page/firefox.test.ts',
  'test/integrations/token-store.test.ts',
  'test/cli/canary.test.ts',
  'test/keystore/lock.test.ts',
  'test/runtimes/runtimes.test.ts',
  'test/keystore/lock-processes.test.ts',
  'test/crypto/formats/hints.test.ts',
  'test/session/http-session.test.ts',
  'test/workflows/rotation/rotate.test.ts',
  'test/signers/ssh-agent.test.ts',
];

/**
 * Runs the files that are isolated before those that share a worker, which would have to end for them; then FIRST, and the
 * others as vitest sorts them: by the time that they took, or by their size.
 */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId, project }: TestSpecification) => {
      const found = FIRST.findIndex((path) => moduleId.endsWith(`/${path}`));
      return project.config.isolate ? -1 : found < 0 ? FIRST.length : found;
    };
    const sorted = await super.sort(files);
    return sorted.toSorted((a, b) => place(a) - place(b));
  }
}

export default defineConfig({
  resolve: {
    alias: {
      '#engine': fileURLToPath(new URL('./test/support/engine.ts', import.meta.url)),
      '#platform': source('deribit/platform/node.ts'),
    },
  },
  test: {
    // The files of a worker share their modules, which saves half of the CPU time: a test restores what it changes.
    isolate: false,
    unstubEnvs: true,
    unstubGlobals: true,
    // more than there are cores, since many tests wait for a disk or another process
    maxWorkers: Math.min(16, 2 * availableParallelism()),
    env: { TMPDIR: folderOfTests() },
    globalSetup: ['test/support/bundles.ts'],
    setupFiles: ['test/support/setup.ts'],
    sequence: { sequencer: LongestFirst },
    testTimeout: 120_000,
    hookTimeout: 120_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'suite',
          include: ['test/**/*.test.ts'],
          exclude: ['test/torture/**', '**/node_modules/**', ...ISOLATED],
        },
      },
      {
        extends: true,
        test: { name: 'suite-isolated', include: ISOLATED, isolate: true },
      },
      {
        extends: true,
        test: {
          name: 'torture',
          include: ['test/torture/**/*.test.ts'],
          testTimeout: 1_200_000,
          fileParallelism: false,
        },
      },
    ],
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      // runs in real browsers
      exclude: ['src/page/**'],
      reporter: ['text-summary', 'text'],
      thresholds: { statements: 95 },
    },
  },
});
