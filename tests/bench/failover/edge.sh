#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Death of an edge: BIRD on edges and routers, eBGP with BFD every 50 ms, 3 missed (tests/lab/bgp.sh). Nothing passes the edge's
# link any more, but it stays up, so that only BFD can tell. Time until the client's packets flow again,
# through the next edge of the region, over UDP and TCP at once.
. tests/bench/failover/common.sh
. tests/lab/bgp.sh
VIP=198.51.100.53
RATE=$((RATE / 2))

lab_up
lab_region fra
for n in fra-1 fra-2 fra-3; do lab_node $n fra; done
lab_client c fra
lab_mesh
serve udp-fra-3 fra-3 7001
serve tcp-fra-3 fra-3 7002
lab_bgp
lab_start_all
{
	lab_ctl fra-1 service add udp --vip $VIP --port udp/7001
	lab_ctl fra-1 service add tcp --vip $VIP --port tcp/7002
	lab_wait 'services at fra-3' 20 lab_ctl fra-3 route show tcp &&
		lab_ctl fra-3 backend add udp "$(lab_addr4 fra-3):7001" --check udp:send=text:whoami &&
		lab_ctl fra-3 backend add tcp "$(lab_addr4 fra-3):7002" --check tcp
} >/dev/null || exit 1
goes_to() { [ "$(lab_in r-fra ip -j route get $VIP | jq -r '.[0].gateway')" = "$(lab_addr4 "$1")" ]; }
well() { goes_to fra-1 && [ "$(lab_bfd_up r-fra)" = 4 ] && passing fra-1 2 && passing fra-2 2 && lab_sees fra-2 3; }
lab_wait 'all well' 30 well && lab_wait answers 10 asks c udp $VIP 7001 && lab_wait answers 10 asks c tcp $VIP 7002 || { lab_logs; exit 1; }

# No packet in or out any more, and carrier stays, as behind a switch.
dead() { # SPACE IF
	printf 'table netdev dead {\n chain in { type filter hook ingress device %s priority -500; policy drop; }\n}\n' "$2" | lab_in "$1" nft -f -
}
for ((e = 0; e < EVENTS; e++)); do
	probe_begin udp c udp $VIP 7001 4
	probe_begin tcp c tcp $VIP 7002 4
	sleep 0.3
	at=$(now_us)
	dead r-fra fra-1 && dead fra-1 eth0
	text=''
	for kind in udp tcp; do
		probe_end $kind "$at" >"$LAB_DIR/one" && read -r lost last _ early <"$LAB_DIR/one" || exit 1
		took $kind "$(awk "BEGIN { print $last / 1000 }")"
		took $kind-lost "$lost"
		text+=" $kind $lost/$last$([ "$early" = 0 ] || echo "+$early")"
	done
	note "edge: lost / ms after the cut:$text"
	lab_in r-fra nft delete table netdev dead
	lab_in fra-1 nft delete table netdev dead
	lab_wait 'all well again' 60 well || { lab_logs; exit 1; }
done
result edge 'an edge dies, UDP: no answer until' s udp 'p99<=1'
result edge 'an edge dies, TCP: no answer until' s tcp 'p99<=1'
result edge "UDP: questions lost, $RATE a second" n udp-lost
result edge "TCP: questions lost, $RATE a second" n tcp-lost
