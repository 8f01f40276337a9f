#!/usr/bin/env bash
# The audit of a real book, computed again from its export without any of autopay's code; and an export in which one line was changed, which
# must not pass. Builds what it needs, skips nothing, and gives up after five minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --locked --quiet --bin autopay --example quickstart
built="$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)"
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"$built/examples/quickstart" "$folder/autopay.db" >/dev/null
verify=$PWD/tests/audit/verify.py
cd "$folder"
printf '[database]\nurl = "sqlite:autopay.db"\n' > autopay.toml
"$built/autopay" audit anchor -o json --out anchor.json
"$built/autopay" audit list --all -o jsonl --out audit.jsonl
timeout 300 python3 -B "$verify" audit.jsonl anchor.json
python3 - <<'EOF'
import json
lines = open("audit.jsonl", encoding="utf-8").read().splitlines()
changed = json.loads(lines[len(lines) // 2])
changed["actor"] = "mallory"
lines[len(lines) // 2] = json.dumps(changed)
open("changed.jsonl", "w", encoding="utf-8").write("\n".join(lines) + "\n")
EOF
if timeout 300 python3 -B "$verify" changed.jsonl anchor.json; then
  echo "an export with a changed line passes"; exit 1
fi
