#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A mesh over Ethernet: XDP carries DNS and HTTP of both families to the worker, and back where the edge forwards; TC does
# where it can't. And return=direct.
. tests/net/net.sh

V4=198.51.100 V6=2001:db8:100:
LAB_TRANSPORT=fabric
lab_up
lab_region fra
lab_node fra-1 fra
lab_node fra-2 fra
lab_client c fra
W=$(lab_addr4 fra-2) W6=$(lab_addr6 fra-2)
C4=$(lab_client4 fra) C6=$(lab_client6 fra)
lab_dns fra-2 fra-2 5353 "$W" "$W6"
lab_web fra-2 fra-2 8080 "$W" "[$W6]"
lab_start_all

service() { # NAME N PORT BACKEND-PORT
	lab_ctl fra-1 service add "$1" --vip "$V4.$2" --vip "$V6:$2" --port "udp/$3" --port "tcp/$3" >/dev/null || return 1
	lab_wait "service $1 at fra-2" 10 lab_ctl fra-2 route show "$1" || return 1
	lab_ctl fra-2 backend add "$1" "$W:$4" --check tcp >/dev/null || return 1
	lab_ctl fra-2 backend add "$1" "[$W6]:$4" --check tcp >/dev/null
}
services() {
	service dns 1 53 5353 && service web 2 80 8080 && lab_wait '4 healthy backends' 20 passing fra-1 4 &&
		lab_wait 'the first answer' 10 answers
}
answers() { is "$(dns c $V4.1 53)" fra-2 && is "$(dns c $V6:1 53)" fra-2; }
logged() { grep -q "$2" "$LAB_DIR/$1/edgefwd.log" || { tail -5 "$LAB_DIR/$1/edgefwd.log"; return 1; }; }
# COUNT at least more of this reason by the command.
adds() { # NODE REASON COUNT COMMAND...
	local node=$1 reason=$2 count=$3 before
	shift 3
	before=$(counter "$node" "$reason")
	"$@" || return 1
	lab_wait "$reason of $node, $count more than $before" 5 has_counted "$node" "$reason" $((before + count))
}
has_counted() { [ "$(counter "$1" "$2")" -ge "$3" ]; }

ok 'two services, a backend of each family' services
for n in fra-1 fra-2; do
	ok "$n: XDP carries the mesh" logged $n 'fabric=xdp'
	ok "$n: its neighbour is known" lab_wait "a neighbour" 10 logged $n "neighbours known=1"
done
traffic() {
	is "$(dns c $V4.1 53)" fra-2 && is "$(dns c $V6:1 53)" fra-2 && is "$(dns c $V4.1 53 +tcp)" fra-2 && is "$(dns c $V6:1 53 +tcp)" fra-2 &&
		like "$(web c $V4.2 /)" "fra-2 $C4 *" && like "$(web c "[$V6:2]" /)" "fra-2 $C6 *"
}
ok 'DNS and HTTP, IPv4 and IPv6: sent by XDP at the edge' adds fra-1 fabric_out 12 traffic
ok '... and taken off by XDP at the worker' adds fra-2 fabric_in 12 traffic
ok '... and replies in TC, for the edge does not forward' adds fra-1 reply_out 12 traffic
none() { is "$(counter "$1" "$2")" 0; }
ok 'no reply by XDP' none fra-1 fabric_reply
forward() {
	lab_in fra-1 sysctl -qw net.ipv4.conf.mesh0.forwarding=1 net.ipv6.conf.mesh0.forwarding=1
	traffic
}
ok 'an edge that forwards on the mesh interface: replies by XDP' adds fra-1 fabric_reply 12 forward
SUM=$(head -c 20971520 "$LAB_DIR/big" | sha256sum | cut -d' ' -f1)
big() { lab_in c curl -gsf -m 60 -r 0-20971519 "$1" | sha256sum | cut -d' ' -f1; }
ok 'HTTP, 20 MB, IPv4' is "$(big "http://$V4.2/big")" "$SUM"
ok 'HTTP, 20 MB, IPv6' is "$(big "http://[$V6:2]/big")" "$SUM"

# The edge's mesh interface goes and comes back, with another number. With another MAC too, others would not find it until
# their kernels ask anew, whatever we do.
again_there() {
	local mac
	mac=$(lab_in fra-1 ip -j link show mesh0 | jq -r '.[0].address')
	: >"$LAB_DIR/fra-1/edgefwd.log"
	lab_in fra-1 ip link del mesh0 && lab_wait 'it is noticed' 10 logged fra-1 'interface_gone if=mesh0' || return 1
	lab_fabric_device fra-1
	lab_in fra-1 ip link set mesh0 address "$mac"
	lab_in fra-1 sysctl -qw net.ipv4.conf.mesh0.forwarding=1 net.ipv6.conf.mesh0.forwarding=1
	lab_wait 'XDP sends again' 30 by_xdp && traffic
}
by_xdp() {
	local before
	before=$(counter fra-1 fabric_out)
	answers && [ "$(counter fra-1 fabric_out)" -gt "$before" ]
}
ok 'the mesh interface goes and comes back: by XDP again' adds fra-1 fabric_out 12 again_there

# fra-2 behind a router: its MAC is the one that XDP sends to.
routed() {
	local mac
	lab_in fabric sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.br0.send_redirects=0
	lab_addr fabric br0 10.77.0.254/16
	mac=$(lab_in fabric ip -j link show br0 | jq -r '.[0].address')
	lab_in fra-1 ip route add "$(lab_mesh4 fra-2)/32" via 10.77.0.254 dev mesh0
	lab_wait "the router's MAC" 20 sends_to "$mac" && traffic
}
sends_to() { # MAC
	local want
	# shellcheck disable=SC2046
	want=$(printf '%d ' $(sed 's/^/0x/; s/:/ 0x/g' <<<"$1"))
	bpftool -j map dump pinned "$(echo "$LAB_DIR"/bpf/fra-1/v*/maps/dp_l2)" | jq -e --arg w "${want% }" '[.[].formatted.value.dst|map(tostring)|join(" ")]|index($w)'
}
ok 'a worker behind a router: by XDP, to the router' adds fra-1 fabric_out 12 routed

# No native mode at the edge, or at both ends: the same wire.
again() { # NODE LINE: its edgefwd, with this line in [forwarder]
	lab_kill "$1" edgefwd TERM || return 1
	LAB_EXTRA[$1]="$2"$'\n'
	lab_conf "$1"
	: >"$LAB_DIR/$1/edgefwd.log"
	lab_start "$1" edgefwd
	lab_wait "edgefwd on $1" 10 logged "$1" ' ready '
}
tc_only() {
	again fra-1 'xdp = generic' && again fra-2 'xdp = generic' && logged fra-1 fabric=tc && logged fra-2 fabric=tc || return 1
	lab_wait 'an answer' 10 answers && traffic
}
ok 'generic XDP: the mesh by TC' adds fra-1 forwarded 12 tc_only
mixed() {
	again fra-2 'xdp = auto' && logged fra-2 fabric=xdp-in || return 1 # its public interface stays generic
	lab_wait 'an answer' 10 answers && traffic
}
ok 'TC at the edge, XDP at the worker' adds fra-2 fabric_in 12 mixed

# The worker answers from the VIP by itself; the edge sees requests alone.
direct() {
	lab_ctl fra-1 service set dns return=direct >/dev/null && lab_wait 'a direct reply' 10 is_direct && answers
}
is_direct() { answers && [ "$(counter fra-2 reply_direct)" -gt 0 ]; }
ok 'return=direct: answers from the VIP, not through the edge' adds fra-2 reply_direct 2 direct
direct_only() {
	local before
	before=$(($(counter fra-1 reply_out) + $(counter fra-1 fabric_reply)))
	answers && is "$(dns c $V4.1 53 +tcp)" fra-2 && is "$(dns c $V6:1 53 +tcp)" fra-2 || return 1
	is "$(($(counter fra-1 reply_out) + $(counter fra-1 fabric_reply)))" "$before"
}
ok '... UDP and TCP' direct_only
tap_end
