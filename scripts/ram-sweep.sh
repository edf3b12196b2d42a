#!/bin/sh
# ram-sweep.sh [-j] [-p PLUME] [-f FLAGS] MODEL MIB...
#
# Runs `plume bench session MODEL --ram MIB` inside a memory cgroup of exactly that many
# MiB, for each MIB, and prints one line per run:
#
#   limit  context chunk kv  streamed  plan  peak  hit  faults  prefill  decode
#
# Sizes are MiB, streamed is read for every token, peak is the cgroup's (page cache
# included), hit counts how often the limit was reached and pages had to be given up,
# faults are page faults that read after the first answer; speeds are tok/s. A limit that
# plume refuses is run again at the minimum that it names. "all" stands for no limit.
#
#   -j  print a JSON object per run instead, what plume printed as "session"
#   -p  the program (default: plume)
#   -f  more flags for `plume bench session`, as '--ctx 4096 --tokens 33'
#
# It needs the right to make cgroups. The exit code is 1 when a run was killed, failed,
# or took more than its limit.
set -eu
usage() { sed -n '2,22s/^# \{0,1\}//p' "$0" >&2; exit 2; }
json= plume=plume flags= bad=0
while getopts jp:f: opt; do
	case $opt in
	j) json=1 ;;
	p) plume=$OPTARG ;;
	f) flags=$OPTARG ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || usage
model=$1
shift
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
here=$(dirname "$0")

# number NAME: the first number of that name in the JSON object.
number() { sed -n "s/.*\"$1\":\([-0-9.e+]*\).*/\1/p" "$dir/head" | head -1; }

# run MIB: one run; 8 when it was refused.
run() {
	limit=${1}M ram="--ram ${1}MiB" code=0
	[ "$1" != all ] || limit=max ram=
	# shellcheck disable=SC2086 # flags are words
	sh "$here/cgroup-run.sh" "$limit" "$plume" bench session "$model" --json $ram $flags >"$dir/out" 2>"$dir/err" || code=$?
	cg=$(grep '^cgroup:' "$dir/err")
	peak=$(echo "$cg" | sed 's/.*peak \([0-9.]*\).*/\1/') hit=$(echo "$cg" | sed 's/.*failcnt \([0-9]*\).*/\1/')
	oom=$(echo "$cg" | sed 's/.*oom \([0-9]*\).*/\1/')
	if [ $code = 8 ]; then
		minimum=$(sed -n 's/.*smallest budget that works is \([0-9]*\) MiB.*/\1/p' "$dir/err")
		say "$1" refused
		return 8
	fi
	if [ $code != 0 ] || [ "$oom" != 0 ]; then
		bad=1
		say "$1" "failed: $(grep -v '^cgroup:' "$dir/err" | tail -1)"
		return 0
	fi
	say "$1" ok
}

# say MIB RESULT: one line about a run.
say() {
	if [ -n "$json" ]; then
		printf '{"limit_mib":"%s","result":"%s","minimum_mib":%s,"peak_mib":%s,"limit_hit":%s,"oom":%s,"session":%s}\n' \
			"$1" "$2" "${minimum:-0}" "$peak" "$hit" "$oom" "$([ "$2" = ok ] && cat "$dir/out" || echo null)"
	elif [ "$2" != ok ]; then
		printf '%6s  %s\n' "$1" "$2${minimum:+, the smallest is $minimum}"
	else
		# One field per line, so that sed finds the first of each name.
		tr ',{' '\n\n' <"$dir/out" >"$dir/head"
		awk -v l="$1" -v c="$(number context)" -v k="$(number chunk)" \
			-v kv="$(sed -n 's/.*"kv_type":"\([^"]*\)".*/\1/p' "$dir/head" | head -1)" \
			-v s="$(number bytes_per_token)" -v t="$(number total)" -v p="$peak" -v h="$hit" -v f="$(number major_faults_later)" \
			-v pre="$(sed -n '/prefill_tok_s/,/max/p' "$dir/head" | sed -n 's/.*"median":\([0-9.e+]*\).*/\1/p')" \
			-v dec="$(sed -n '/decode_tok_s"/,/max/p' "$dir/head" | sed -n 's/.*"median":\([0-9.e+]*\).*/\1/p')" \
			'BEGIN { printf "%6s %8d %5d %4s %9.0f %7.1f %7.1f %5d %6d %8.1f %7.2f\n", l, c, k, kv, s/1048576, t/1048576, p, h, f, pre, dec }'
	fi
	minimum=
}

[ -n "$json" ] || echo ' limit  context chunk   kv  streamed    plan    peak   hit faults  prefill  decode'
for mib in "$@"; do
	minimum= again=
	run "$mib" || again=$(sed -n 's/.*smallest budget that works is \([0-9]*\) MiB.*/\1/p' "$dir/err")
	[ -z "$again" ] || run "$again" || bad=1
done
exit $bad
