import {
  encodePublicKeyPem,
  fingerprint,
  inspectKey,
  type KeyFormat,
  type PublicKey,
  parsePublicKey,
} from '../crypto/index.js';
import { isDeribitKeysError, usageError } from '../errors.js';
import { breakable, find, make, markField, onSubmit, showError } from './dom.js';

const MD5_PAIRS = 16;

/** What Deribit shows of a key: its fingerprint, or the public key. */
type Shown =
  | { readonly kind: 'fingerprint'; readonly text: string }
  | { readonly kind: 'key'; readonly key: PublicKey };

/** The tab that compares a key file with what Deribit shows. Returns what puts a text into its field. */
export function setUpCompare(): (text: string) => void {
  const errors = find('#compare-error', HTMLElement);
  const result = find('#compare-result', HTMLElement);
  const shown = find('#shown', HTMLTextAreaElement);
  const clear = () => result.replaceChildren();
  const file = keyFileField({ id: 'compare-file', label: 'Your key file', errors, onChange: clear });
  shown.addEventListener('input', clear);
  onSubmit({
    form: find('#compare-form', HTMLFormElement),
    button: find('#compare-button', HTMLButtonElement),
    errors,
    busy: 'Comparing…',
    async work() {
      clear();
      const chosen = file.read();
      const theirs = await readShown(shown);
      const ours = await chosen.open(parsePublicKey);
      result.replaceChildren(...verdict(ours, theirs), seen(ours, theirs, chosen));
    },
  });
  return (text) => {
    shown.value = text;
    clear();
    file.focus();
  };
}

/**
 * Reads what Deribit shows: 16 pairs of hexadecimal digits with or without separators, or a public key in any format.
 * Null for an empty field.
 */
async function readShown(field: HTMLTextAreaElement): Promise<Shown | null> {
  const text = field.value.trim();
  if (text === '') return null;
  try {
    if (/^SHA256:/i.test(text)) {
      throw usageError(
        'this is the fingerprint of OpenSSH, not of Deribit',
        'copy the client secret that Deribit shows beside the key: 16 pairs of digits and letters a to f',
      );
    }
    const digits = text.replace(/^MD5:/i, '').replace(/[\s:-]/g, '');
    if (/^[0-9a-f]*$/i.test(digits)) {
      if (digits.length !== 2 * MD5_PAIRS) {
        throw usageError(
          `a fingerprint has 32 hexadecimal digits; this has ${digits.length}`,
          'copy all of it: 16 pairs joined by colons',
        );
      }
      return { kind: 'fingerprint', text: (digits.toLowerCase().match(/../g) ?? []).join(':') };
    }
    if ((await inspectKey(text)).kind === 'private') {
      throw usageError(
        'this is a private key: Deribit never shows one',
        'clear the field, and put the fingerprint or the public key there that Deribit shows',
      );
    }
    return { kind: 'key', key: await parsePublicKey(text) };
  } catch (error) {
    markField(field);
    throw error;
  }
}

function verdict(ours: PublicKey, theirs: Shown | null): readonly Node[] {
  if (theirs === null) return [];
  const same = theirs.kind === 'key' ? ours.equals(theirs.key) : fingerprint(ours) === theirs.text;
  if (same) {
    const text =
      theirs.kind === 'key'
        ? 'Deribit shows the public key that belongs to your file.'
        : 'Deribit shows the fingerprint of the key in your file.';
    return [make('div', 'verdict same', make('h3', '', 'The same key'), make('p', '', text))];
  }
  const advice =
    'Do not use this key until you know why. Did you choose another key’s file, or copy another key’s line? The MD5 fingerprint of ssh-keygen is always a different one: it covers another encoding of the key.';
  return [make('div', 'verdict different', make('h3', '', 'Different keys'), make('p', '', advice))];
}

const kindOf = (key: PublicKey) => (key.bits === null ? 'Ed25519' : `RSA, ${key.bits} bits`);

function seen(ours: PublicKey, theirs: Shown | null, { description }: ChosenKey): HTMLElement {
  const our = fingerprint(ours);
  const their = theirs === null ? our : theirs.kind === 'key' ? fingerprint(theirs.key) : theirs.text;
  const rows: readonly (readonly [string, Node | string])[] = [
    ['Your file', `${kindOf(ours)} (${description})`],
    ['Fingerprint', make('span', 'fingerprint', ...breakable(our, their))],
    theirs === null
      ? ['Public key', make('pre', 'code', encodePublicKeyPem(ours))]
      : ['Deribit shows', make('span', 'fingerprint', ...breakable(their, our))],
  ];
  return make('dl', 'seen', ...rows.flatMap(([term, text]) => [make('dt', '', term), make('dd', '', text)]));
}

/** More than any key: the rest of a larger file is not read, and the library refuses it by its size. */
const MOST_BYTES = 64 * 1024 + 1;

const KINDS = { private: 'private key', public: 'public key', certificate: 'certificate' } as const;
/** What people call the formats, where that is not the name in the library. */
const FORMATS: Partial<Record<KeyFormat, string>> = {
  pkcs8: 'PKCS#8',
  pkcs1: 'PKCS#1',
  openssh: 'OpenSSH',
  jwk: 'JWK',
  'raw-seed': 'raw seed',
  spki: 'SPKI',
  ssh: 'OpenSSH line',
  x509: 'X.509',
  putty: 'PuTTY',
};

/** A key file as the user chose it. */
interface ChosenKey {
  /** What it is, in words. */
  readonly description: string;
  /** Runs `parse`, and moves the focus to the passphrase where that is what is wrong. */
  open<T>(parse: (bytes: Uint8Array, options: { readonly passphrase: string | undefined }) => Promise<T>): Promise<T>;
}

/** A field for a key file, with one for its passphrase where it is encrypted. */
interface KeyFileField {
  /** What was chosen. @throws `ERR_USAGE` where nothing was, or nothing that can be read */
  read(): ChosenKey;
  focus(): void;
}

interface KeyFileOptions {
  /** Stands above the field, and names its parts for the accessibility tree. */
  readonly id: string;
  readonly label: string;
  readonly errors: HTMLElement;
  onChange(): void;
}

/** Puts a field for a key file into the element `id`: a file is chosen or dropped, and inspected at once. */
export function keyFileField({ id, label, errors, onChange }: KeyFileOptions): KeyFileField {
  const field = find(`#${id}`, HTMLElement);
  field.append(find('#key-file', HTMLTemplateElement).content.cloneNode(true));
  const heading = find('.label', HTMLElement, field);
  const drop = find('.drop', HTMLElement, field);
  const input = find('input[type=file]', HTMLInputElement, field);
  const text = find('.drop-text', HTMLElement, field);
  const note = find('.drop-note', HTMLElement, field);
  const passphraseField = find('[data-part=passphrase]', HTMLElement, field);
  const passphraseLabel = find('[data-part=passphrase] label', HTMLLabelElement, field);
  const passphrase = find('[data-part=passphrase] input', HTMLInputElement, field);
  heading.textContent = label;
  heading.id = `${id}-label`;
  text.id = `${id}-text`;
  note.id = `${id}-note`;
  input.id = `${id}-input`;
  input.setAttribute('aria-labelledby', `${heading.id} ${text.id}`);
  input.setAttribute('aria-describedby', note.id);
  passphrase.id = `${id}-passphrase`;
  passphraseLabel.htmlFor = passphrase.id;
  passphraseLabel.textContent = 'Passphrase of the file';

  let chosen: { readonly bytes: Uint8Array; readonly description: string; readonly encrypted: boolean } | null = null;
  let latest = 0;

  async function take(file: File): Promise<void> {
    const turn = ++latest;
    chosen = null;
    passphrase.value = '';
    passphraseField.hidden = true;
    text.textContent = file.name;
    note.textContent = 'Reading…';
    drop.classList.add('chosen');
    showError(errors, null);
    onChange();
    try {
      const bytes = new Uint8Array(await file.slice(0, MOST_BYTES).arrayBuffer());
      const { kind, format, encrypted } = await inspectKey(bytes);
      if (turn !== latest) return;
      const description = `${KINDS[kind]}, ${FORMATS[format] ?? format}${encrypted ? ', encrypted' : ''}`;
      chosen = { bytes, description, encrypted };
      note.textContent = description;
      passphraseField.hidden = !encrypted;
      if (encrypted) passphrase.focus();
    } catch (error) {
      if (turn !== latest) return;
      note.textContent = 'Not a key that can be read. Choose another file';
      showError(errors, error);
    }
  }

  input.addEventListener('change', () => {
    const file = input.files?.[0];
    if (file !== undefined) void take(file);
    // the same file may be chosen again after it was changed
    input.value = '';
  });
  drop.addEventListener('dragover', () => drop.classList.add('over'));
  drop.addEventListener('dragleave', () => drop.classList.remove('over'));
  drop.addEventListener('drop', (event) => {
    drop.classList.remove('over');
    const file = event.dataTransfer?.files[0];
    if (file !== undefined) void take(file);
  });

  return {
    read() {
      if (chosen === null) {
        input.focus();
        throw usageError('no key file is chosen', 'choose the file that holds the key');
      }
      const { bytes, description, encrypted } = chosen;
      const secret = encrypted ? passphrase.value || undefined : undefined;
      return {
        description,
        async open(parse) {
          try {
            return await parse(bytes, { passphrase: secret });
          } catch (error) {
            if (isDeribitKeysError(error, 'ERR_PASSPHRASE_REQUIRED', 'ERR_PASSPHRASE_WRONG')) markField(passphrase);
            throw error;
          }
        },
      };
    },
    focus: () => input.focus(),
  };
}
