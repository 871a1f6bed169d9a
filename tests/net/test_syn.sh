#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A SYN flood from spoofed sources at one service: a real client still connects through the VIP, none of the flood gets to the
# worker beyond the limit, and the service next door loses nothing.
# Alone: a flood at a rate, and what it costs a neighbour.
. tests/net/net.sh

V4=198.51.100 V6=2001:db8:100:
SYN_PPS=200 FLOOD_PPS=10000 FLOOD_S=3
lab_up
lab_region fra
lab_node fra-1 fra
lab_node fra-2 fra
lab_client c fra
lab_mesh
W=$(lab_addr4 fra-2) W6=$(lab_addr6 fra-2)
# What XDP sends back into a veth arrives only where the other end has an XDP program too.
printf '#include <linux/bpf.h>\n__attribute__((section("xdp"), used)) int pass(void *c) { return XDP_PASS; }\n' |
	clang -O2 -target bpf "-I/usr/include/$(gcc -print-multiarch)" -x c -c - -o "$LAB_DIR/pass.o"
lab_in r-fra ip link set dev fra-1 xdp obj "$LAB_DIR/pass.o" sec xdp
# What the edge answers to the spoofed sources leads nowhere.
lab_in r-fra ip route add blackhole 100.64.0.0/16
lab_in r-fra ip -6 route add blackhole 2001:db8:bad::/64

# Another client, behind an address translator that drops what it doesn't know.
lab_add_space n
lab_link c in0 n eth0
lab_addr c in0 10.200.0.1/24
lab_addr n eth0 10.200.0.2/24
lab_in n ip route add default via 10.200.0.1
lab_in c sysctl -qw net.ipv4.ip_forward=1
lab_in c nft -f - <<'RULES'
table ip nat {
	chain out { type nat hook postrouting priority 100; ip saddr 10.200.0.0/24 masquerade; }
	chain in { type filter hook input priority 0; ct state invalid,new drop; }
	chain through { type filter hook forward priority 0; ct state invalid drop; }
}
RULES

lab_dns fra-2 fra-2 5353 "$W" "$W6"
lab_web fra-2 fra-2 8080 "$W" "[$W6]"
lab_start_all

service() { # NAME N PORT BACKEND4 BACKEND6
	lab_ctl fra-1 service add "$1" --vip "$V4.$2" --vip "$V6:$2" --port "$3" >/dev/null || return 1
	lab_wait "service $1 at fra-2" 10 lab_ctl fra-2 route show "$1" || return 1
	lab_ctl fra-2 backend add "$1" "$4" --check tcp >/dev/null || return 1
	lab_ctl fra-2 backend add "$1" "$5" --check tcp >/dev/null
}
both() {
	service web 1 tcp/80 "$W:8080" "[$W6]:8080" || return 1
	service dns 2 udp/53 "$W:5353" "[$W6]:5353" || return 1
	lab_wait '4 healthy backends' 20 passing fra-1 4 && lab_wait 'the first answer' 10 answers
}
answers() { is "$(dns c $V4.2 53)" fra-2 && like "$(web c $V4.1 /)" 'fra-2 *' && like "$(web c "[$V6:1]" /)" 'fra-2 *'; }
ok 'a web service and a DNS service' both

ok 'the web service is protected' lab_ctl fra-1 service set web "syn_pps=$SYN_PPS"

connect() { # URL [SPACE]: prints the time that the connection took, in ms
	lab_in "${2:-c}" curl -gsf -o /dev/null -m 10 -w '%{time_connect} %{http_code}' "$1" | awk '$2 == 200 { printf "%d\n", $1 * 1000 }'
}
flood() { # ADDRESS PREFIX: in the background
	lab_in c "$OUT/lab/synflood" "$1" 80 "$2" $FLOOD_PPS $FLOOD_S >"$LAB_DIR/flood.sent" &
	FLOOD_PID=$!
}
challenged() { [ "$(counter fra-1 syn_challenged)" -ge "$1" ]; }

round() { # FAMILY VIP URL PREFIX DNS-SERVER
	local before in_before
	before=$(counter fra-1 syn_challenged) in_before=$(counter fra-2 delivered_host)
	echo "# $1: connects in $(connect "$3") ms before the flood"
	lab_in c "$OUT/lab/dnsprobe" "$5" 53 whoami.lab $FLOOD_S 20 >"$LAB_DIR/probe" 2>/dev/null &
	local probe=$!
	flood "$2" "$4"
	ok "$1: challenges are under way" lab_wait 'challenges' 10 challenged $((before + 1000))
	FIRST_MS=$(connect "$3") NEXT_MS=$(connect "$3")
	echo "# $1: connects in $FIRST_MS ms in the flood, then, proved, in $NEXT_MS ms"
	ok "$1: the client did, while it lasted" kill -0 $FLOOD_PID
	ok "$1: with a challenge" [ "${FIRST_MS:-9999}" -lt 3000 ]
	ok "$1: and without one, proved" [ "${NEXT_MS:-9999}" -lt 1000 ]
	ok "$1: a page comes through" like "$(web c "${3#http://}" '')" 'fra-2 *'
	wait $FLOOD_PID
	wait $probe
	SENT=$(cat "$LAB_DIR/flood.sent")
	echo "# $1: flood of $SENT SYNs, $(($(counter fra-1 syn_challenged) - before)) challenged," \
		"$(($(counter fra-2 delivered_host) - in_before)) packets of all kinds at the worker"
	ok "$1: the flood was one" [ "$SENT" -gt $((FLOOD_PPS * FLOOD_S / 2)) ]
	ok "$1: the worker got no more of it than the limit" \
		[ $(($(counter fra-2 delivered_host) - in_before)) -lt $((SYN_PPS * (FLOOD_S + 1) + 1500)) ]
	ok "$1: the service next door lost nothing" is "$(grep -c lost "$LAB_DIR/probe") $(($(wc -l <"$LAB_DIR/probe") > 50))" '0 1'
}
round IPv4 "$V4.1" "http://$V4.1/" 100.64.0.0 "$V4.2"
forget_proofs() {
	local map; map=$(echo "$LAB_DIR"/bpf/fra-1/v*/maps/dp_proved)
	# shellcheck disable=SC2046
	bpftool -j map dump pinned "$map" | jq -r '.[].key|join(" ")' | while read -r key; do
		bpftool map delete pinned "$map" key $key
	done
}
forget_proofs
CHALLENGED=$(counter fra-1 syn_challenged) PROVED=$(counter fra-1 syn_proved)
flood "$V4.1" 100.64.0.0
lab_wait 'challenges' 10 challenged $((CHALLENGED + 1000))
MS=$(connect "http://$V4.1/" n)
echo "# translated: connects in ${MS:-no} ms in the flood"
ok 'a client behind an address translator connects' [ "${MS:-9999}" -lt 3000 ]
# One SYN in fifty is let in without a question, for that is the limit: ask again.
is_proved() {
	[ "$(counter fra-1 syn_proved)" -gt "$PROVED" ] && return
	connect "http://$V4.1/" n >/dev/null
	return 1
}
ok 'it was challenged' lab_wait 'a proof' 10 is_proved
wait $FLOOD_PID
round IPv6 "$V6:1" "http://[$V6:1]/" 2001:db8:bad:: "$V4.2"
ok 'two addresses are proved' [ "$(counter fra-1 syn_proved)" -ge 2 ]
ok 'without a limit nobody is challenged' lab_ctl fra-1 service set web syn_pps=off
connects_at_once() {
	local before
	before=$(counter fra-1 syn_challenged)
	web c "$V4.1" / >/dev/null && is "$(counter fra-1 syn_challenged)" "$before"
}
ok 'and a client connects' connects_at_once
tap_end
