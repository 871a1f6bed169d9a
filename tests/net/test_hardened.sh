#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Edges and workers as careful operators set them up: reverse path filters, firewalls, masquerading; workers without a default
# route, with a gateway that is silent, without IPv6. Every backend is reached and answers through the edge; nothing leaves
# with the worker's own address.
. tests/net/net.sh

V4=198.51.100 V6=2001:db8:100:
lab_up
lab_region fra
lab_node fra-1 fra
lab_node fra-2 fra
lab_client c fra
lab_mesh
lab_container fra-2
E=$(lab_addr4 fra-1) E6=$(lab_addr6 fra-1) W=$(lab_addr4 fra-2) W6=$(lab_addr6 fra-2) C4=$(lab_client4 fra)
GW=10.1.2.1 GW6=fd00:1:2::1
lab_in fra-2 ip -6 addr add fd99::1/128 dev lo
lab_dns fra-1 fra-1 5353 "$E" "$E6"
lab_echo fra-1 fra-1 5300
lab_dns fra-2 fra-2 5353 "$W" "$W6"
lab_echo fra-2 fra-2 5300
lab_web box fra-2-box 8080 0.0.0.0 '[::]'
lab_start_all

declare_all() {
	lab_ctl fra-1 service add dns --vip $V4.1 --vip $V6:1 --port udp/53 --port tcp/53 >/dev/null || return 1
	lab_ctl fra-1 service add web --vip $V4.2 --vip $V6:2 --port tcp/80 >/dev/null || return 1
	lab_ctl fra-1 service add echo --vip $V4.3 --vip $V6:3 --port udp/7 >/dev/null || return 1
	lab_wait 'services at fra-2' 10 lab_ctl fra-2 route show echo || return 1
	lab_ctl fra-2 backend add dns "$W:5353" --check tcp >/dev/null || return 1
	lab_ctl fra-2 backend add dns "[$W6]:5353" --check tcp >/dev/null || return 1
	lab_ctl fra-2 backend add web 10.88.1.2:8080 --check none >/dev/null || return 1
	lab_ctl fra-2 backend add web '[fd88:1::2]:8080' --check none >/dev/null || return 1
	lab_ctl fra-2 backend add echo "$W:5300" --check none >/dev/null || return 1
	lab_ctl fra-2 backend add echo '[fd99::1]:5300' --check none >/dev/null || return 1
	lab_ctl fra-1 service add own --vip $V4.4 --vip $V6:4 --port udp/53 --port tcp/53 >/dev/null || return 1
	lab_ctl fra-1 backend add own "$E:5353" --check tcp >/dev/null || return 1
	lab_ctl fra-1 backend add own "[$E6]:5353" --check tcp >/dev/null || return 1
	lab_ctl fra-1 service add own-echo --vip $V4.5 --vip $V6:5 --port udp/7 >/dev/null || return 1
	lab_ctl fra-1 backend add own-echo "$E:5300" --check none >/dev/null || return 1
	lab_ctl fra-1 backend add own-echo "[$E6]:5300" --check none >/dev/null || return 1
	lab_wait 'ten usable backends' 20 passing fra-1 10 && lab_wait 'the first answers' 10 v4 && lab_wait 'and IPv6' 10 v6
}
v4() {
	is "$(dns c $V4.1 53)" fra-2 && is "$(dns c $V4.1 53 +tcp)" fra-2 && like "$(web c $V4.2 /)" "box $C4 *" &&
		like "$(udp_whoami c $V4.3 7)" "fra-2 $C4 *"
}
v6() {
	is "$(dns c $V6:1 53)" fra-2 && is "$(dns c $V6:1 53 +tcp)" fra-2 && like "$(web c "[$V6:2]" /)" 'box 2001:db8:c:*' &&
		like "$(udp_whoami c $V6:3 7)" 'fra-2 2001:db8:c:*'
}
local4() {
	is "$(dns c $V4.4 53)" fra-1 && is "$(dns c $V4.4 53 +tcp)" fra-1 && like "$(udp_whoami c $V4.5 7)" "fra-1 $C4 *"
}
local6() {
	is "$(dns c $V6:4 53)" fra-1 && is "$(dns c $V6:4 53 +tcp)" fra-1 &&
		like "$(udp_whoami c $V6:5 7)" 'fra-1 2001:db8:c:*'
}
v6_loopback_echo() { like "$(udp_whoami c $V6:3 7)" 'fra-2 2001:db8:c:*'; }
ok 'host sockets and a container, nothing hardened' declare_all

# Whatever reaches the client's router from the worker with the worker's own source is a leak.
lab_in r-fra tcpdump -i fra-2 -U -w "$LAB_DIR/leak.pcap" -Q in "(net 192.0.2.0/24 or net 2001:db8:c::/48)" >"$LAB_DIR/leak.log" 2>&1 &
LEAK=$!
lab_wait tcpdump 10 grep -q 'listening on' "$LAB_DIR/leak.log"

sys() { lab_in fra-2 sysctl -qw "$@"; }
sys net.ipv4.conf.all.rp_filter=1
ok 'rp_filter=1: IPv4' v4
ok 'rp_filter=1: IPv6' v6

harden() { # NODE: ports are open on the uplink only
	local wg=${LAB_WG_DEV[$1]}
	lab_in "$1" sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.ip_forward=1
	lab_in "$1" nft -f - <<-NFT
		table inet hard {
			chain inp {
				type filter hook input priority 0; policy drop;
				iif lo accept
				ct state invalid drop
				ct state established,related accept
				icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
				iifname eth0 udp dport { $LAB_WG_PORT, 5353, 5300 } accept
				iifname eth0 tcp dport 5353 accept
				iifname $wg ip saddr 10.77.0.0/16 accept
				iifname $wg ip6 saddr fd77::/64 accept
			}
			chain fw { type filter hook forward priority 0; policy drop; counter; }
			chain post { type nat hook postrouting priority 100; oifname eth0 masquerade; }
		}
	NFT
}
ok 'a hardened worker' harden fra-2
ok 'rp_filter, INPUT and FORWARD drop, masquerading: IPv4' v4
ok 'rp_filter, INPUT and FORWARD drop, masquerading: IPv6' v6
ok 'a hardened edge' harden fra-1
ok 'through the hardened edge: IPv4' v4
ok 'through the hardened edge: IPv6' v6
ok 'backends on the hardened edge: IPv4' local4
ok 'backends on the hardened edge: IPv6' local6
part() { lab_in c curl -gsf -m 60 -r 0-10485759 "http://$1/big" | cmp -n 10485760 - "$LAB_DIR/big"; }
ok '10 MB out of the container, IPv4' part $V4.2
ok '10 MB out of the container, IPv6' part "[$V6:2]"
forwards() { lab_in "$1" nft list chain inet hard fw | awk '/counter/ { print $3 }'; }
ok "none of that met the worker's FORWARD chain" is "$(forwards fra-2)" 0
ok "nor the edge's" is "$(forwards fra-1)" 0
own_traffic() {
	lab_in fra-2-box curl -s -o /dev/null -m 2 http://10.1.1.2:1/
	is $? 28 && [ "$(forwards fra-2)" -gt 0 ]
}
ok "the container's own traffic does, and is dropped" own_traffic

route() { lab_in fra-2 ip "$@"; }
silent_gateway() {
	route route add 10.0.0.0/8 via $GW && route -6 route add fd00::/16 via $GW6 &&
		route route replace default via 10.1.2.99 && route -6 route replace default via fd00:1:2::99 || return 1
	lab_wait 'replies although the gateway is silent' 20 v4
}
ok 'a gateway that is silent, all of the above: IPv4' silent_gateway
ok 'a gateway that is silent, all of the above: IPv6' lab_wait 'replies' 20 v6

no_default() {
	route route del default && route -6 route del default || return 1
	lab_in fra-2 nft add rule inet hard inp iifname "${LAB_WG_DEV[fra-2]}" meta l4proto '{ tcp, udp }' th dport '{ 5353, 5300 }' accept
	lab_wait 'replies without a default route' 20 v4
}
ok 'no default route, rp_filter, firewall: IPv4' no_default
ok 'no default route, rp_filter, firewall: IPv6' lab_wait 'replies' 20 v6

v4_only() {
	lab_in fra-2 ip -6 addr flush dev eth0 scope global
	lab_wait 'replies on an IPv4-only uplink' 20 v6_loopback_echo
}
ok 'IPv6 client, uplink without IPv6' v4_only
ok 'and IPv4 as before' lab_wait 'replies' 10 v4
ok 'the mesh is whole' lab_wait 'two alive' 20 lab_sees fra-1 2

kill $LEAK
wait $LEAK 2>/dev/null
no_leak() {
	local n
	n=$(tcpdump -nr "$LAB_DIR/leak.pcap" 2>/dev/null | tee "$LAB_DIR/leak.txt" | wc -l)
	[ "$n" -eq 0 ] || { head -20 "$LAB_DIR/leak.txt"; return 1; }
}
ok 'not one reply left with the address of the worker' no_leak
tap_end
