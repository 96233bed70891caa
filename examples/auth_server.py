"""A bot in Python that shares a key which it cannot read: `deribit-keys auth-server` hands it tokens.

Usage: auth_server.py <name of the key> <URL of the server> <its secret file>
"""

import json
import os
import sys
import urllib.request

# DERIBIT_KEYS_URL may name the WebSocket endpoint: this bot needs the HTTP one
URL = os.environ.get("DERIBIT_KEYS_URL", "https://test.deribit.com/api/v2")
URL = URL.replace("ws", "http", 1).replace("/ws/api/v2", "/api/v2") if URL.startswith("ws") else URL


def post(url: str, body: dict, bearer: str) -> dict:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {bearer}"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=15) as answer:
        return json.load(answer)


def access_token(name: str, server: str, secret: str) -> str:
    """A valid token: the server renews it, so ask again before each batch of requests."""
    return post(f"{server}/v1/{name}/token", {}, secret)["accessToken"]


if __name__ == "__main__":
    name, server, secret_file = sys.argv[1:4]
    with open(secret_file, encoding="ascii") as file:
        token = access_token(name, server, file.read().strip())
    request = {"jsonrpc": "2.0", "id": 1, "method": "private/get_account_summary", "params": {"currency": "BTC"}}
    print(f"equity: {post(f'{URL}/private/get_account_summary', request, token)['result']['equity']} BTC")
