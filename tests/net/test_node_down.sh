#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A worker that vanishes is routed around; a dead edged alone is not; a node that restarts cut off from everyone forwards
# from what it knew.
. tests/net/net.sh

VIP=198.51.100.53 VIP_OWN=198.51.100.54
lab_up
lab_region fra
for n in fra-1 fra-2 fra-3; do lab_node $n fra; done
lab_client c fra
lab_mesh
for n in fra-1 fra-2 fra-3; do lab_dns $n $n 5353 "$(lab_addr4 $n)"; done
lab_start_all

declare_all() {
	lab_ctl fra-1 service add dns --vip $VIP --port udp/53 --port tcp/53 >/dev/null || return 1
	lab_ctl fra-1 service add own --vip $VIP_OWN --port udp/53 >/dev/null || return 1
	for n in fra-2 fra-3; do
		lab_wait "services at $n" 10 lab_ctl $n route show own || return 1
		lab_ctl $n backend add dns "$(lab_addr4 $n):5353" --check tcp >/dev/null || return 1
	done
	lab_ctl fra-1 backend add own "$(lab_addr4 fra-1):5353" --check tcp >/dev/null || return 1
	lab_wait 'three healthy backends' 20 passing fra-1 3 && lab_wait 'an answer' 10 from_both && lab_wait 'own answer' 10 own
}
own() { is "$(dns c $VIP_OWN 53)" fra-1; }
from_both() { for _ in $(seq 40); do dns c $VIP 53; done | sort -u | grep -c fra- | grep -qx 2; }
ok 'services and backends' declare_all

headless() {
	lab_kill fra-3 edged KILL
	lab_wait 'headless in status' 20 lab_state fra-1 fra-3 headless || return 1
	from_both
}
ok 'edged of a worker dies: headless, and it still answers' headless
lab_start fra-3 edged
ok 'edged is back: alive' lab_wait alive 20 lab_state fra-1 fra-3 alive

cut() { lab_in r-fra ip link set fra-3 "$1"; }
only_other() { ! (for _ in $(seq 20); do dns c $VIP 53; done) | grep -qv fra-2; }
vanish() {
	cut down
	lab_wait 'only fra-2 answers' 10 only_other
}
ok 'a worker is cut off: the other one has all flows' vanish
ok 'and it is dead in status' lab_wait dead 20 lab_state fra-1 fra-3 dead
status_says() { lab_ctl fra-1 status | grep -i fra-3 | grep -qi dead; }
ok 'edgectl status names it' status_says
heal() {
	cut up
	# Bringing a link down takes its routes with it.
	lab_in r-fra ip -6 addr add fd00:1:3::1/64 dev fra-3 nodad 2>/dev/null
	lab_wait 'alive again' 60 lab_state fra-1 fra-3 alive && lab_wait 'both answer' 30 from_both
}
ok 'the link is back: alive, and it serves' heal

# Alone: no packet to or from anyone on the mesh, pins gone, daemons started afresh.
alone() {
	lab_in fra-1 nft -f - <<-NFT || return 1
		table inet cut {
			chain in {
				type filter hook input priority 0
				udp dport $LAB_WG_PORT drop
			}
			chain out {
				type filter hook output priority 0
				udp dport $LAB_WG_PORT drop
			}
		}
	NFT
	lab_kill fra-1 edged KILL && lab_kill fra-1 edgefwd KILL || return 1
	lab_in fra-1 "$OUT/edgefwd" -c "$LAB_DIR/fra-1/edge.conf" --detach || return 1
	if own; then echo 'answered without a forwarder'; return 1; fi
	lab_start fra-1 edgefwd
	lab_wait edgefwd 20 test -S "$LAB_DIR/fra-1/edgefwd.sock" || return 1
	lab_start fra-1 edged
	lab_wait 'an answer from what it knew' 20 own || return 1
	is "$(lab_ctl fra-1 --json service list | jq '.services|length')" 2
}
ok 'restarted while cut off from everyone: forwards from what it knew' alone
rejoin() {
	lab_in fra-1 nft delete table inet cut
	lab_wait 'three nodes' 60 lab_sees fra-1 3 && lab_wait 'both answer' 30 from_both
}
ok 'not cut off any more: part of the mesh again' rejoin
tap_end
