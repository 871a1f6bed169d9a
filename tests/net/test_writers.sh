#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Who may write services: a member that is not named is refused at home, and by the others if it thinks otherwise of itself.
. tests/net/net.sh

LAB_TRANSPORT=fabric
lab_up
lab_region fra
for n in fra-1 fra-2 fra-3; do lab_node $n fra; done
lab_start_all
ID=$(lab_ctl fra-1 --json node list | jq -r '.nodes[]|select(.name=="fra-1").id')
again() { # NODE: with what LAB_EXTRA says now
	lab_kill "$1" edged USR1
	lab_conf "$1"
	lab_start "$1" edged
	lab_wait 'an answer' 10 lab_ctl "$1" status
}
says() { # NODE EXIT PATTERN ARGS...
	local out rc node=$1 want=$2 pattern=$3
	shift 3
	out=$(lab_ctl "$node" "$@" 2>&1)
	rc=$?
	printf '%s\n' "$out"
	[ $rc -eq "$want" ] && printf '%s\n' "$out" | grep -qE "$pattern"
}
for n in fra-1 fra-2; do
	LAB_EXTRA[$n]="[mesh]"$'\n'"service_writers = $ID"$'\n'
	ok "$n lets fra-1 write" again $n
done
ok 'fra-3 lets all: that is named' lab_wait it 10 says fra-1 0 'fra-3 .* has another service_writers' status
ok 'who is named writes' lab_ctl fra-1 service add dns --vip 198.51.100.1 --port udp/53
ok '... and all know it' lab_wait it 10 lab_ctl fra-3 route show dns
ok 'who is not, does not' says fra-2 1 'not permitted' service add web --vip 198.51.100.2 --port tcp/80
ok 'one that thinks it may, does' lab_ctl fra-3 service add bad --vip 198.51.100.3 --port udp/53
ok '... and removes one' lab_ctl fra-3 service rm dns
refuses() { [ "$(lab_ctl "$1" --json stats | jq .gossip.bad_signatures)" -gt 0 ]; }
for n in fra-1 fra-2; do
	ok "$n has heard of it" lab_wait it 10 refuses $n
	ok '... and does not know it' says $n 1 . route show bad
	ok '... but the other one' lab_ctl $n route show dns
done
tap_end
