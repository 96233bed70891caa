/**
 * The offline key page: one HTML file in which a person creates a key for Deribit, compares a key file with what Deribit
 * shows, and signs a test login, on any computer with a browser.
 *
 * What the page promises:
 * - It cannot talk. Its Content-Security-Policy is `default-src 'none'; connect-src 'none'` with the hashes of its one
 *   script and its one style, so that no other script runs and nothing is fetched or sent. It sets no inline handlers
 *   and no HTML from text (Trusted Types forbid it).
 * - It stores nothing: no cookies, no storage, no history. A private key leaves it only as the file that the user saves.
 * - It works from `file:`, which browsers treat as a secure context, so that WebCrypto is there.
 *
 * How it is built: `node src/page/build.mjs` (part of `npm run build`) bundles this module with the portable engine of
 * `crypto/` and puts it, the style and the policy into `page.html`. Imports: `crypto/`, `util/`, `errors.ts`, and the
 * pure `deribit/auth-params.ts`; nothing of Node. The command `deribit-keys page` writes the file and its SHA-256.
 */
import { setUpCompare } from './compare.js';
import { setUpCreate } from './create.js';
import { find } from './dom.js';
import { setUpSign } from './sign.js';

const TABS = ['create', 'compare', 'sign'] as const;
type Tab = (typeof TABS)[number];

const buttonOf = (tab: Tab) => find(`#tab-${tab}`, HTMLButtonElement);

function openTab(tab: Tab): void {
  for (const each of TABS) {
    const selected = each === tab;
    buttonOf(each).setAttribute('aria-selected', String(selected));
    buttonOf(each).tabIndex = selected ? 0 : -1;
    find(`#${each}`, HTMLElement).hidden = !selected;
  }
}

/** Tabs as the ARIA Authoring Practices describe them: arrows, Home and End move, and what is reached is shown. */
function setUpTabs(): void {
  const steps: Readonly<Record<string, (at: number) => number>> = {
    ArrowRight: (at) => at + 1,
    ArrowLeft: (at) => at - 1 + TABS.length,
    Home: () => 0,
    End: () => TABS.length - 1,
  };
  TABS.forEach((tab, at) => {
    const button = buttonOf(tab);
    button.addEventListener('click', () => openTab(tab));
    button.addEventListener('keydown', (event) => {
      const next = TABS[(steps[event.key]?.(at) ?? Number.NaN) % TABS.length];
      if (next === undefined) return;
      event.preventDefault();
      openTab(next);
      buttonOf(next).focus();
    });
  });
}

/** A file that misses its field must not replace the page. */
function keepDropsHere(): void {
  for (const type of ['dragover', 'drop']) window.addEventListener(type, (event) => event.preventDefault());
}

setUpTabs();
keepDropsHere();
const compareWith = setUpCompare();
setUpCreate((text) => {
  openTab('compare');
  compareWith(text);
});
setUpSign();
find('#served', HTMLElement).hidden = location.protocol === 'file:';
