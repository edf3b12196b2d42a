#!/bin/sh
# serve-ram.sh LIMIT SECONDS [FLAG...]
#
# Keeps plume serve to its promise: the server runs with --ram LIMIT and FLAGs in a memory
# cgroup of just that limit, while 64 clients stream, leave, ask for schemas that nobody
# has asked for before, and send nonsense and bodies over the limit. Prints what the
# clients saw, and what the server took at most, page cache included. An OOM kill, an
# answer that did not end or an error of the server fails it.
#
#   scripts/serve-ram.sh 400M 30
#   scripts/serve-ram.sh 1500M 60 -m e2b-q4_0.gguf
#
# Needs what cgroup-run.sh needs.
set -eu
[ $# -ge 2 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }
limit=$1 seconds=$2
shift 2
cd "$(dirname "$0")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
go build -o "$tmp/plume" ./cmd/plume

scripts/cgroup-run.sh "$limit" sh -c 'echo $$ >"$0/pid"; exec "$0/plume" serve --listen 127.0.0.1:0 --log-level error --ram "$@"' \
	"$tmp" "${limit%[Bb]}iB" "$@" 2>"$tmp/log" &
server=$!
url=
while [ -z "$url" ]; do
	url=$(sed -n 's/.*serving .* on \(http[^ ]*\) .*/\1/p' "$tmp/log")
	kill -0 $server 2>/dev/null || { cat "$tmp/log" >&2; exit 1; }
	sleep 0.1
done
code=0
"$tmp/plume" bench serve "$url" --soak --clients 64 --duration "${seconds}s" || code=$?
kill -INT "$(cat "$tmp/pid")" 2>/dev/null || true
wait $server || code=$?
cat "$tmp/log"
exit $code
