"""A bot in Python with only its standard library: `deribit-keys token` prints a valid access token.

Usage: token.py [name of the key]
"""

import json
import os
import shlex
import subprocess
import sys
import urllib.request

# DERIBIT_KEYS_URL may name the WebSocket endpoint: this bot needs the HTTP one
URL = os.environ.get("DERIBIT_KEYS_URL", "https://test.deribit.com/api/v2")
URL = URL.replace("ws", "http", 1).replace("/ws/api/v2", "/api/v2") if URL.startswith("ws") else URL
PROGRAM = shlex.split(os.environ.get("DERIBIT_KEYS", "deribit-keys"))


def access_token(name: str) -> str:
    """A valid token: the program caches one and renews it, so ask again before each batch of requests."""
    return subprocess.run([*PROGRAM, "token", name], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def call(method: str, params: dict, token: str) -> dict:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    with urllib.request.urlopen(urllib.request.Request(f"{URL}/{method}", body, headers), timeout=15) as answer:
        return json.load(answer)["result"]


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else "bot"
    summary = call("private/get_account_summary", {"currency": "BTC"}, access_token(name))
    print(f"equity: {summary['equity']} BTC")
