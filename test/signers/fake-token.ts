import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Attribute, Cryptoki, Handle, Mechanism } from '../../src/signers/pkcs11/cryptoki.js';
import { folder } from './support.js';

/** An error as pkcs11js throws it. */
export function ckr(name: string, code: number): Error {
  return Object.assign(new Error(name), { code });
}

const ulong = (value: number) => {
  const bytes = Buffer.alloc(8);
  bytes.writeUIntLE(value, 0, 6);
  return bytes;
};
const asBytes = (value: Attribute['value']): Buffer =>
  Buffer.isBuffer(value)
    ? value
    : typeof value === 'number'
      ? ulong(value)
      : typeof value === 'boolean'
        ? Buffer.of(value ? 1 : 0)
        : Buffer.from(value ?? '');

type Objects = Map<number, Buffer>[];

/** An object of a token, from attributes as they are written. */
export const object = (attributes: Readonly<Record<number, Attribute['value']>>) =>
  new Map(Object.entries(attributes).map(([type, value]) => [Number(type), asBytes(value)]));

/** A keypair, and the objects that a token would hold of it. */
export function tokenPair(type: 'ed25519' | 'rsa' = 'ed25519') {
  const pair = type === 'rsa' ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : generateKeyPairSync('ed25519');
  const { x = '', n = '', e = '' } = pair.publicKey.export({ format: 'jwk' });
  const numbers: Record<number, Buffer> =
    type === 'rsa'
      ? { 288: Buffer.from(n, 'base64url'), 290: Buffer.from(e, 'base64url') }
      : {
          384: Buffer.from('06032b6570', 'hex'),
          385: Buffer.concat([Buffer.of(4, 32), Buffer.from(x, 'base64url')]),
        };
  const keyType = type === 'rsa' ? 0 : 0x40;
  return {
    pair,
    numbers,
    privateObject: object({ 0: 3, 3: 'bot', 256: keyType, 258: Buffer.of(7) }),
    publicObject: object({ 0: 2, 3: 'bot', 256: keyType, 258: Buffer.of(7), ...numbers }),
  };
}

/** A token that does as its fields say: what no test token can be brought to. */
export class FakeToken {
  flags = 0x40d;
  maxSessionCount = 0;
  label = 'fake';
  /** The slots that show it. */
  slots = [9];
  mechanisms = [0x40, 0x1057, 0x0, 0x1055];
  objects: Objects = [];
  key: KeyObject;
  readonly logins: (string | undefined)[] = [];
  readonly open = new Set<number>();
  loggedIn = false;
  /** Called first in the function of that name: may throw. */
  readonly before: Partial<Record<keyof Cryptoki, (...given: readonly never[]) => void>> = {};
  signature: (data: Buffer) => Buffer;
  generated: Record<number, Attribute['value']> = {};
  #sessions = 0;
  readonly module: string;

  constructor(type: 'ed25519' | 'rsa' = 'ed25519') {
    const { pair, privateObject, publicObject } = tokenPair(type);
    this.key = pair.privateKey;
    this.objects = [privateObject, publicObject];
    this.signature = (data) => sign(type === 'rsa' ? 'sha256' : null, data, this.key);
    this.module = join(folder(), 'fake.so');
    writeFileSync(this.module, '');
  }

  /** Forgets all sessions, as a token does that was pulled out and put in again. */
  lose(): void {
    this.open.clear();
    this.loggedIn = false;
  }

  readonly load = async (): Promise<unknown> => {
    const make = () => this.#cryptoki();
    return {
      PKCS11: class {
        constructor() {
          // biome-ignore lint/correctness/noConstructorReturn: the fake is an object, not an instance
          return make();
        }
      },
    };
  };

  #cryptoki(): Cryptoki {
    const found = new Map<number, Handle[]>();
    const numberOf = (handle: Handle) => handle.readUIntLE(0, 6);
    const check = (session: Handle) => {
      if (!this.open.has(numberOf(session))) throw ckr('CKR_SESSION_HANDLE_INVALID', 0xb3);
    };
    const functions: Cryptoki = {
      load: () => {},
      C_Initialize: () => {},
      C_GetSlotList: () => this.slots.map(ulong),
      C_GetTokenInfo: () => ({
        label: this.label.padEnd(32),
        serialNumber: '42',
        flags: this.flags,
        maxSessionCount: this.maxSessionCount,
      }),
      C_GetMechanismList: () => this.mechanisms,
      C_OpenSession: () => {
        this.#sessions += 1;
        this.open.add(this.#sessions);
        return ulong(this.#sessions);
      },
      C_CloseSession: (session) => {
        check(session);
        this.open.delete(numberOf(session));
      },
      C_GetSessionInfo: () => ({ state: this.loggedIn ? 1 : 0 }),
      C_Login: (_session, user, pin) => {
        this.logins.push(pin);
        if (user === 1) this.loggedIn = true;
      },
      C_FindObjectsInit: (session, template) => {
        check(session);
        const matches = this.objects.flatMap((candidate, index) =>
          template.every(({ type, value }) => candidate.get(type)?.equals(asBytes(value)) === true)
            ? [ulong(index)]
            : [],
        );
        found.set(numberOf(session), matches);
      },
      C_FindObjects: (session, count) => found.get(numberOf(session))?.splice(0, count) ?? [],
      C_FindObjectsFinal: () => {},
      C_GetAttributeValue: (_session, handle, template) =>
        template.map(({ type }) => {
          const value = this.objects[numberOf(handle)]?.get(type);
          if (value === undefined) throw ckr('CKR_ATTRIBUTE_TYPE_INVALID', 0x12);
          return { value };
        }),
      C_GenerateKeyPairAsync: async (_session, _mechanism, publicTemplate, privateTemplate) => {
        const made = (template: readonly Attribute[]) =>
          object({ ...Object.fromEntries(template.map(({ type, value }) => [type, value])), ...this.generated });
        this.objects.push(made(publicTemplate), made(privateTemplate));
        return { publicKey: ulong(this.objects.length - 2), privateKey: ulong(this.objects.length - 1) };
      },
      C_DestroyObject: (_session, handle) => {
        this.objects[numberOf(handle)] = new Map();
      },
      C_SignInit: (session: Handle, _mechanism: Mechanism) => check(session),
      C_SignAsync: async (_session, data) => this.signature(data),
    };
    for (const [name, work] of Object.entries(functions) as [keyof Cryptoki, (...given: never[]) => unknown][]) {
      const guarded = (...given: never[]) => {
        this.before[name]?.(...given);
        return work(...given);
      };
      Object.assign(functions, {
        [name]: name.endsWith('Async') ? async (...given: never[]) => guarded(...given) : guarded,
      });
    }
    return functions;
  }
}
