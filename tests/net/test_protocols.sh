#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Real programs through a VIP, one node in between: name server, web server, iperf3, DTLS, WireGuard, and what TFTP does,
# which answers from a port that nobody was asked on. docs/DATAPATH.md says why each is as it is.
. tests/net/net.sh

V4=198.51.100 V6=2001:db8:100:
lab_up
lab_region fra
lab_node fra-1 fra
lab_node fra-2 fra
lab_client c fra
lab_mesh
W=$(lab_addr4 fra-2) W6=$(lab_addr6 fra-2) C4=$(lab_client4 fra)

lab_dns fra-2 fra-2 5353 "$W" "$W6"
lab_web fra-2 fra-2 8080 "$W" "[$W6]"
lab_app iperf4 fra-2 iperf3 -s -p 5204
lab_app iperf6 fra-2 iperf3 -s -p 5206
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=dtls.lab \
	-keyout "$LAB_DIR/dtls.key" -out "$LAB_DIR/dtls.crt" 2>/dev/null
for f in 4 6; do
	mkfifo "$LAB_DIR/dtls-in-$f" # held open, or the server would see the end of its input
	lab_app dtls-$f fra-2 sh -c 'exec openssl s_server -dtls "-$0" -accept 4433 -cert "$1/dtls.crt" -key "$1/dtls.key" -quiet <>"$1/dtls-in-$0"' \
		$f "$LAB_DIR"
done
mkdir -p "$LAB_DIR/tftp"
head -c 30000 /dev/urandom >"$LAB_DIR/tftp/file"
chmod 755 "$LAB_DIR/tftp" && chmod 644 "$LAB_DIR/tftp/file"
lab_app tftp fra-2 in.tftpd -L -a :6969 -u nobody -s "$LAB_DIR/tftp"
lab_start_all

# service N PORT-AT-BACKEND PORT...: VIPs .N and ::N, one backend of each family on fra-2
service() {
	local n=$1 at=$2 p args=()
	shift 2
	for p in "$@"; do args+=(--port "$p"); done
	lab_ctl fra-1 service add "s$n" --vip "$V4.$n" --vip "$V6:$n" "${args[@]}" >/dev/null || return 1
	lab_wait "service s$n at fra-2" 10 lab_ctl fra-2 route show "s$n" || return 1
	lab_ctl fra-2 backend add "s$n" "$W:$at" >/dev/null && lab_ctl fra-2 backend add "s$n" "[$W6]:$at" >/dev/null
}
services() {
	service 1 5353 udp/53 tcp/53 && service 2 8080 tcp/80 && service 3 5204 udp/5201 tcp/5201 && service 4 5206 udp/5201 tcp/5201 &&
		service 5 4433 udp/4433 && service 6 6969 udp/69 && service 7 51900 udp/51820 && service 8 5353 udp/53 &&
		service 9 8080 tcp/80 && lab_wait 'DNS' 10 dns_up && lab_wait 'HTTP' 10 web c "[$V6:9]" /
}
dns_up() { is "$(dns c $V4.8 53) $(dns c $V6:1 53)" 'fra-2 fra-2'; }
ok 'nine services' services

# ---- DNS: 4 KB in one datagram; too little room, then TCP.
txt() { lab_in c kdig +short +retry=0 +time=3 "$@" huge.lab TXT 2>/dev/null | tr -d '" \n' | sha256sum; }
transport() { lab_in c kdig +time=3 "$@" huge.lab TXT 2>/dev/null | sed -n 's/.*(\(UDP\|TCP\)) in.*/\1/p'; }
HUGE=$(txt +tcp "@$W" -p 5353)
for v in $V4.1 $V6:1; do
	ok "DNS, 4 KB over UDP, $v" is "$(transport +ignore +bufsize=8192 "@$v") $(txt +ignore +bufsize=8192 "@$v")" "UDP $HUGE"
	ok "DNS, truncated, then TCP, $v" is "$(transport +bufsize=1232 "@$v") $(txt +bufsize=1232 "@$v")" "TCP $HUGE"
done

# ---- HTTP
part() { lab_in c curl -gsf -m 20 -r 0-20971519 "$1" | sha256sum; }
SUM=$(head -c 20971520 "$LAB_DIR/big" | sha256sum)
ok 'HTTP, 20 MB, IPv4' is "$(part "http://$V4.2/big")" "$SUM"
ok 'HTTP, 20 MB, IPv6' is "$(part "http://[$V6:2]/big")" "$SUM"

# ---- iperf3
measure() { # NAME OPTION...: both families at once, 2 s
	local name=$1 pid
	shift
	lab_in c iperf3 -J -t 2 "$@" -c $V6:4 >"$LAB_DIR/iperf-$name-6" 2>&1 &
	pid=$!
	lab_in c iperf3 -J -t 2 "$@" -c $V4.3 >"$LAB_DIR/iperf-$name-4" 2>&1
	wait $pid
}
arrived() { # FILE MBIT: at least that much, and of datagrams no more than 5 % lost
	jq -e --argjson want "$2" '.end | (.sum_received // .sum) as $r |
		($r.bits_per_second // 0) >= $want * 1e6 and ((.sum.lost_percent // 0) <= 5)' "$1" >/dev/null && return
	jq -c '.error // .end.sum // .end' "$1" 2>&1 || cat "$1"
	return 1
}
for row in 'udp-up -u -b 10M -l 1200' 'udp-down -u -b 10M -l 1200 -R' 'tcp-up -b 50M' 'tcp-down -b 50M -R'; do
	# shellcheck disable=SC2086
	measure $row
	name=${row%% *}
	case $name in udp*) want=8 ;; *) want=25 ;; esac
	ok "iperf3 $name, IPv4" arrived "$LAB_DIR/iperf-$name-4" $want
	ok "iperf3 $name, IPv6" arrived "$LAB_DIR/iperf-$name-6" $want
done

# Its data flows must reach the server of its control connection. With several backends that takes hash=source.
source_hashed() {
	lab_ctl fra-1 service add s10 --policy hash=source --vip $V4.10 --port tcp/5201 >/dev/null || return 1
	lab_wait 'service s10 at fra-2' 10 lab_ctl fra-2 route show s10 || return 1
	lab_ctl fra-2 backend add s10 "$W:5204" >/dev/null && lab_ctl fra-2 backend add s10 "$W:5206" >/dev/null || return 1
	lab_wait 'both backends at the edge' 10 is_spread || return 1
	lab_in c iperf3 -J -t 1 -P 8 -b 2M -c $V4.10 >"$LAB_DIR/iperf-source" 2>&1
	arrived "$LAB_DIR/iperf-source" 8
}
is_spread() { [ "$(lab_ctl fra-1 --json backend list | jq '[.backends[] | select(.service == "s10" and .health == "passing")] | length')" = 2 ]; }
ok 'iperf3 over nine connections, two backends, hashed by source' source_hashed

# ---- DTLS: handshake with the server's certificate, a word there, a word back.
dtls() { # FAMILY ADDRESS
	local out=$LAB_DIR/dtls-out-$1 say=$LAB_DIR/dtls-say-$1 rc
	mkfifo "$say"
	exec 9<>"$say"
	lab_in c openssl s_client -dtls -connect "$2:4433" -CAfile "$LAB_DIR/dtls.crt" -verify_return_error <&9 >"$out" 2>&1 &
	echo 'a word there' >&9
	lab_wait 'the server hears it' 5 grep -q 'a word there' "$LAB_DIR/app-dtls-$1.log" &&
		echo 'a word back' >"$LAB_DIR/dtls-in-$1" && lab_wait 'the client hears it' 5 grep -q 'a word back' "$out" &&
		grep -q 'Verification: OK' "$out"
	rc=$?
	[ $rc -eq 0 ] || tail -n 20 "$out" "$LAB_DIR/app-dtls-$1.log"
	exec 9>&-
	kill $!
	wait $! 2>/dev/null
	return $rc
}
ok 'DTLS, IPv4' dtls 4 $V4.5
ok 'DTLS, IPv6' dtls 6 "[$V6:5]"

# ---- WireGuard behind a VIP: a tunnel of its own, inside ours.
wg_node() { # NAME SPACE DEVICE PORT ADDRESS4
	(umask 077 && wg genkey >"$LAB_DIR/$1.key")
	LOG_LEVEL=error lab_app "$1" "$2" wireguard-go -f "$3"
	lab_wait "wireguard-go $1" 10 test -S "/var/run/wireguard/$3.sock" || return 1
	lab_in "$2" wg set "$3" private-key "$LAB_DIR/$1.key" listen-port "$4" &&
		lab_in "$2" ip addr add "$5/30" dev "$3" && lab_in "$2" ip link set "$3" mtu 1420 up
}
WS=wg${LAB_TAG:0:6}s WC=wg${LAB_TAG:0:6}c
wireguard_up() {
	wg_node wgs fra-2 "$WS" 51900 10.66.0.1 && wg_node wgc c "$WC" 51901 10.66.0.2 || return 1
	lab_in fra-2 wg set "$WS" peer "$(wg pubkey <"$LAB_DIR/wgc.key")" allowed-ips 10.66.0.2/32
}
wireguard() { # VIP
	lab_in c wg set "$WC" peer "$(wg pubkey <"$LAB_DIR/wgs.key")" endpoint "$1:51820" allowed-ips 10.66.0.1/32 || return 1
	lab_wait 'a ping through it' 10 lab_in c ping -c 1 -W 1 10.66.0.1 || return 1
	# The first that is as large as it may be teaches the client what the path takes; then its stack cuts them.
	lab_wait 'a large ping' 10 lab_in c ping -c 1 -W 1 -M do -s 1392 10.66.0.1 || return 1
	lab_in c ping -q -c 20 -i 0.02 -W 1 -M do -s 1392 10.66.0.1 | grep ' 0% packet loss'
}
sees_client() { lab_in fra-2 wg show "$WS" endpoints | grep -F "$1"; }
wireguard_download() { # through the tunnel in the tunnel
	lab_app inner fra-2 socat -u "FILE:$LAB_DIR/tftp/file" TCP-LISTEN:7000,bind=10.66.0.1
	lab_wait 'the inner server' 5 lab_in fra-2 sh -c 'ss -Hltn sport = :7000 | grep -q 7000' || return 1
	is "$(lab_in c socat -u TCP:10.66.0.1:7000 - | sha256sum)" "$(sha256sum <"$LAB_DIR/tftp/file")"
}
ok 'WireGuard at client and backend' wireguard_up
ok 'WireGuard through a VIP, IPv4' wireguard $V4.7
ok 'its server sees the client' sees_client "$C4:51901"
ok 'WireGuard, a download' wireguard_download
ok 'WireGuard roams to the IPv6 VIP' wireguard "[$V6:7]"
ok 'its server sees the client, IPv6' sees_client "[$(lab_client6 fra)]:51901"

# ---- One source port, two VIPs of one backend, at the same time.
one_port() { # NAME VIP VIP: both stay open; each hears from whom it asked
	local out=$LAB_DIR/one-port-$1 n
	mkfifo "$out.in"
	exec 9<>"$out.in"
	lab_in c socat - "TCP:$2,sourceport=45000,reuseaddr" <&9 >"$out" 2>&1 &
	printf 'GET /slow HTTP/1.0\r\n\r\n' >&9
	lab_wait 'the first is served' 5 grep -aq '200 OK' "$out" || return 1
	n=$(printf 'GET / HTTP/1.0\r\n\r\n' | lab_in c socat -t 3 - "TCP:$3,sourceport=45000,reuseaddr" | tail -n 1)
	exec 9>&-
	kill $!
	wait $! 2>/dev/null
	like "$n" "fra-2 * *" && [ "${n##* }" != 45000 ] || { echo "the second: $n"; return 1; }
}
ok 'TCP, one source port, two VIPs at once, IPv4' one_port 4 "$V4.2:80" "$V4.9:80"
ok 'TCP, one source port, two VIPs at once, IPv6' one_port 6 "[$V6:2]:80" "[$V6:9]:80"
one_port_dns() { # BIND VIP VIP
	local v out=
	for v in "$2" "$3" "$2" "$3"; do out+=$(lab_in c kdig +short +retry=0 +time=3 -b "$1#45001" "@$v" whoami.lab TXT); done
	is "$out" '"fra-2""fra-2""fra-2""fra-2"'
}
ok 'UDP, one source port, two VIPs, IPv4' one_port_dns "$C4" $V4.1 $V4.8
ok 'UDP, one source port, two VIPs, IPv6' one_port_dns "$(lab_client6 fra)" $V6:1 $V6:8

# ---- TFTP answers from a new port: a flow that no edge has seen, so it leaves as the worker's own traffic. A client that
# takes answers from any address goes on with the worker itself; one that insists on the address it asked hears nothing.
tftp_bypasses() {
	local n
	lab_in c tcpdump -n -i eth0 -U -w "$LAB_DIR/tftp.pcap" 'udp and not port 53' >"$LAB_DIR/tftpdump.log" 2>&1 &
	lab_wait 'tcpdump' 10 grep -q 'listening on' "$LAB_DIR/tftpdump.log"
	is "$(lab_in c curl -s -m 10 "tftp://$V4.6/file" | sha256sum)" "$(sha256sum <"$LAB_DIR/tftp/file")" || return 1
	lab_wait 'the capture' 5 captured "src host $C4 and dst host $W"
	kill $!
	wait $! 2>/dev/null
	n="asked: $(captured_n "dst host $V4.6"), answered by the VIP: $(captured_n "src host $V4.6")"
	is "$n" 'asked: 1, answered by the VIP: 0'
}
captured_n() { tcpdump -nr "$LAB_DIR/tftp.pcap" "$1" 2>/dev/null | wc -l; }
captured() { [ "$(captured_n "$1")" -gt 0 ]; }
ok "TFTP: asked at the VIP, served from the worker's own address" tftp_bypasses
insists() { printf '\0\1file\0octet\0' | lab_in c "$OUT/lab/udpask" $V4.6 69 500; }
ok 'TFTP: a client that insists on the VIP gets no answer' is "$(insists 2>&1)" 'udpask: no answer in 500 ms'
tap_end
