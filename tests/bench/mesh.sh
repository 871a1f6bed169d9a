#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Through the mesh: iperf3 and a UDP echo through a VIP, and from the same client over the same WireGuard link with plain
# routing, in turn. WireGuard runs in user space where the kernel has none, so a figure is a figure of WireGuard: what counts
# is the ratio.
# RUNS rounds (5), SECONDS of each iperf3 (3).
set -u
. tests/lab/lab.sh
RUNS=${RUNS:-5} SECONDS_EACH=${SECONDS_EACH:-3}
VIP=198.51.100.1 VIP6=2001:db8:100::1

lab_up
lab_region fra
lab_node fra-1 fra
lab_node fra-2 fra
lab_client c fra
lab_mesh
lab_app iperf fra-2 iperf3 -s -p 5201
lab_echo fra-2 fra-2 5300
lab_start_all
W=$(lab_addr4 fra-2) W6=$(lab_addr6 fra-2)
MESH=$(lab_mesh4 fra-2) MESH6=$(lab_mesh6 fra-2)
{
	lab_ctl fra-1 service add iperf --vip $VIP --vip $VIP6 --port tcp/5201 --port udp/5201
	lab_wait 'the service' 10 lab_ctl fra-2 route show iperf
	lab_ctl fra-2 backend add iperf "$W:5201" --check tcp
	lab_ctl fra-2 backend add iperf "[$W6]:5201" --check tcp
	lab_ctl fra-1 service add echo --vip 198.51.100.2 --vip 2001:db8:100::2 --port udp/5300
	lab_wait 'the service' 10 lab_ctl fra-2 route show echo
	lab_ctl fra-2 backend add echo "$W:5300" --check udp
	lab_ctl fra-2 backend add echo "[$W6]:5300" --check udp
} >/dev/null || exit 1
answers() { printf x | lab_in c "$OUT/lab/udpask" 198.51.100.2 5300 500 >/dev/null && lab_in c timeout 5 iperf3 -c $VIP -n 100K >/dev/null 2>&1; }
lab_wait 'an answer' 20 answers

# A second address of the client, which the kernels route: client - edge - WireGuard - worker and back.
P4=192.0.2.19 P6=2001:db8:c:1::19
{
	lab_addr c eth0 $P4/28 $P6/64
	lab_in r-fra ip route add "$MESH" via "$(lab_addr4 fra-1)"
	lab_in r-fra ip -6 route add "$MESH6" via "$(lab_addr6 fra-1)"
	lab_in fra-1 sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	lab_in fra-1 ip -6 route add default via "$(lab_in fra-1 ip -6 route show default | awk '{ print $3; exit }')" metric 10
	lab_in fra-2 wg set "${LAB_WG_DEV[fra-2]}" peer "${LAB_WG_PUB[fra-1]}" allowed-ips "$(lab_mesh4 fra-1)/32,$(lab_mesh6 fra-1)/128,$P4/32,$P6/128"
	lab_in fra-2 ip route add $P4 dev "${LAB_WG_DEV[fra-2]}"
	lab_in fra-2 ip -6 route add $P6 dev "${LAB_WG_DEV[fra-2]}"
} 2>/dev/null
routed() { lab_in c ping -c1 -W1 -I $P4 "$MESH" && lab_in c ping -c1 -W1 -I $P6 "$MESH6"; }
lab_wait 'plain routing' 20 routed >/dev/null || exit 1

# The bytes that arrived: bits a second.
iperf() { # SPACE SERVER ARGS...
	local space=$1 server=$2
	shift 2
	lab_in "$space" timeout $((SECONDS_EACH + 10)) iperf3 -c "$server" -p 5201 -t "$SECONDS_EACH" -J "$@" |
		jq 'if .end.sum_received then .end.sum_received.bits_per_second else .end.sum.bits_per_second * (1 - .end.sum.lost_percent / 100) end'
}
median() { sort -g | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }
# The inner packet is as large straight as through the VIP: the tunnel takes 28 bytes of the mesh's MTU.
compare() { # NAME VIP MESH ARGS...
	local name=$1 vip=$2 mesh=$3 from=$P4 i
	shift 3
	case $mesh in *:*) from=$P6 ;; esac
	: >"$LAB_DIR/via" >"$LAB_DIR/straight"
	for ((i = 0; i < RUNS; i++)); do
		iperf c "$vip" "$@" >>"$LAB_DIR/via"
		iperf c "$mesh" -B "$from" "$@" >>"$LAB_DIR/straight"
	done
	awk -v name="$name" -v a="$(median <"$LAB_DIR/via")" -v b="$(median <"$LAB_DIR/straight")" \
		'BEGIN { printf "| %-28s | %8.1f | %8.1f | %5.2f |\n", name, a / 1e6, b / 1e6, b ? a / b : 0 }'
}
echo '| Mbit/s, arrived              |   by VIP |   routed | ratio |'
echo '|---|---|---|---|'
compare 'TCP, IPv4, to the server' $VIP "$MESH" -M 1340
compare 'TCP, IPv4, to the client' $VIP "$MESH" -M 1340 -R
compare 'TCP, IPv6, to the server' $VIP6 "$MESH6" -M 1320
compare 'TCP, IPv6, to the client' $VIP6 "$MESH6" -M 1320 -R
compare 'UDP, IPv4, to the server' $VIP "$MESH" -u -b 200M -l 1200
compare 'UDP, IPv4, to the client' $VIP "$MESH" -u -b 200M -l 1200 -R

echo
echo '| UDP echo, microseconds       |   by VIP |   routed | added |'
echo '|---|---|---|---|'
rtt() { # NAME VIP MESH FROM
	local i
	: >"$LAB_DIR/via" >"$LAB_DIR/straight"
	for ((i = 0; i < RUNS; i++)); do
		lab_in c "$OUT/tests/bench/udprtt" "$2" 5300 3000 >>"$LAB_DIR/via"
		lab_in c "$OUT/tests/bench/udprtt" "$3" 5300 3000 "$4" >>"$LAB_DIR/straight"
	done
	for q in 1:p50 2:p99; do
		awk -v name="$1, ${q#*:}" -v a="$(cut -d' ' -f${q%:*} "$LAB_DIR/via" | median)" -v b="$(cut -d' ' -f${q%:*} "$LAB_DIR/straight" | median)" \
			'BEGIN { printf "| %-28s | %8.1f | %8.1f | %5.1f |\n", name, a, b, a - b }'
	done
}
rtt 'IPv4' 198.51.100.2 "$MESH" $P4
rtt 'IPv6' 2001:db8:100::2 "$MESH6" $P6
