#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Daemons killed with -9 lose no packet; a backend killed with -9 loses few; a TCP connection held for a minute does not
# notice that another backend died.
# Alone: not one packet may be lost under load.
. tests/net/net.sh

VIP_DNS=198.51.100.53 VIP_WEB=198.51.100.80
lab_up
lab_region fra
for n in fra-1 fra-2 fra-3; do lab_node $n fra; done
lab_client c fra
lab_mesh
for n in fra-2 fra-3; do
	lab_dns $n $n 5353 "$(lab_addr4 $n)"
	lab_web $n $n 8080 "$(lab_addr4 $n)"
done
lab_start_all

declare_all() {
	lab_ctl fra-1 service add dns --vip $VIP_DNS --port udp/53 --port tcp/53 >/dev/null || return 1
	lab_ctl fra-1 service add web --vip $VIP_WEB --port tcp/80 >/dev/null || return 1
	for n in fra-2 fra-3; do
		lab_wait "services at $n" 10 lab_ctl $n route show web || return 1
		lab_ctl $n backend add dns "$(lab_addr4 $n):5353" --check tcp:interval=200ms,fall=1 >/dev/null || return 1
		lab_ctl $n backend add web "$(lab_addr4 $n):8080" --check tcp:interval=200ms,fall=1 >/dev/null || return 1
	done
	lab_wait 'four healthy backends' 20 passing fra-1 4 && lab_wait 'an answer' 10 answers && lab_wait 'a page' 10 page
}
answers() { like "$(dns c $VIP_DNS 53)" 'fra-?'; }
page() { like "$(web c $VIP_WEB /)" 'fra-*'; }
ok 'two services with two backends each' declare_all

# 60 s at 2 KB/s, while everything below happens.
(lab_in c curl -gsf -m 100 -r 0-122879 -o "$LAB_DIR/slow" http://$VIP_WEB/slow; echo $? >"$LAB_DIR/slow.rc") &
slow_server() { # who serves it
	local n
	for n in fra-2 fra-3; do
		[ "$(lab_in $n ss -Htn state established '( sport = :8080 )' | grep -c "$(lab_client4 fra)")" -gt 0 ] && echo $n
	done
}
has_slow_server() { [ -n "$(slow_server)" ]; }
lab_wait 'the slow download' 10 has_slow_server
SLOW=$(slow_server | head -1)

echo 'whoami.lab TXT' >"$LAB_DIR/queries"
perf_begin() { # SECONDS
	lab_in c stdbuf -oL dnsperf -s $VIP_DNS -d "$LAB_DIR/queries" -Q 500 -c 20 -l "$1" >"$LAB_DIR/perf" 2>&1 &
	PERF=$!
	lab_wait 'dnsperf to begin' 5 grep -q 'Sending queries' "$LAB_DIR/perf"
}
perf_lost_none() {
	grep -E 'Queries (sent|completed|lost)' "$LAB_DIR/perf"
	grep -qE 'Queries lost: +0 ' "$LAB_DIR/perf" && [ "$(awk '/Queries completed/ {print $3}' "$LAB_DIR/perf")" -gt 1000 ]
}
restart() { # NODE DAEMON [SIGNAL]: -9, and up again
	lab_kill "$1" "$2" "${3:-KILL}" || return 1
	lab_start "$1" "$2"
	case $2 in
	edged) lab_wait "edged on $1 answers" 20 lab_ctl "$1" status ;;
	edgefwd) lab_wait "edgefwd on $1 is connected" 20 forwarder_up "$1" ;;
	esac
}
forwarder_up() { [ "$(lab_ctl "$1" --json status | jq -r .forwarder.is_up)" = true ]; }
# KILLS=100: so many, in turn.
WHATS=('fra-1 edged' 'fra-1 edgefwd' 'fra-2 edged' 'fra-2 edgefwd')
for ((i = 0; i < ${KILLS:-4}; i++)); do
	what=${WHATS[i % 4]}
	perf_begin 8
	# shellcheck disable=SC2086
	ok "kill -9 and restart: $what" restart $what
	wait $PERF # here: a subshell can't wait for its parent's child
	ok "no query lost meanwhile: $what" perf_lost_none
done
restart_all() { # as the units do it: USR1 is no leave
	local n
	for n in fra-1 fra-2 fra-3; do
		restart $n edgefwd TERM && restart $n edged USR1 || return 1
	done
}
perf_begin 10
ok 'every daemon restarted in order' restart_all
wait $PERF
ok 'no query lost meanwhile' perf_lost_none
both_gone() {
	lab_kill fra-1 edged KILL && lab_kill fra-1 edgefwd KILL || return 1
	perf_begin 4
	wait $PERF
	perf_lost_none
	rc=$?
	lab_start fra-1 edgefwd
	lab_wait 'edgefwd' 20 test -S "$LAB_DIR/fra-1/edgefwd.sock"
	lab_start fra-1 edged
	lab_wait 'edged with its forwarder' 20 forwarder_up fra-1 && return $rc
}
ok 'both daemons of the edge stay dead: no query lost' both_gone
ok 'both back: four healthy backends' lab_wait 'healthy again' 20 passing fra-1 4
ok 'both back: three nodes alive' lab_wait 'all alive' 20 lab_sees fra-1 3

OTHER=fra-3
[ "$SLOW" = fra-3 ] && OTHER=fra-2
leaves() {
	lab_kill $OTHER edged TERM && lab_wait 'left' 10 lab_state fra-1 $OTHER left
}
joins() {
	lab_start $OTHER edged
	lab_wait 'alive' 20 lab_state fra-1 $OTHER alive
}
perf_begin 8
ok 'a worker leaves' leaves
no_answers() { ! (for _ in $(seq 20); do dns c $VIP_DNS 53; done) | grep -q "$OTHER"; }
ok 'it has no new flows' lab_wait 'no more answers' 10 no_answers
ok 'it joins again' joins
wait $PERF
ok 'no query lost meanwhile' perf_lost_none

measure_kill() { # NODE: kill its DNS server under a steady load; every loss lies within a second of the kill
	local killed
	lab_in c "$OUT/lab/dnsprobe" $VIP_DNS 53 whoami.lab 4 5 >"$LAB_DIR/probe" 2>"$LAB_DIR/probe.err" &
	PROBE=$!
	lab_wait 'the probe' 5 grep -q begun "$LAB_DIR/probe.err" || return 1
	sleep 1
	killed=$(date +%s%3N)
	lab_app_kill "dns-$1"
	wait $PROBE
	awk -v killed="$killed" '
		{ n++ } $2 == "lost" { lost++; if ($1 < killed - 50 || $1 > killed + 1000) stray++; last = $1 }
		END { printf "%d queries, %d lost, the last one %d ms after the kill, %d outside\n", n, lost, lost ? last - killed : 0, stray
			exit !(n > 500 && lost < n / 4 && !stray) }' "$LAB_DIR/probe"
}
ok 'a DNS server dies: others answer within a second' measure_kill $OTHER
ok 'its failure is known at the edge' lab_wait failing 10 passing fra-1 3
ok 'the other web server dies too' lab_app_kill "web-$OTHER"
ok 'and that is known' lab_wait failing 10 passing fra-1 2
ok 'pages still come' page
lab_dns $OTHER $OTHER 5353 "$(lab_addr4 $OTHER)"
ok 'the DNS server comes back' lab_wait 'healthy again' 20 passing fra-1 3
both_answer() { for _ in $(seq 40); do dns c $VIP_DNS 53; done | sort -u | grep -c fra- | grep -qx 2; }
ok 'and takes part again' lab_wait 'answers from both' 10 both_answer

drain() { lab_ctl fra-1 backend drain "$OTHER/dns/$(lab_addr4 $OTHER):5353" --reason test && lab_wait 'no more answers' 10 no_answers; }
undrain() { lab_ctl fra-1 backend undrain "$OTHER/dns/$(lab_addr4 $OTHER):5353" && lab_wait 'answers from both' 10 both_answer; }
ok 'drained from another node: no new flows' drain
ok 'undrained: takes part again' undrain

slow_done() { [ -s "$LAB_DIR/slow.rc" ]; }
ok 'the slow download ends' lab_wait 'its end' 90 slow_done
ok 'curl is content' is "$(cat "$LAB_DIR/slow.rc")" 0
ok 'all of it came' cmp -n 122880 "$LAB_DIR/slow" "$LAB_DIR/big"
tap_end
