#!/usr/bin/env bash
# Schema-driven fuzz of the sandbox: requests are made from its own OpenAPI document, valid and not, and no answer may be a
# 5xx, no connection may break, nothing may panic. Bounded and seeded; under three minutes. Loopback only.
#
# The generator is schemathesis; where it is missing, it is installed into a venv that lives as long as this script.
set -euo pipefail
cd "$(dirname "$0")/../.."

seed="${FUZZ_SEED:-20260101}"
examples="${FUZZ_EXAMPLES:-40}"
seconds="${FUZZ_SECONDS:-80}"

work=$(mktemp -d)
sandbox=""
finish() {
  if [ -n "$sandbox" ]; then kill "$sandbox" 2>/dev/null && wait "$sandbox" 2>/dev/null || true; fi
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

cargo build --locked --quiet --workspace --bin ccg-sandbox
"${CARGO_TARGET_DIR:-target}/debug/ccg-sandbox" --listen 127.0.0.1:0 --seed "$seed" --token-lifetime 36000 >"$work/url" 2>"$work/log" &
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
env -u http_proxy -u https_proxy -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY \
  HYPOTHESIS_STORAGE_DIRECTORY="$work/hypothesis" "$fuzzer" run "$base/openapi.json" \
  --checks not_a_server_error --seed "$seed" --max-examples "$examples" --max-time "$seconds" \
  --phases examples,coverage,fuzzing --continue-on-failure --warnings off --suppress-health-check filter_too_much,too_slow --workers 2 --request-timeout 10 \
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
  status=1
fi
exit "$status"
