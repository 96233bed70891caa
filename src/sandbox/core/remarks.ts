/** What a client did that an exchange would pass over, or refuse without saying why. */
export interface Remark {
  readonly kind: 'unknown-client' | 'unknown-channel' | 'unknown-method';
  readonly text: string;
}

const mostRemarks = 1000;

/** Passes remarks on, each once; what came from a client is quoted and cut. */
export function remarker(
  onRemark: (remark: Remark) => void,
  keepsState: boolean,
): (kind: Remark['kind'], name: string) => void {
  const made = new Set<string>();
  const texts: Readonly<Record<Remark['kind'], string>> = {
    'unknown-client': `a login was refused: no API key has the client id %${keepsState ? '' : '; keys of an earlier run are gone, since no state file keeps them'}`,
    'unknown-channel': 'the channel % is unknown: it was left out of the answer',
    'unknown-method': 'the method % is unknown, or not imitated',
  };
  return (kind, name) => {
    const text = texts[kind].replace('%', () => JSON.stringify(name.slice(0, 64)));
    if (made.has(text) || made.size >= mostRemarks) return;
    made.add(text);
    onRemark({ kind, text });
  };
}
