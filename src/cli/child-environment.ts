/** Variables that hold secrets of ours: passphrases, PINs, a client secret, a private key, codes and seeds of a second factor. */
const OWN_SECRETS = /^DERIBIT_(KEYS_([A-Z]+_)*(PASSPHRASE|PIN)|CLIENT_SECRET|PRIVATE_KEY|TFA_CODE|TFA_SECRET)$/i;

/** What a program that is run with a token finds in its environment. */
export interface ChildLogin {
  readonly accessToken: string;
  readonly clientId: string;
  /** The HTTP endpoint. */
  readonly url: string;
}

/** The environment of a program that is run with a token: everything but our own secrets, and the login. */
export function childEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  { accessToken, clientId, url }: ChildLogin,
): Record<string, string> {
  const kept = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !OWN_SECRETS.test(entry[0]),
  );
  return {
    ...Object.fromEntries(kept),
    DERIBIT_ACCESS_TOKEN: accessToken,
    DERIBIT_CLIENT_ID: clientId,
    DERIBIT_URL: url,
  };
}
