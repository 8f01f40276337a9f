"""The surroundings of the fuzz of autopay's door: a book, the gateway's own token, and a look at what became of the inbox."""

import http.server
import json
import os
import re
import sys
import time
import urllib.request
from pathlib import Path

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
PAYS = "5a4db0c5-0000-8000-8000-000000000001"
DECLINES = "5a4db0c5-0101-8000-8000-000000000002"


def call(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    with OPENER.open(urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=20) as answer:
        return answer.read()


def prepare(base, work):
    (work / "plans").mkdir()
    (work / "secret").write_text("sandbox-secret")
    os.chmod(work / "secret", 0o600)
    (work / "gateway.pem").write_text(json.loads(call(f"{base}/sandbox/webhooks/keys"))["current"])
    (work / "autopay.toml").write_text(f"""
[database]
url = "sqlite:{work}/autopay.db"
[gateway]
base_url = "{base}"
token_url = "{base}/oauth2/token"
client_id = "sandbox-client"
client_secret_file = "{work}/secret"
[http]
listen = "127.0.0.1:0"
[webhooks]
public_key_files = ["{work}/gateway.pem"]
""")
    (work / "plans" / "gym.toml").write_text("""
schema = "autopay.plan/1"
id = "gym"
name = "Gym"
kind = "recurring"
status = "active"
[schedule]
every = "1 year"
time_zone = "Pacific/Kiritimati"
charge_at = 00:00:00
[amount]
currency = "USD"
value = "42.00"
""")
    today = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 14 * 3600))
    rows = [f"sub-{n},gym,{method},card,C-{n},{today}" for n, method in enumerate([PAYS, DECLINES], 1)]
    head = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on"
    (work / "roster.csv").write_text("\n".join([head, *rows]) + "\n")


def token(base, work):
    """Lets the gateway deliver one event here and keeps its token; names what the book has in the door's description."""
    heard = []

    class Hear(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append(self.headers["Authorization"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Hear)
    server.timeout = 20
    call(f"{base}/sandbox/webhooks", {"url": f"http://127.0.0.1:{server.server_port}/"})
    payments = [json.loads(line) for line in call(f"{base}/sandbox/ledger/payments").splitlines()]
    call(f"{base}/sandbox/methods/{PAYS}/replace", {})
    server.handle_request()
    call(f"{base}/sandbox/webhooks", {})
    (work / "token").write_text(heard[0])
    text = (Path(__file__).parent / "door.json").read_text()
    for name, value in (("KEY", payments[0]["key"]), ("PAYMENT", payments[0]["id"]), ("METHOD", DECLINES)):
        text = text.replace(f'"{name}"', json.dumps(value))
    (work / "door.json").write_text(text)


def address(work):
    for line in (work / "serve").read_text().splitlines():
        if '"event":"started"' in line:
            print(json.loads(line)["listen"])
            return
    sys.exit("autopay did not start")


def drained(base):
    for _ in range(300):
        backlog = re.search(r"^autopay_webhook_backlog (\S+)", call(f"{base}/metrics").decode(), re.M)
        if backlog and float(backlog[1]) == 0:
            return
        time.sleep(0.1)
    sys.exit("deliveries are left in the inbox")


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    {"prepare": lambda: prepare(rest[0], Path(rest[1])), "token": lambda: token(rest[0], Path(rest[1])),
     "address": lambda: address(Path(rest[0])), "drained": lambda: drained(rest[0])}[what]()
