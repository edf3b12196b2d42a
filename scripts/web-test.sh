#!/usr/bin/env bash
# Tests the web page of `plume serve` in a headless Chromium and leaves
# screenshots. Needs chromium and node (Debian: apt-get install chromium nodejs
# npm); playwright-core comes from npm into a temporary folder.
#
#	scripts/web-test.sh [FOLDER FOR SCREENSHOTS]
set -euo pipefail
cd "$(dirname "$0")/.."

shots=$(realpath -m "${1:-web-test}")
mkdir -p "$shots"
tmp=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$tmp"' EXIT

CGO_ENABLED=0 go build -o "$tmp/plume" ./cmd/plume
cp internal/server/testdata/page/page.mjs "$tmp/"
(cd "$tmp" && npm install --silent --no-audit --no-fund --ignore-scripts playwright-core@1.65)

"$tmp/plume" serve --listen 127.0.0.1:0 >"$tmp/log" 2>&1 &
server=$!
for _ in $(seq 100); do
	url=$(sed -n 's|^plume: serving .* on \(http://[^ ]*\).*|\1|p' "$tmp/log")
	[ -z "$url" ] || break
	sleep 0.1
done
[ -n "$url" ] || { cat "$tmp/log"; exit 1; }
node "$tmp/page.mjs" "$url" "$shots"
