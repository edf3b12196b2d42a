#!/bin/sh
# memory-check.sh [-p PLUME] MODEL...
#
# Holds memory plans against processes: for each MODEL five sessions that fill their
# context, each in a process of its own, with different contexts, chunks, number formats of
# keys and values, and one with a budget of 7/10 of what the model would take, so that weights
# are streamed. One line per session:
#
#   model  context chunk kv  streamed  at most  expected  peak  error  verdict
#
# Sizes are MiB. "peak" is the process's largest resident size (VmHWM), "error" is
# expected/peak − 1, which planning wants below 3 %; "at most" must not be exceeded.
# The exit code is 1 when one is.
#
#   -p  the program (default: plume)
set -eu
plume=plume
while getopts p: opt; do
	case $opt in
	p) plume=$OPTARG ;;
	*) sed -n '2,16s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { sed -n '2,16s/^# \{0,1\}//p' "$0" >&2; exit 2; }
out=$(mktemp)
trap 'rm -f "$out"' EXIT
bad=0

# number NAME: the last number of that name in the report.
number() { grep -o "\"$1\": *[-0-9.e+]*" "$out" | tail -1 | sed 's/.*: *//'; }

# check MODEL CONTEXT CHUNK KV [BUDGET]: one line; sets total.
check() {
	"$plume" bench session "$1" --json --ctx "$2" --chunk "$3" --kv-type "$4" --ram "${5:-64GiB}" --ple direct \
		--prompt $(($2 - 16)) --tokens 16 --repeat 1 >"$out" 2>/dev/null || { echo "$1: failed" >&2; bad=1; return; }
	total=$(number total)
	awk -v m="${1##*/}" -v c="$2" -v k="$3" -v kv="$4" -v t="$total" -v e="$(number expected)" -v p="$(number process_peak)" \
		-v s="$(grep -c '"streamed"' "$out")" 'BEGIN {
		err = e / p - 1
		printf "%-24s %5d %4d %-4s %-4s %8.1f %8.1f %8.1f %+5.1f %% %s\n", m, c, k, kv, (s ? "yes" : "no"),
			t / 1048576, e / 1048576, p / 1048576, 100 * err, (p > t) ? "EXCEEDED" : (err * err <= 0.0009) ? "within" : "MISSED"
		exit (p > t) }' || bad=1
}

printf '%-24s %5s %4s %-4s %-4s %8s %8s %8s %7s\n' model ctx chk kv strm 'at most' expected peak error
for model; do
	total=
	check "$model" 512 32 f16
	check "$model" 1024 64 f32
	check "$model" 2048 256 int8
	check "$model" 1024 256 f16
	[ -z "$total" ] || check "$model" 1024 256 f16 $((total / 10 * 7))
done
exit $bad
