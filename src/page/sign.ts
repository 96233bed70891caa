import { localSigner, parsePrivateKey } from '../crypto/index.js';
import { type AuthParams, buildAuthParams } from '../deribit/auth-params.js';
import { shellWord } from '../util/text.js';
import { keyFileField } from './compare.js';
import { copies, find, markField, onSubmit, refuseField } from './dom.js';

const ENDPOINTS = { curl: 'https://test.deribit.com/api/v2', 'curl-prod': 'https://www.deribit.com/api/v2' } as const;

/** The tab that signs the parameters of one `public/auth`. */
export function setUpSign(): void {
  const errors = find('#sign-error', HTMLElement);
  const form = find('#sign-form', HTMLFormElement);
  const signed = find('#signed', HTMLElement);
  const output = find('#signed-text', HTMLElement);
  const clientId = find('#client-id', HTMLInputElement);
  const timestamp = find('#timestamp', HTMLInputElement);
  const nonce = find('#nonce', HTMLInputElement);
  let params: AuthParams | null = null;

  const show = () => {
    signed.hidden = params === null;
    if (params === null) return;
    output.textContent = written(params, find('[name=form]:checked', HTMLInputElement, form).value);
    const until = new Date(params.timestamp + 60_000).toLocaleTimeString();
    find('#signed-note', HTMLElement).textContent = `Use it once, before ${until}.`;
  };
  const clear = () => {
    params = null;
    show();
  };
  const file = keyFileField({ id: 'sign-file', label: 'Your private key', errors, onChange: clear });
  form.addEventListener('change', show);
  // what is shown belongs to what the fields say
  form.addEventListener('input', (event) => {
    if (!(event.target instanceof HTMLInputElement && event.target.name === 'form')) clear();
  });
  onSubmit({
    form,
    button: find('#sign-button', HTMLButtonElement),
    errors,
    busy: 'Signing…',
    async work() {
      clear();
      const chosen = file.read();
      if (clientId.value.trim() === '') {
        refuseField(clientId, 'the client id is empty', 'give the client id of the API key');
      }
      const key = await chosen.open(parsePrivateKey);
      const time = timestamp.value.trim();
      const timestampMs = time === '' ? undefined : /^\d+$/.test(time) ? Number(time) : Number.NaN;
      if (Number.isNaN(timestampMs)) markField(timestamp);
      params = await buildAuthParams(
        { clientId: clientId.value.trim(), signer: localSigner(key) },
        {
          timestampMs,
          nonce: nonce.value === '' ? undefined : nonce.value,
          data: find('#data', HTMLInputElement).value,
          scope: find('#scope', HTMLInputElement).value || undefined,
          state: find('#state', HTMLInputElement).value || undefined,
        },
      );
      show();
      signed.scrollIntoView({ block: 'nearest' });
      output.focus({ preventScroll: true });
    },
  });
  copies(find('#copy-signed', HTMLButtonElement), output);
}

/** The parameters in one of the forms that the page offers. */
function written(params: AuthParams, form: string): string {
  const request = { jsonrpc: '2.0', id: 1, method: 'public/auth', params };
  if (form === 'curl' || form === 'curl-prod') {
    return `curl -s ${ENDPOINTS[form]} -H 'Content-Type: application/json' -d ${shellWord(JSON.stringify(request))}`;
  }
  return JSON.stringify(form === 'params' ? params : request, null, 2);
}
