/** An error of the exchange's JSON-RPC, thrown by handlers and answered to the client. */
export class RpcError extends Error {
  override readonly name = 'RpcError';
  readonly code: number;
  readonly data: unknown;

  constructor(code: number, message: string, data?: unknown) {
    super(message);
    this.code = code;
    this.data = data;
  }
}

/**
 * A sandbox that cannot start as it was asked to: `ERR_USAGE` for options that make no sense, `ERR_LISTEN` for a port that
 * cannot be listened on, `ERR_STATE_FILE` for a file that cannot be used.
 */
export class SandboxError extends Error {
  override readonly name = 'SandboxError';
  readonly code: 'ERR_USAGE' | 'ERR_LISTEN' | 'ERR_STATE_FILE';
  readonly hint: string;

  constructor(
    code: SandboxError['code'],
    message: string,
    { hint, cause }: { readonly hint: string; readonly cause?: unknown },
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.hint = hint;
  }
}

const messages: Readonly<Record<number, string>> = {
  [-32700]: 'Parse error',
  [-32601]: 'Method not found',
  [-32602]: 'Invalid params',
  10000: 'authorization_required',
  10004: 'order_not_found',
  10005: 'price_too_low',
  10007: 'price_too_high',
  10009: 'not_enough_funds',
  10010: 'already_closed',
  10028: 'too_many_requests',
  10030: 'must_be_websocket_request',
  10040: 'retry',
  11008: 'already_filled',
  11030: 'other_reject reduce_only',
  11044: 'not_open_order',
  11051: 'system_maintenance',
  11054: 'post_only_reject',
  12998: 'security_key_authorization_over_limit',
  13004: 'invalid_credentials',
  13009: 'unauthorized',
  13021: 'forbidden',
  13028: 'temporarily_unavailable',
  13403: 'scope_exceeded',
  13668: 'security_key_authorization_error',
  13778: 'raw_subscriptions_not_available_for_unauthorized',
  13904: 'security_key_setup_required',
};

/** The error of that code with the message that Deribit documents for it. */
export function errorOf(code: number, data?: unknown): RpcError {
  return new RpcError(code, messages[code] ?? 'error', data);
}

/** -32602 with the name of the parameter and what is wrong with it. */
export function invalidParam(param: string, reason: string): RpcError {
  return errorOf(-32602, { reason, param });
}

const valueRequired = 'value required';

/** -32602 for a parameter that must be there. */
export function missingParam(param: string): RpcError {
  return invalidParam(param, valueRequired);
}

/** -32000 instead of -32602, where a request that needs parameters has no `params` at all. */
export function orMissingParams(error: RpcError, bare: boolean): RpcError {
  const { reason } = (error.data ?? {}) as { readonly reason?: unknown };
  return bare && error.code === -32602 && reason === valueRequired ? new RpcError(-32000, 'Missing params') : error;
}

/** 13004: wrong id, secret or signature, and whatever else a login may be refused for. */
export function invalidCredentials(): RpcError {
  return errorOf(13004);
}

/** 13009: no token, or one that is not valid (here, now, from this address). */
export function unauthorized(): RpcError {
  return errorOf(13009, { reason: 'invalid_token' });
}

/** -32601. */
export function methodNotFound(): RpcError {
  return errorOf(-32601);
}
