import { inspectKey, type KeyFormat } from '../crypto/index.js';
import { find, markField, showError } from './dom.js';

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
export interface ChosenKey {
  readonly bytes: Uint8Array;
  readonly passphrase: string | undefined;
  /** What it is, in words. */
  readonly description: string;
}

/** A field for a key file, with one for its passphrase where it is encrypted. */
export interface KeyFileField {
  /** What was chosen. Null where nothing was, or where it cannot be read, which is shown already. */
  read(): ChosenKey | null;
  /** Puts the focus on the passphrase, as the thing that is wrong. */
  markPassphrase(): void;
  focus(): void;
}

export interface KeyFileOptions {
  /** Stands above the field, and names its parts for the accessibility tree. */
  readonly id: string;
  readonly label: string;
  readonly errors: HTMLElement;
  onChange(): void;
}

/** Puts a field for a key file into the element `id`: a file is chosen or dropped, and inspected at once. */
export function keyFileField({ id, label, errors, onChange }: KeyFileOptions): KeyFileField {
  const place = find(`#${id}`, HTMLElement);
  place.append(find('#key-file', HTMLTemplateElement).content.cloneNode(true));
  const heading = find('.label', HTMLElement, place);
  const drop = find('.drop', HTMLElement, place);
  const input = find('input[type=file]', HTMLInputElement, place);
  const text = find('.drop-text', HTMLElement, place);
  const note = find('.drop-note', HTMLElement, place);
  const passphraseField = find('[data-part=passphrase]', HTMLElement, place);
  const passphraseLabel = find('[data-part=passphrase] label', HTMLLabelElement, place);
  const passphrase = find('[data-part=passphrase] input', HTMLInputElement, place);
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
    read: () =>
      chosen && {
        bytes: chosen.bytes,
        description: chosen.description,
        passphrase: chosen.encrypted ? passphrase.value || undefined : undefined,
      },
    markPassphrase: () => markField(passphrase),
    focus: () => input.focus(),
  };
}
