#!/bin/sh
# A signed login from a shell: `deribit-keys sign` gives the parameters of public/auth, curl sends them, jq reads the answer.
# Usage: login.sh [name of the key]
set -eu
name=${1:-bot}
program=${DERIBIT_KEYS:-deribit-keys}
url=${DERIBIT_URL:-https://test.deribit.com/api/v2}

# the token goes to curl by a file that is nobody else's, never by its arguments
header=$(mktemp)
trap 'rm -f "$header"' EXIT

$program sign "$name" |
  jq '{jsonrpc: "2.0", id: 1, method: "public/auth", params: .}' |
  curl --silent --show-error --json @- "$url/public/auth" |
  jq -r 'if .error then "error: \(.error.code) \(.error.message)" | halt_error(5) else "Authorization: Bearer \(.result.access_token)" end' >"$header"

curl --silent --show-error --header "@$header" "$url/private/get_account_summary?currency=BTC" |
  jq -r '"equity: \(.result.equity) BTC"'
