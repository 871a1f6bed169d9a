#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# kill -9 and start of edged and of edgefwd, TIMES times (100) in all, in turn at the edge and at a worker, under RATE / 2 DNS
# queries and RATE / 2 TCP connections a second: lost.
. tests/bench/failover/common.sh
VIP=198.51.100.53
TIMES=${TIMES:-$((EVENTS < 30 ? 4 * EVENTS : 100))}
RATE=$((RATE / 2))

lab_up
lab_region fra
for n in fra-1 fra-2 fra-3; do lab_node $n fra; done
lab_client c fra
lab_mesh
two_workers >/dev/null || exit 1
lab_wait 'healthy backends' 30 passing fra-1 4 && lab_wait answers 10 asks c dns $VIP 53 &&
	lab_wait answers 10 asks c tcp $VIP 7002 || { lab_logs; exit 1; }

is_up() { [ "$(lab_ctl "$1" --json status | jq -r .forwarder.is_up)" = true ]; }
is_written() { [ "$(lab_ctl "$1" --json status | jq -r .forwarder.is_ready)" != false ] && is_up "$1"; }
again() { # NODE DAEMON
	lab_kill "$1" "$2" KILL && lab_start "$1" "$2" && lab_wait "$2 on $1" 20 is_written "$1"
}
ask_both() {
	probe_begin dns c dns $VIP 53 15
	probe_begin tcp c tcp $VIP 7002 15
}
done_times=0 turn=0 sent=0 lost=0
while [ $done_times -lt "$TIMES" ]; do
	ask_both
	sleep 0.3
	until_s=$(($(date +%s) + 12))
	while [ $done_times -lt "$TIMES" ] && [ "$(date +%s)" -lt $until_s ]; do
		case $((turn++ % 4)) in
		0) again fra-1 edged ;;
		1) again fra-1 edgefwd ;;
		2) again fra-2 edged ;;
		3) again fra-2 edgefwd ;;
		esac || { lab_logs; exit 1; }
		done_times=$((done_times + 1))
	done
	for kind in dns tcp; do
		wait "$(cat "$LAB_DIR/probe-$kind.pid")"
		read -r _ n _ l _ < <(grep ^sent "$LAB_DIR/probe-$kind")
		sent=$((sent + n)) lost=$((lost + l))
	done
	note "restart: $done_times times, $lost of $sent lost"
done
took lost $lost
result restart "edged and edgefwd killed and started $done_times times: lost of $sent" n lost 'worst<=0'
