import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (path: string) => fileURLToPath(new URL(`./src/${path}`, import.meta.url));

const ISOLATED = [
  // they replace a module of Node.js, and must not find ours loaded with the real one
  'test/keystore/files.test.ts',
  'test/keystore/odd-file-systems.test.ts',
  // the library of a token reads its configuration once in a process
  'test/signers/pkcs11.test.ts',
  'test/signers/commands.test.ts',
  'test/signers/tpm.test.ts',
];

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
    maxWorkers: Math.ceil(1.5 * availableParallelism()),
    globalSetup: ['test/support/bundles.ts'],
    setupFiles: ['test/support/setup.ts'],
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
