#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Looking at the data path while it works: a trace tells what then happens, a capture is a file that other tools read, the
# histogram counts what was sent, rates are those of the traffic.
. tests/net/net.sh

V4=198.51.100 V6=2001:db8:100:
lab_up
lab_region fra
lab_node fra-1 fra
lab_node fra-2 fra
lab_client c fra
lab_mesh
W=$(lab_addr4 fra-2) W6=$(lab_addr6 fra-2)
C4=$(lab_client4 fra) C6=$(lab_client6 fra)
lab_echo fra-2 fra-2 5300
lab_start_all
ctl() { lab_ctl fra-1 "$@"; }

service() {
	ctl service add echo --vip $V4.1 --vip $V6:1 --port udp/7 >/dev/null || return 1
	lab_wait 'the service at fra-2' 10 lab_ctl fra-2 route show echo || return 1
	lab_ctl fra-2 backend add echo "$W:5300" >/dev/null || return 1
	lab_ctl fra-2 backend add echo "[$W6]:5300" >/dev/null || return 1
	lab_wait 'an answer over IPv4' 10 answers $V4.1 && lab_wait 'an answer over IPv6' 10 answers $V6:1
}
answers() { like "$(udp_whoami c "$1" 7)" 'fra-2 *'; }
ok 'a service with a backend of each family' service

# ---- trace
trace() { ctl --json trace udp "$@"; }
forwarded() { # SRC DST SPEC
	local t
	t=$(trace "$1" "$2") || return 1
	is "$(jq -r '[.reason, .is_drop, .service, .backend, .owner_node, .is_here] | join(" ")' <<<"$t")" \
		"forwarded false echo fra-2/echo/$3 fra-2 false"
}
ok 'trace names the backend, IPv4' forwarded "$C4:4444" "$V4.1:7" "$W:5300"
ok 'trace names the backend, IPv6' forwarded "[$C6]:4444" "[$V6:1]:7" "[$W6]:5300"
dropped() { # WHY PACKET...: exit 1 and the reason
	local t rc
	t=$(trace "${@:2}")
	rc=$?
	is "$rc $(jq -r '"\(.reason) \(.is_drop)"' <<<"$t")" "1 $1 true"
}
ok 'trace: no service on that port, exit 1' dropped no_service "$C4:4444" "$V4.1:8"
not_a_vip() { is "$(trace "$C4:4444" "$W:7" | jq -r .reason)" pass_not_ours; }
ok 'trace: not a VIP is left to the host' not_a_vip
for_people() {
	local t
	t=$(ctl trace udp "$C4:4444" "$V4.1:7") || return 1
	like "$t" "*edge fra-1*is a VIP*service*echo*hash*row*GRE to fra-2*fra-2 decides the rest*goes on: forwarded*"
}
ok 'trace tells people, step by step' for_people
elsewhere() {
	local t
	t=$(ctl trace udp "$C4:4444" "$V4.1:7" --node fra-2 2>&1)
	is "$? $t" '1 edgectl: trace: node: this is fra-1: run it on fra-2'
}
ok "trace of another node's maps is refused" elsewhere
quiet() {
	local before after
	before=$(ctl --json stats | jq -c '[.reasons, .services, .backends]')
	for _ in 1 2 3; do trace "$C4:4444" "$V4.1:7" >/dev/null || return 1; done
	after=$(ctl --json stats | jq -c '[.reasons, .services, .backends]')
	is "$(changed "$before" "$after")" '[]'
}
# Mesh traffic goes on by itself; what concerns clients must not have moved.
changed() {
	jq -nc --argjson a "$1" --argjson b "$2" '[$a[0], $b[0]] | transpose | map(select(.[0] != .[1]) | .[0].name) | map(select(test("mesh|ping|pass") | not))'
}
ok 'a trace counts nothing' quiet
flow_known() {
	local t
	printf whoami | lab_in c socat -t 2 - "UDP:$V4.1:7,bind=$C4:4555" >/dev/null || return 1
	t=$(lab_ctl fra-2 --json trace udp "$C4:4555" "$V4.1:7") || return 1
	is "$(jq -r '[.is_here, .flow.state, .flow.edge_node, .flow.backend, .flow.client_port] | join(" ")' <<<"$t")" \
		"true assured fra-1 fra-2/echo/$W:5300 4555"
}
ok 'trace at the worker: the flow is assured and answers through fra-1' flow_known

# ---- histogram
hist() {
	ctl hist on --every 1 >/dev/null || return 1
	for _ in 1 2 3 4 5; do answers $V4.1 || return 1; done
	ctl --json hist show >"$LAB_DIR/hist" || return 1
	ctl hist off >/dev/null || return 1
	is "$(jq -r '[.is_on, .every] | join(" ")' "$LAB_DIR/hist")" 'true 1' || return 1
	jq -e '[.hooks[] | select(.hook == "pub_in") | .runs >= 5 and .mean_ns > 0 and .p99_below_ns >= .p50_below_ns] == [true]' "$LAB_DIR/hist" ||
		{ cat "$LAB_DIR/hist"; return 1; }
	like "$(ctl hist show)" 'off; this is what was counted before*pub_in:*runs, mean*'
}
ok 'the histogram times the packets that were sent' hist

# ---- rates
rates() {
	local r
	ctl --json stats --service echo --watch --count 1 >"$LAB_DIR/rates" &
	r=$!
	while kill -0 $r 2>/dev/null; do answers $V4.1 || return 1; done
	wait $r || return 1
	jq -e '.interval_ms >= 900 and ([.services[] | select(.family == 4) | .packets_per_s > 0 and .bytes_per_s > 0] == [true]) and
		([.services[].service] | unique == ["echo"])' "$LAB_DIR/rates" || { cat "$LAB_DIR/rates"; return 1; }
	like "$(ctl top --count 1)" '*services: *packets/s*SERVICE*BACKEND*REASON*'
}
ok 'stats --watch and top show rates' rates
ok 'stats of a service that is not there: exit 1' is "$(ctl stats --service none >/dev/null 2>&1; echo $?)" 1

# ---- capture
capture() { # FILE OPTION...: in the background, on
	local file=$1
	shift
	"$OUT/edgectl" --socket "$LAB_DIR/fra-1/edged.sock" capture "$file" "$@" 2>"$file.err" &
	captor=$!
	lab_wait 'the capture is on' 5 grep -q '^capturing' "$file.err"
}
drops() {
	capture "$LAB_DIR/drops.pcapng" --reason no_service --count 3 --seconds 10 || return 1
	for _ in 1 2 3; do
		answers $V4.1 || return 1
		printf x | lab_in c socat -u - "UDP:$V4.1:8"
	done
	wait $captor || { cat "$LAB_DIR/drops.pcapng.err"; return 1; }
	is "$(tshark -r "$LAB_DIR/drops.pcapng" -T fields -e ip.src -e ip.dst -e udp.dstport -e frame.comment 2>/dev/null | sort -u)" \
		"$C4	$V4.1	8	xdp: dropped, no_service (to a VIP, but no service on this protocol and port)"
}
ok 'a capture of one reason has those packets, with the verdict' drops
wide() {
	capture "$LAB_DIR/all.pcapng" --seconds 1 || return 1
	for _ in 1 2 3; do answers $V4.1 && answers $V6:1 || return 1; done
	wait $captor || { cat "$LAB_DIR/all.pcapng.err"; return 1; }
	capinfos -M "$LAB_DIR/all.pcapng" >"$LAB_DIR/all.info" || return 1
	like "$(cat "$LAB_DIR/all.info")" '*pcapng*Ethernet*' || return 1
	like "$(cat "$LAB_DIR/all.info")" '*nanoseconds (9)*' || return 1
	# what stood on the mesh device has no Ethernet header; both are decoded to the end
	tshark -r "$LAB_DIR/all.pcapng" -T fields -e frame.interface_description -e frame.protocols -e frame.comment 2>/dev/null >"$LAB_DIR/all.text"
	grep -q '^xdp of .*, Ethernet	eth:ethertype:ip:udp:.*	xdp: forward_chosen' "$LAB_DIR/all.text" || return 1
	grep -q '^pub_in of .*, Ethernet	eth:ethertype:ip:gre:ip:udp:.*	pub_in: forwarded' "$LAB_DIR/all.text" || { cat "$LAB_DIR/all.text"; return 1; }
	grep -q '^mesh_out of .*, IP	raw:ip:gre:ipv6:udp:.*	mesh_out: mesh_out_marked' "$LAB_DIR/all.text" || { cat "$LAB_DIR/all.text"; return 1; }
	! tshark -r "$LAB_DIR/all.pcapng" -Y '_ws.malformed || eth.type != 0x800 && eth.type != 0x86dd && eth.type != 0x806' 2>/dev/null | grep .
}
ok 'a capture of everything: capinfos and tshark read it, each header as it was' wide
piped() { # another program reads while it is written
	local n
	(
		"$OUT/edgectl" --socket "$LAB_DIR/fra-1/edged.sock" capture - --reason forwarded --count 3 --seconds 10 2>"$LAB_DIR/pipe.err" |
			tshark -r - -T fields -e ip.src -e udp.dstport 2>/dev/null >"$LAB_DIR/pipe.text"
	) &
	n=$!
	lab_wait 'the capture is on' 5 grep -q '^capturing' "$LAB_DIR/pipe.err" || return 1
	for _ in 1 2 3; do answers $V4.1 || return 1; done
	wait $n
	is "$(sort -u "$LAB_DIR/pipe.text")" "$(lab_mesh4 fra-1),$C4	7" && is "$(wc -l <"$LAB_DIR/pipe.text")" 3
}
ok 'a capture into a pipe, the tunnel decoded' piped
gone() { # the client dies: the capture ends with it
	capture "$LAB_DIR/gone.pcapng" --seconds 60 || return 1
	kill -9 $captor
	wait $captor 2>/dev/null
	lab_wait 'the capture has ended' 5 free
}
free() { ctl capture "$LAB_DIR/free.pcapng" --count 1 --seconds 1 2>/dev/null; }
ok 'a capture ends when its client dies' gone
restarted() { # edged dies while a capture is on: the new one switches it off
	capture "$LAB_DIR/restart.pcapng" --seconds 60 || return 1
	lab_kill fra-1 edged KILL
	wait $captor
	is $? 3 || return 1
	lab_start fra-1 edged
	lab_wait 'edged is back' 10 free
}
ok 'a capture does not outlive edged' restarted
named() {
	is "$(ctl capture /dev/null --reason nothing 2>&1)" "edgectl: capture: reason: got 'nothing', want one that \`edgectl stats\` shows"
}
ok 'an unknown reason is refused' named
tap_end
