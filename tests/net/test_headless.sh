#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A worker's edged is dead, its forwarder goes on: the other two nodes check its backends where they reach them, take out one that
# dies and bring it back; where they reach none, the last known health is shown as stale. Its own word is back with its edged.
. tests/net/net.sh

VIP=198.51.100.60
lab_up
lab_region fra
for n in fra-1 fra-2 fra-3; do lab_node $n fra; done
lab_client c fra
lab_mesh
serve() { lab_app "$1" "$2" "$OUT/lab/flows" serve 7001 "$1"; } # NAME SPACE: on every address
serve a fra-2
serve b fra-3
lab_app narrow fra-2 socat "TCP4-LISTEN:7002,bind=$(lab_addr4 fra-2),fork,reuseaddr" EXEC:cat
lab_start_all

A=fra-2/udp/$(lab_addr4 fra-2):7001 NARROW=fra-2/narrow/$(lab_addr4 fra-2):7002
declare_all() {
	lab_ctl fra-1 service add udp --vip $VIP --port udp/7001 >/dev/null || return 1
	lab_ctl fra-1 service add narrow --vip $VIP --port tcp/7002 >/dev/null || return 1
	for n in fra-2 fra-3; do lab_wait "services at $n" 10 lab_ctl $n route show narrow || return 1; done
	for n in fra-2 fra-3; do
		lab_ctl $n backend add udp "$(lab_addr4 $n):7001" --check udp:interval=200ms,send=text:whoami || return 1
	done
	lab_ctl fra-2 backend add narrow "$(lab_addr4 fra-2):7002" --check tcp:interval=200ms || return 1
	lab_wait 'three healthy backends' 20 passing fra-1 3
}
ok 'three backends' declare_all
says() { # SPEC HEALTH CAUSE, as the edge knows it
	is "$(lab_ctl fra-1 --json backend show "$1" | jq -r '.backends[0]|.health+" "+.cause')" "$2 $3"
}
ok 'its own word' says "$A" passing ''
headless() { lab_kill fra-2 edged KILL && lab_wait 'headless' 10 lab_state fra-1 fra-2 headless; }
ok 'its edged is killed: headless' headless
ok 'both others check what they reach' lab_wait 'their word' 10 says "$A" passing others
ok '  and say of the rest that nobody does' lab_wait stale 5 says "$NARROW" passing stale
problem() { lab_ctl fra-1 --json status | jq -r '.problems[]' | grep -q "backend $NARROW is checked by nobody"; }
ok '  in the status too' problem
lab_app_kill a
ok 'the backend dies: they say so' lab_wait 'failing' 10 says "$A" failing others
all_of() { # NAME: ten answers, all of it
	is "$(for _ in $(seq 10); do udp_whoami c $VIP 7001; echo; done | grep -c "^$1")" 10
}
ok '  and packets go to the other' lab_wait 'answers of b' 5 all_of b
serve a fra-2
ok 'it is back: they say so' lab_wait 'passing' 10 says "$A" passing others
alive() { lab_start fra-2 edged && lab_wait 'alive' 20 lab_state fra-1 fra-2 alive; }
ok 'its edged is back' alive
ok '  and so is its own word' lab_wait 'its word' 10 says "$A" passing ''
ok '  about the other, too' lab_wait 'its word' 10 says "$NARROW" passing ''
none_left() { ! lab_ctl fra-1 --json status | jq -r '.problems[]' | grep 'checked by nobody'; }
ok 'no problem is left' none_left
tap_end
