import { MIN_ITERATIONS } from '../crypto/formats/passphrase.js';
import {
  encodePublicKeyPem,
  fingerprint,
  generateKeyPair,
  type PrivateKey,
  RSA_SIZES,
  serialisePrivateKey,
} from '../crypto/index.js';
import { announce, breakable, copies, find, onSubmit, refuseField, saves, showError } from './dom.js';

const ROUNDS = MIN_ITERATIONS.toLocaleString('en');
/** As the keystore of the command line names its keys, so that the file can be imported under the same name. */
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;
const WORDS = {
  weak: 'Weak: add words, or take a suggested one.',
  fair: 'Fair: one or two more words make it good.',
  good: 'Good',
  strong: 'Strong',
} as const;

/**
 * The tab that makes a key: a form, then the sheet of the new key.
 * @param compareWith opens the tab Compare with a text as what Deribit shows
 */
export function setUpCreate(compareWith: (text: string) => void): void {
  const form = find('#create-form', HTMLFormElement);
  const sheet = find('#sheet', HTMLElement);
  const name = find('#name', HTMLInputElement);
  const passphrase = passphraseFields();
  let unsaved = false;

  const isRsa = () => find('[name=type]:checked', HTMLInputElement, form).value === 'rsa';
  form.addEventListener('change', () => {
    find('#bits-field', HTMLElement).hidden = !isRsa();
  });
  name.addEventListener('input', () => {
    find('#name-file', HTMLElement).textContent = `${name.value}.pem`;
  });

  onSubmit({
    form,
    button: find('#create-button', HTMLButtonElement),
    errors: find('#create-error', HTMLElement),
    busy: 'Creating the key…',
    async work() {
      const keyName = name.value.trim();
      if (!NAME.test(keyName) || /\.(pub|pem)$/i.test(keyName)) {
        refuseField(
          name,
          'this cannot be the name of a key',
          'use up to 64 letters, digits, "_", "-" and ".", without .pem or .pub at the end',
        );
      }
      const secret = passphrase.read();
      const wanted = Number(find('#bits', HTMLSelectElement).value);
      const bits = RSA_SIZES.find((size) => size === wanted);
      const key = await generateKeyPair(isRsa() ? { type: 'rsa', ...(bits === undefined ? {} : { bits }) } : {});
      const pem = await serialisePrivateKey(key, { format: 'pkcs8', passphrase: secret });
      passphrase.clear();
      unsaved = true;
      fillSheet({ name: keyName, key, pem, encrypted: secret !== undefined });
      form.hidden = true;
      sheet.hidden = false;
      find('#sheet-title', HTMLElement).focus();
      announce('Your key is ready. Save the private key now.');
    },
  });

  const savePrivate = find('#save-private', HTMLAnchorElement);
  savePrivate.addEventListener('click', () => {
    unsaved = false;
    find('#saved-note', HTMLElement).textContent =
      'Look for it in your downloads folder, and keep it where other secrets are.';
    announce('The private key was handed to the browser to save.');
  });
  const print = find('#fingerprint', HTMLElement);
  copies(find('#copy-public', HTMLButtonElement), find('#public-key', HTMLElement));
  copies(find('#copy-fingerprint', HTMLButtonElement), print);
  find('#check-saved', HTMLButtonElement).addEventListener('click', () => compareWith(print.textContent ?? ''));
  find('#compare-this', HTMLButtonElement).addEventListener('click', () => compareWith(''));
  find('#print', HTMLButtonElement).addEventListener('click', () => window.print());
  find('#again', HTMLButtonElement).addEventListener('click', () => {
    if (unsaved && !window.confirm('The private key is not saved yet and will be lost. Create another key?')) return;
    unsaved = false;
    for (const link of [savePrivate, find('#save-public', HTMLAnchorElement)]) {
      URL.revokeObjectURL(link.href);
      link.href = '#';
    }
    sheet.hidden = true;
    form.hidden = false;
    name.focus();
  });
  window.addEventListener('beforeunload', (event) => {
    if (unsaved) event.preventDefault();
  });
}

interface NewKey {
  readonly name: string;
  readonly key: PrivateKey;
  readonly pem: string;
  readonly encrypted: boolean;
}

function fillSheet({ name, key, pem, encrypted }: NewKey): void {
  const publicPem = encodePublicKeyPem(key.publicKey);
  const write = (id: string, text: string) => {
    find(`#${id}`, HTMLElement).textContent = text;
  };
  write('sheet-name', name);
  write('sheet-kind', key.bits === null ? 'Ed25519' : `RSA, ${key.bits} bits`);
  write('sheet-date', new Date().toISOString().slice(0, 10));
  write(
    'sheet-protection',
    encrypted
      ? `Encrypted with your passphrase: PKCS#8, AES-256, PBKDF2-HMAC-SHA-256 with ${ROUNDS} rounds. OpenSSL and deribit-keys open it.`
      : 'Not encrypted, as you chose: PKCS#8. Whoever reads the file can use the key.',
  );
  write('saved-note', 'It exists only in this page until you save it.');
  write('public-key', publicPem);
  find('#fingerprint', HTMLElement).replaceChildren(...breakable(fingerprint(key)));
  write('commands', `deribit-keys import ${name} ${name}.pem\nderibit-keys link ${name} --client-id <client ID>`);
  saves(find('#save-private', HTMLAnchorElement), `${name}.pem`, pem);
  saves(find('#save-public', HTMLAnchorElement), `${name}.pub.pem`, publicPem);
}

/** The passphrase of the new key, or the choice to go without, which takes two steps. */
function passphraseFields(): { read(): string | undefined; clear(): void } {
  const fields = find('#passphrase-fields', HTMLElement);
  const passphrase = find('#passphrase', HTMLInputElement);
  const repeat = find('#repeat', HTMLInputElement);
  const reveal = find('#reveal', HTMLButtonElement);
  const panel = find('#unencrypted-panel', HTMLElement);
  const unencrypted = find('#unencrypted', HTMLButtonElement);
  const sure = find('#unencrypted-sure', HTMLInputElement);

  function show(visible: boolean): void {
    for (const input of [passphrase, repeat]) input.type = visible ? 'text' : 'password';
    reveal.textContent = visible ? 'Hide' : 'Show';
    reveal.setAttribute('aria-pressed', String(visible));
  }
  function rate(): void {
    const { level } = passphraseStrength(passphrase.value);
    const empty = passphrase.value === '';
    find('#strength-row', HTMLElement).dataset.level = empty ? 'none' : level;
    find('#strength', HTMLOutputElement).textContent = empty ? '' : WORDS[level];
  }
  function goWithout(without: boolean): void {
    fields.hidden = without;
    panel.hidden = !without;
    sure.checked = false;
    unencrypted.setAttribute('aria-expanded', String(without));
    showError(find('#create-error', HTMLElement), null);
    (without ? sure : passphrase).focus();
  }

  passphrase.addEventListener('input', rate);
  reveal.addEventListener('click', () => show(passphrase.type === 'password'));
  find('#suggest', HTMLButtonElement).addEventListener('click', () => {
    passphrase.value = suggestPassphrase();
    repeat.value = passphrase.value;
    for (const input of [passphrase, repeat]) input.removeAttribute('aria-invalid');
    show(true);
    rate();
    announce('A passphrase was filled in. Store it in your password manager now.');
    passphrase.select();
  });
  unencrypted.addEventListener('click', () => goWithout(true));
  find('#encrypted', HTMLButtonElement).addEventListener('click', () => goWithout(false));

  return {
    read() {
      if (!panel.hidden) {
        if (sure.checked) return undefined;
        refuseField(
          sure,
          'the key would be saved without encryption',
          'tick the box to confirm it, or use a passphrase',
        );
      }
      if (passphrase.value === '') {
        refuseField(passphrase, 'the passphrase is empty', 'choose one, or take the one that "Suggest one" fills in');
      }
      if (passphrase.value !== repeat.value) {
        refuseField(repeat, 'the two passphrases differ', 'type the same passphrase twice; "Show" makes them visible');
      }
      return passphrase.value;
    },
    clear() {
      passphrase.value = '';
      repeat.value = '';
      show(false);
      rate();
      fields.hidden = false;
      panel.hidden = true;
      sure.checked = false;
    },
  };
}

/** How well a passphrase resists guessing. */
interface Strength {
  readonly level: 'weak' | 'fair' | 'good' | 'strong';
  /** A careful estimate: two to this power guesses. */
  readonly bits: number;
}

const LEVELS = [
  [80, 'strong'],
  [60, 'good'],
  [40, 'fair'],
] as const;

/** What guessing programs try first; each counts as one guess in a thousand. */
const COMMON =
  /pass(?:wor[dt]|phrase)?|deribit|bitcoin|crypto|trad(?:e|ing)|wallet|secret|admin|login|welcome|letmein|qwert[yz]|asdf(?:gh)?|yxcv|zxcv|iloveyou|monkey|dragon|master|(?:19|20)\d\d/gi;
const COMMON_BITS = 10;
/** A word of a language, however long: one of about 8000. */
const WORD_BITS = 13;

const CLASSES: readonly (readonly [RegExp, number])[] = [
  [/[a-z]/, 26],
  [/[A-Z]/, 26],
  [/[0-9]/, 10],
  [/[^a-zA-Z0-9]/, 33],
];

/** The bits of one character after another: a repetition or the next one of a sequence adds almost nothing. */
function characterBits(text: string): number {
  const alphabet = CLASSES.reduce((sum, [pattern, size]) => sum + (pattern.test(text) ? size : 0), 0);
  const each = Math.log2(Math.max(alphabet, 2));
  let bits = 0;
  for (let at = 0; at < text.length; at++) {
    const step = text.charCodeAt(at) - text.charCodeAt(at - 1);
    bits += Math.abs(step) <= 1 ? 1 : each;
  }
  return bits;
}

/**
 * Estimates how hard `passphrase` is to guess, without a dictionary: runs of letters count as words, common passwords,
 * years, sequences and repetitions count for little. It errs on the low side for random letters.
 */
export function passphraseStrength(passphrase: string): Strength {
  const common = passphrase.match(COMMON) ?? [];
  const rest = passphrase.replace(COMMON, ' ');
  const words = rest.match(/\p{L}{4,}/gu) ?? [];
  const others = rest.replace(/\p{L}{4,}/gu, '').replace(/\s/g, '');
  const distinct = new Set(words.map((word) => word.toLowerCase()));
  const wordBits = [...distinct].reduce((sum, word) => sum + Math.min(WORD_BITS, characterBits(word)), 0);
  const bits = Math.floor(new Set(common).size * COMMON_BITS + wordBits + characterBits(others));
  return { bits, level: LEVELS.find(([least]) => bits >= least)?.[1] ?? 'weak' };
}

/** 32 characters that cannot be mistaken for one another: 5 bits each. */
const ALPHABET = 'abcdefghijkmnpqrstuvwxyz23456789';
const GROUPS = 5;
const GROUP_LENGTH = 4;

/** A random passphrase of 100 bits, in groups that can be typed from paper: `k7mq-x4tz-9hvr-wd2n-b3ce`. */
export function suggestPassphrase(): string {
  const random = crypto.getRandomValues(new Uint8Array(GROUPS * GROUP_LENGTH));
  const characters = Array.from(random, (byte) => ALPHABET.charAt(byte % ALPHABET.length)).join('');
  const passphrase = characters.replace(/.{4}(?=.)/g, '$&-');
  // one in some hundreds has so few digits that its groups count as words: it would be shown as less than strong
  return passphraseStrength(passphrase).level === 'strong' ? passphrase : suggestPassphrase();
}
