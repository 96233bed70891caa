import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';

/** Called by vitest before the first test; what it returns is called after the last one. */
export function setup(project: TestProject): () => void {
  const bundles = mkdtempSync(join(project.config.env.TMPDIR ?? tmpdir(), 'deribit-keys-bundles-'));
  // some tests run a program as another user
  chmodSync(bundles, 0o755);
  project.provide('bundles', bundles);
  return () => rmSync(bundles, { recursive: true, force: true });
}
