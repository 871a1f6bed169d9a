#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A record that crashes whoever applies it, in a mesh of ten nodes whose edged (a test program, tests/poison/hook.c) does
# so, planted by an eleventh that is well: each dies once, none twice, and no packet is lost.
. tests/net/net.sh

VIP=198.51.100.53
LAB_TRANSPORT=fabric
lab_up
lab_region fra
NODES=(fra-1 fra-2 fra-3 fra-4 fra-5 fra-6 fra-7 fra-8 fra-9 fra-10)
for n in "${NODES[@]}" well; do lab_node "$n" fra; done
lab_client c fra
for n in fra-2 fra-3; do lab_dns $n $n 5353 "$(lab_addr4 $n)"; done

# As a service manager does. An exit code of its own for each life's end, one line each.
supervise() { # NODE PROGRAM
	local node=$1 program=$2
	: >"$LAB_DIR/$node/ends"
	while :; do
		nsenter --net="/run/netns/$(lab_space "$node")" -- "$OUT/$program" -c "$LAB_DIR/$node/edge.conf" \
			>>"$LAB_DIR/$node/edged.log" 2>&1 </dev/null
		echo $? >>"$LAB_DIR/$node/ends"
		sleep 0.1
	done 2>/dev/null
}
start_all() {
	local n
	for n in "${NODES[@]}" well; do
		lab_conf "$n"
		case $n in
		fra-[123]) lab_start "$n" edgefwd ;;
		*) sed -i -E '/^(public|uplink|bridge|vip_prefix) =/d' "$LAB_DIR/$n/edge.conf" ;; # no forwarder
		esac
	done
	for n in fra-1 fra-2 fra-3; do lab_wait "edgefwd on $n" 20 test -S "$LAB_DIR/$n/edgefwd.sock" || return 1; done
}
ok 'three nodes with forwarders, eight without' start_all
for n in "${NODES[@]}"; do supervise "$n" lab/edged-poison & done
supervise well edged &
ok 'eleven nodes see each other' lab_wait 'all alive' 30 lab_sees well 11

declare_all() {
	local n s
	lab_ctl well service add dns --vip $VIP --port udp/53 >/dev/null || return 1
	s=80
	for n in decode view route plan map; do
		lab_ctl well service add poison-$n --vip 198.51.100.9 --port udp/$((s++)) --policy pps=100 >/dev/null || return 1
	done
	for n in fra-2 fra-3; do
		lab_wait "services at $n" 10 lab_ctl $n route show dns || return 1
		lab_ctl $n backend add dns "$(lab_addr4 $n):5353" --check tcp:interval=200ms >/dev/null || return 1
	done
	lab_wait 'two healthy backends' 20 passing fra-1 2 && lab_wait 'an answer' 10 answers
}
answers() { like "$(dns c $VIP 53)" 'fra-?'; }
ok 'a service with two backends, and five that will be poison' declare_all
ok 'all know the same' lab_ctl well wait --converged --timeout 30

lab_in c "$OUT/lab/dnsprobe" $VIP 53 whoami.lab 14 10 >"$LAB_DIR/probe" 2>"$LAB_DIR/probe.err" &
PROBE=$!
lab_wait 'the probe' 5 grep -q begun "$LAB_DIR/probe.err"

ends() { cat "$LAB_DIR/$1/ends"; }
holds() { # NODE SERVICE [PPS]: it is in quarantine there, and the version before is in force
	[ "$(lab_ctl "$1" --json quarantine list | jq -r '.records[]|select(.has_former)|.spec' | grep -cx "service/$2")" -eq 1 ] &&
		[ "$(pps "$1" "$2")" = "${3:-100}" ]
}
pps() { lab_ctl "$1" --json service show "$2" | jq '.services[0].policy.pps'; }
plant() { # STEP WHO...: all of them die once, of SIGSEGV, and go on with the former version
	local step=$1 n before=() i=0
	shift
	for n in "$@"; do before+=("$(ends "$n" | wc -l)"); done
	lab_ctl well service set "poison-$step" pps=666 >/dev/null || return 1
	for n in "$@"; do
		lab_wait "quarantine at $n" 15 holds "$n" "poison-$step" || return 1
		is "$(ends "$n" | wc -l)" $((before[i++] + 1)) && is "$(ends "$n" | tail -1)" 139 || return 1
	done
}
ok 'poison for those who decode it: ten die once' plant decode "${NODES[@]}"
ok 'poison for the routes: ten die once' plant route "${NODES[@]}"
ok 'poison for the plan: the three with maps die once' plant plan fra-1 fra-2 fra-3
ok 'poison for the map writes: the three die once' plant map fra-1 fra-2 fra-3

deaths() { # all of them together
	local n
	for n in "${NODES[@]}"; do ends "$n"; done | wc -l
}
ok 'no node died twice of one record' is "$(deaths)" $((2 * 10 + 2 * 3))
status_names() { lab_ctl fra-1 status | grep 'a service record written by well ended this process and is not applied, its former version stays in force: "poison-route"'; }
ok 'status names it' status_names
ok 'eleven nodes see each other again' lab_wait 'all alive' 20 lab_sees well 11

kill_all() { # -9: nobody saw it
	local n
	for n in "${NODES[@]}"; do kill -9 "$(pgrep -f "edged-poison -c $LAB_DIR/$n/edge.conf" | tail -1)" || return 1; done
	for n in "${NODES[@]}"; do lab_wait "quarantine at $n" 15 holds "$n" poison-route || return 1; done
}
ok 'all are killed and come back: it is remembered, and so is what was in force' kill_all
ok '... by one death each' is "$(deaths)" $((3 * 10 + 2 * 3))

has_pps() { [ "$(pps "$1" "$2")" = "$3" ]; }
mend() {
	local n
	lab_ctl well service set poison-route pps=50 >/dev/null || return 1
	for n in "${NODES[@]}"; do lab_wait "the mended record at $n" 10 has_pps "$n" poison-route 50 || return 1; done
	! lab_ctl fra-1 --json quarantine list | grep -q poison-route
}
ok 'a mended record applies everywhere' mend
ok 'all know the same' lab_ctl well wait --converged --timeout 30
ok '... and nobody died of that' is "$(deaths)" $((3 * 10 + 2 * 3))

again() { # the same contents under a new number: known as deadly
	local n
	lab_ctl well service set poison-route pps=666 >/dev/null || return 1
	for n in "${NODES[@]}"; do lab_wait "quarantine at $n" 10 holds "$n" poison-route 50 || return 1; done
	is "$(deaths)" $((3 * 10 + 2 * 3))
}
ok 'the same poison again: nobody tries it' again

# Five changes reach a node at once: which of them is it? Children try, the node dies once.
others() { has_pps fra-4 poison-plan 62 && has_pps fra-4 poison-map 60 && has_pps fra-4 poison-view 61 && has_pps fra-4 dns 1000000; }
at_once() {
	local pid before
	pid=$(pgrep -f "edged-poison -c $LAB_DIR/fra-4/edge.conf" | tail -1) before=$(ends fra-4 | wc -l)
	kill -STOP "$pid"
	lab_ctl well service set poison-map pps=60 && lab_ctl well service set poison-view pps=61 && lab_ctl well service set poison-route pps=666 source_pps=9 &&
		lab_ctl well service set poison-plan pps=62 && lab_ctl well service set dns pps=1000000 || return 1
	kill -CONT "$pid"
	lab_wait 'quarantine' 15 holds fra-4 poison-route 50 || return 1
	lab_wait 'the others' 15 others || return 1
	is "$(ends fra-4 | wc -l)" $((before + 1)) && grep -q 'agent trial' "$LAB_DIR/fra-4/edged.log"
}
ok 'poison among other changes: a node that dies of all of them finds the one' at_once

release() {
	local before
	before=$(ends fra-4 | wc -l)
	lab_ctl fra-4 quarantine release service/poison-decode
	lab_wait 'its death' 5 died_since fra-4 "$before" && lab_wait 'quarantine' 15 holds fra-4 poison-decode
}
died_since() { [ "$(ends "$1" | wc -l)" -gt "$2" ]; }
ok 'who lets it out gets it again, once' release

lost_none() {
	awk '{ n++ } $2 == "lost" { lost++ } END { printf "%d queries, %d lost\n", n, lost; exit !(n > 500 && !lost) }' "$LAB_DIR/probe"
}
wait $PROBE
ok 'no query was lost meanwhile' lost_none
tap_end
