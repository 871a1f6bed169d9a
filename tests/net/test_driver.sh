#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Interfaces as they are: every mode of XDP, another's program, jumbo frames, VLANs, several queues, several uplinks, and an
# uplink that goes and comes back under load. An edge and a worker; client d is behind a second uplink of the edge.
. tests/net/net.sh

V4=198.51.100 V6=2001:db8:100:
D4=203.0.113.2 D6=2001:db8:d::2
lab_up
lab_region fra
lab_node fra-1 fra
lab_node fra-2 fra
lab_client c fra
lab_mesh
W=$(lab_addr4 fra-2) W6=$(lab_addr6 fra-2)
C4=$(lab_client4 fra) C6=$(lab_client6 fra)

# d - far - eth1 of fra-1, with four queues; from r-fra no way leads to d.
second_uplink() {
	ip link add name eth1 netns "$(lab_space fra-1)" numrxqueues 4 numtxqueues 4 type veth peer name west \
		netns "$(lab_space far)" numrxqueues 4 numtxqueues 4 || return 1
	lab_in far ip link set west up
	lab_in fra-1 ip link set eth1 up
	lab_addr far west 172.21.0.1/24 fd21::1/64
	lab_addr fra-1 eth1 172.21.0.2/24 fd21::2/64
	lab_in far ip route add "$LAB_VIP4" via 172.21.0.2
	lab_in far ip -6 route add "$LAB_VIP6" via fd21::2
	lab_in fra-1 ip route add 203.0.113.0/24 via 172.21.0.1
	lab_in fra-1 ip -6 route add 2001:db8:d::/64 via fd21::1
}
lab_router far
lab_add_space d
lab_link far dee d eth0
lab_addr far dee 203.0.113.1/24 2001:db8:d::1/64
lab_addr d eth0 $D4/24 $D6/64
lab_in d ip route add default via 203.0.113.1
lab_in d ip -6 route add default via 2001:db8:d::1
second_uplink || lab_die 'the second uplink: cannot be made'

lab_dns fra-2 fra-2 5353 "$W" "$W6"
lab_web fra-2 fra-2 8080 "$W" "[$W6]"
LAB_PUBLIC[fra-1]='eth*'
lab_start_all
service() { # NAME N PORT BACKEND-PORT
	lab_ctl fra-1 service add "$1" --vip "$V4.$2" --vip "$V6:$2" --port "udp/$3" --port "tcp/$3" >/dev/null || return 1
	lab_wait "service $1 at fra-2" 10 lab_ctl fra-2 route show "$1" || return 1
	lab_ctl fra-2 backend add "$1" "$W:$4" --check tcp >/dev/null || return 1
	lab_ctl fra-2 backend add "$1" "[$W6]:$4" --check tcp >/dev/null
}
services() {
	service dns 1 53 5353 && service web 2 80 8080 && lab_wait '4 healthy backends' 20 passing fra-1 4 &&
		lab_wait 'the first answer' 10 answers c
}
answers() { is "$(dns "$1" $V4.1 53)" fra-2 && is "$(dns "$1" $V6:1 53)" fra-2; } # SPACE
traffic() { # SPACE ITS-ADDRESSES
	answers "$1" && is "$(dns "$1" $V4.1 53 +tcp)" fra-2 && is "$(dns "$1" $V6:1 53 +tcp)" fra-2 &&
		like "$(web "$1" $V4.2 /)" "fra-2 $2 *" && like "$(web "$1" "[$V6:2]" /)" "fra-2 $3 *"
}
has_log() { grep -qE -- "$1" "$LAB_DIR/fra-1/edgefwd.log" || { tail -8 "$LAB_DIR/fra-1/edgefwd.log"; return 1; }; }
# edgefwd of the edge again, with this line in [forwarder]
again() {
	lab_kill fra-1 edgefwd TERM || return 1
	LAB_EXTRA[fra-1]="$1"$'\n'
	lab_conf fra-1
	: >"$LAB_DIR/fra-1/edgefwd.log"
	lab_start fra-1 edgefwd
	lab_wait "edgefwd with '$1'" 10 has_log ' ready '
}
mode() { lab_in fra-1 ip -j link show "$1" | jq -r '.[0].xdp.mode // 0'; } # 0 none, 1 native, 2 generic
count() { counter fra-1 "$1"; }

ok 'two services, a backend of each family' services
ok 'several uplinks: the programs know which' has_log 'uplinks=several'
ok 'client c, by the first uplink' traffic c "$C4" "$C6"
ok 'client d, by the second one, of four queues; replies too' traffic d $D4 $D6

# ---- modes
in_mode() { # MODE WANTED-XDP REASON: that many more chosen by XDP
	local before after
	again "xdp = $1" && is "$(mode eth0) $(mode eth1)" "$2 $2" || return 1
	before=$(count forward_chosen)
	traffic c "$C4" "$C6" && traffic d $D4 $D6 || return 1
	[ "$2" -gt 0 ] && { lab_wait 'the counter' 5 more forward_chosen $((before + 20)); return; }
	lab_wait 'the counter' 5 more forwarded 60 || return 1
	after=$(count forward_chosen)
	is "$before" "$after"
}
more() { [ "$(count "$1")" -ge "$2" ]; }
ok 'native XDP' in_mode native 1
ok 'generic XDP' in_mode generic 2
ok 'no XDP: TC does all' in_mode off 0

# ---- jumbo frames
jumbo_refused() {
	lab_in r-fra ip link set fra-1 mtu 9000 && lab_in fra-1 ip link set eth0 mtu 9000 || return 1
	lab_kill fra-1 edgefwd TERM
	LAB_EXTRA[fra-1]=$'xdp = native\n'
	lab_conf fra-1
	lab_in fra-1 "$OUT/edgefwd" -c "$LAB_DIR/fra-1/edge.conf" >"$LAB_DIR/refusal" 2>&1 && return 1
	grep 'eth0: cannot attach dp_xdp in native mode: .*MTU over a page' "$LAB_DIR/refusal"
}
ok 'MTU 9,000: native mode refuses and says why' jumbo_refused
jumbo() {
	again 'xdp = auto' && is "$(mode eth0) $(mode eth1)" '2 1' && traffic c "$C4" "$C6"
}
ok '... and auto is generic there, native beside it' jumbo
SUM=$(head -c 5242880 "$LAB_DIR/big" | sha256sum | cut -d' ' -f1)
big() { lab_in c curl -gsf -m 60 -r 0-5242879 "$1" | sha256sum | cut -d' ' -f1; }
ok '... HTTP, 5 MB, IPv4' is "$(big "http://$V4.2/big")" "$SUM"
ok '... HTTP, 5 MB, IPv6' is "$(big "http://[$V6:2]/big")" "$SUM"

# ---- VLAN. Tags stand in the frame here; a card that takes them off hides them from XDP.
vlan() {
	lab_in far ethtool -K west txvlan off >/dev/null && lab_in fra-1 ethtool -K eth1 txvlan off >/dev/null || return 1
	lab_in far ip link add link west name west7 type vlan id 7 && lab_in far ip link set west7 up || return 1
	lab_in fra-1 ip link add link eth1 name vlan7 type vlan id 7 && lab_in fra-1 ip link set vlan7 up || return 1
	lab_addr far west7 172.22.0.1/24 fd22::1/64
	lab_addr fra-1 vlan7 172.22.0.2/24 fd22::2/64
	lab_in far ping -c1 -W3 172.22.0.2 && lab_in far ping -c1 -W3 fd22::2
}
untouched() {
	local dropped
	dropped=$(count no_service)
	lab_in far ip route replace "$LAB_VIP4" via 172.22.0.2 && lab_in far ip -6 route replace "$LAB_VIP6" via fd22::2 || return 1
	! lab_in d "$OUT/lab/udpask" $V4.1 5 300 </dev/null && is "$(count no_service)" "$dropped"
}
on_vlan() {
	lab_kill fra-1 edgefwd TERM
	LAB_PUBLIC[fra-1]=$'eth*\npublic = vlan7'
	again 'xdp = auto' && is "$(mode vlan7)" 2 || return 1
	lab_in fra-1 ip route replace 203.0.113.0/24 via 172.22.0.1 && lab_in fra-1 ip -6 route replace 2001:db8:d::/64 via fd22::1 || return 1
	lab_wait 'the way to d' 15 answers d && traffic d $D4 $D6
}
if lab_in far ip link add link west name probe type vlan id 9 2>/dev/null; then
	lab_in far ip link del probe
	ok 'VLAN: tagged frames pass the parent with its XDP' vlan
	ok '... those to VIPs too' untouched
	ok '... and the VLAN interface serves, if named' on_vlan
else
	echo '# this kernel has no VLAN interfaces: not tried; tagged frames on the parent are in test_live'
fi

# ---- a routing table with more than there is room for
full() {
	local i
	for i in $(seq 0 5999); do echo "route add 100.$((64 + i / 4096)).$((i / 16 % 256)).$((i % 16 * 16))/28 via 172.21.0.1"; done >"$LAB_DIR/routes"
	lab_in fra-1 ip -batch "$LAB_DIR/routes" || return 1
	lab_in fra-1 ip route add default via 172.21.0.1 metric 9000 # of defaults there are events
	lab_wait 'it is said' 10 has_log 'egress_full prefixes=4096 over=19' && traffic c "$C4" "$C6" && traffic d $D4 $D6 || return 1
	lab_in fra-1 ip route flush root 100.64.0.0/10
	lab_in fra-1 ip route del default via 172.21.0.1 metric 9000
	lab_wait 'they are gone' 15 has_log 'egress uplinks=2 prefixes=[0-9]{1,2}$'
}
ok '6,000 routes by the second uplink: 4,096 are known, and it is said' full

# ---- comes and goes
gone() {
	lab_app load c bash -c "while :; do kdig +short +retry=0 +time=1 @$V4.1 whoami.lab TXT; done"
	lab_in far ip link del west || return 1
	lab_wait 'it is noticed' 10 has_log 'interface_gone if=eth1' && traffic c "$C4" "$C6"
}
ok 'the second uplink goes: c is served' gone
back() {
	second_uplink && lab_wait 'd is served again' 15 answers d && traffic d $D4 $D6 && traffic c "$C4" "$C6"
}
ok '... it comes back: d is, too' back
no_miss() {
	lab_app_kill load
	! grep -v '^"fra-2"' "$LAB_DIR/app-load.log"
}
ok '... and c, on the first one, has missed nothing' no_miss
tap_end
