// The exchange, in a process of its own.
import { startSandbox } from '../../../dist/sandbox/index.js';

let sandbox;
process.on('message', async (message) => {
  if (message.do === 'start') {
    const faults = message.delayMs === undefined ? [] : [`delay:${message.delayMs}`];
    sandbox = await startSandbox({ callLimit: 0, faults });
    const { client_id: clientId } = sandbox.addKey({ publicKey: message.publicKey });
    process.send({ wsUrl: sandbox.wsUrl, clientId });
  } else {
    await sandbox.restart(200);
    process.send({});
  }
});
