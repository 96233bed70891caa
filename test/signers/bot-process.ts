// A bot of its own process: `node <bundle> <kind> <place as JSON> <fixture> <url> <client id> <snapshot file>`.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { writeHeapSnapshot } from 'node:v8';
import { openSession } from '../../src/session/index.js';
import { pkcs11Signer } from '../../src/signers/pkcs11/pkcs11-signer.js';
import { sshAgentSigner } from '../../src/signers/ssh-agent/ssh-agent-signer.js';
import { loadSigner } from '../../src/workflows/library.js';

const [kind, place = '{}', fixture = '', url = '', clientId = '', snapshot = ''] = process.argv.slice(2);
const load = async (name: string): Promise<unknown> => createRequire(fixture)(name);
const where = JSON.parse(place);
const pem = kind === 'file' ? readFileSync(where.file, 'utf8') : '';

async function logIn(): Promise<void> {
  const signer =
    kind === 'agent'
      ? await sshAgentSigner({ ...where, load })
      : kind === 'token'
        ? await pkcs11Signer({ ...where, load, pin: readFileSync(where.pinFile, 'utf8') })
        : await loadSigner({ pem });
  const session = await openSession({ url, clientId, signer });
  await session.request('private/get_account_summary', { currency: 'BTC' });
  writeHeapSnapshot(snapshot);
  process.stdout.write('ready\n');
  process.stdin.once('data', async () => {
    await session.close();
    process.stdout.write(`${pem.length}\n`);
    process.exit(0);
  });
}

void logIn();
