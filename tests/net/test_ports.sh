#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A range of 10,000 ports split over three backends on two workers: each port leads to its part's backend, shifted to its
# own ports, and back from the VIP's port; also after edged was killed and after a part has moved.
. tests/net/net.sh

VIP=198.51.100.7
lab_up
lab_region fra
for n in fra-1 fra-2 fra-3; do lab_node $n fra; done
lab_client c fra
lab_mesh
app() { lab_app "$1-$2" "$1" "$OUT/lab/udpecho" "$2" "$1-$2"; } # WORKER PORT
for p in 20000 23999 30000; do app fra-2 $p; done
for p in 40000 42999; do app fra-3 $p; done
lab_start_all

add() { # WORKER PORT LO-HI
	lab_ctl "$1" backend add game "$(lab_addr4 "$1"):$2" --ports "$3" --check "udp:port=$2"
}
declare_all() {
	lab_ctl fra-1 service add game --vip $VIP --port udp/5000-14999 || return 1
	for n in fra-2 fra-3; do lab_wait 'the service' 10 lab_ctl $n route show game || return 1; done
	add fra-2 20000 5000-8999 && add fra-2 30000 9000-11999 && add fra-3 40000 12000-14999 || return 1
	lab_wait 'three healthy backends' 20 passing fra-1 3
}
ok 'a range split over three' declare_all
asks() { printf whoami | lab_in c "$OUT/lab/udpask" $VIP "$1" 300 2>&1; }
answers() { like "$(asks "$1")" "$2 *"; } # PORT WHO
all_answer() {
	answers 5000 fra-2-20000 && answers 8999 fra-2-23999 && answers 9000 fra-2-30000 &&
		answers 12000 fra-3-40000 && answers 14999 fra-3-42999
}
ok 'each port has its backend, and the backend its own port' lab_wait 'all answers' 10 all_answer
parts() { lab_ctl fra-1 --json route show game | jq -r '[.families[]|"\(.part) \(.rows)"]|join(", ")'; }
ok 'three tables of one row each' is "$(parts)" '5000-8999 1, 9000-11999 1, 12000-14999 1'
ok 'a part that overlaps is refused' eval "! add fra-3 50000 11000-12999"
overlaps() { like "$(add fra-3 50000 11000-11999 2>&1)" '*backend of fra-2 takes 9000-11999*'; }
ok '  and it is said whose part it is' overlaps
one_service() { [ "$(lab_ctl fra-1 --json stats | jq '[.services[]|select(.service=="game")]|length')" = 1 ]; }
ok 'counters are the service'\''s, of all its parts' one_service

restart() {
	lab_kill fra-1 edged KILL && all_answer || return 1
	lab_start fra-1 edged && all_answer || return 1
	lab_wait 'ready' 10 eval 'lab_ctl fra-1 --json status | jq -e .forwarder.is_ready >/dev/null' && all_answer
}
ok 'edged killed and restarted: as before' restart

# The middle part goes to the other worker; the others never notice.
move() {
	app fra-3 50000
	lab_ctl fra-2 backend rm "game/$(lab_addr4 fra-2):30000" || return 1
	lab_wait 'a free part' 10 add fra-3 50000 9000-11999 || return 1
	while ! answers 9000 fra-3-50000; do
		[ $((tries += 1)) -lt 30 ] && answers 5000 fra-2-20000 && answers 14999 fra-3-42999 || return 1
	done
}
tries=0
ok 'a part moves to another worker, the others stay' move
drained() { ! answers 9000 fra-3-50000; }
ok 'its only backend drains' eval "lab_ctl fra-3 backend drain game/$(lab_addr4 fra-3):50000 && lab_wait 'silence' 10 drained"
ok '  and nobody else gets its ports, or loses his own' eval "like \"\$(asks 9000)\" '*no answer*' && answers 5000 fra-2-20000"
tap_end
