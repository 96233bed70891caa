import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fingerprint } from '../../../src/crypto/fingerprint.js';
import { parsePrivateKey, parsePublicKey } from '../../../src/crypto/formats/index.js';
import { errorOf } from '../../support/outcomes.js';
import { keyFile } from '../support.js';
import { hasOpenssl, hasProgram, hasSshKeygen, opensslFingerprint, temporaryFolder } from './support.js';

// Every command that a hint names is run here as it stands, against a file of the kind that it is for.

const hasPuttygen = hasProgram('puttygen', '--version');
const hasKeytool = hasProgram('keytool', '-help');
const hasDropbear = hasProgram('dropbearkey', '-h');
const hasNss = hasProgram('certutil', '-H');
const folder = temporaryFolder();

/** Runs a line of a shell in the folder, with nothing to read from; what it prints is returned. */
function shell(line: string, input = ''): string {
  return execFileSync('/bin/sh', ['-ec', line], {
    cwd: folder,
    encoding: 'utf8',
    input,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, PASS: 'pw' },
  });
}
/** Puts a stored file, which takes long to make, into the folder. */
const store = (name: string) => writeFileSync(join(folder, name), keyFile(name), { mode: 0o600 });
const file = (name: string) => new Uint8Array(readFileSync(join(folder, name)));

/** The commands of a hint, from the first word that is a program to the end of the command. */
function commandsIn(hint: string): readonly string[] {
  return hint
    .split(/, then: |; /)
    .flatMap(
      (part) =>
        /(?:^|: )((?:openssl|ssh-keygen|puttygen|keytool|dropbearconvert|pk12util|printf|gunzip|unzip|unxz|bunzip2|unzstd|xxd|age|gpg|base64|grep) .*)$/.exec(
          part,
        )?.[1] ?? [],
    );
}

let count = 0;
/**
 * Follows the hint of the error for `name`, giving passphrases by `options` for each program as a person types them.
 * Returns what the command wrote.
 */
async function follow(name: string, options: Readonly<Record<string, string>> = {}): Promise<Uint8Array> {
  const error = await errorOf(parsePublicKey(file(name), { passphrase: 'pw' }));
  const commands = commandsIn(error.hint ?? '');
  expect(commands.length, `${error.message}: ${error.hint}`).toBeGreaterThan(0);
  const out = `out-${++count}`;
  const work = `in-${count}`;
  writeFileSync(join(folder, work), file(name), { mode: 0o600 });
  for (const command of commands) {
    const [program = '', ...rest] = command
      .replaceAll('<file>', work)
      .replaceAll('<decoded file>', `decoded-${count}`)
      .replaceAll('<new file>', out)
      .split(' ');
    const more = options[program] ?? '';
    // keytool wants its command first; for the others, the options stand before files and redirections.
    shell(
      program === 'keytool'
        ? `${command} ${more}`.replaceAll('<file>', work)
        : [program, program === 'openssl' ? rest.shift() : '', more, ...rest].join(' '),
    );
  }
  return existsSync(join(folder, out)) ? file(out) : file(work);
}

/** Whether a program is there, and if so the commands that make a file for it. */
const packers = [
  ['gzip', '--version', 'gzip -c key.pem > packed'],
  ['zip', '-v', 'zip -q packed.zip key.pem && mv packed.zip packed'],
  ['xz', '--version', 'xz -c key.pem > packed'],
  ['bzip2', '--help', 'bzip2 -c key.pem > packed'],
  ['zstd', '--version', 'zstd -q -c key.pem > packed'],
  ['xxd', '-v', 'xxd key.pem > packed'],
  ['age', '--version', 'age-keygen -o age.txt 2>/dev/null && age -e -i age.txt -o packed key.pem'],
  ['age', '--version', 'test -f age.txt || age-keygen -o age.txt 2>/dev/null; age -e -a -i age.txt -o packed key.pem'],
  [
    'gpg',
    '--version',
    'gpg --batch --quiet --homedir . --pinentry-mode loopback --passphrase pw --s2k-count 1024 -c -o packed key.pem',
  ],
  [
    'gpg',
    '--version',
    'gpg --batch --quiet --homedir . --pinentry-mode loopback --passphrase pw --s2k-count 1024 -c -a -o packed key.pem',
  ],
] as const;

describe.runIf(hasOpenssl)('the command that the hint names works on a file made by', () => {
  test.each(packers.filter(([program, argument]) => hasProgram(program, argument)))('%s (%#)', async (_, __, pack) => {
    // spares gpg-agent the two seconds in which it measures how much a derivation may cost
    writeFileSync(join(folder, 'gpg-agent.conf'), 's2k-count 65536\n');
    shell(`rm -f packed; openssl genpkey -algorithm ed25519 -out key.pem; ${pack}`);
    const key = await follow('packed', {
      age: '-i age.txt',
      gpg: '--batch --quiet --homedir . --pinentry-mode loopback --passphrase pw',
    });
    if (pack.startsWith('gpg')) shell('gpgconf --homedir . --kill all');
    expect(fingerprint(await parsePrivateKey(key))).toBe(opensslFingerprint(file('key.pem')));
  });
});

const OPENSSL = { openssl: '-passin env:PASS -passout env:PASS' };

describe.runIf(hasOpenssl)('the command that the hint names works on', () => {
  shell('openssl genrsa -out rsa.pem 2048 2>/dev/null && openssl genpkey -algorithm ed25519 -out ed.pem');
  shell('openssl req -new -x509 -key rsa.pem -subj /CN=bot -out cert.pem -days 9000');
  const rsa = opensslFingerprint(file('rsa.pem'));
  const opened = async (bytes: Uint8Array) => fingerprint(await parsePrivateKey(bytes, { passphrase: 'pw' }));

  test.each([
    ['a PKCS#12 file', ''],
    ['a PKCS#12 file of Windows, with RC2 and Triple DES', '-legacy'],
  ])('%s', async (_, options) => {
    shell(`openssl pkcs12 -export ${options} -inkey rsa.pem -in cert.pem -out key.p12 -passout env:PASS`);
    expect(await opened(await follow('key.p12', OPENSSL))).toBe(rsa);
    shell('base64 < key.p12 > p12.txt; xxd -p key.p12 > p12.hex');
    shell('(echo -----BEGIN PKCS12-----; cat p12.txt; echo -----END PKCS12-----) > p12.pem');
    for (const encoded of ['p12.txt', 'p12.hex', ...(options === '' ? ['p12.pem'] : [])]) {
      expect(await opened(await follow(encoded, OPENSSL))).toBe(rsa);
    }
  });

  const LEGACY = '-provider legacy -provider default';
  test.each([
    ['PBE-SHA1-RC2-40', 'PEM', LEGACY],
    ['PBE-SHA1-RC2-40', 'DER', LEGACY],
    ['PBE-SHA1-RC2-128', 'PEM', LEGACY],
    ['PBE-SHA1-RC4-128', 'PEM', LEGACY],
    ['PBE-SHA1-2DES', 'PEM', ''],
    ['PBE-SHA1-2DES', 'DER', ''],
    ['PBE-MD5-DES', 'PEM', LEGACY],
    ['PBE-SHA1-DES', 'PEM', LEGACY],
  ])('PKCS#8 encrypted by %s, in %s', async (scheme, form, providers) => {
    shell(
      `openssl pkcs8 -topk8 ${providers} -v1 ${scheme} -in rsa.pem -outform ${form} -out old.key -passout env:PASS`,
    );
    expect(await opened(await follow('old.key', OPENSSL))).toBe(rsa);
  });

  test('PKCS#8 encrypted by RC2 and DES under PBES2', async () => {
    for (const cipher of ['rc2', 'des']) {
      shell(`openssl pkcs8 -topk8 ${LEGACY} -v2 ${cipher} -in rsa.pem -out old2.key -passout env:PASS`);
      expect(await opened(await follow('old2.key', OPENSSL))).toBe(rsa);
    }
  });

  test.each([
    ['DES', `-des ${LEGACY}`],
    ['Camellia', '-camellia256'],
    ['ARIA', '-aria128'],
    ['SEED', `-seed ${LEGACY}`],
  ])('a PEM encrypted in the old way by %s', async (_, options) => {
    shell(`openssl rsa -traditional ${options} -in rsa.pem -out dek.key -passout env:PASS 2>/dev/null`);
    expect(await opened(await follow('dek.key', OPENSSL))).toBe(rsa);
  });

  test('a key whose derivation costs too much', async () => {
    shell('openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -iter 1000001 -in rsa.pem -out costly.key -passout env:PASS');
    expect(await opened(await follow('costly.key', OPENSSL))).toBe(rsa);
  });

  test('PKCS#7 bundles and certificate requests, in PEM and in DER, and trusted certificates', async () => {
    for (const form of ['PEM', 'DER']) {
      shell(`openssl crl2pkcs7 -nocrl -certfile cert.pem -outform ${form} -out bundle`);
      expect(fingerprint(await parsePublicKey(await follow('bundle')))).toBe(rsa);
      shell(`openssl req -new -key rsa.pem -subj /CN=bot -outform ${form} -out request`);
      expect(fingerprint(await parsePublicKey(await follow('request')))).toBe(rsa);
    }
    shell('openssl x509 -in cert.pem -trustout -addtrust serverAuth -out trusted.pem');
    expect(fingerprint(await parsePublicKey(await follow('trusted.pem')))).toBe(rsa);
  });

  test('key blobs and PVK files of Microsoft', async () => {
    shell('openssl rsa -in rsa.pem -outform MSBLOB -out blob 2>/dev/null');
    expect(await opened(await follow('blob', OPENSSL))).toBe(rsa);
    shell('openssl rsa -in rsa.pem -pubout -outform MSBLOB -out public.blob 2>/dev/null');
    expect(fingerprint(await parsePublicKey(await follow('public.blob')))).toBe(rsa);
    shell('openssl rsa -in rsa.pem -outform PVK -pvk-none -out key.pvk 2>/dev/null');
    expect(await opened(await follow('key.pvk', OPENSSL))).toBe(rsa);
  });

  test('a private key in BER', async () => {
    const der = shell('openssl pkcs8 -topk8 -nocrypt -in ed.pem -outform DER | od -An -v -tx1').replace(/\s/g, '');
    writeFileSync(join(folder, 'ber.key'), Buffer.from(`3080${der.slice(4)}0000`, 'hex'));
    expect(await opened(await follow('ber.key', OPENSSL))).toBe(opensslFingerprint(file('ed.pem')));
  });

  test('a key in one line of base64, as the hint for a cut key has it', async () => {
    const error = await errorOf(parsePrivateKey('-----BEGIN PRIVATE KEY-----'));
    const command = /(base64 < <file> \| .*)$/.exec(error.hint ?? '')?.[1] ?? '';
    const line = shell(command.replace('<file>', 'ed.pem'));
    expect(line).not.toContain('\n');
    expect(await opened(Buffer.from(line))).toBe(opensslFingerprint(file('ed.pem')));
  });
});

describe.runIf(hasSshKeygen)('the command that the hint names works on', () => {
  shell('ssh-keygen -q -t ed25519 -a 1 -N pw -f ssh && cp ssh.pub other.pub');
  const opened = async (bytes: Uint8Array) => fingerprint(await parsePublicKey(bytes, { passphrase: 'pw' }));
  const expected = () => opened(file('ssh.pub'));
  // few rounds, where the hint itself names no number
  const PASSES = { 'ssh-keygen': '-q -P pw -N pw -a 1' };

  test.each(['aes256-gcm@openssh.com', 'chacha20-poly1305@openssh.com', '3des-cbc'])(
    'an OpenSSH key encrypted by %s',
    async (cipher) => {
      shell(`cp ssh ssh-cipher && ssh-keygen -q -p -P pw -N pw -a 1 -Z ${cipher} -f ssh-cipher`);
      expect(await opened(await follow('ssh-cipher', PASSES))).toBe(await expected());
    },
  );

  test('an OpenSSH key of too many rounds', async () => {
    store('openssh-260-rounds');
    expect(await opened(await follow('openssh-260-rounds', PASSES))).toBe(
      await opened(keyFile('openssh-260-rounds.pub')),
    );
  });

  test('an SSH2 public key', async () => {
    shell('ssh-keygen -e -f ssh.pub > ssh2.pub');
    expect(await opened(await follow('ssh2.pub'))).toBe(await expected());
  });

  test("a public key in SSH's wire format", async () => {
    shell("cut -d' ' -f2 ssh.pub | base64 -d > blob.pub");
    expect(await opened(await follow('blob.pub'))).toBe(await expected());
  });
});

describe.runIf(hasPuttygen && hasSshKeygen)('the command that the hint names works on', () => {
  test('an ssh.com private key', async () => {
    shell('touch empty && puttygen -t rsa -b 2048 -q --new-passphrase empty -o rsa.ppk');
    shell('puttygen rsa.ppk -O public-openssh -o rsa.pub && puttygen rsa.ppk -O private-sshcom -o sshcom.key');
    const expected = fingerprint(await parsePublicKey(file('rsa.pub')));
    expect(fingerprint(await parsePrivateKey(await follow('sshcom.key')))).toBe(expected);
  });

  test('a PuTTY key whose derivation costs too much', async () => {
    writeFileSync(join(folder, 'pw.txt'), 'pw');
    store('putty-300000-kib.ppk');
    const key = await follow('putty-300000-kib.ppk', { puttygen: '--old-passphrase pw.txt' });
    const expected = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDBQkKCFBvypYAH1Qfh38osPrbe8yaiGWUNGebcs24wg';
    expect(fingerprint(await parsePrivateKey(key, { passphrase: 'pw' }))).toBe(
      fingerprint(await parsePublicKey(expected)),
    );
  });
});

describe.runIf(hasKeytool && hasOpenssl)('the command that the hint names works on', () => {
  test('a Java keystore', async () => {
    store('java-keystore.jks');
    shell('rm -f key.p12');
    const key = await follow('java-keystore.jks', {
      keytool: '-srcstorepass secret -deststorepass secret -noprompt',
      openssl: '-passin pass:secret -passout env:PASS',
    });
    expect(fingerprint(await parsePrivateKey(key, { passphrase: 'pw' }))).toBe(
      'f8:2a:fa:e5:10:e9:54:a2:8c:ab:ae:e7:ef:eb:ca:57',
    );
  });
});

describe.runIf(hasDropbear)('the command that the hint names works on', () => {
  test('a Dropbear key', async () => {
    shell('rm -f dropbear.key; dropbearkey -t ed25519 -f dropbear.key > dropbear.txt 2>/dev/null');
    const key = await follow('dropbear.key');
    const line = /^ssh-ed25519 \S+/m.exec(Buffer.from(file('dropbear.txt')).toString())?.[0] ?? '';
    expect(fingerprint(await parsePrivateKey(key))).toBe(fingerprint(await parsePublicKey(line)));
  });
});

describe.runIf(hasNss && hasOpenssl)('the command that the hint names works on', () => {
  test('a database of NSS', async () => {
    shell('openssl genrsa -out nss.pem 2048 2>/dev/null');
    shell('openssl req -new -x509 -key nss.pem -subj /CN=bot -out nss.crt -days 9000');
    shell('openssl pkcs12 -export -name bot -inkey nss.pem -in nss.crt -out nss.p12 -passout env:PASS');
    shell("rm -rf db key.p12; mkdir db; printf 'pw' > nss.pw; certutil -N -d sql:db --empty-password");
    shell('pk12util -i nss.p12 -d sql:db -w nss.pw');
    const error = await errorOf(parsePrivateKey(file('db/key4.db')));
    const [extract = '', convert = ''] = commandsIn(error.hint ?? '').map((command) =>
      command.replace('<folder>', 'db').replace('<name of the key>', 'bot').replace('<new file>', 'nss.out'),
    );
    shell(`${extract} -w nss.pw`);
    shell(convert.replace('pkcs12', 'pkcs12 -passin env:PASS -passout env:PASS'));
    const key = await parsePrivateKey(file('nss.out'), { passphrase: 'pw' });
    expect(fingerprint(key)).toBe(opensslFingerprint(file('nss.pem')));
  });
});
