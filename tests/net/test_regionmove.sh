#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A client's path moves to an edge of another region, whose table knows nothing of the first one's workers. Connections of a
# service with moves=on stay with their backend, by the pointers that it left; those of one without are lost: what the first
# is compared with. Then the path moves back, and once more.
. tests/net/net.sh

VIP=198.51.100.53 TCP=300
lab_up
for r in fra nyc; do lab_region $r; done
for r in fra nyc; do
	for n in e w; do lab_node $n-$r $r; done
done
lab_client c fra
lab_mesh
LAB_PUBLIC[w-fra]=none
# EDGE: by it the client's packets come in.
path() {
	lab_in core ip route replace $VIP/32 via "172.20.${LAB_REGION_IDX[$1]}.2"
	case $1 in
	fra) lab_in r-fra ip route replace $VIP/32 via "$(lab_addr4 e-fra)" ;;
	nyc) lab_in r-fra ip route replace $VIP/32 via 172.20.1.1 ;;
	esac
}
lab_in r-nyc ip route replace $VIP/32 via "$(lab_addr4 e-nyc)"
path fra
for r in fra nyc; do
	lab_app $r w-$r "$OUT/lab/flows" serve 5300 $r
	lab_app $r-too w-$r "$OUT/lab/flows" serve 5301 $r
done
lab_app nyc-edge e-nyc "$OUT/lab/flows" serve 5300 nyc
lab_start_all

add() { # SERVICE PORT BACKEND_PORT
	local r
	for r in fra nyc; do
		lab_wait "$1 at w-$r" 10 lab_ctl w-$r route show "$1" || return 1
		lab_ctl w-$r backend add "$1" "$(lab_addr4 w-$r):$3" --check tcp:interval=200ms >/dev/null || return 1
	done
}
used() { # EDGE SERVICE NODE...: their backends alone
	local edge=$1 service=$2
	shift 2
	is "$(lab_ctl "$edge" --json route show "$service" | jq -r '[.families[0].choices[]|select(.use=="used")|.spec|split("/")[0]]|sort|join(" ")')" "$*"
}
declare_all() {
	lab_ctl e-fra service add with --vip $VIP --port tcp/7 --port udp/7 --policy moves=on >/dev/null || return 1
	lab_ctl e-fra service add without --vip $VIP --port tcp/8 >/dev/null || return 1
	add with 7 5300 && add without 8 5301 || return 1
	for r in fra nyc; do
		for s in with without; do lab_wait "$s in $r" 15 used e-$r $s w-$r || return 1; done
	done
	lab_wait 'an answer' 10 asked fra
}
asked() { is "$(udp_whoami c $VIP 7)" "$1"; }
ok 'two services, each region uses its own backend' declare_all
ok 'the policy is shown' like "$(lab_ctl e-nyc service show with 2>&1)" '*moves=on*'

coproc WITH { lab_in c "$OUT/lab/flows" hold $VIP 7 0 $TCP 2>"$LAB_DIR/with.err"; }
coproc WITHOUT { lab_in c "$OUT/lab/flows" hold $VIP 8 0 $TCP 2>"$LAB_DIR/without.err"; } 2>/dev/null
report() { # WITH|WITHOUT
	local -n fd=$1
	local answer
	echo report >&"${fd[1]}"
	read -r -t 20 answer <&"${fd[0]}" || { echo 'no answer'; return 1; }
	echo "$answer" >>"$LAB_DIR/reports"
	echo "$answer"
}
sum() { jq "[.by[]|$2]|add // 0" <<<"$1"; }
kept() {
	local r
	r=$(report WITH) || { echo "$r"; return 1; }
	is "$(sum "$r" '.lost+.moved') $(jq '"\(.flows) \(.never)"' -r <<<"$r")" "0 $TCP 0" || { echo "$r"; return 1; }
}
ok "$TCP connections are up" kept
ok 'and as many of the other service' report WITHOUT

KEEPERS='e-fra e-nyc w-nyc' # w-fra, which has the connections, is no edge
pointers() {
	local n sum=0 dir
	for n in $KEEPERS; do
		dir=$(awk '$1 == "pin_dir" { print $3 }' "$LAB_DIR/$n/edge.conf")
		sum=$((sum + $(bpftool -j map dump pinned "$(echo "$dir"/v*/maps/dp_pointer)" | jq length)))
	done
	is $sum $TCP
}
ok 'each has left a pointer at one of the edges' lab_wait 'the pointers' 25 pointers
ok '  while none was lost' kept

# Rows there now remember somebody, who is asked first.
changed() {
	lab_ctl e-nyc backend add with "$(lab_addr4 e-nyc):5300" --check tcp:interval=200ms >/dev/null || return 1
	lab_wait 'two backends in nyc' 10 used e-nyc with e-nyc w-nyc && lab_wait 'the same at w-nyc' 10 used w-nyc with e-nyc w-nyc
}
ok 'the other region gets another backend' changed
move() { path nyc && lab_wait 'the path' 10 asked nyc; }
ok 'the path moves to the other region' move
ok '  and no connection with pointers was lost or moved' kept
others() {
	local r
	r=$(report WITHOUT) || { echo "$r"; return 1; }
	is "$(sum "$r" '.lost')" $TCP || { echo "$r"; return 1; }
}
ok '  and all without were lost' others
# w-nyc need not ask for what it keeps itself.
told() {
	local n
	for n in e-fra e-nyc; do [ "$(counter $n pointed)" -gt 0 ] || { echo "$n told nobody"; return 1; }; done
	[ $(($(counter w-nyc passed_on) + $(counter e-nyc passed_on))) -ge $TCP ] || { echo 'too few were passed on'; return 1; }
	[ "$(counter w-nyc passed_back)" -gt 0 ] || { echo 'no previous owner was asked'; return 1; }
}
ok '  by pointers' told
back() { path fra && lab_wait 'the path' 10 asked fra; }
ok 'it moves back' back
ok '  and none was lost' kept
ok 'and away again' move
ok '  and none was lost' kept
# shellcheck disable=SC2154 # of net.sh
[ "$tap_bad" -eq 0 ] || sed 's/^/# /' "$LAB_DIR/reports" "$LAB_DIR"/*.err
tap_end
