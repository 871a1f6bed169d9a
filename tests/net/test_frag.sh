#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Datagrams of 4,000 and 60,000 bytes through a VIP, there and back, hence in fragments both ways: to a host socket and a
# container on another node, and to a backend on the edge itself. Nothing of it leaves the worker but through the mesh.
. tests/net/net.sh

V4=198.51.100 V6=2001:db8:100:
lab_up
lab_region fra
lab_node fra-1 fra
lab_node fra-2 fra
lab_client c fra
lab_mesh
lab_container fra-2
E1=$(lab_addr4 fra-1) E1_6=$(lab_addr6 fra-1) W=$(lab_addr4 fra-2) W6=$(lab_addr6 fra-2)
C4=$(lab_client4 fra) C6=$(lab_client6 fra)
# A firewall that tracks connections, also of what crosses a bridge, as beside Docker: it puts fragments together.
lab_in fra-2 nft 'add table inet fw; add chain inet fw in { type filter hook prerouting priority 0; }
	add rule inet fw in ct state established counter accept
	add chain inet fw out { type filter hook output priority 0; }; add rule inet fw out ct state established counter accept
	add chain inet fw nat { type nat hook postrouting priority 100; }; add rule inet fw nat oifname eth0 masquerade'
if [ -e /proc/sys/net/bridge ]; then lab_in fra-2 sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1; fi
lab_echo fra-1 fra-1 5300
lab_echo fra-2 fra-2 5300
lab_echo box fra-2-box 5300
lab_dns fra-2 fra-2 5353 "$W" "$W6"
lab_start_all

# service N NODE BACKEND4 BACKEND6 PORT...
service() {
	local n=$1 node=$2 b4=$3 b6=$4 p args=()
	shift 4
	for p in "$@"; do args+=(--port "$p"); done
	lab_ctl fra-1 service add "s$n" --vip "$V4.$n" --vip "$V6:$n" "${args[@]}" >/dev/null || return 1
	lab_wait "service s$n at $node" 10 lab_ctl "$node" route show "s$n" || return 1
	lab_ctl "$node" backend add "s$n" "$b4" >/dev/null && lab_ctl "$node" backend add "s$n" "$b6" >/dev/null
}
services() {
	service 1 fra-2 "$W:5300" "[$W6]:5300" udp/7 || return 1
	service 2 fra-2 10.88.1.2:5300 '[fd88:1::2]:5300' udp/7 || return 1
	service 3 fra-1 "$E1:5300" "[$E1_6]:5300" udp/7 || return 1
	service 4 fra-2 "$W:5353" "[$W6]:5353" udp/53 tcp/53 || return 1
	for n in 1 2 3; do lab_wait "answers of service s$n" 10 answers "$n" || return 1; done
	lab_wait 'answers of s4' 10 dns_answers
}
answers() { udp_whoami c "$V4.$1" 7 && udp_whoami c "$V6:$1" 7; }
dns_answers() { is "$(dns c $V4.4 53) $(dns c $V6:4 53)" 'fra-2 fra-2'; }
ok 'four services' services

txt() { lab_in c kdig +short +retry=0 +time=3 "$@" | tr -d '" \n' | sha256sum; }
HUGE=$(txt +tcp "@$W" -p 5353 huge.lab TXT)

# What leaves the worker towards the client, other than through the mesh. The capture is dry after the tests.
lab_in fra-2 tcpdump -n -i eth0 -Q out --immediate-mode -U -w "$LAB_DIR/raw.pcap" \
	"dst host $C4 or dst host $C6 or src net 10.88.0.0/16 or src net fd88::/16" >"$LAB_DIR/tcpdump.log" 2>&1 &
tcpdump_pid=$!
lab_wait 'tcpdump on the uplink' 10 grep -q 'listening on' "$LAB_DIR/tcpdump.log"

echo_of() { # BYTES ADDRESS
	head -c "$1" /dev/urandom >"$LAB_DIR/dgram"
	udp_ask c "$2" 7 <"$LAB_DIR/dgram" | cmp - "$LAB_DIR/dgram"
}
all_echo() { # BYTES ADDRESS: five in a row
	local i
	for i in 1 2 3 4 5; do echo_of "$1" "$2" || { echo "the $i. of $1 bytes"; return 1; }; done
}
for n in 1:'a host socket' 2:'a container' 3:'the edge itself'; do
	IFS=: read -r i where <<<"$n"
	for bytes in 1473 4000 60000; do
		ok "echo of $bytes bytes, IPv4, $where" all_echo $bytes $V4.$i
		ok "echo of $bytes bytes, IPv6, $where" all_echo $bytes $V6:$i
	done
done
counted() { # NODE REASON MORE-THAN
	local n
	n=$(counter "$1" "$2")
	[ "$n" -gt "$3" ] || { echo "$2 on $1: $n"; return 1; }
}
none() { is "$(counter "$1" "$2")" 0; }
ok 'the edge counts what followed' counted fra-1 frag_followed 300
ok 'the worker counts what followed' counted fra-2 frag_followed 300
for n in fra-1 fra-2; do
	for r in frag_no_first frag_too_many fragment reply_fragment bad_packet too_big; do ok "$n: no $r" none $n $r; done
done

# XDP off: TC decides alone.
xdp_off() {
	lab_in fra-1 ip link set dev eth0 xdp off && lab_in fra-1 ip link set dev eth0 xdpgeneric off
	all_echo 4000 $V4.1 && all_echo 4000 $V6:1 && all_echo 4000 $V6:3
}
ok 'without XDP too' xdp_off

huge() { lab_in c kdig +retry=0 +time=3 +ignore +bufsize=8192 "@$1" -p "$2" huge.lab TXT; }
whole_by_udp() { # ADDRESS
	like "$(huge "$1" 53)" '*UDP*' && is "$(txt +ignore +bufsize=8192 "@$1" huge.lab TXT)" "$HUGE"
}
by_tcp() { # ADDRESS: too little room in the datagram, so it is asked again
	like "$(lab_in c kdig +time=3 +bufsize=1232 "@$1" huge.lab TXT)" '*(TCP)*' &&
		is "$(txt +bufsize=1232 "@$1" huge.lab TXT)" "$HUGE"
}
ok 'a DNS answer of 4 KB over UDP, IPv4' whole_by_udp $V4.4
ok 'a DNS answer of 4 KB over UDP, IPv6' whole_by_udp $V6:4
ok 'truncated, then over TCP, IPv4' by_tcp $V4.4
ok 'truncated, then over TCP, IPv6' by_tcp $V6:4

dry() {
	kill $tcpdump_pid
	wait $tcpdump_pid 2>/dev/null
	is "$(tcpdump -nr "$LAB_DIR/raw.pcap" 2>/dev/null)" ''
}
ok 'nothing left the worker with an address of its own' dry

# The container's port has the bridge's hook as long as it is a port.
port_hook() { lab_in fra-2 tc filter show dev box0 ingress | grep -q dp_tc_br_in; }
port_leaves() {
	port_hook || return 1
	lab_in fra-2 ip link set box0 nomaster
	lab_wait 'the hook gone' 5 port_is_bare
	lab_in fra-2 ip link set box0 master br0
	lab_wait 'the hook back' 5 port_hook && lab_wait 'an answer' 5 answers 2
}
port_is_bare() { ! port_hook; }
ok 'a port that leaves its bridge loses its program, and gets it back' port_leaves
tap_end
