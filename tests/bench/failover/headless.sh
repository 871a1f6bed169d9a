#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# kill -9 of a worker's edged that stays down for a minute, under RATE DNS queries a second: packets lost. FEW times (2), a minute
# each; no event of a moment, so more say little.
. tests/bench/failover/common.sh
VIP=198.51.100.53
FEW=${FEW:-$((EVENTS < 2 ? EVENTS : 2))}

lab_up
lab_region fra
for n in fra-1 fra-2 fra-3; do lab_node $n fra; done
lab_client c fra
lab_mesh
for n in fra-2 fra-3; do lab_dns $n $n 5353 "$(lab_addr4 $n)"; done
lab_start_all
{
	lab_ctl fra-1 service add dns --vip $VIP --port udp/53
	for n in fra-2 fra-3; do
		lab_wait "services at $n" 20 lab_ctl $n route show dns &&
			lab_ctl $n backend add dns "$(lab_addr4 $n):5353" --check dns:name=www.lab
	done
} >/dev/null || exit 1
lab_wait 'two healthy backends' 30 passing fra-1 2 && lab_wait answers 10 asks c dns $VIP 53 || { lab_logs; exit 1; }

for ((e = 0; e < FEW; e++)); do
	worker=fra-$((2 + e % 2))
	probe_begin p c dns $VIP 53 60
	sleep 0.3
	lab_kill $worker edged KILL || exit 1
	seen=no
	lab_wait headless 10 lab_state fra-1 $worker headless && seen=yes
	wait "$(cat "$LAB_DIR/probe-p.pid")"
	read -r _ sent _ lost _ < <(grep ^sent "$LAB_DIR/probe-p")
	note "headless: $worker's edged away for a minute (seen as headless: $seen): $lost of $sent lost"
	took lost "$lost"
	lab_start $worker edged
	lab_wait 'alive again' 30 lab_sees fra-1 3 && lab_wait healthy 30 passing fra-1 2 || exit 1
done
result headless "a worker's edged is away for a minute: questions lost of $((60 * RATE))" n lost 'worst<=0'
