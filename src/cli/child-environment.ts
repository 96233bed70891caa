import { SECRET_VARIABLES } from './secret-sources.js';

/** What a program that is run with a token finds in its environment. */
export interface ChildLogin {
  readonly accessToken: string;
  readonly clientId: string;
  /** The HTTP endpoint. */
  readonly url: string;
}

/** Returns the environment for a program that we run: ours, without our own secrets. */
export function withoutOwnSecrets(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const kept = Object.entries(env).filter(
    // Windows does not tell names apart by case
    (entry): entry is [string, string] => entry[1] !== undefined && !SECRET_VARIABLES.has(entry[0].toUpperCase()),
  );
  return Object.fromEntries(kept);
}

/** Returns the environment for a program that we run with a token. */
export function childEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  { accessToken, clientId, url }: ChildLogin,
): Record<string, string> {
  return {
    ...withoutOwnSecrets(env),
    DERIBIT_ACCESS_TOKEN: accessToken,
    DERIBIT_CLIENT_ID: clientId,
    DERIBIT_URL: url,
  };
}
