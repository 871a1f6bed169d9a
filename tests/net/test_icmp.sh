#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# ICMP and sizes: ping and traceroute to VIPs, datagrams up to 1,500 bytes, path MTU discovery in both directions, refused
# ports; backends on the edge, on another node, in a container. tshark judges the checksums.
. tests/net/net.sh

V4=198.51.100 V6=2001:db8:100:
lab_up
lab_region fra
lab_node fra-1 fra
lab_node fra-2 fra
lab_client c fra
# A client, d, with a link of 1,300 bytes in the middle of its path.
lab_router narrow
lab_link r-fra narrow0 narrow eth0
lab_addr r-fra narrow0 172.21.0.1/30 fd00:eeee::1/64
lab_addr narrow eth0 172.21.0.2/30 fd00:eeee::2/64
lab_in narrow ip route add default via 172.21.0.1
lab_in narrow ip -6 route add default via fd00:eeee::1
lab_in r-fra ip link set narrow0 mtu 1300
lab_in narrow ip link set eth0 mtu 1300
lab_add_space d
lab_link narrow side d eth0
lab_addr narrow side 203.0.113.1/28 2001:db8:d::1/64
lab_addr d eth0 203.0.113.2/28 2001:db8:d::2/64
lab_in d ip route add default via 203.0.113.1
lab_in d ip -6 route add default via 2001:db8:d::1
lab_in r-fra ip route add 203.0.113.0/28 via 172.21.0.2
lab_in r-fra ip -6 route add 2001:db8:d::/64 via fd00:eeee::2
# What XDP sends back out of a veth gets across only if there is XDP at the other end, too.
printf '#include <linux/bpf.h>\n__attribute__((section("xdp"), used)) int pass(void *c) { return XDP_PASS; }\n' |
	clang -O2 -target bpf -I"/usr/include/$(gcc -print-multiarch)" -x c -c - -o "$LAB_DIR/pass.o"
lab_in r-fra ip link set dev fra-1 xdp obj "$LAB_DIR/pass.o" sec xdp || lab_die 'no XDP on a veth'
# tshark can judge only what is summed up before it is seen.
for s in c d fra-1 fra-2; do lab_in $s ethtool -K eth0 tx off >/dev/null; done
lab_mesh
lab_container fra-2
lab_in fra-2-box ethtool -K eth0 tx off >/dev/null
E1=$(lab_addr4 fra-1) E1_6=$(lab_addr6 fra-1) W=$(lab_addr4 fra-2) W6=$(lab_addr6 fra-2)
BOX=10.88.1.2 BOX6=fd88:1::2
lab_web fra-2 fra-2 8080 "$W" "[$W6]"
lab_web box fra-2-box 8080 0.0.0.0 '[::]'
lab_echo fra-1 fra-1 5300
lab_echo fra-2 fra-2 5300
lab_echo box fra-2-box 5300
lab_start_all

# service N: VIPs .N and ::N; NODE is where its backends are, which nobody checks
service() { # NAME N PORT NODE BACKEND4 BACKEND6
	lab_ctl fra-1 service add "$1" --vip "$V4.$2" --vip "$V6:$2" --port "$3" >/dev/null || return 1
	lab_wait "service $1 at $4" 10 lab_ctl "$4" route show "$1" || return 1
	lab_ctl "$4" backend add "$1" "$5" >/dev/null && lab_ctl "$4" backend add "$1" "$6" >/dev/null
}
all_services() {
	service web-far 1 tcp/80 fra-2 "$W:8080" "[$W6]:8080" || return 1
	service web-box 2 tcp/80 fra-2 "$BOX:8080" "[$BOX6]:8080" || return 1
	service echo-far 3 udp/7 fra-2 "$W:5300" "[$W6]:5300" || return 1
	service echo-box 4 udp/7 fra-2 "$BOX:5300" "[$BOX6]:5300" || return 1
	service echo-local 5 udp/7 fra-1 "$E1:5300" "[$E1_6]:5300" || return 1
	service gone-far 6 udp/9 fra-2 "$W:5399" "[$W6]:5399" || return 1
	service gone-box 7 udp/9 fra-2 "$BOX:5399" "[$BOX6]:5399" || return 1
	service gone-local 8 udp/9 fra-1 "$E1:5399" "[$E1_6]:5399" || return 1
	lab_wait 'sixteen backends' 20 passing fra-1 16
}
ok 'eight services' all_services

capture() { # SPACE
	lab_in "$1" tcpdump -i eth0 -U -w "$LAB_DIR/$1.pcap" -Q in 'icmp or icmp6' >"$LAB_DIR/$1.log" 2>&1 &
	echo $! >>"$LAB_DIR/captures"
	lab_wait "tcpdump in $1" 10 grep -q 'listening on' "$LAB_DIR/$1.log"
}
for s in c d fra-2 fra-2-box; do capture $s; done

# udp SPACE ADDRESS PORT BYTES df|may: what became of a datagram
udp() { lab_in "$1" "$OUT/lab/udpmtu" "$2" "$3" "$4" "$5" 3000; }
forget() {
	local s
	for s in c d fra-1 fra-2 fra-2-box; do
		lab_in "$s" ip route flush cache
		lab_in "$s" ip -6 route flush cache
	done
}

# ---- echo
first_ping() { lab_in c ping -n -q -c 1 -W 1 "$1"; }
ok 'the VIPs are in force' lab_wait 'the first answers' 10 eval 'first_ping $V4.8 && first_ping $V6:8'
pings() { # SPACE ADDRESS BYTES
	lab_in "$1" ping -n -q -c 5 -i 0.02 -W 2 -s "$3" -M 'do' "$2" | grep -q ' 5 received'
}
ok 'ping, IPv4' pings c $V4.1 56
ok 'ping, IPv6' pings c $V6:1 56
ok 'ping of 1,500 bytes, IPv4' pings c $V4.3 1472
ok 'ping of 1,500 bytes, IPv6' pings c $V6:3 1452
answered() { [ "$(counter fra-1 echo_answered)" -ge 20 ]; }
ok 'the edge answered' lab_wait 'its counter' 5 answered

trace() { # WANTED-HOPS OPTION...
	local want=$1
	shift
	is "$(lab_in c traceroute -n -q 1 -w 1 -m 4 "$@" | awk 'NR > 1 { printf "%s%s", sep, $2; sep = " " }')" "$want"
}
R4=192.0.2.17 R6=2001:db8:c:1::1
ok 'traceroute with echo, IPv4' trace "$R4 $V4.1" -I $V4.1
ok 'traceroute with echo, IPv6' trace "$R6 $V6:1" -6 -I $V6:1
ok 'traceroute with SYN, IPv4' trace "$R4 $V4.1" -T -p 80 $V4.1
ok 'traceroute with SYN, IPv6' trace "$R6 $V6:1" -6 -T -p 80 $V6:1
ok "traceroute to an UDP service's port" trace "$R4 $V4.3" -U -p 7 $V4.3

# ---- sizes, with an ordinary path
for n in 3:far 4:container; do
	IFS=: read -r i where <<<"$n"
	ok "UDP that fits, DF, IPv4, $where" is "$(udp c $V4.$i 7 1364 df)" 'echo 1364'
	ok "UDP that fits, IPv6, $where" is "$(udp c $V6:$i 7 1344 df)" 'echo 1344'
	for bytes in 1365 1400 1472; do
		ok "UDP of $bytes, no DF, IPv4, $where: carried" is "$(udp c $V4.$i 7 $bytes may)" "echo $bytes"
		ok "UDP of $bytes, DF, IPv4, $where: told" is "$(udp c $V4.$i 7 $bytes df)" 'mtu 1392'
		ok "UDP of $bytes, IPv6, $where: told" is "$(udp c $V6:$i 7 $((bytes - 20)) df)" 'mtu 1392'
		forget
	done
	# The kernel has learned it, and cuts.
	ok "IPv6, $where: told once" is "$(udp c $V6:$i 7 1452 df) $(udp c $V6:$i 7 1452 may)" 'mtu 1392 echo 1452'
	forget
done
ok 'UDP of 1,472, DF, IPv4, on the edge itself' is "$(udp c $V4.5 7 1472 df)" 'echo 1472'
ok 'UDP of 1,452, IPv6, on the edge itself' is "$(udp c $V6:5 7 1452 df)" 'echo 1452'

# ---- a narrow link on the path, and a worker with a firewall that lets in errors only about connections it knows
harden() {
	local wg=${LAB_WG_DEV[fra-2]}
	lab_in fra-2 sysctl -qw net.ipv4.conf.all.rp_filter=1
	lab_in fra-2 nft -f - <<-NFT
		table inet hard {
			chain inp {
				type filter hook input priority 0; policy drop;
				iif lo accept
				ct state invalid drop
				ct state established,related accept
				icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
				iifname eth0 udp dport { $LAB_WG_PORT, 5300, 5399 } accept
				iifname eth0 tcp dport 8080 accept
				iifname $wg ip saddr 10.77.0.0/16 accept
				iifname $wg ip6 saddr fd77::/64 accept
			}
			chain fw { type filter hook forward priority 0; policy drop; }
			chain post { type nat hook postrouting priority 100; oifname eth0 masquerade; }
		}
	NFT
}
ok 'a hardened worker' harden
file() { # HOST
	is "$(lab_in d curl -gs -m 10 -r 0-999999 -o /dev/null -w '%{size_download}' "http://$1/big")" 1000000
}
learned() { # SPACE FAMILY DESTINATION
	like "$(lab_in "$1" ip "$2" route get "$3")" '*mtu 1300*'
}
for n in 1:far:fra-2 2:container:fra-2-box; do
	IFS=: read -r i where space <<<"$n"
	ok "1 MB over a narrow link, IPv4, $where" file $V4.$i
	ok "1 MB over a narrow link, IPv6, $where" file "[$V6:$i]"
	ok "  the server has learned the path's MTU, IPv4, $where" learned "$space" -4 203.0.113.2
	ok "  the server has learned the path's MTU, IPv6, $where" learned "$space" -6 2001:db8:d::2
done
forget
sized() { [ "$(printf 'size 1400' | lab_in d "$OUT/lab/udpask" "$1" 7 500 | wc -c)" -eq 1400 ]; }
for n in 3:far 4:container 5:local; do
	IFS=: read -r i where <<<"$n"
	for a in $V4.$i $V6:$i; do
		# The first one is lost on every path whose MTU is not known yet: with or without us.
		ok "UDP answer of 1,400 over a narrow link, $a, $where" lab_wait 'the answer' 5 sized "$a"
		ok "UDP of 1,350 into a narrow link, $a, $where: told by the router" is "$(udp d "$a" 7 1350 df)" 'mtu 1300'
	done
done

# ---- nobody listens
for n in 6:far 7:container 8:local; do
	IFS=: read -r i where <<<"$n"
	ok "UDP to a closed port, IPv4, $where: refused" is "$(udp c $V4.$i 9 100 df)" refused
	ok "UDP to a closed port, IPv6, $where: refused" is "$(udp c $V6:$i 9 100 df)" refused
	ok "UDP of 1,200 to a closed port, IPv6, $where: refused" is "$(udp c $V6:$i 9 1200 df)" refused
done

# ---- no service
quiet() { is "$(lab_in c "$OUT/lab/udpmtu" "$1" 5 100 df 200)" nothing; }
ok 'UDP to a port without a service: silence' quiet $V4.6
ok 'policy reject=on' lab_ctl fra-1 service set gone-far reject=on
refused() { is "$(lab_in c "$OUT/lab/udpmtu" "$1" 5 100 df 200)" refused; }
ok 'then UDP is refused, IPv4' lab_wait 'a refusal' 10 refused $V4.6
ok 'then UDP is refused, IPv6' lab_wait 'a refusal' 10 refused $V6:6
reset() { # HOST: at once, not after a time-out
	lab_in c curl -gs -m 3 "http://$1:81/"
	is $? 7
}
ok 'then TCP is reset, IPv4' reset $V4.6
ok 'then TCP is reset, IPv6' reset "[$V6:6]"
ok 'then traceroute comes to its end, IPv4' trace "$R4 $V4.6" $V4.6
ok 'then traceroute comes to its end, IPv6' trace "$R6 $V6:6" -6 $V6:6

# ---- the judge
settled() { [ "$(tcpdump -nr "$LAB_DIR/c.pcap" "$1" 2>/dev/null | wc -l)" -ge 1 ]; }
ok 'the last errors were captured' lab_wait 'the captures' 10 settled "icmp6 and src host $V6:6"
while read -r p; do
	kill "$p"
	wait "$p" 2>/dev/null
done <"$LAB_DIR/captures"
judge() { # SPACE TSHARK-FILTER: prints and fails if there is such a packet
	local out
	out=$(tshark -r "$LAB_DIR/$1.pcap" -o ip.check_checksum:TRUE -Y "$2" 2>/dev/null)
	[ -z "$out" ] || { echo "$out" | head -20; return 1; }
}
some() { ! judge "$@" >/dev/null; }
BAD='icmp.checksum.status=="Bad" || icmpv6.checksum.status=="Bad" || ip.checksum.status=="Bad" || _ws.malformed'
for s in c d fra-2 fra-2-box; do
	ok "$s: errors were seen" some $s 'icmp.type==3 || icmpv6.type==2'
	ok "$s: every checksum is right, also of quoted headers" judge $s "$BAD"
done
for s in c d; do
	ok "$s: nothing names a backend's own address" judge $s 'ip.addr==10.0.0.0/8 || ipv6.addr==fd00::/8'
done
for s in fra-2 fra-2-box; do
	ok "$s: no error quotes a VIP" judge $s 'icmp && ip.addr==198.51.100.0/24 || icmpv6.type<128 && ipv6.addr==2001:db8:100::/64'
done
tap_end
