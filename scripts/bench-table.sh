#!/bin/sh
# bench-table.sh [-p PLUME] [-f FLAGS] [-d DIR] [LEVEL:]FILE...
#
# Runs `plume bench` on each FILE and prints the tables of docs/measurements/cpu-decode-prefill.md:
# decoding after 16 and after 4096 tokens, prefill of 512, and where the time goes. LEVEL forces a
# set of instructions (PLUME_CPU), as in avx2:e2b.gguf. Blocks of 16 tokens, both contexts in turn,
# so that a block and the stream read before and after it meet the same state of the memory.
#
#   -p  the program (default: plume)
#   -f  other flags than --threads 2 --prompt 512 --ctx 16,4096 --repeat 12 --tokens 16; two
#       contexts and one prompt length are wanted
#   -d  keep what plume bench printed in DIR
set -eu
usage() { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
plume=plume flags='--threads 2 --prompt 512 --ctx 16,4096 --repeat 12 --tokens 16'
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
dir=$tmp
while getopts p:f:d: opt; do
	case $opt in
	p) plume=$OPTARG ;;
	f) flags=$OPTARG ;;
	d) dir=$OPTARG && mkdir -p "$dir" ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 1 ] || usage
command -v "$plume" >/dev/null || { echo "bench-table.sh: no program $plume; name it with -p" >&2; exit 1; }

# row NAME REPORT prints the line of the first table and keeps that of the second. Columns of a
# report are two spaces apart and found by their heads.
row() {
	awk -v name="$1" -v times="$tmp/times" '
		{ sub(/^ +/, ""); n = split($0, f, /  +/) }
		/^cpu / { level = substr($2, 1) }
		f[1] == "machine" || f[1] == "prefill" || f[1] == "decode at" || f[1] == "time, %" {
			split("", at)
			for (i = 1; i <= n; i++) at[f[i]] = i
			part = f[1]
			if (part == "time, %") for (i = 3; i <= n; i++) heads = heads " " f[i] " |"
			next
		}
		n < 2 { part = "" }
		part == "machine" { peak = f[at["int8 GMAC/s"] - 1] } # its first column is empty
		part == "prefill" { prompt = f[at["tok/s"]] " | " f[at["products alone"]] }
		part == "decode at" {
			rate[++k] = f[at["tok/s"]] " | " f[at["of stream"]]
			if (k == 1) { bytes = f[at["MB/step"]]; stream = f[at["stream GB/s"]] } else first = f[at["of first"]]
		}
		part == "time, %" {
			line = "| " name ", " level ", " f[1] " |"
			for (i = 3; i <= n; i++) line = line " " f[i] " |"
			lines = lines line "\n"
		}
		END {
			printf "| %s, %s | %s | %s | %s | %s | %s | %s | %s |\n", name, level, bytes, stream, rate[1], rate[2], first, prompt, peak
			print heads > (times ".head")
			printf "%s", lines >> times
		}' "$2"
}

echo '| model, level | MB/step | stream read, GB/s | decode at 16, tok/s | of stream read | decode at 4096 | of stream read | of the speed at 16 | prefill 512, tok/s | products of the int8 peak | that peak, GMAC/s |'
echo '|---|---|---|---|---|---|---|---|---|---|---|'
for arg; do
	file=$arg level=
	case $arg in
	*:*) level=${arg%%:*} file=${arg#*:} ;;
	esac
	name=$(basename "$file" .gguf)
	report=$dir/$name${level:+-$level}.txt
	# shellcheck disable=SC2086 # flags are words
	PLUME_CPU=$level "$plume" bench "$file" $flags >"$report"
	row "$name" "$report"
done
echo
echo "| time, % |$(cat "$tmp/times.head")"
sed 's/[^|]//g; s/|/|---/g; s/---$//' "$tmp/times" | head -n 1
cat "$tmp/times"
