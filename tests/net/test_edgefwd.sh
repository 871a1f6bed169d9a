#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# edgefwd alone, in a network namespace and on a bpffs of its own: attach, adopt, come back, refuse, detach.
set -u
fwd=${EDGEFWD:-$(realpath "${OUT:-build/std}")/edgefwd}
id=efwd-$$
ns=$id-n peer=$id-p
dir=$(mktemp -d "/tmp/$id.XXXXXX")
pin=$dir/bpf/edge
conf=$dir/edge.conf
log=$dir/log
# What packaging/edgefwd.service leaves it: cap_38 is PERFMON, cap_39 is BPF.
caps=-all,+net_admin,+cap_38,+cap_39,+setgid,+dac_override
pid=
tests=0 failed=0

cleanup() {
	[ -n "$pid" ] && kill -9 "$pid" 2>/dev/null
	ip netns del "$ns" 2>/dev/null
	ip netns del "$peer" 2>/dev/null
	umount "$dir/bpf" 2>/dev/null
	rm -rf --one-file-system "$dir"
}
trap cleanup EXIT

# Not `ip netns exec`: it hides the bpffs.
in_ns() { nsenter --net="/var/run/netns/$ns" "$@"; }
in_peer() { nsenter --net="/var/run/netns/$peer" "$@"; }

check() { # name, command...: one TAP line
	local name=$1
	shift
	tests=$((tests + 1))
	if "$@" >"$dir/out" 2>&1; then
		echo "ok $tests - $name"
	else
		echo "not ok $tests - $name"
		failed=$((failed + 1))
		sed 's/^/# /' "$dir/out"
		tail -n 15 "$log" 2>/dev/null | sed 's/^/# log: /'
	fi
}
within() { # seconds, command...: until it succeeds
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || { "$@"; return 1; }
		sleep 0.05
	done
}
logged() { grep -qE "$1" "$log"; }
not() { ! "$@"; }
contains() { local want=$1; shift; "$@" | grep -qE -- "$want"; }

start() { # extra environment as VAR=value...
	: >"$log"
	# Straight, for $! is to be edgefwd itself.
	nsenter --net="/var/run/netns/$ns" setpriv --bounding-set="$caps" env "$@" "$fwd" -c "$conf" 2>>"$log" &
	pid=$!
	within 20 logged '^info edgefwd ready'
}
crash() { kill -9 "$pid" && wait "$pid" 2>/dev/null; pid=; true; }
stop() { kill -TERM "$pid" && wait "$pid"; local rc=$?; pid=; return $rc; }

map_ids() { for m in "$pin"/v*/maps/* "$pin"/flows-*/*; do bpftool -j map show pinned "$m" | jq .id; done; }
link_id() { bpftool -j link show pinned "$pin/links/xdp-$(ip -n "$ns" -j link show pub0 | jq '.[0].ifindex')" | jq .id; }
ids() { map_ids; link_id; }
has_filter() { contains "$3" in_ns tc filter show dev "$1" "$2"; }
has_xdp() { contains 'prog/xdp' ip -n "$ns" link show "$1"; }
default_via() { contains "$2" ip -n "$ns" "$1" route show default; }
mac() { ip -n "$1" -j link show "$2" | jq -r '.[0].address'; }
neigh_is() { contains "^192\.0\.2\.1 .*$1" ip -n "$ns" neigh show dev pub0; }
abi=$(awk '$2 == "DP_ABI_VERSION" { print $3 }' bpf/dp_abi.h)
hosts_map() { bpftool -j map dump pinned "$pin/v$abi/maps/dp_host" | jq -c '.[0].formatted.value // .[0]'; }

cat >"$conf" <<E
[node]
name = n1
region = r1
[mesh]
device = mesh0
address = 10.9.0.1
cluster = test
key_file = /nonexistent
wireguard = managed
wireguard_pub = $(head -c 32 /dev/zero | tr '\0' a | base64)
endpoint = 192.0.2.2:51820
[edge]
public = pub0
vip_prefix = 198.51.100.0/24
vip_prefix = 2001:db8:100::/48
[worker]
bridge = br*
[forwarder]
socket = $dir/edgefwd.sock
pin_dir = $pin
user = nobody
rows = 4096
flows = 1024
flows_new = 1024
E

mkdir -p "$dir/bpf"
if [ "$(id -u)" != 0 ] || ! mount -t bpf bpf "$dir/bpf"; then
	echo "ok 1 - edgefwd # skip needs root and bpffs"
	echo 1..1
	exit 0
fi
chmod 755 "$dir"

make_pub() {
	ip -n "$ns" link add pub0 type veth peer name eth0 netns "$peer"
	ip -n "$ns" addr add 192.0.2.2/24 dev pub0
	ip -n "$ns" link set pub0 up
	ip -n "$peer" link set eth0 up
}
make_mesh() {
	ip -n "$ns" tuntap add mode tun name mesh0
	ip -n "$ns" addr add 10.9.0.1/24 dev mesh0
	ip -n "$ns" link set mesh0 mtu 1420 up
}
ip netns add "$ns"
ip netns add "$peer"
ip -n "$ns" link set lo up

printf '#include <linux/bpf.h>\n__attribute__((section("xdp"), used)) int pass(void *c) { return XDP_PASS; }\n' |
	clang -O2 -target bpf -I"/usr/include/$(gcc -print-multiarch)" -x c -c - -o "$dir/pass.o"

# ---- refusals at the start
refuses() { # pattern, command...
	local want=$1 rc
	shift
	"$@" >"$dir/said" 2>&1
	rc=$?
	cat "$dir/said"
	[ $rc -eq 1 ] && grep -qE "$want" "$dir/said"
}
check "missing mesh device is named" refuses 'interface mesh0 does not exist' in_ns "$fwd" -c "$conf"
make_mesh
check "missing public interface is named" refuses 'interface pub0 does not exist' in_ns "$fwd" -c "$conf"
check "a failed start leaves no pins" not test -e "$pin"
make_pub
check "--check finds nothing wrong" in_ns "$fwd" -c "$conf" --check
check "an unknown option is a usage error" sh -c "'$fwd' --nonsense; [ \$? -eq 2 ]"
sed 's/^public = .*/publik = pub0/' "$conf" >"$dir/bad.conf"
check "a bad configuration is exit 2 with file and line" sh -c \
	"'$fwd' -c '$dir/bad.conf' 2>'$dir/said'; [ \$? -eq 2 ] && grep -E 'bad.conf:[0-9]+: ' '$dir/said'"
sed "s,^pin_dir = .*,pin_dir = $dir/plain," "$conf" >"$dir/bad.conf"
check "a pin_dir outside bpffs is refused" refuses 'not on a bpffs' in_ns "$fwd" -c "$dir/bad.conf"

# ---- start and attach
check "starts" start
if [ $failed -gt 0 ]; then
	echo "1..$tests"
	exit 1
fi
vip_room() { bpftool -j map show pinned "$pin/v$abi/maps/dp_vip" | jq .max_entries; }
check "room for the default of 1024 VIPs" contains '^1024$' vip_room
check "public: XDP" has_xdp pub0
check "  TC ingress on pub0" has_filter pub0 ingress dp_tc_pub_in
check "  TC egress on pub0" has_filter pub0 egress dp_tc_up_out
check "mesh: TC ingress and egress" has_filter mesh0 ingress dp_tc_mesh_in
check "  TC egress on mesh0" has_filter mesh0 egress dp_tc_mesh_out
check "pin directory is 0700" test "$(stat -c %a "$pin")" = 700
check "socket is 0660 and the user's group's" test "$(stat -c %a:%G "$dir/edgefwd.sock")" = "660:$(id -gn nobody)"
sed "s,^socket = .*,socket = $dir/other.sock," "$conf" >"$dir/second.conf"
check "a second edgefwd on the same pins is refused" refuses 'another edgefwd holds' in_ns "$fwd" -c "$dir/second.conf"
check "--detach is refused while edgefwd runs" refuses 'another edgefwd holds' in_ns "$fwd" -c "$conf" --detach

# ---- default routes
check "no default: one through the mesh, IPv4" default_via -4 'dev mesh0 proto 237 .*metric 4000000000'
check "no default: one through the mesh, IPv6" default_via -6 'dev mesh0 proto 237 .*metric 4000000000'
ip -n "$ns" route add default via 192.0.2.1 dev pub0
check "another default: ours goes" within 5 not default_via -4 'proto 237'
check "  and IPv6's stays" default_via -6 'proto 237'

# ---- a gateway that doesn't answer
check "silent gateway gets a placeholder" within 15 neigh_is "$(mac "$ns" pub0)"
in_peer timeout 20 tcpdump -lnni eth0 -c 1 'udp and dst host 203.0.113.9' >"$dir/seen" 2>"$dir/tcpdump" &
sniffer=$!
within 5 grep -q listening "$dir/tcpdump"
in_ns bash -c 'echo hello >/dev/udp/203.0.113.9/9'
check "  and packets leave the interface" wait $sniffer
ip -n "$peer" addr add 192.0.2.1/24 dev eth0
check "  until the gateway answers" within 40 neigh_is "$(mac "$peer" eth0)"
ip -n "$peer" addr del 192.0.2.1/24 dev eth0
ip -n "$ns" neigh flush dev pub0 2>/dev/null
check "gone again: placeholder again" within 15 neigh_is "$(mac "$ns" pub0)"

ip -n "$ns" -6 route add default via fe80::1 dev pub0
check "IPv6: ours goes when another default appears" within 5 not default_via -6 'proto 237'
check "  and a silent gateway gets a placeholder" within 15 contains "^fe80::1 .*$(mac "$ns" pub0)" ip -n "$ns" neigh show dev pub0
check "  and the kernel keeps looking for it" test "$(in_ns sysctl -n net.ipv6.neigh.pub0.mcast_resolicit)" = 3
ip -n "$ns" -6 route del default via fe80::1 dev pub0
check "  gone again: ours is back" within 5 default_via -6 'dev mesh0 proto 237'

# ---- where host sockets get their packets
pub_idx=$(ip -n "$ns" -j link show pub0 | jq '.[0].ifindex')
in_ns sysctl -qw net.ipv4.conf.all.rp_filter=1
check "strict rp_filter, default on the uplink: through the uplink" logged "host .*uplink_ifindex=$pub_idx deliver4=$pub_idx"
ip -n "$ns" route del default via 192.0.2.1 dev pub0
check "strict rp_filter, default through the mesh: on the mesh device" within 5 logged "host .*uplink_ifindex=$pub_idx deliver4=0 deliver6=$pub_idx"
: >"$log"
in_ns sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.pub0.rp_filter=2
check "  loose: through the uplink" within 5 logged "host .*deliver4=$pub_idx"
ip -n "$ns" route add default via 192.0.2.1 dev pub0

# ---- edged's socket. A request is a fixed-size struct: kind, version, seq, abi, status, verb, address.
le() { # value, bytes
	local v=$1 i
	for ((i = 0; i < $2; i++)); do printf "\\x$(printf %02x $((v >> (8 * i) & 255)))"; done
}
msg() { # kind verb address(32 hex digits) [key byte]
	le "$1" 2; le 2 2; le 7 4; le "$abi" 4; le 0 4; le "$2" 1; le 0 3
	printf "$(sed 's/../\\x&/g' <<<"$3")"
	for ((i = 0; i < 32; i++)); do le "${4:-0}" 1; done
	for ((i = 0; i < 16 + 2 + 2 + 120 + 4 + 256; i++)); do printf '\0'; done
}
none=00000000000000000000000000000000
vip4=00000000000000000000ffffc6336401
vip6=20010db8010000000000000000000001
other=00000000000000000000ffffcb007101
put() { "$@" >"$dir/msgs"; } # whole, for a pipe would cut messages into packets where it likes
ask() {
	socat -b468 -t1 - "UNIX-CONNECT:$dir/edgefwd.sock,type=5" <"$dir/msgs" | tr -c '[:print:]' ' '
}
hello_and() { # kind verb address ...: HELLO, then each
	msg 1 0 $none
	while [ $# -gt 0 ]; do
		msg "$1" "$2" "$3"
		shift 3
	done
}
tell() { put hello_and "$@"; ask >/dev/null; }
as() { setpriv --reuid="$1" --regid="$(id -g nobody)" --clear-groups "${@:2}"; }
export dir
export -f ask
put hello_and
check "HELLO is welcomed" contains '[0-9]\.[0-9]' ask
check "  as the configured user" contains '[0-9]\.[0-9]' as nobody bash -c ask
check "another user is refused with a reason" contains 'may not speak' as daemon bash -c ask
check "  and with a line in the log" within 5 logged "peer_refused uid=$(id -u daemon)"
put printf short
check "a message of the wrong size is refused" contains 'protocol version' ask

route_is() { contains "$2" ip -n "$ns" "$1" route show table main; }
tell 4 1 $vip4 4 1 $vip6
check "VIP: a blackhole route, IPv4" route_is -4 'blackhole 198.51.100.1 proto 237 metric 100'
check "VIP: a blackhole route, IPv6" route_is -6 'blackhole 2001:db8:100::1 .*proto 237 metric 100'
tell 4 2 $vip4
check "stale VIP: the metric changes" route_is -4 'blackhole 198.51.100.1 proto 237 metric 2000'
check "  and the old route is gone" not route_is -4 'blackhole 198.51.100.1 proto 237 metric 100$'
put hello_and 4 1 $other
check "VIP outside vip_prefix is refused" contains 'in no configured vip_prefix' ask
check "  and no route is made" not route_is -4 '203.0.113.1'
tell 4 4 $none 4 1 $vip4
check "half a list withdraws nothing" route_is -6 'blackhole 2001:db8:100::1'
tell 4 4 $none 4 1 $vip4 4 5 $none
check "SYNC withdraws what was not named" not route_is -6 'blackhole 2001:db8:100::1'
check "  and keeps what was" route_is -4 'blackhole 198.51.100.1 proto 237 metric 100'

# ---- what can't be forwarded isn't announced; what an edged that is silent said last is announced as stale
beat() { # SECONDS AGO
	local age=$1
	# shellcheck disable=SC2046
	bpftool map update pinned "$pin/v$abi/maps/dp_beat" key 0 0 0 0 value hex $(
		printf '%016x' 0 | sed 's/../& /g'
		printf '%016x' $(($(awk '{ print int($1) }' /proc/uptime) - age)) | sed 's/\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)/\8 \7 \6 \5 \4 \3 \2 \1/'
	)
}
beat 15
check "edged is silent for less than 30 s: announced as before" not within 2 route_is -4 'metric 2000'
beat 100
check "  for longer: as stale" within 5 route_is -4 'blackhole 198.51.100.1 proto 237 metric 2000'
check "  and the old route is gone" not route_is -4 'blackhole 198.51.100.1 proto 237 metric 100$'
beat 0
check "  it is back: as before" within 5 route_is -4 'blackhole 198.51.100.1 proto 237 metric 100'
ip -n "$ns" link set mesh0 down
check "mesh device down: withdrawn" within 5 not route_is -4 'blackhole 198.51.100.1'
check "  with a line in the log" logged 'cannot_forward text="the mesh device is down'
tell 4 1 $vip6
check "  what edged asks for meanwhile waits" not route_is -6 'blackhole 2001:db8:100::1'
ip -n "$ns" link set mesh0 up
check "  up: announced again" within 5 route_is -4 'blackhole 198.51.100.1 proto 237 metric 100'
check "  with what was asked for meanwhile" within 5 route_is -6 'blackhole 2001:db8:100::1 .*proto 237 metric 100'
tell 4 3 $vip6

# ---- death and adoption
before=$(ids)
ip -n "$peer" addr add 192.0.2.3/24 dev eth0
in_peer ping -i 0.002 -c 2000 -W 2 192.0.2.2 >"$dir/ping" &
pinging=$!
host_before=$(hosts_map)
crash
check "kill -9: XDP stays" has_xdp pub0
check "kill -9: TC stays" has_filter pub0 ingress dp_tc_pub_in
check "kill -9: VIP routes stay" route_is -4 'blackhole 198.51.100.1 proto 237 metric 100'
mkdir "$dir/bin"
cat >"$dir/bin/wg" <<E
#!/bin/sh
echo "\$@" >>$dir/wg.args
E
chmod 755 "$dir/bin/wg"
check "starts again" start PATH="$dir/bin:$PATH"
check "  and adopts the maps" logged 'maps=adopted'
check "  map ids and the XDP link's id are the same" test "$before" = "$(ids)" -a -n "$before"
check "  and the host's facts" test "$host_before" = "$(hosts_map)" -a -n "$host_before"
wait $pinging
check "  meanwhile not one packet is lost" contains ' 2000 received' cat "$dir/ping"
check "  one filter each, not two" test "$(in_ns tc filter show dev pub0 ingress | grep -c 'handle 0xed')" = 1
{ msg 1 0 $none; msg 5 1 00000000000000000000ffff0a090002 7; } >"$dir/msgs"
ask >/dev/null
key=$(for ((i = 0; i < 32; i++)); do le 7 1; done | base64)
check "WireGuard peer: wg gets exactly one address" within 5 \
	grep -qxF "set mesh0 peer $key allowed-ips 10.9.0.2/32 persistent-keepalive 25" "$dir/wg.args"
sed 's/^rows = .*/rows = 8192/' "$conf" >"$dir/bad.conf"
check "stops on SIGTERM with 0" stop
check "  and everything stays attached" has_xdp pub0
check "other map sizes than the pinned ones are refused" refuses 'dp_rows.*entries 4096, want 8192' in_ns "$fwd" -c "$dir/bad.conf"
check "  and nothing is taken away" has_filter pub0 ingress dp_tc_pub_in

# ---- interfaces come and go
start >/dev/null
ip -n "$ns" link add br7 type bridge
check "a bridge that appears is attached" within 5 has_filter br7 ingress dp_tc_br_in
ip -n "$ns" link del br7
check "  and forgotten when it goes" within 5 logged 'interface_gone if=br7'
ip -n "$ns" link del pub0
check "public interface gone" within 5 logged 'interface_gone if=pub0'
check "  its default route too: ours is back" within 5 default_via -4 'proto 237'
make_pub
check "  created again: XDP is back" within 5 has_xdp pub0
check "  and TC" within 5 has_filter pub0 ingress dp_tc_pub_in
check "the VIP is announced" within 5 route_is -4 'blackhole 198.51.100.1'
ip -n "$ns" link del mesh0
check "mesh device gone" within 5 logged 'interface_gone if=mesh0'
check "  and the VIP is withdrawn" within 5 not route_is -4 'blackhole 198.51.100.1'
make_mesh
check "  created again: TC is back" within 5 has_filter mesh0 egress dp_tc_mesh_out
check "  and the default through it" within 5 default_via -4 'dev mesh0 proto 237'
in_ns tc qdisc del dev pub0 clsact
check "filters that somebody removed are back" within 15 has_filter pub0 ingress dp_tc_pub_in
crash
ip -n "$ns" link del pub0
make_pub
check "recreated while edgefwd was dead" start
check "  XDP is on the new one" has_xdp pub0
check "the VIP is announced" within 5 route_is -4 'blackhole 198.51.100.1'
stop
check "  also when edgefwd has ended" route_is -4 'blackhole 198.51.100.1'
ip -n "$ns" link del mesh0
check "without its mesh device it does not start" refuses 'mesh0 does not exist' in_ns "$fwd" -c "$conf"
check "  and withdraws the VIP" not route_is -4 'blackhole 198.51.100.1'
make_mesh
start >/dev/null

# ---- modes of XDP, and another's programs
stop
echo 'xdp = generic' >>"$conf"
check "generic mode, over a native link" start
check "  is in force" contains 'xdpgeneric' ip -n "$ns" link show pub0
stop
sed -i 's/^xdp = .*/xdp = off/' "$conf"
check "no XDP" start
check "  is in force" not has_xdp pub0
check "  and TC decides" has_filter pub0 ingress dp_tc_pub_in
stop
sed -i '/^xdp = /d' "$conf"
in_ns "$fwd" -c "$conf" --detach
ip -n "$ns" link set dev pub0 xdpgeneric object "$dir/pass.o" section xdp
check "another's XDP program: TC decides beside it" start
check "  it stays" contains 'xdpgeneric' ip -n "$ns" link show pub0
check "  TC decides" has_filter pub0 ingress dp_tc_pub_in
check "  and that is said" grep -q 'xdp_unavailable if=pub0 text="another XDP program is attached' "$log"
ip -n "$ns" link set dev pub0 xdpgeneric off
check "  it goes: ours comes" within 10 has_xdp pub0
stop
in_ns "$fwd" -c "$conf" --detach
ip -n "$ns" link set dev pub0 xdpgeneric object "$dir/pass.o" section xdp
echo 'xdp = native' >>"$conf"
check "another's XDP program is in the way of native mode: named" refuses 'pub0: another XDP program is attached' in_ns "$fwd" -c "$conf"
check "  and nothing of ours stays" not has_filter pub0 ingress dp_
check "  nor on the mesh device" not has_filter mesh0 ingress dp_
check "  and the other stays" has_xdp pub0
sed -i '/^xdp = /d' "$conf"
ip -n "$ns" link set dev pub0 xdpgeneric off
in_ns tc qdisc add dev pub0 clsact
in_ns tc filter add dev pub0 ingress prio 9 protocol ip bpf bytecode '1,6 0 0 0,' classid 1:1
start >/dev/null

# ---- detach
ip -n "$ns" route add default via 192.0.2.1 dev pub0
within 15 neigh_is "$(mac "$ns" pub0)"
tell 4 1 $vip4
stop
check "--detach" in_ns "$fwd" -c "$conf" --detach
check "  no XDP" not has_xdp pub0
check "  no filter of ours" not has_filter pub0 ingress dp_
check "  no qdisc on mesh0" not contains clsact in_ns tc qdisc show dev mesh0
check "  no route" not contains 'proto 237' ip -n "$ns" route show table all
check "  no placeholder" not neigh_is "$(mac "$ns" pub0)"
check "  no pin" not test -e "$pin"
check "  no socket" not test -e "$dir/edgefwd.sock"
check "  another's filter stays" contains 'pref 9 bpf' in_ns tc filter show dev pub0 ingress
check "--detach again is no error" in_ns "$fwd" -c "$conf" --detach
echo "1..$tests"
[ $failed -eq 0 ]
