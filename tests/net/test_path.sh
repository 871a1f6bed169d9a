#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What a client sees through a VIP is what it sees straight at the server: DNS, HTTP, UDP, both families; backends on the
# edge itself, on another node, in a container. tcpdump and tshark judge the wire.
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
BOX=10.88.1.2 BOX6=fd88:1::2
C4=$(lab_client4 fra) C6=$(lab_client6 fra)

lab_dns fra-1 fra-1 5353 "$E1" "$E1_6"
lab_dns fra-2 fra-2 5353 "$W" "$W6"
lab_web fra-1 fra-1 8080 "$E1" "[$E1_6]"
lab_web fra-2 fra-2 8080 "$W" "[$W6]"
lab_web box fra-2-box 8080 0.0.0.0 '[::]'
lab_echo fra-1 fra-1 5300
lab_echo fra-2 fra-2 5300
lab_echo fra-2-high fra-2 5399
lab_echo box fra-2-box 5300
lab_upload fra-1 fra-1 9000
lab_upload fra-2 fra-2 9000
lab_upload box fra-2-box 9000
lab_start_all

# service N: VIPs .N and ::N; NODE ADDR4 ADDR6 are where its one backend of each family is
service() { # NAME N PORTS NODE BACKEND4 BACKEND6 CHECK
	local name=$1 n=$2 ports=$3 node=$4 b4=$5 b6=$6 check=$7 p args=()
	for p in $ports; do args+=(--port "$p"); done
	lab_ctl fra-1 service add "$name" --vip "$V4.$n" --vip "$V6:$n" "${args[@]}" >/dev/null || return 1
	lab_wait "service $name at $node" 10 lab_ctl "$node" route show "$name" || return 1
	lab_ctl "$node" backend add "$name" "$b4" --check "$check" >/dev/null || return 1
	lab_ctl "$node" backend add "$name" "$b6" --check "$check" >/dev/null
}
all_services() {
	service dns-local 1 'udp/53 tcp/53' fra-1 "$E1:5353" "[$E1_6]:5353" tcp || return 1
	service dns-far 2 'udp/53 tcp/53' fra-2 "$W:5353" "[$W6]:5353" tcp || return 1
	service web-box 3 tcp/80 fra-2 "$BOX:8080" "[$BOX6]:8080" tcp || return 1
	service web-far 4 tcp/80 fra-2 "$W:8080" "[$W6]:8080" tcp || return 1
	service echo-far 5 udp/6000-6099 fra-2 "$W:5300" "[$W6]:5300" udp || return 1
	service echo-box 6 udp/7 fra-2 "$BOX:5300" "[$BOX6]:5300" udp || return 1
	service echo-local 7 udp/7 fra-1 "$E1:5300" "[$E1_6]:5300" udp || return 1
	service web-local 8 tcp/80 fra-1 "$E1:8080" "[$E1_6]:8080" tcp || return 1
	service up-local 11 tcp/9 fra-1 "$E1:9000" "[$E1_6]:9000" tcp || return 1
	service up-far 12 tcp/9 fra-2 "$W:9000" "[$W6]:9000" tcp || return 1
	service up-box 13 tcp/9 fra-2 "$BOX:9000" "[$BOX6]:9000" tcp || return 1
	lab_wait '22 healthy backends' 20 passing fra-1 22 && lab_wait 'the first answer' 10 first_answer
}
first_answer() { is "$(dns c $V4.1 53)" fra-1 && is "$(dns c $V6:2 53)" fra-2; }
ok 'eleven services, a backend of each family, all healthy' all_services

for n in 1:local:fra-1 2:far:fra-2; do
	IFS=: read -r i where who <<<"$n"
	ok "DNS over UDP, IPv4, $where" is "$(dns c $V4.$i 53)" "$who"
	ok "DNS over TCP, IPv4, $where" is "$(dns c $V4.$i 53 +tcp)" "$who"
	ok "DNS over UDP, IPv6, $where" is "$(dns c $V6:$i 53)" "$who"
	ok "DNS over TCP, IPv6, $where" is "$(dns c $V6:$i 53 +tcp)" "$who"
done
for n in 3:container:box 4:far:fra-2 8:local:fra-1; do
	IFS=: read -r i where who <<<"$n"
	ok "HTTP sees the client's address, IPv4, $where" like "$(web c $V4.$i /)" "$who $C4 *"
	ok "HTTP sees the client's address, IPv6, $where" like "$(web c "[$V6:$i]" /)" "$who $C6 *"
done
for n in 5:6000:far:fra-2 5:6099:far:fra-2-high 6:7:container:box 7:7:local:fra-1; do
	IFS=: read -r i port where who <<<"$n"
	ok "UDP on a wildcard socket, port $port, IPv4, $where" like "$(udp_whoami c $V4.$i $port)" "$who $C4 *"
	ok "UDP on a wildcard socket, port $port, IPv6, $where" like "$(udp_whoami c $V6:$i $port)" "$who $C6 *"
done

big() { # URL: sums of the file as got
	lab_in c curl -gsf -m 100 "$1" | sha256sum | cut -d' ' -f1
}
SUM=$(sha256sum "$LAB_DIR/big" | cut -d' ' -f1)
ok 'HTTP, 100 MB, straight at the server' is "$(big "http://$W:8080/big")" "$SUM"
ok 'HTTP, 100 MB, IPv4, far' is "$(big "http://$V4.4/big")" "$SUM"
ok 'HTTP, 100 MB, IPv6, far' is "$(big "http://[$V6:4]/big")" "$SUM"
ok 'HTTP, 100 MB, IPv4, container' is "$(big "http://$V4.3/big")" "$SUM"
ok 'HTTP, 100 MB, IPv6, local' is "$(big "http://[$V6:8]/big")" "$SUM"

up() { # SOCAT-ADDRESS: sum of 20 MB as the server got them
	head -c 20971520 "$LAB_DIR/big" | lab_in c socat -t 30 - "$1" | cut -d' ' -f1
}
SUM=$(head -c 20971520 "$LAB_DIR/big" | sha256sum | cut -d' ' -f1)
ok 'upload of 20 MB, straight at the server' is "$(up "TCP:$W:9000")" "$SUM"
for n in 11:local 12:far 13:container; do
	IFS=: read -r i where <<<"$n"
	ok "upload of 20 MB, IPv4, $where" is "$(up "TCP:$V4.$i:9")" "$SUM"
	ok "upload of 20 MB, IPv6, $where" is "$(up "TCP6:[$V6:$i]:9")" "$SUM"
done

# The whole answer, not only what it is about.
answer() { # SERVER PORT NAME TYPE [OPTION...]
	local server=$1 port=$2
	shift 2
	lab_in c kdig +retry=0 +time=3 +noall +answer +authority "@$server" -p "$port" "$@" 2>&1 | sed 's/from [^ ]*/from SERVER/' | sort
}
for q in 'www.lab A' 'lab SOA' 'none.lab A' 'big.lab TXT' 'big.lab TXT +tcp' 'www.lab A +noedns'; do
	# shellcheck disable=SC2086
	ok "DNS, '$q': as straight, IPv4 and IPv6" is "$(answer $V4.2 53 $q) $(answer $V6:2 53 $q)" "$(answer "$W" 5353 $q) $(answer "$W6" 5353 $q)"
done
headers() { lab_in c curl -gsI -m 10 "$1" | grep -v '^Date:'; }
for p in / /big /none; do
	ok "HTTP, headers of $p: as straight, IPv4" is "$(headers "http://$V4.4$p")" "$(headers "http://$W:8080$p")"
	ok "HTTP, headers of $p: as straight, IPv6" is "$(headers "http://[$V6:4]$p")" "$(headers "http://[$W6]:8080$p")"
done

echo_1200() { # ADDRESS PORT
	head -c 1200 /dev/urandom >"$LAB_DIR/dgram"
	udp_ask c "$@" <"$LAB_DIR/dgram" | cmp - "$LAB_DIR/dgram"
}
ok 'UDP echo of 1,200 bytes, straight' echo_1200 "$W" 5300
for n in 5:6000:far 6:7:container 7:7:local; do
	IFS=: read -r i port where <<<"$n"
	ok "UDP echo of 1,200 bytes, IPv4, $where" echo_1200 "$V4.$i" "$port"
	ok "UDP echo of 1,200 bytes, IPv6, $where" echo_1200 "$V6:$i" "$port"
done

# One client port, two VIPs on one backend: replies must not mix.
two_vips() {
	local a b
	lab_ctl fra-1 service add dns-second --vip $V4.9 --port udp/53 >/dev/null || return 1
	lab_wait 'dns-second at fra-2' 10 lab_ctl fra-2 route show dns-second || return 1
	lab_ctl fra-2 backend add dns-second "$W:5353" >/dev/null || return 1
	lab_wait 'an answer from the second VIP' 10 second_answers || return 1
	lab_in c kdig +short +retry=0 +time=3 -b "$C4#4444" @$V4.2 whoami.lab TXT || return 1
	a=$(lab_in c kdig +short +retry=0 +time=3 -b "$C4#4444" @$V4.9 whoami.lab TXT) || return 1
	b=$(lab_in c kdig +short +retry=0 +time=3 -b "$C4#4444" @$V4.2 whoami.lab TXT) || return 1
	is "$a $b" '"fra-2" "fra-2"'
}
second_answers() { is "$(dns c $V4.9 53)" fra-2; }
ok 'one client port asks two VIPs of one backend' two_vips

# What is to a VIP but to no service reaches nobody: not the edge's own daemons, not the backend.
closed_port() {
	lab_app sink fra-1 socat -u TCP6-LISTEN:2222,ipv6only=0,fork,reuseaddr OPEN:/dev/null
	lab_echo fra-1-wild fra-1 2223
	lab_wait 'a daemon on the edge' 5 connects "TCP:$E1" || return 1
	lab_wait 'the other one' 5 udp_whoami c "$E1_6" 2223 || return 1
	! connects TCP:$V4.1 && ! connects "TCP6:[$V6:1]" && ! udp_whoami c $V4.1 2223 && ! udp_whoami c $V6:1 2223
}
connects() { lab_in c socat -u /dev/null "$1:2222,connect-timeout=1"; }
ok "an edge's own daemons are not reachable through a VIP" closed_port
fragments() {
	head -c 4000 /dev/urandom >"$LAB_DIR/long"
	lab_in c "$OUT/lab/udpask" $V4.5 6000 5000 <"$LAB_DIR/long" | cmp - "$LAB_DIR/long"
}
ok '4,000 bytes there and back, in fragments' fragments

# The judge: what crossed the mesh and what reached the client.
capture() { # SPACE DEVICE FILE FILTER
	lab_in "$1" tcpdump -i "$2" -U -w "$3" -Q in "$4" >"$3.log" 2>&1 &
	echo $! >>"$LAB_DIR/captures"
	lab_wait "tcpdump on $2" 10 grep -q 'listening on' "$3.log"
}
traffic() {
	dns c $V4.2 53 && dns c $V6:2 53 && dns c $V4.2 53 +tcp && web c $V4.3 / && web c "[$V6:4]" / &&
		udp_whoami c $V4.5 6000 && udp_whoami c $V6:6 7
}
judge() { # FILE TSHARK-FILTER WANTED-COUNT: 0, or + for some
	local n
	n=$(tshark -r "$1" -o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE -Y "$2" 2>/dev/null | wc -l)
	case $3 in
	0) [ "$n" -eq 0 ] || { tshark -r "$1" -o udp.check_checksum:TRUE -o tcp.check_checksum:TRUE -Y "$2" -V 2>/dev/null | head -80; return 1; } ;;
	+) [ "$n" -gt 0 ] || { echo "no packet like: $2"; tshark -r "$1" 2>/dev/null | head -20; return 1; } ;;
	esac
}
capture fra-2 "${LAB_WG_DEV[fra-2]}" "$LAB_DIR/worker.pcap" 'ip or ip6'
capture fra-1 "${LAB_WG_DEV[fra-1]}" "$LAB_DIR/edge.pcap" 'ip or ip6'
capture c eth0 "$LAB_DIR/client.pcap" 'ip or ip6'
ok 'traffic for the judge' traffic
settled() { [ "$(tcpdump -nr "$LAB_DIR/client.pcap" 'ip6 and udp src port 7' 2>/dev/null | wc -l)" -ge 1 ]; }
ok 'the last reply was captured' lab_wait 'the captures' 10 settled
while read -r p; do
	kill "$p"
	wait "$p" 2>/dev/null
done <"$LAB_DIR/captures"
BAD='ip.checksum.status=="Bad" || tcp.checksum.status=="Bad" || udp.checksum.status=="Bad"'
for f in worker edge; do
	ok "$f: GRE with key, version 0, decoded to DNS inside" judge "$LAB_DIR/$f.pcap" 'gre.key && dns' +
	ok "$f: IPv6 inside" judge "$LAB_DIR/$f.pcap" 'gre.key && ipv6' +
	ok "$f: no GRE without a key" judge "$LAB_DIR/$f.pcap" 'gre && !gre.key' 0
	ok "$f: nothing malformed" judge "$LAB_DIR/$f.pcap" '_ws.malformed' 0
	ok "$f: every checksum is right" judge "$LAB_DIR/$f.pcap" "$BAD" 0
done
ok 'client: every checksum is right' judge "$LAB_DIR/client.pcap" "($BAD) && !arp" 0
ok 'client: nothing has a private source' judge "$LAB_DIR/client.pcap" "ip.src==10.0.0.0/8 && !icmp" 0
tap_end
