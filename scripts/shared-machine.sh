#!/bin/sh
# shared-machine.sh FILE [ROUNDS [PLUME]]
#
# Decoding speed of a model with one other busy process, in turn with none: alone, with the
# other left to the scheduler, and with it pinned to the last processor. Prints tokens per
# second of each run and what the other one got, in per cent of a processor. Needs taskset.
set -eu
[ $# -ge 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
file=$1 rounds=${2:-3} plume=${3:-plume}
command -v "$plume" >/dev/null || { echo "shared-machine.sh: no program $plume; name it after ROUNDS" >&2; exit 1; }
last=$(($(nproc) - 1))
busy=
trap '[ -z "$busy" ] || kill "$busy" 2>/dev/null' EXIT

ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; } # of user and system, 100 a second

# measure NAME [PREFIX...] decodes beside a loop started with the prefix; NAME alone: beside nothing.
measure() {
	name=$1 && shift
	if [ "$name" != alone ]; then
		"$@" sh -c 'while :; do :; done' &
		busy=$!
		sleep 0.2 # it has become the loop
		from=$(ticks "$busy") begin=$(date +%s%N)
	fi
	rate=$("$plume" bench "$file" --prompt 0 --ctx 16 --tokens 64 --repeat 1 --stream-mib 64 --json |
		sed -n 's/.*"decode":\[{.*"tok_s_blocks":\[\([0-9.]*\).*/\1/p')
	[ -n "$rate" ] || { echo "shared-machine.sh: $plume bench gave no rate" >&2; exit 1; }
	share=-
	if [ -n "$busy" ]; then
		share=$(awk -v t=$(($(ticks "$busy") - from)) -v ns=$(($(date +%s%N) - begin)) 'BEGIN { printf "%.0f %%", t * 1e9 / ns }')
		kill "$busy" && wait "$busy" 2>/dev/null || :
		busy=
	fi
	printf '%-9s %8.1f tok/s, the other %s\n' "$name" "$rate" "$share"
}

for _ in $(seq "$rounds"); do
	measure alone
	measure unpinned env
	measure pinned taskset -c "$last"
done
