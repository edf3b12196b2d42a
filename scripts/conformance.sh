#!/usr/bin/env bash
# Asks `plume serve`, with the demo model, through the clients that people use:
# openai, @anthropic-ai/sdk, ollama and ai from npm (needs node and npm), and
# openai-go from the module proxy. Everything is fetched into temporary folders.
# Exits with 3 when clients cannot be fetched, with 1 when one of them fails.
#
#	scripts/conformance.sh [npm] [go]      default: both
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || set -- npm go
want=" $* "
tmp=$(mktemp -d)
servers=()
trap '[ ${#servers[@]} = 0 ] || kill "${servers[@]}" 2>/dev/null || true; rm -rf "$tmp"' EXIT

cp -r internal/server/testdata/conformance/. "$tmp/"
if [[ $want = *" npm "* ]]; then
	(cd "$tmp" && npm install --silent --no-audit --no-fund --ignore-scripts \
		openai@6 @anthropic-ai/sdk@1 ollama@0.6 ai@6 @ai-sdk/openai@3 @ai-sdk/openai-compatible@2 @ai-sdk/anthropic@3 zod@4) || exit 3
fi
if [[ $want = *" go "* ]]; then
	(cd "$tmp/go" && go mod download) || exit 3
	# The client's speed does not matter, the compiler's does: without inlining
	# and debug information this takes less than half the time.
	(cd "$tmp/go" && CGO_ENABLED=0 go build -gcflags='github.com/openai/openai-go/v3/...=-l -dwarf=false' -o "$tmp/openai-go" .)
fi

CGO_ENABLED=0 go build -o "$tmp/plume" ./cmd/plume

# serve FLAG... starts a server and sets url.
serve() {
	local log="$tmp/log${#servers[@]}"
	PLUME_API_KEY=conformance "$tmp/plume" serve --listen 127.0.0.1:0 "$@" >"$log" 2>&1 &
	servers+=($!)
	url=
	for _ in $(seq 300); do
		url=$(sed -n 's|^plume: serving .* on \(http://[^ ]*\).*|\1|p' "$log")
		[ -z "$url" ] || return 0
		sleep 0.1
	done
	cat "$log"
	exit 1
}
# Answers that take longer than its two seconds break off. Its storage takes two thirds of a
# millisecond for every token, so that 4000 tokens do, however fast the machine is.
serve --timeout 2s --ple-emulate microsd-a1 --ple-cache 0
hasty=$url
serve

failed=0
if [[ $want = *" npm "* ]]; then
	for client in openai anthropic ollama vercel; do
		timeout 180 node "$tmp/$client.mjs" "$url" conformance "$hasty" || failed=1
	done
fi
if [[ $want = *" go "* ]]; then
	timeout 120 "$tmp/openai-go" "$url" conformance "$hasty" || failed=1
fi
exit $failed
