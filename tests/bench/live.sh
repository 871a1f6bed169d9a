#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Live frames, 60-byte UDP, generator - forwarder - worker on veth pairs, all on one core: packets a second that arrive at the
# worker through our XDP (mesh over Ethernet), nftables (DNAT and masquerade) and nginx (UDP stream proxy), in turn.
# RUNS rounds (5), MS each (2000), FLOWS (1000).
set -u
RUNS=${RUNS:-5} MS=${MS:-2000} FLOWS=${FLOWS:-1000} OUT=${OUT:-build/std}
B=$OUT/tests/bench/bench_live
TAG=edge-bench-$$
DIR=$(mktemp -d)
VIP=192.0.2.0 WORKER=10.20.0.2
CORE=$(($(nproc) - 1))

down() {
	kill "$(jobs -p)" 2>/dev/null
	for n in g f w; do
		ip netns pids "$TAG-$n" 2>/dev/null | xargs -r kill 2>/dev/null
		ip netns del "$TAG-$n" 2>/dev/null
	done
	rm -rf "$DIR"
}
trap down EXIT
trap 'exit 130' INT TERM

space() { nsenter --net="/run/netns/$TAG-$1" -- "${@:2}"; }
mac() { space "$1" cat "/sys/class/net/$2/address" 2>/dev/null || space "$1" ip -br link show "$2" | awk '{ print $3 }'; }
for n in g f w; do ip netns add "$TAG-$n" && space $n ip link set lo up || exit 1; done
ip -n "$TAG-g" link add g0 type veth peer name f0 netns "$TAG-f"
ip -n "$TAG-f" link add f1 type veth peer name w0 netns "$TAG-w"
ip -n "$TAG-g" addr add 10.10.0.1/24 dev g0
ip -n "$TAG-f" addr add 10.10.0.2/24 dev f0
ip -n "$TAG-f" addr add 10.20.0.1/24 dev f1
ip -n "$TAG-w" addr add $WORKER/24 dev w0
for i in g:g0 f:f0 f:f1 w:w0; do
	ip -n "$TAG-${i%:*}" link set "${i#*:}" up
done
ip -n "$TAG-f" route add 198.18.0.0/15 via 10.10.0.1
space f sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.f0.rp_filter=0
link() { space "$1" ip -br link show "$2" | awk '{ print $3 }'; }
G0=$(link g g0) F0=$(link f f0) F1=$(link f f1) W0=$(link w w0)
space f ip neigh replace $WORKER lladdr "$W0" dev f1 nud permanent
space f ip neigh replace 10.10.0.1 lladdr "$G0" dev f0 nud permanent

ready() { # LOG
	for _ in $(seq 200); do
		grep -q ready "$1" 2>/dev/null && return 0
		sleep 0.05
	done
	echo "live: not ready: $(cat "$1")" >&2
	exit 1
}
start() { # NAME SPACE COMMAND...: in the background, on the core
	local name=$1 in=$2
	shift 2
	space "$in" taskset -c "$CORE" "$@" >"$DIR/$name" 2>"$DIR/$name.err" &
	echo $! >"$DIR/$name.pid"
}
stop() { kill "$(cat "$DIR/$1.pid")" 2>/dev/null && wait "$(cat "$DIR/$1.pid")" 2>/dev/null; }

mkfifo "$DIR/ask" && exec 7<>"$DIR/ask"
space w taskset -c "$CORE" "$B" sink w0 <"$DIR/ask" >"$DIR/sink" 2>"$DIR/sink.err" &
ready "$DIR/sink"
# The kernel sends a redirected frame only to a device whose other end takes frames.
start gpass g "$B" pass g0
ready "$DIR/gpass"

seen() { # prints "PACKETS NS"
	local n
	n=$(wc -l <"$DIR/sink")
	echo >&7
	while [ "$(wc -l <"$DIR/sink")" -eq "$n" ]; do sleep 0.01; done
	tail -n 1 "$DIR/sink"
}
once() { # VIP PORT: Mpps that arrive
	local before after
	before=$(seen)
	space g taskset -c "$CORE" "$B" gen g0 "$1" "$2" "$FLOWS" "$MS" "$F0" "$G0" >"$DIR/made" || exit 1
	after=$(seen)
	awk -v a="$before" -v b="$after" 'BEGIN { split(a, x); split(b, y); printf "%.4f\n", (y[1] - x[1]) / (y[2] - x[2]) * 1e3 }'
}

run_ours() {
	start fwd f "$B" fwd f0 f1 "$W0" "$F1"
	ready "$DIR/fwd"
	once $VIP 53 >>"$DIR/ours"
	stop fwd
}
run_nft() {
	space f nft -f - <<-NFT
		table ip bench {
			chain pre { type nat hook prerouting priority -100; ip daddr $VIP udp dport 53 dnat to $WORKER:53; }
			chain post { type nat hook postrouting priority 100; oifname f1 masquerade; }
		}
	NFT
	start fpass f "$B" pass f0
	ready "$DIR/fpass"
	once $VIP 53 >>"$DIR/nft"
	stop fpass
	space f nft delete table ip bench
}
run_route() { # plain forwarding, the kernel's best
	start fpass f "$B" pass f0
	ready "$DIR/fpass"
	once $WORKER 53 >>"$DIR/route"
	stop fpass
}
NGINX_MODULE=/usr/lib/nginx/modules/ngx_stream_module.so
run_nginx() {
	[ -e $NGINX_MODULE ] || return 0
	cat >"$DIR/nginx.conf" <<-CONF
		load_module $NGINX_MODULE;
		worker_processes 1; daemon off; pid $DIR/nginx.own; error_log $DIR/nginx.log;
		events { worker_connections 8192; }
		stream { server { listen 10.10.0.2:53 udp; proxy_pass $WORKER:53; proxy_timeout 2s; proxy_responses 0; } }
	CONF
	start fpass f "$B" pass f0
	ready "$DIR/fpass"
	start nginx f nginx -c "$DIR/nginx.conf" -p "$DIR"
	for _ in $(seq 100); do space f ss -Hlun | grep -q ':53 ' && break; sleep 0.05; done
	once 10.10.0.2 53 >>"$DIR/nginx-mpps"
	stop nginx
	stop fpass
}
for ((i = 0; i < RUNS; i++)); do
	run_ours
	run_nft
	run_route
	run_nginx
done
median() { sort -g "$1" | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }
ours=$(median "$DIR/ours")
echo "| Mpps, one core, $FLOWS flows      | median | ours is |"
echo '|---|---|---|'
printf '| %-32s | %6.2f | %7s |\n' 'edge, XDP, mesh over Ethernet' "$ours" ''
row() { [ -s "$2" ] && awk -v n="$1" -v o="$ours" -v m="$(median "$2")" 'BEGIN { printf "| %-32s | %6.2f | %6.1fx |\n", n, m, m ? o / m : 0 }'; }
row 'kernel, plain forwarding' "$DIR/route"
row 'nftables, DNAT and masquerade' "$DIR/nft"
row 'nginx, UDP stream proxy' "$DIR/nginx-mpps"
exit 0
