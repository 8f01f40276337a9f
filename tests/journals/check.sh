#!/usr/bin/env bash
# Journals of a real book, read by Beancount, hledger and Ledger, and by a second reading of the four tables. Builds what it needs, installs what is
# missing, skips nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
missing=()
command -v bean-check >/dev/null || missing+=(beancount)
command -v hledger >/dev/null || missing+=(hledger)
command -v ledger >/dev/null || missing+=(ledger)
command -v faketime >/dev/null || missing+=(faketime)
if [ "${#missing[@]}" -gt 0 ]; then
  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
fi
built="${CARGO_TARGET_DIR:-target}/debug"
cargo build --locked --quiet --bin autopay --example quickstart
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"$built/examples/quickstart" "$folder/autopay.db" >/dev/null
python3 -B tests/journals/check.py "$built/autopay" "$folder"
