#!/usr/bin/env bash
# Asks `plume serve`, with the demo model, through the clients that people use:
# openai, @anthropic-ai/sdk, ollama and ai from npm, openai-go from the module
# proxy. They are installed into a temporary folder. Needs Go, node and npm.
#
#	scripts/conformance.sh
#	SKIP_GO=1 scripts/conformance.sh   without openai-go, which takes minutes to compile
set -euo pipefail
cd "$(dirname "$0")/.."

tmp=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$tmp"' EXIT

CGO_ENABLED=0 go build -o "$tmp/plume" ./cmd/plume
cp -r internal/server/testdata/conformance/. "$tmp/"
(cd "$tmp" && npm install --silent --no-audit --no-fund --ignore-scripts \
	openai@6 @anthropic-ai/sdk@1 ollama@0.6 ai@6 @ai-sdk/openai@3 @ai-sdk/openai-compatible@2 @ai-sdk/anthropic@3 zod@4)
if [ -z "${SKIP_GO:-}" ]; then
	(cd "$tmp/go" && CGO_ENABLED=0 go build -o "$tmp/openai-go" .)
fi

PLUME_API_KEY=conformance "$tmp/plume" serve --listen 127.0.0.1:0 >"$tmp/log" 2>&1 &
server=$!
for _ in $(seq 100); do
	url=$(sed -n 's|^plume: serving .* on \(http://[^ ]*\).*|\1|p' "$tmp/log")
	[ -z "$url" ] || break
	sleep 0.1
done
[ -n "$url" ] || { cat "$tmp/log"; exit 1; }

failed=0
for client in openai anthropic ollama vercel; do
	timeout 120 node "$tmp/$client.mjs" "$url" conformance || failed=1
done
if [ -z "${SKIP_GO:-}" ]; then
	timeout 120 "$tmp/openai-go" "$url" conformance || failed=1
fi
exit $failed
