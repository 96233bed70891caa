import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.js';

describe('a request without what it needs', () => {
  let sandbox: Sandbox;
  beforeEach(async () => {
    sandbox = await startSandbox();
  });
  afterEach(() => sandbox.close());

  const send = async (envelope: object) => {
    const response = await fetch(sandbox.httpUrl, {
      method: 'POST',
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, ...envelope }),
    });
    return (await response.json()) as { error: { code: number; message: string; data?: unknown } };
  };

  it('is -32000 where it has no params at all', async () => {
    const { error } = await send({ method: 'public/auth' });
    expect(error).toEqual({ code: -32000, message: 'Missing params' });
  });

  it('is -32602 with the name of the first that is missing, where it has some', async () => {
    const { error } = await send({ method: 'public/auth', params: {} });
    expect(error).toMatchObject({ code: -32602, message: 'Invalid params', data: { param: 'grant_type' } });
  });
});
