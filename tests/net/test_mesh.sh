#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Other meshes than the usual: IPv6 only inside WireGuard, and peers that edgefwd sets. By hand each node knows the first
# one alone; the tunnel between the other two is the product's work.
. tests/net/net.sh

V4=198.51.100 V6=2001:db8:100:
LAB_MESH=6 LAB_WG=managed
lab_up
lab_region fra
for n in fra-1 fra-2 fra-3; do lab_node $n fra; done
lab_client c fra
for n in fra-2 fra-3; do
	lab_peer fra-1 $n
	lab_peer $n fra-1
done
W=$(lab_addr4 fra-3) W6=$(lab_addr6 fra-3) C4=$(lab_client4 fra) C6=$(lab_client6 fra)
lab_dns fra-3 fra-3 5353 "$W" "$W6"
lab_web fra-3 fra-3 8080 "$W" "[$W6]"
lab_echo fra-3 fra-3 5300

peers() { lab_in "$1" wg show "${LAB_WG_DEV[$1]}" peers | sort; }
two_peers() { [ "$(peers "$1" | wc -l)" -eq 2 ]; }
ok 'nodes two and three know the first one only' is "$(peers fra-2) $(peers fra-3)" "${LAB_WG_PUB[fra-1]} ${LAB_WG_PUB[fra-1]}"
ok 'three nodes find each other over IPv6' lab_start_all
ok 'edgefwd has set the missing peer of fra-2' lab_wait 'two peers' 20 two_peers fra-2
ok 'and that of fra-3' lab_wait 'two peers' 20 two_peers fra-3
ok 'the tunnel between them works' lab_in fra-2 ping -6 -c 1 -W 5 "$(lab_mesh6 fra-3)"

declare_all() {
	lab_ctl fra-1 service add dns --vip $V4.1 --vip $V6:1 --port udp/53 --port tcp/53 >/dev/null || return 1
	lab_ctl fra-1 service add web --vip $V4.2 --vip $V6:2 --port tcp/80 >/dev/null || return 1
	lab_ctl fra-1 service add echo --vip $V4.3 --vip $V6:3 --port udp/7 >/dev/null || return 1
	lab_wait 'services at fra-3' 10 lab_ctl fra-3 route show echo || return 1
	lab_ctl fra-3 backend add dns "$W:5353" --check tcp >/dev/null || return 1
	lab_ctl fra-3 backend add dns "[$W6]:5353" --check tcp >/dev/null || return 1
	lab_ctl fra-3 backend add web "$W:8080" --check tcp >/dev/null || return 1
	lab_ctl fra-3 backend add web "[$W6]:8080" --check tcp >/dev/null || return 1
	lab_ctl fra-3 backend add echo "$W:5300" --check udp >/dev/null || return 1
	lab_ctl fra-3 backend add echo "[$W6]:5300" --check udp >/dev/null || return 1
	lab_wait 'six healthy backends' 20 passing fra-2 6
}
ok 'three services' declare_all

# Clients enter by fra-2, which reaches the backends through the tunnel that edgefwd made.
enter_by_second() {
	lab_in r-fra ip route del "$LAB_VIP4" via 10.1.1.2 && lab_in r-fra ip -6 route del "$LAB_VIP6" via fd00:1:1::2 &&
		lab_wait 'an answer' 10 answers
}
answers() { is "$(dns c $V4.1 53)" fra-3; }
ok 'clients enter by fra-2' enter_by_second
lab_in fra-3 tcpdump -i "${LAB_WG_DEV[fra-3]}" -U -w "$LAB_DIR/mesh.pcap" >"$LAB_DIR/mesh.log" 2>&1 &
JUDGE=$!
lab_wait tcpdump 10 grep -q 'listening on' "$LAB_DIR/mesh.log"
part() { lab_in c curl -gsf -m 60 -r 0-10485759 "http://$1/big" | cmp -n 10485760 - "$LAB_DIR/big"; }
for f in IPv4 IPv6; do
	case $f in
	IPv4) a=$V4.1 w=$V4.2 u=$V4.3 c=$C4 ;;
	IPv6) a=$V6:1 w="[$V6:2]" u=$V6:3 c=$C6 ;;
	esac
	ok "DNS over UDP, $f" is "$(dns c $a 53)" fra-3
	ok "DNS over TCP, $f" is "$(dns c $a 53 +tcp)" fra-3
	ok "HTTP, $f" like "$(web c "$w" /)" "fra-3 $c *"
	ok "UDP on a wildcard socket, $f" like "$(udp_whoami c "$u" 7)" "fra-3 $c *"
	ok "HTTP, 10 MB, $f" part "$w"
done
kill $JUDGE
wait $JUDGE 2>/dev/null
packets() { tshark -r "$LAB_DIR/mesh.pcap" -Y "$1" 2>/dev/null | wc -l; }
gre6() { [ "$(packets 'ipv6.nxt == 47 && gre.key')" -gt 0 ]; }
no_gre4() { is "$(packets 'ip.proto == 47')" 0; }
ok 'GRE with key, IPv6 outside' gre6
ok 'none with IPv4 outside' no_gre4
tap_end
