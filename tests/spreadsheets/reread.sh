#!/usr/bin/env bash
# Rosters and reports re-read by LibreOffice. Builds the binary, installs LibreOffice where it is missing, skips nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! command -v soffice >/dev/null; then
  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends libreoffice-calc-nogui
fi
cargo build --locked --quiet --bin autopay
python3 -B tests/spreadsheets/reread.py "${CARGO_TARGET_DIR:-target}/debug/autopay"
