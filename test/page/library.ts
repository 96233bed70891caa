import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildWebProgram, webExchange } from '../runtimes/web-build.js';
import { afterTest } from '../support/after-test.js';
import { WAIT_MS, type World } from './support.js';

/** The test of the library in a web page. */
export const library = (world: World) =>
  describe('the library', () => {
    const program = () => join(world.folder, 'program.mjs');
    beforeAll(() => buildWebProgram(program()));
    it('makes keys, signs, logs in over WebSocket and hears a channel', { timeout: 2 * WAIT_MS }, async () => {
      const { input, expected } = await webExchange();
      const server = createServer(({ url }, response) => {
        const isProgram = url === '/program.mjs';
        response.setHeader('content-type', isProgram ? 'text/javascript' : 'text/html');
        response.end(isProgram ? readFileSync(program()) : '<!doctype html><title>test</title>');
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      afterTest(() => void server.close());
      const { port } = server.address() as AddressInfo;
      await world.page.goto(`http://127.0.0.1:${port}/`);
      // as text: the import belongs to the page
      const call = `import('/program.mjs').then(({ useLibrary }) => useLibrary(${JSON.stringify(input)}))`;
      expect(await world.page.evaluate(call)).toEqual(expected);
    });
  });
