#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# kill -9 of one of two backends under RATE questions a second (1,000): time without answers, questions lost. Checks of a minute,
# so that only passive signals can be what ends it. In a mesh of 2 nodes and of 12 in three regions (NODES=2: one of them).
. tests/bench/failover/common.sh
VIP=198.51.100.53

mesh() { # COUNT
	local i
	lab_up
	if [ "$1" -le 4 ]; then
		lab_region fra
		for ((i = 1; i <= $1; i++)); do lab_node "fra-$i" fra; done
	else
		for r in fra nyc sin; do lab_region $r; done
		for ((i = 1; i <= $1 / 3; i++)); do for r in fra nyc sin; do lab_node "$r-$i" $r; done; done
	fi
	lab_client c fra
	lab_mesh
	for n in fra-1 fra-2; do serve "udp-$n" $n 7001 && serve "tcp-$n" $n 7002; done
	lab_start_all
	lab_ctl fra-1 service add udp --vip $VIP --port udp/7001 >/dev/null || return 1
	lab_ctl fra-1 service add tcp --vip $VIP --port tcp/7002 >/dev/null || return 1
	for n in fra-1 fra-2; do
		lab_wait "services at $n" 20 lab_ctl $n route show tcp || return 1
		lab_ctl $n backend add udp "$(lab_addr4 $n):7001" --check udp:interval=60s,timeout=1s,send=text:whoami >/dev/null || return 1
		lab_ctl $n backend add tcp "$(lab_addr4 $n):7002" --check tcp:interval=60s,timeout=1s >/dev/null || return 1
	done
	lab_wait 'healthy backends' 30 passing fra-1 4 && lab_wait answers 10 asks c udp $VIP 7001 && lab_wait answers 10 asks c tcp $VIP 7002
}

one_kill() { # KIND PORT: prints LOST LAST_MS GAP_MS EARLY
	local at
	probe_begin p c "$1" $VIP "$2" 1
	sleep 0.3
	at=$(now_us)
	lab_app_kill "$1-fra-2"
	probe_end p "$at"
	serve "$1-fra-2" fra-2 "$2"
	lab_wait 'the backend is back' 20 is_health fra-1 "fra-2/$1/$(lab_addr4 fra-2):$2" passing
}

for count in ${NODES:-2 12}; do
	mesh "$count" || { note "kill: $count nodes: the mesh does not come up"; lab_logs; exit 1; }
	for kind in udp tcp; do
		for ((e = 0; e < EVENTS; e++)); do
			one_kill $kind $([ $kind = udp ] && echo 7001 || echo 7002) >"$LAB_DIR/one" || exit 1
			read -r lost last gap early <"$LAB_DIR/one"
			note "kill $kind, $count nodes: $lost lost, the last one $last ms after the kill, longest gap $gap ms$([ "$early" = 0 ] || echo ", $early lost before")"
			took "$kind-last" "$last" && took "$kind-lost" "$lost" && took "$kind-gap" "$gap"
		done
		result kill "${kind^^} backend, $count nodes: no answer until" ms $kind-last 'p99<=100'
		result kill "${kind^^} backend, $count nodes: questions lost" of-1000 $kind-lost
		result kill "${kind^^} backend, $count nodes: longest time without any answer" ms $kind-gap
	done
	lab_down
done
