#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Daemons of two protocol versions in one mesh, an upgrade node by node under traffic, and one that is too new.
. tests/net/net.sh

VIP=198.51.100.53
LAB_TRANSPORT=fabric
lab_up
lab_region fra
for n in fra-1 fra-2 fra-3; do lab_node $n fra; done
lab_client c fra
lab_dns fra-2 fra-2 5353 "$(lab_addr4 fra-2)"
start() { # NODE FROM
	LAB_FROM=$2 lab_start "$1" edged && lab_wait 'an answer' 10 lab_ctl "$1" status
}
to() { # NODE FROM
	lab_kill "$1" edged USR1
	start "$1" "$2"
}
for n in fra-1 fra-2 fra-3; do
	lab_conf $n
	lab_start $n edgefwd
	lab_wait "edgefwd on $n" 20 test -S "$LAB_DIR/$n/edgefwd.sock"
	[ $n = fra-3 ] || start $n ''
done
ok 'one of them speaks a newer protocol, too' start fra-3 lab/speaks-1-2/

mesh_speaks() { # VERSION: each node says so, sees three alive, and has the records of all
	local n
	for n in fra-1 fra-2 fra-3; do
		lab_ctl $n --json status | jq -e --argjson v "$1" '.protocol == $v and
			([.nodes[] | select(.state == "alive" and (.is_behind | not))] | length) == 3' >/dev/null || return 1
	done
}
declare_all() {
	lab_ctl fra-1 service add dns --vip $VIP --port udp/53 &&
		lab_wait 'it at fra-2' 10 lab_ctl fra-2 route show dns &&
		lab_ctl fra-2 backend add dns "$(lab_addr4 fra-2):5353" --check tcp:interval=200ms,fall=1
}
answers() { like "$(dns c $VIP 53)" 'fra-?'; }
protocols() { lab_ctl "$1" --json node list | jq -r '[.nodes[] | "\(.protocol_lo)-\(.protocol_hi)"] | sort | join(" ")'; }
ok 'all talk in the older' lab_wait it 15 mesh_speaks 1
ok '... and know who could more' [ "$(protocols fra-1)" = '1-1 1-1 1-2' ]
ok 'a service and a backend' declare_all
ok '... that answers' lab_wait it 15 answers

echo 'whoami.lab TXT' >"$LAB_DIR/queries"
lab_in c stdbuf -oL dnsperf -s $VIP -d "$LAB_DIR/queries" -Q 200 -c 10 -l 60 >"$LAB_DIR/perf" 2>&1 &
PERF=$!
lab_wait 'dnsperf to begin' 5 grep -q 'Sending queries' "$LAB_DIR/perf"
for n in fra-1 fra-2; do
	ok "$n is upgraded" to $n lab/speaks-1-2/
done
ok 'all talk in the newer' lab_wait it 20 mesh_speaks 2
ok '... and it still answers' answers

late_is_named() { lab_ctl "$1" --json status | jq -r '.problems[]' | grep -qE "is not let in: it speaks versions? 2-3 .*1-1|not let in: it speaks versions 2-[23] "; }
alive() { # NODE NAMES
	[ "$(lab_ctl "$1" --json node list | jq -r '[.nodes[] | select(.state == "alive") | .name] | sort | join(" ")')" = "$2" ]
}
ok 'one goes back to the oldest' to fra-1 ''
ok '... and all with it' lab_wait it 20 mesh_speaks 1
ok 'another becomes too new for that one' to fra-3 lab/speaks-2-3/
ok '... and is named at fra-2' lab_wait it 20 late_is_named fra-2
ok '... the other two are well' lab_wait it 20 alive fra-2 'fra-1 fra-2'
ok '... and the service answers' answers
ok 'the old one is upgraded' to fra-1 lab/speaks-1-2/
ok '... and all are one mesh' lab_wait it 30 mesh_speaks 2
lost_none() {
	kill -INT "$(pgrep -P $PERF dnsperf || echo $PERF)"
	wait $PERF
	lab_wait 'the figures of dnsperf' 10 grep -q 'Queries lost' "$LAB_DIR/perf" || tail -n 20 "$LAB_DIR/perf"
	grep -E 'Queries (sent|completed|lost)' "$LAB_DIR/perf"
	grep -qE 'Queries lost: +0 ' "$LAB_DIR/perf" && [ "$(awk '/Queries completed/ {print $3}' "$LAB_DIR/perf")" -gt 1000 ]
}
ok 'no query was lost all the while' lost_none
tap_end
