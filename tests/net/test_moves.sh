#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# 2,000 live flows through one VIP, by two edges to three workers, while backends come, drain, die and come back, and while
# the clients' path moves: none is lost or moved to another backend, but those of the dead one. Every answer names the
# backend that gave it; every flow is asked before and after each change, about once a second.
. tests/net/net.sh

VIP=198.51.100.53 UDP=1000 TCP=1000
lab_up
lab_region fra
for n in e-1 e-2 w-1 w-2 w-3; do lab_node $n fra; done
lab_client c fra
lab_mesh
lab_in r-fra sysctl -qw net.ipv4.fib_multipath_hash_policy=1 # by flow
path() { # EDGE...
	local hops=() e
	for e in "$@"; do hops+=(nexthop via "$(lab_addr4 "$e")"); done
	lab_in r-fra ip route replace $VIP/32 "${hops[@]}"
}
path e-1 e-2
# Few ports, so that many flows begin from one that a flow had which was lost: its worker's entry is still there.
lab_in c sysctl -qw net.ipv4.ip_local_port_range='20000 21499'
serve() { lab_app "$2" "$1" "$OUT/lab/flows" serve "$3" "$2"; } # WORKER NAME PORT
for n in w-1 w-2 w-3; do serve $n $n 5300; done
serve w-1 w-1-too 5301
lab_start_all

spec() { echo "flows/$(lab_addr4 "$1"):${2:-5300}"; }
add() { # WORKER PORT [WEIGHT]
	lab_ctl "$1" backend add flows "$(lab_addr4 "$1"):$2" --weight "${3:-100}" --check tcp:interval=200ms >/dev/null
}
use() { # EDGE WORKER PORT: what that edge makes of it
	lab_ctl "$1" --json route show flows |
		jq -r --arg s "$2/$(spec "$2" "$3")" '.families[0].choices[]|select(.spec==$s)|.use'
}
both() { is "$(use e-1 "$1" "$2") $(use e-2 "$1" "$2")" "$3 $3"; }
comes() { # WORKER PORT USE: at both edges
	lab_wait "$1 $3" 15 both "$@"
}
drain() { lab_ctl "$1" backend drain "$(spec "$1")" >/dev/null && comes "$1" 5300 draining; }
undrain() { lab_ctl "$1" backend undrain "$(spec "$1")" >/dev/null && comes "$1" 5300 used; }

asked() { udp_whoami c $VIP 7; }
begin() {
	lab_ctl e-1 service add flows --vip $VIP --port udp/7 --port tcp/7 >/dev/null || return 1
	for n in w-1 w-2 w-3; do
		lab_wait "service at $n" 10 lab_ctl $n route show flows && add $n 5300 || return 1
	done
	for n in w-1 w-2 w-3; do comes $n 5300 used || return 1; done
	for n in e-1 e-2; do path $n && lab_wait "an answer by $n" 10 asked || return 1; done
	path e-1 e-2
}
ok 'a service, three backends' begin

coproc HOLD { lab_in c "$OUT/lab/flows" hold $VIP 7 $UDP $TCP 2>>"$LAB_DIR/hold.err"; }
told() { # COMMAND: prints the answer
	local answer
	echo "$1" >&"${HOLD[1]}"
	read -r -t 20 answer <&"${HOLD[0]}" || { echo "no answer to $1"; return 1; }
	echo "$answer" >>"$LAB_DIR/reports"
	echo "$answer"
}
# Where a step begins: a line among those of the flows, and all counters, to tell afterwards which ones moved.
at() { # WHAT
	echo "$(date +%s.%3N) -- $1" >>"$LAB_DIR/hold.err"
	reasons >"$LAB_DIR/reasons"
}
reasons() {
	local n
	for n in e-1 e-2 w-1 w-2 w-3; do
		lab_ctl $n --json stats | jq -r --arg n $n '.reasons[]|"\($n) \(.name) \(.packets)"'
	done
}
differs() { # since the step began
	reasons | awk 'NR == FNR { was[$1 " " $2] = $3; next }
		$3 != was[$1 " " $2] { print $1, $2, "+" $3 - was[$1 " " $2] }' "$LAB_DIR/reasons" -
}
count() { jq "[.by[]|select($2)|$3]|add // 0" <<<"$1"; } # REPORT WHICH WHAT
# None was lost or moved, but those that were at BACKEND.
kept() { # [BACKEND]
	local r
	r=$(told report) || { echo "$r"; return 1; }
	is "$(count "$r" ".name!=\"${1:-}\"" '.lost+.moved') $(jq .never <<<"$r")" '0 0' || { echo "$r"; differs; return 1; }
	[ -n "${1:-}" ] || is "$(jq .flows <<<"$r")" $((UDP + TCP)) || { echo "$r"; differs; return 1; }
}
# What happens is done at once; then every flow is asked.
change() { # WHAT COMMAND...
	local what=$1
	shift
	at "$what"
	ok "$what" "$@"
	ok '  and no flow was lost or moved' kept
}
ok '2,000 flows are up' kept
change 'a backend drains' drain w-2
change 'all paths lead to one edge' path e-2
change 'and to both again' path e-1 e-2
change 'the backend serves again' undrain w-2

passed_on() {
	local n sum=0
	for n in w-1 w-2 w-3; do
		is "$(counter $n token_unknown)" 0 || return 1
		sum=$((sum + $(counter $n passed_on)))
	done
	[ $sum -gt 0 ]
}
ok 'workers passed flows on, and no token named nothing' passed_on

die() { lab_app_kill w-2 && comes w-2 5300 'its check fails'; }
at 'a backend dies'
ok 'a backend dies' die
ok '  and only its own flows were lost or moved' kept w-2
ok '  those that were lost begin again' told reopen
ok '  and all are up' eval 'told report && kept'
again() { serve w-2 w-2 5300 && comes w-2 5300 used; }
change 'it comes back' again

# One after the other, as for an upgrade.
rolling() {
	local n r sum=0
	for n in w-1 w-2 w-3; do
		# What is silent for a while is looked for where it was, and w-2 has entries of flows that it lost.
		[ $n != w-2 ] || told quiet || return 1
		drain $n && r=$(told report) || return 1
		sum=$((sum + $(count "$r" true '.lost+.moved')))
		undrain $n && r=$(told report) || return 1
		sum=$((sum + $(count "$r" true '.lost+.moved')))
	done
	echo "$sum" >"$LAB_DIR/rolling"
}
at 'all drain'
ok 'all drain and serve again, one after the other' rolling
echo "# of $((UDP + TCP)) flows, $(cat "$LAB_DIR/rolling") were lost or moved by it"
ok '  and less than 1 % of the flows were lost or moved' test "$(cat "$LAB_DIR/rolling")" -lt $(((UDP + TCP) / 100))
ok 'all are silent for two seconds' told quiet
fourth() { add w-1 5301 300 && comes w-1 5301 used; }
change 'one more comes, with the weight of three, on a worker that has one' fourth
weigh() { # NODE WEIGHT
	lab_ctl "$1" backend set "flows/$(lab_addr4 "$1"):5300" --weight "$2" || return 1
	lab_wait "its weight at both edges" 10 weighs "$1" "$2"
}
weighs() { # NODE WEIGHT
	local e
	for e in e-1 e-2; do
		is "$(lab_ctl $e --json backend list | jq --arg s "$1/flows/$(lab_addr4 "$1"):5300" '.backends[]|select(.spec==$s)|.weight')" "$2" || return 1
	done
}
change 'a backend weighs four times as much' weigh w-3 400
# shellcheck disable=SC2154 # of net.sh
[ "$tap_bad" -eq 0 ] || sed 's/^/# /' "$LAB_DIR/reports" "$LAB_DIR/hold.err"
tap_end
