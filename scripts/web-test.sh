#!/usr/bin/env bash
# Tests the web page of `plume serve` in a headless Chromium and leaves
# screenshots. Needs chromium and node (Debian: apt-get install chromium nodejs
# npm); playwright-core comes from npm into a temporary folder. Exits with 3 when
# one of them is not to be had, with 1 when the page does not work.
#
#	scripts/web-test.sh [FOLDER FOR SCREENSHOTS]      default: they are not kept
#
# As root on a CI machine (CI=true) it installs chromium itself.
set -euo pipefail
cd "$(dirname "$0")/.."

tmp=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$tmp"' EXIT
shots=$(realpath -m "${1:-$tmp/shots}")
mkdir -p "$shots"

if ! command -v chromium >/dev/null && [ "$(id -u)" = 0 ] && [ "${CI:-}" = true ] && command -v apt-get >/dev/null; then
	{ apt-get update && apt-get install -y --no-install-recommends chromium; } >"$tmp/apt.log" 2>&1 || tail -n 3 "$tmp/apt.log"
fi
for need in chromium node npm; do
	command -v "$need" >/dev/null || { echo "no $need"; exit 3; }
done
cp internal/server/testdata/page/page.mjs "$tmp/"
(cd "$tmp" && npm install --silent --no-audit --no-fund --ignore-scripts playwright-core@1.65) || { echo 'playwright-core could not be fetched'; exit 3; }

CGO_ENABLED=0 go build -o "$tmp/plume" ./cmd/plume
"$tmp/plume" serve --listen 127.0.0.1:0 >"$tmp/log" 2>&1 &
server=$!
url=
for _ in $(seq 300); do
	url=$(sed -n 's|^plume: serving .* on \(http://[^ ]*\).*|\1|p' "$tmp/log")
	[ -z "$url" ] || break
	sleep 0.1
done
[ -n "$url" ] || { cat "$tmp/log"; exit 1; }
CHROMIUM=$(command -v chromium) timeout 300 node "$tmp/page.mjs" "$url" "$shots"
