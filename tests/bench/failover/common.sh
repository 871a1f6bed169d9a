#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What the rows of `make bench-failover` share. A row measures EVENTS failures and says, for each thing that it measures, one
# line "result ROW NAME UNIT EVENTS P50 P99 WORST AIM MET", fields apart by tabs; run.sh makes tables of them.
#
# shellcheck source=tests/lab/lab.sh
. tests/lab/lab.sh
EVENTS=${EVENTS:-30}
RATE=${RATE:-1000}
case $EVENTS in '' | *[!0-9]* | 0)
	echo "bench: EVENTS: got $EVENTS, want a number from 1" >&2
	exit 2
	;;
esac

now_us() { date +%s%6N; }
note() { echo "# $*" >&2; }

# One number a line in $LAB_DIR/took-FILE.
took() {
	case $2 in '' | *[!0-9.e+-]*)
		note "took $1: got '$2', want a number"
		exit 1
		;;
	esac
	echo "$2" >>"$LAB_DIR/took-$1"
}
# Median, 99th percentile and worst of took-FILE. AIM: "", or what p50, p99 or all must be at most: "p50<=0.4", "p99<=100".
result() { # ROW NAME UNIT FILE [AIM...]
	local row=$1 name=$2 unit=$3 file=$LAB_DIR/took-$4
	shift 4
	[ -s "$file" ] || { note "$row: $name: nothing was measured"; return 1; }
	sort -g "$file" | awk -v row="$row" -v name="$name" -v unit="$unit" -v aims="$*" '
		{ a[NR] = $1 }
		function short(x) { return sprintf(x >= 1000 ? "%.0f" : "%.4g", x) }
		function at(q,   i) { i = int(NR * q); if (i < NR * q) i++; return a[i < 1 ? 1 : i] }
		END {
			v["p50"] = at(0.5); v["p99"] = at(0.99); v["worst"] = a[NR]; met = aims == "" ? "" : "yes"
			n = split(aims, aim, " ")
			for (i = 1; i <= n; i++) { split(aim[i], p, "<="); if (v[p[1]] > p[2] + 0) met = "no" }
			printf "result\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", row, name, unit, NR, short(v["p50"]), short(v["p99"]), short(v["worst"]), aims, met
		}'
}

# Questions in the background, RATE a second, each a new flow.
probe_begin() { # TAG SPACE KIND ADDRESS PORT SECONDS
	lab_in "$2" "$OUT/lab/failprobe" "$3" "$4" "$5" "$RATE" "$6" >"$LAB_DIR/probe-$1" 2>"$LAB_DIR/probe-$1.err" &
	echo $! >"$LAB_DIR/probe-$1.pid"
	lab_wait 'the probe' 10 grep -q begun "$LAB_DIR/probe-$1.err" || exit 1
}
# Prints "LOST LAST_MS GAP_MS EARLY": questions lost, when the last of them was asked after the failure, the longest time between
# two answers, and lost ones from before the failure, which have another cause. Fails if questions were lost to the very end: then
# nobody knows how long it would have gone on.
probe_end() { # TAG FAILED_US; not in a subshell, which can't wait for the probe
	wait "$(cat "$LAB_DIR/probe-$1.pid")"
	awk -v at="$2" '
		/^sent/ { sent = $2; gap = $6; until = $8 - at; next }
		{ t = $1 - at; if (t < -20000) { early++; next } lost++; if (t > last) last = t }
		END {
			if (!sent) exit 1
			if (lost && last > until - 50000) {
				printf "# still no answer when the last question was asked, %d ms after the failure: ask for longer\n", until / 1000 >"/dev/stderr"
				exit 1
			}
			printf "%d %.3f %.3f %d\n", lost, last / 1000, gap / 1000, early
		}' "$LAB_DIR/probe-$1"
}

serve() { # NAME SPACE PORT: answers questions of both kinds
	lab_app "$1" "$2" "$OUT/lab/flows" serve "$3" "$1"
}
asks() { lab_in "$1" "$OUT/lab/failprobe" "$2" "$3" "$4" 20 1 2>/dev/null | grep -q ' lost 0 '; } # SPACE KIND ADDRESS PORT
health_of() { lab_ctl "$1" --json backend show "$2" | jq -r '.backends[0].health'; }		    # NODE SPEC
is_health() { [ "$(health_of "$1" "$2")" = "$3" ]; }
passing() { [ "$(lab_ctl "$1" --json backend list | jq '[.backends[]|select(.health=="passing")]|length')" = "$2" ]; } # NODE COUNT

# Starts the mesh with services dns and tcp at fra-1, each with a backend on fra-2 and on fra-3.
two_workers() {
	local n
	for n in fra-2 fra-3; do
		lab_dns $n $n 5353 "$(lab_addr4 $n)"
		serve tcp-$n $n 7002
	done
	lab_start_all
	lab_ctl fra-1 service add dns --vip $VIP --port udp/53 &&
		lab_ctl fra-1 service add tcp --vip $VIP --port tcp/7002 || return 1
	for n in fra-2 fra-3; do
		lab_wait "services at $n" 20 lab_ctl $n route show tcp &&
			lab_ctl $n backend add dns "$(lab_addr4 $n):5353" --check dns:name=www.lab &&
			lab_ctl $n backend add tcp "$(lab_addr4 $n):7002" --check tcp || return 1
	done
}
