// `npm run soak`: 90 simulated days, then 20 minutes of wall time. SOAK_DAYS, SOAK_MINUTES and SOAK_SEED change that.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../..', import.meta.url));
// inside the package, so that the program finds its dependencies
const folder = mkdtempSync(join(root, 'node_modules', '.soak-'));
const outfile = join(folder, 'soak.mjs');
await build({
  entryPoints: [join(root, 'test/soak/soak.ts')],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'esm',
  packages: 'external',
  alias: {
    '#engine': join(root, 'src/crypto/engine/native.ts'),
    '#platform': join(root, 'src/deribit/platform/node.ts'),
  },
  sourcemap: 'inline',
  logLevel: 'warning',
});
const child = spawn(process.execPath, ['--expose-gc', '--enable-source-maps', outfile], { stdio: 'inherit' });
child.on('close', (code) => {
  rmSync(folder, { recursive: true, force: true });
  process.exitCode = code ?? 1;
});
