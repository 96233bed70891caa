#!/bin/sh
# A signed login from a shell: `deribit-keys sign` prints the parameters of public/auth, curl sends them, jq reads the answer.
# Usage: login.sh [name of the key]
set -eu
name=${1:-bot}
program=${DERIBIT_KEYS:-deribit-keys}
# DERIBIT_KEYS_URL may name the WebSocket endpoint: curl needs the HTTP one
url=$(printf %s "${DERIBIT_KEYS_URL:-https://test.deribit.com/api/v2}" | sed 's#^ws#http#; s#/ws/api/v2$#/api/v2#')

# the token goes to curl by a file that nobody else can read, never by its arguments
header=$(mktemp)
trap 'rm -f "$header"' EXIT

# one step at a time: `set -e` does not see the failure of a command in the middle of a pipe
params=$($program sign "$name")
answer=$(printf %s "$params" | jq '{jsonrpc: "2.0", id: 1, method: "public/auth", params: .}' |
  curl --silent --show-error --json @- "$url/public/auth")
printf %s "$answer" |
  jq -r 'if .error then "error: \(.error.code) \(.error.message)\n" | halt_error(5) else "Authorization: Bearer \(.result.access_token)" end' >"$header"

answer=$(curl --silent --show-error --header "@$header" "$url/private/get_account_summary?currency=BTC")
printf %s "$answer" |
  jq -r 'if .error then "error: \(.error.code) \(.error.message)\n" | halt_error(5) else "equity: \(.result.equity) BTC" end'
