import { DeribitKeysError, usageError } from '../errors.js';

/** The element that `selector` finds under `root`, which the page's HTML promises to be of that type. */
export function find<T extends Element>(selector: string, type: abstract new () => T, root: ParentNode = document): T {
  const element = root.querySelector(selector);
  if (element instanceof type) return element;
  throw new TypeError(`the page has no ${selector} of type ${type.name}`);
}

/** A new element with a class and children; text is set as text, never as HTML. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className !== '') element.className = className;
  element.append(...children);
  return element;
}

/** A fingerprint that breaks between its pairs; those that differ from `other` are marked. */
export function breakable(fingerprint: string, other: string = fingerprint): readonly (Node | string)[] {
  const others = other.split(':');
  return fingerprint.split(':').flatMap((pair, at) => {
    const shown = pair === others[at] ? pair : make('mark', '', pair);
    return at === 0 ? [shown] : [':', make('wbr', ''), shown];
  });
}

/** Tells screen readers what happened without moving the focus. */
export function announce(text: string): void {
  find('#announce', HTMLElement).textContent = text;
}

/** A DeribitKeysError as it is; anything else is a bug of the page, reported by its type only. */
function asOurError(error: unknown): DeribitKeysError {
  if (error instanceof DeribitKeysError) return error;
  const what = error instanceof Error ? error.name : typeof error;
  return new DeribitKeysError('ERR_INTERNAL', `something went wrong inside this page (${what})`, {
    cause: error,
    hint: 'reload the page and try again; if it happens again, report it with the name of your browser',
  });
}

/** The message as the command line would print it: a capital and a full stop are all that the page adds. */
function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?:)]$/.test(first) ? first : `${first}.`;
}

/** Shows the message and the hint of `error`; null hides the box. */
export function showError(box: HTMLElement, error: unknown): void {
  box.hidden = error === null;
  if (error === null) {
    box.replaceChildren();
    return;
  }
  const { code, message, hint } = asOurError(error);
  box.dataset.code = code;
  box.replaceChildren(make('strong', '', sentence(message)));
  if (hint !== undefined) box.append(make('span', '', sentence(hint)));
}

/** `ERR_USAGE` for a field, which is marked and gets the focus. */
export function refuseField(field: HTMLInputElement | HTMLTextAreaElement, message: string, hint: string): never {
  markField(field);
  throw usageError(message, hint);
}

/** Marks a field as wrong until it is changed, and moves the focus there. */
export function markField(field: HTMLInputElement | HTMLTextAreaElement): void {
  field.setAttribute('aria-invalid', 'true');
  field.addEventListener('input', () => field.removeAttribute('aria-invalid'), { once: true });
  field.focus();
}

/** A form whose work takes a moment. */
interface Task {
  readonly form: HTMLFormElement;
  readonly button: HTMLButtonElement;
  readonly errors: HTMLElement;
  /** What the button says meanwhile. */
  readonly busy: string;
  work(): Promise<void>;
}

/** Runs `work` when the form is sent: once at a time, with errors shown in its box. */
export function onSubmit({ form, button, errors, busy, work }: Task): void {
  const idle = button.textContent ?? '';
  form.addEventListener('input', () => showError(errors, null));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (button.ariaBusy === 'true') return;
    void (async () => {
      showError(errors, null);
      button.ariaBusy = 'true';
      button.textContent = busy;
      announce(busy);
      try {
        await nextFrame();
        await work();
      } catch (error) {
        announce('');
        showError(errors, error);
      } finally {
        button.ariaBusy = 'false';
        button.textContent = idle;
      }
    })();
  });
}

/** After the browser had a chance to draw. A page in the background is not drawn, so a timer stands by. */
function nextFrame(): Promise<void> {
  return new Promise((resolve) => {
    requestAnimationFrame(() => setTimeout(resolve));
    setTimeout(resolve, 100);
  });
}

const COPIED_MS = 2_000;

/** Makes `button` copy what `source` shows, and say so. */
export function copies(button: HTMLButtonElement, source: HTMLElement): void {
  const idle = button.textContent ?? '';
  let timer = 0;
  button.addEventListener('click', () => {
    void copyText(source).then((copied) => {
      const text = copied ? 'Copied' : 'Selected: copy it by keyboard';
      button.textContent = text;
      announce(text);
      clearTimeout(timer);
      timer = window.setTimeout(() => {
        button.textContent = idle;
      }, COPIED_MS);
    });
  });
}

/** Copies the text of an element; where the browser forbids it, selects it and returns false. */
async function copyText(source: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(source.textContent ?? '');
    return true;
  } catch {
    getSelection()?.selectAllChildren(source);
    return document.execCommand('copy');
  }
}

/** Makes `link` save `text` as a file of that name. */
export function saves(link: HTMLAnchorElement, name: string, text: string): void {
  if (link.href.startsWith('blob:')) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob([text], { type: 'application/x-pem-file' }));
  link.download = name;
  link.textContent = `Save ${name}`;
}
