#!/usr/bin/env bash
# Schema-driven fuzz of the sandbox and of autopay's door for deliveries: requests are made from the sandbox's own OpenAPI
# document, and from a description of the door written by hand from the contract (door.json), valid and not. No answer may be
# a 5xx, no connection may break, nothing may panic, and no delivery may change a charge. Bounded and seeded; under four
# minutes. Loopback only.
#
# The generator is schemathesis; where it is missing, it is installed into a venv that lives as long as this script.
set -euo pipefail
cd "$(dirname "$0")/../.."

seed="${FUZZ_SEED:-20260101}"
examples="${FUZZ_EXAMPLES:-40}"
seconds="${FUZZ_SECONDS:-80}"

work=$(mktemp -d)
sandbox=""
serve=""
finish() {
  for one in $serve $sandbox; do kill "$one" 2>/dev/null && wait "$one" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT

fuzzer=$(command -v st || command -v schemathesis || true)
if [ -z "$fuzzer" ]; then
  if ! python3 -m venv "$work/venv" 2>/dev/null; then
    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q python3 python3-venv
    python3 -m venv "$work/venv"
  fi
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check 'schemathesis>=4.3,<5'
  fuzzer="$work/venv/bin/st"
fi

cargo build --locked --quiet --workspace --bin ccg-sandbox --bin autopay
built=$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)
door_schema="$PWD/tests/fuzz/door.json"
door_helper="$PWD/tests/fuzz/door.py"
"$built/ccg-sandbox" --listen 127.0.0.1:0 --seed "$seed" --token-lifetime 36000 >"$work/url" 2>"$work/log" &
sandbox=$!
for _ in $(seq 100); do [ -s "$work/url" ] && break; sleep 0.1; done
base=$(head -n 1 "$work/url")

token=$(python3 - "$base" <<'PYTHON'
import json, sys, urllib.parse, urllib.request
form = {"grant_type": "client_credentials", "client_id": "sandbox-client", "client_secret": "sandbox-secret"}
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open(sys.argv[1] + "/oauth2/token", urllib.parse.urlencode(form).encode(), timeout=10) as answer:
    print(json.load(answer)["access_token"])
PYTHON
)

# The two token endpoints take a form that the document describes as text; little of what can be made of that is a form, and
# that is no failure of theirs. A slow machine is none either.
# Left out: what is asked to break things (faults, revoked tokens), what would make the sandbox call other addresses
# (its webhook receiver), and what waits for that receiver.
# What the fuzzer keeps for itself stays in its folder, so that every run begins alike.
status=0
cd "$work"
fuzz() {
  env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY \
    HYPOTHESIS_STORAGE_DIRECTORY="$work/hypothesis" "$fuzzer" run "$@" \
    --checks not_a_server_error --seed "$seed" --phases examples,coverage,fuzzing --continue-on-failure --warnings off \
    --suppress-health-check filter_too_much,too_slow --workers 2 --request-timeout 10
}
fuzz "$base/openapi.json" --max-examples "$examples" --max-time "$seconds" \
  --header "Authorization: Bearer $token" --header "X-Merchant-Id: 11111111-1111-4111-8111-111111111111" \
  --exclude-path-regex '^/sandbox/(faults|tokens|webhooks)' || status=$?

if grep -q "panicked" "$work/log"; then
  cat "$work/log"
  echo "the sandbox panicked"
  status=1
fi
if ! kill -0 "$sandbox" 2>/dev/null; then
  cat "$work/log"
  echo "the sandbox is gone"
  exit 1
fi

# The door. One paid and one failing charge stand in the book; the token is the gateway's own, from a delivery it made. A
# delivery may only ever cause a question, so the charges stay as they are whatever arrives.
kill "$sandbox" && wait "$sandbox" || true
"$built/ccg-sandbox" --listen 127.0.0.1:0 --seed "$seed" --token-lifetime 36000 >"$work/url2" 2>"$work/log" &
sandbox=$!
for _ in $(seq 100); do [ -s "$work/url2" ] && break; sleep 0.1; done
base=$(head -n 1 "$work/url2")
python3 "$door_helper" prepare "$base" "$work"
export AUTOPAY_CONFIG="$work/autopay.toml"
"$built/autopay" -q migrate up
"$built/autopay" -q plans apply "$work/plans"
"$built/autopay" -q subscriptions import "$work/roster.csv"
"$built/autopay" -q run once >/dev/null
"$built/autopay" charges list --all -o json >"$work/before"
python3 "$door_helper" token "$base" "$work"
"$built/autopay" serve >"$work/serve" 2>&1 &
serve=$!
for _ in $(seq 100); do grep -q '"event":"started"' "$work/serve" && break; sleep 0.1; done
door=$(python3 "$door_helper" address "$work")
fuzz "$work/door.json" --url "http://$door" --max-examples 3000 --max-time 40 \
  --header "Authorization: $(cat "$work/token")" || status=$?
fuzz "$work/door.json" --url "http://$door" --max-examples 200 --max-time 10 || status=$?

if ! kill -0 "$serve" 2>/dev/null || grep -q '"event":"panic"' "$work/serve"; then
  tail -n 50 "$work/serve"
  echo "autopay panicked or is gone"
  status=1
fi
python3 "$door_helper" drained "http://$door" || status=1
kill "$serve" && wait "$serve" || { echo "autopay did not end well"; status=1; }
serve=""
"$built/autopay" charges list --all -o json >"$work/after"
if ! cmp -s "$work/before" "$work/after"; then
  diff "$work/before" "$work/after" | head -n 20
  echo "a delivery changed a charge"
  status=1
fi
kept=$("$built/autopay" webhooks list --all -o jsonl 2>/dev/null | wc -l)
if [ "$kept" -lt 100 ]; then echo "only $kept deliveries were kept: the door was not fuzzed"; status=1; fi
echo "$kept deliveries were kept and looked at; no charge changed"
exit "$status"
