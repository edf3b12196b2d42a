#!/bin/sh
# cgroup-run.sh LIMIT COMMAND [ARG...]
#
# Runs a command in a memory cgroup of its own, version 1 or 2, whichever the machine
# has, and prints on stderr what it took at most, page cache included:
#
#   cgroup: limit 1500.0 MiB, peak 1421.3 MiB, failcnt 0, oom 0, exit 0
#
# failcnt counts how often the limit was hit and something had to be reclaimed. LIMIT is
# a number with K, M or G, or "max". It needs the right to make cgroups (root, usually).
# The exit code is the command's; 137 after an OOM kill.
set -eu
[ $# -ge 2 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
limit=$1
shift
case $limit in
max) bytes= ;;
*[Kk]) bytes=$((${limit%?} * 1024)) ;;
*[Mm]) bytes=$((${limit%?} * 1048576)) ;;
*[Gg]) bytes=$((${limit%?} * 1073741824)) ;;
*) bytes=$limit ;;
esac

name=cgroup-run.$$
if [ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
	version=1 dir=/sys/fs/cgroup/memory/$name
	mkdir "$dir"
	[ -z "$bytes" ] || echo "$bytes" >"$dir/memory.limit_in_bytes"
else
	version=2 dir=/sys/fs/cgroup/$name
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
	mkdir "$dir"
	[ -z "$bytes" ] || echo "$bytes" >"$dir/memory.max"
	[ ! -e "$dir/memory.swap.max" ] || echo 0 >"$dir/memory.swap.max"
fi

# The shell that enters the group becomes the command, so nothing else is counted.
code=0
sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$dir" "$@" || code=$?

if [ $version = 1 ]; then
	peak=$(cat "$dir/memory.max_usage_in_bytes")
	fails=$(cat "$dir/memory.failcnt")
	oom=$(sed -n 's/^oom_kill //p' "$dir/memory.oom_control")
else
	peak=$(cat "$dir/memory.peak")
	fails=$(sed -n 's/^max //p' "$dir/memory.events")
	oom=$(sed -n 's/^oom_kill //p' "$dir/memory.events")
fi
rmdir "$dir" 2>/dev/null || { sleep 1; rmdir "$dir"; }
awk -v l="${bytes:-0}" -v p="$peak" -v f="$fails" -v o="${oom:-0}" -v c="$code" 'BEGIN {
	printf "cgroup: limit %s, peak %.1f MiB, failcnt %d, oom %d, exit %d\n",
		l ? sprintf("%.1f MiB", l / 1048576) : "none", p / 1048576, f, o, c }' >&2
exit "$code"
