#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Machines with one interface, on a trusted Ethernet: clients, mesh and replies through eth0, by XDP and by TC.
. tests/net/net.sh

V4=198.51.100 V6=2001:db8:100:
LAB_TRANSPORT=one
lab_up
lab_region fra
lab_node fra-1 fra
lab_node fra-2 fra
lab_client c fra
W=$(lab_addr4 fra-2) W6=$(lab_addr6 fra-2) E1=$(lab_addr4 fra-1)
C4=$(lab_client4 fra) C6=$(lab_client6 fra)
lab_container fra-2
lab_dns fra-2 fra-2 5353 "$W" "$W6"
lab_dns fra-1 fra-1 5353 "$E1"
lab_web box fra-2-box 8080 0.0.0.0 '[::]'
lab_start_all
service() { # NAME N PORT NODE BACKEND...
	local name=$1 n=$2 port=$3 node=$4 b
	shift 4
	lab_ctl fra-1 service add "$name" --vip "$V4.$n" --vip "$V6:$n" --port "udp/$port" --port "tcp/$port" >/dev/null || return 1
	lab_wait "service $name at $node" 10 lab_ctl "$node" route show "$name" || return 1
	for b; do lab_ctl "$node" backend add "$name" "$b" --check tcp >/dev/null || return 1; done
}
services() {
	service dns 1 53 fra-2 "$W:5353" "[$W6]:5353" && service web 2 80 fra-2 10.88.1.2:8080 '[fd88:1::2]:8080' &&
		service dns-here 3 53 fra-1 "$E1:5353" && lab_wait '5 healthy backends' 20 passing fra-1 5 && lab_wait 'the first answer' 10 answers
}
answers() { is "$(dns c $V4.1 53)" fra-2 && is "$(dns c $V6:1 53)" fra-2; }
traffic() {
	answers && is "$(dns c $V4.1 53 +tcp)" fra-2 && is "$(dns c $V6:1 53 +tcp)" fra-2 && is "$(dns c $V4.3 53)" fra-1 &&
		like "$(web c $V4.2 /)" "box $C4 *" && like "$(web c "[$V6:2]" /)" "box $C6 *"
}
logged() { grep -q -- "$2" "$LAB_DIR/$1/edgefwd.log" || { tail -5 "$LAB_DIR/$1/edgefwd.log"; return 1; }; }
adds() { # NODE REASON COUNT COMMAND...: that many more of it
	local node=$1 reason=$2 count=$3 before
	shift 3
	before=$(counter "$node" "$reason")
	"$@" || return 1
	lab_wait "$reason of $node, $count more than $before" 5 has_counted "$node" "$reason" $((before + count))
}
has_counted() { [ "$(counter "$1" "$2")" -ge "$3" ]; }

ok 'three services: host socket, container, on the edge itself' services
ok 'one interface, three roles' logged fra-1 'if=eth0 .*roles=public,uplink,mesh xdp=native'
ok 'the neighbour is known' lab_wait 'a neighbour' 10 logged fra-1 'neighbours known=1'
ok 'DNS and HTTP, IPv4 and IPv6: sent back out of it by XDP' adds fra-1 fabric_out 12 traffic
ok '... taken off by XDP at the worker' adds fra-2 fabric_in 12 traffic
forward() {
	lab_in fra-1 sysctl -qw net.ipv4.conf.eth0.forwarding=1 net.ipv6.conf.eth0.forwarding=1
	lab_in fra-1 ip -6 route replace default via fd00:1::1
	traffic
}
ok '... replies by XDP, where the edge forwards' adds fra-1 fabric_reply 12 forward
tc_only() {
	local n
	for n in fra-1 fra-2; do
		lab_kill $n edgefwd TERM || return 1
		LAB_EXTRA[$n]=$'xdp = off\n'
		lab_conf $n
		: >"$LAB_DIR/$n/edgefwd.log"
		lab_start $n edgefwd
		lab_wait "edgefwd on $n" 10 logged $n ' ready ' && logged $n fabric=tc || return 1
	done
	traffic
}
ok 'no XDP: all of it in TC' adds fra-1 forwarded 12 tc_only
tap_end
