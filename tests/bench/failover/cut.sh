#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Power cut of a worker: its link goes down, nobody says anything. Three edges, a client at each, DNS over UDP and TCP connections
# asked at the same time, RATE / 4 a second each. Routed around by an edge: the last question lost there. Also: from the cut to the
# word "suspect" in each edge's events.
. tests/bench/failover/common.sh
VIP=198.51.100.53
PROBE_S=2
RATE=$((RATE / 4))

lab_up
for r in fra nyc sin; do
	lab_region $r
	lab_node $r-1 $r
	lab_client c-$r $r
done
lab_node fra-2 fra
lab_node fra-3 fra
lab_mesh
two_workers >/dev/null || exit 1
well() { # all edges know and use four backends
	local r
	for r in fra nyc sin; do passing $r-1 4 && lab_sees $r-1 5 || return 1; done
}
answer_all() {
	local r
	for r in fra nyc sin; do asks c-$r tcp $VIP 7002 && asks_dns c-$r || return 1; done
}
asks_dns() { [ "$(lab_in "$1" kdig +short +retry=0 +time=1 @$VIP whoami.lab TXT | grep -c fra-)" = 1 ]; }
lab_wait 'all well' 30 well && lab_wait 'answers' 20 answer_all || { lab_logs; exit 1; }

said_suspect() { # EDGE AT_US: ms from then to its event, nothing if there is none
	lab_ctl "$1" --json events | jq -r --argjson at "$2" '[.events[]|select(.kind=="member" and .what=="fra-3" and (.text|startswith("suspect")) and .unix_ms*1000>$at)]|first|select(.)|.unix_ms-($at/1000)'
}
heal() {
	lab_in r-fra ip link set fra-3 up
	lab_in r-fra ip -6 addr add fd00:1:3::1/64 dev fra-3 nodad 2>/dev/null
	lab_wait 'all well again' 60 well
}
for ((e = 0; e < EVENTS; e++)); do
	for r in fra nyc sin; do
		probe_begin udp-$r c-$r dns $VIP 53 $PROBE_S
		probe_begin tcp-$r c-$r tcp $VIP 7002 $PROBE_S
	done
	sleep 0.3
	at=$(now_us)
	lab_in r-fra ip link set fra-3 down
	text=''
	declare -A worst=([udp]=0 [tcp]=0)
	for kind in udp tcp; do
		for r in fra nyc sin; do
			probe_end $kind-$r "$at" >"$LAB_DIR/one" && read -r lost last _ early <"$LAB_DIR/one" || exit 1
			took $kind-edge "$(awk "BEGIN { print $last / 1000 }")"
			took $kind-lost "$lost"
			worst[$kind]=$(awk "BEGIN { print ($last > ${worst[$kind]}) ? $last : ${worst[$kind]} }")
			text+=" $kind-$r $lost/$last$([ "$early" = 0 ] || echo "+$early")"
		done
		took $kind-all "$(awk "BEGIN { print ${worst[$kind]} / 1000 }")"
	done
	for r in fra nyc sin; do
		ms=$(said_suspect $r-1 "$at")
		[ -z "$ms" ] || took suspect "$(awk "BEGIN { print $ms / 1000 }")"
	done
	note "cut: lost / ms after the cut:$text"
	heal || { lab_logs; exit 1; }
done
result cut 'worker cut off, UDP (DNS): routed around by all edges' s udp-all 'p50<=0.4 p99<=0.7'
result cut 'worker cut off, TCP: routed around by all edges' s tcp-all 'p50<=0.4 p99<=0.7'
result cut 'UDP (DNS): by one edge' s udp-edge
result cut 'TCP: by one edge' s tcp-edge
result cut 'suspect at an edge' s suspect
result cut "UDP (DNS): questions lost at an edge, $RATE a second" n udp-lost
result cut "TCP: questions lost at an edge, $RATE a second" n tcp-lost
