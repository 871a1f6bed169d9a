#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Programs of another ABI take over from those that run, one daemon after the other, under traffic: no query is lost, a
# connection goes on, both are told what is missing meanwhile. And back again.
# Alone: not one packet may be lost under load.
. tests/net/net.sh

VIP_DNS=198.51.100.53 VIP_WEB=198.51.100.80
lab_up
lab_region fra
for n in fra-1 fra-2; do lab_node $n fra; done
lab_client c fra
lab_mesh
lab_dns fra-2 fra-2 5353 "$(lab_addr4 fra-2)"
lab_web fra-2 fra-2 8080 "$(lab_addr4 fra-2)"
lab_start_all

declare_all() {
	lab_ctl fra-1 service add dns --vip $VIP_DNS --port udp/53 >/dev/null || return 1
	lab_ctl fra-1 service add web --vip $VIP_WEB --port tcp/80 >/dev/null || return 1
	lab_wait 'services at fra-2' 10 lab_ctl fra-2 route show web || return 1
	lab_ctl fra-2 backend add dns "$(lab_addr4 fra-2):5353" --check tcp:interval=200ms,fall=1 >/dev/null || return 1
	lab_ctl fra-2 backend add web "$(lab_addr4 fra-2):8080" --check tcp:interval=200ms,fall=1 >/dev/null || return 1
	lab_wait 'two healthy backends' 20 passing fra-1 2 && lab_wait 'an answer' 10 answers && lab_wait 'a page' 10 page
}
answers() { like "$(dns c $VIP_DNS 53)" 'fra-?'; }
page() { like "$(web c $VIP_WEB /)" 'fra-*'; }
ok 'two services' declare_all

ABI=$(awk '$2 == "DP_ABI_VERSION" { print $3 }' bpf/dp_abi.h) NEXT=$((ABI + 1))
PINS=$(dirname "$(awk '$1 == "pin_dir" { print $3 }' "$LAB_DIR/fra-1/edge.conf")")
(lab_in c curl -gsf -m 100 -r 0-40959 -o "$LAB_DIR/slow" http://$VIP_WEB/slow; echo $? >"$LAB_DIR/slow.rc") &
has_slow() { lab_in fra-2 ss -Htn state established '( sport = :8080 )' | grep -q "$(lab_client4 fra)"; }
lab_wait 'the slow download' 10 has_slow

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
perf_end() { # dnsperf prints its figures when it is interrupted
	kill -INT "$(pgrep -P $PERF dnsperf || echo $PERF)"
	wait $PERF
}
problems() { lab_ctl "$1" --json status | jq -r '.problems[]?, .forwarder.text'; }
says() { problems "$1" | grep -q "$2"; }
logged() { grep -q "$2" "$LAB_DIR/$1/edgefwd.log"; }
forwarder_up() { [ "$(lab_ctl "$1" --json status | jq -r .forwarder.is_up)" = true ]; }
to() { # NODE DAEMON SIGNAL FROM
	lab_kill "$1" "$2" "$3" && LAB_FROM=$4 lab_start "$1" "$2"
}
beside() { [ -d "$PINS/$1/v$ABI" ] && [ -d "$PINS/$1/v$NEXT" ]; }
only() { [ -d "$PINS/$1/v$2" ] && [ "$(find "$PINS/$1" -maxdepth 1 -name 'v*' | wc -l)" = 1 ]; }

perf_begin 60
for n in fra-1 fra-2; do
	ok "$n: edgefwd of the next ABI starts" to $n edgefwd TERM lab/next/
	ok "$n: its maps stand beside the old ones" lab_wait 'both' 20 beside $n
	ok "$n: edgefwd says what it waits for" lab_wait 'its line' 10 logged $n 'upgrade_waits.*restart edged'
	ok "$n: status says what to do" lab_wait 'the sentence' 20 says $n 'restart edged, which is older'
	ok "$n: edged of the next ABI starts" to $n edged USR1 lab/next/
	ok "$n: the new programs take over" lab_wait 'the switch' 20 logged $n "upgraded from_abi=$ABI abi=$NEXT"
	ok "$n: the old ones are gone" only $n $NEXT
done
ok 'both are up' lab_wait 'both' 20 passing fra-1 2
perf_end
ok 'no query was lost' perf_lost_none

# The other way, and the other order: edged first.
perf_begin 60
for n in fra-2 fra-1; do
	ok "$n: edged of the former ABI starts" to $n edged USR1 ''
	ok "$n: status says what to do" lab_wait 'the sentence' 20 says $n "edgefwd has ABI $NEXT, this edged $ABI: restart edged"
	ok "$n: edgefwd of the former ABI starts" to $n edgefwd KILL ''
	ok "$n: the former programs take over" lab_wait 'the switch' 20 logged $n "upgraded from_abi=$NEXT abi=$ABI"
	ok "$n: the others are gone" only $n $ABI
done
ok 'both are up' lab_wait 'both' 20 forwarder_up fra-1
perf_end
ok 'no query was lost' perf_lost_none

slow_done() { [ -s "$LAB_DIR/slow.rc" ]; }
ok 'the slow download ends' lab_wait 'its end' 90 slow_done
ok 'curl is content' is "$(cat "$LAB_DIR/slow.rc")" 0
ok 'all of it came' cmp -n 40960 "$LAB_DIR/slow" "$LAB_DIR/big"
tap_end
