#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Announcing over BGP, by BIRD with BFD: a client's packets go to the nearest edge that announces; to the next one when an
# edge drains, can't forward, is stale, or dies; back when it is well. A TCP connection through another edge all the time
# notices nothing, nor does one whose path moves to another edge of its region.
. tests/net/net.sh
. tests/lab/bgp.sh

VIP=198.51.100.53 VIP6=2001:db8:100::53 WEB=198.51.100.80
lab_up
lab_region fra
lab_region nyc
for n in fra-1 fra-2; do lab_node $n fra; done
lab_node nyc-1 nyc
lab_client c fra
lab_client e nyc
lab_mesh
for n in fra-2 nyc-1; do
	lab_dns $n $n 5353 "$(lab_addr4 $n)" "$(lab_addr6 $n)"
	lab_web $n $n 8080 "$(lab_addr4 $n)"
done
lab_bgp
lab_start_all

declare_all() {
	lab_ctl fra-1 service add dns --vip $VIP --vip $VIP6 --port udp/53 --port tcp/53 >/dev/null || return 1
	lab_ctl fra-1 service add web --vip $WEB --port tcp/80 >/dev/null || return 1
	for n in fra-2 nyc-1; do
		lab_wait "services at $n" 10 lab_ctl $n route show web || return 1
		lab_ctl $n backend add dns "$(lab_addr4 $n):5353" --check tcp >/dev/null || return 1
		lab_ctl $n backend add dns "[$(lab_addr6 $n)]:5353" --check tcp >/dev/null || return 1
		lab_ctl $n backend add web "$(lab_addr4 $n):8080" --check tcp >/dev/null || return 1
	done
	lab_wait 'healthy backends' 20 passing fra-1 6
}
ok 'services and backends' declare_all

# Who gets the packets of a region: the next hop of its router for the VIP.
next_hop() { lab_in "$1" ip -j route get "$2" | jq -r '.[0].gateway'; }
goes_to() { # ROUTER NODE|core: both families
	local want=172.20.${LAB_REGION_IDX[${1#r-}]}.1 want6=fd00:ffff:${LAB_REGION_IDX[${1#r-}]}::1
	if [ "$2" != core ]; then
		want=$(lab_addr4 "$2") want6=$(lab_addr6 "$2")
		want=${want%.*}.2
	fi
	is "$(next_hop "$1" $VIP)" "$want" && is "$(next_hop "$1" $VIP6)" "$want6"
}
ok 'fra goes to an edge of its own' lab_wait 'the route' 20 goes_to r-fra fra-1
ok 'nyc to its own' lab_wait 'the route' 20 goes_to r-nyc nyc-1
answers() { is "$(dns c $VIP 53)" fra-2 && is "$(dns c $VIP6 53)" fra-2; }
ok 'answers from the backend of the region, both families' lab_wait 'an answer' 10 answers

# Two connections that stay: c's path will move between edges of one region, e's will not.
hold() { # CLIENT
	lab_in "$1" curl -sSf -o "$LAB_DIR/held-$1" "http://$WEB/slow" 2>"$LAB_DIR/held-$1.err" &
	echo $! >"$LAB_DIR/held-$1.pid"
}
size() { stat -c %s "$LAB_DIR/held-$1" 2>/dev/null || echo 0; }
has_more() { [ "$(size "$1")" -gt $(($2 + 1000)) ] && kill -0 "$(cat "$LAB_DIR/held-$1.pid")"; } # CLIENT BYTES
grows() { # CLIENT: bytes go on coming
	lab_wait "more of $1's download" 15 has_more "$1" "$(size "$1")" || { cat "$LAB_DIR/held-$1.err"; return 1; }
}
hold c
hold e
ok 'a connection from each region' grows c
ok '  and the other' grows e

what_if() {
	is "$(lab_ctl fra-1 --json plan --kill node:fra-2 --load 30 |
		jq -c '[.services[]|select(.service=="web")|.moved,.is_lost,(.regions[]|.region,.before,.after)]')" \
		'[1000,false,"fra",1000,0,"nyc",0,1300]' &&
		like "$(lab_ctl fra-1 plan --kill region:nyc)" '*nothing would happen*' &&
		like "$(lab_ctl fra-1 plan --kill region:fra --kill region:nyc)" '*NOTHING SERVES IT*' &&
		like "$(lab_ctl fra-1 plan --kill region:x 2>&1)" '*region:x is not known here*'
}
ok 'plan says where load would go, and what would break' what_if
drain() {
	lab_ctl fra-1 node drain fra-1 --reason kernel >/dev/null && lab_wait 'the route' 10 goes_to r-fra fra-2 && answers
}
ok 'an edge drains: its packets go to the next' drain
ok '  what still reaches it is forwarded' is "$(lab_in r-fra ip route add $VIP via "$(lab_addr4 fra-1)" metric 1 && dns c $VIP 53; lab_in r-fra ip route del $VIP metric 1)" fra-2
ok '  node list says so' like "$(lab_ctl fra-2 node list)" '*fra-1*alive, drained*'
ok '  the connection whose path moved goes on' grows c
undrain() { lab_ctl fra-2 node undrain fra-1 >/dev/null && lab_wait 'the route' 10 goes_to r-fra fra-1 && answers; }
ok 'it serves again: packets come back' undrain

unforward() { lab_in fra-1 ip link set "${LAB_WG_DEV[fra-1]}" down && lab_wait 'the route' 10 goes_to r-fra fra-2 && answers; }
ok 'its mesh device is down: withdrawn' unforward
reforward() {
	lab_in fra-1 ip link set "${LAB_WG_DEV[fra-1]}" up
	lab_in fra-1 ip route replace 10.77.0.0/16 dev "${LAB_WG_DEV[fra-1]}"
	lab_in fra-1 ip -6 addr replace "$(lab_mesh6 fra-1)/128" dev "${LAB_WG_DEV[fra-1]}" nodad
	lab_in fra-1 ip -6 route replace fd77::/64 dev "${LAB_WG_DEV[fra-1]}"
	lab_wait 'the route' 20 goes_to r-fra fra-1 && lab_wait 'an answer' 10 answers
}
ok '  up again: packets come back' reforward

# edged silent for long: its heartbeat is put back, for a test doesn't wait half a minute.
stale() { # NODE
	local beat
	kill -STOP "$(cat "$LAB_DIR/$1/edged.pid")"
	beat=$(printf '%016x\n' $(($(awk '{ print int($1) }' /proc/uptime) - 100)) | fold -w2 | tac | tr '\n' ' ')
	# shellcheck disable=SC2086
	bpftool map update pinned "$(ls -d "$LAB_DIR"/bpf/"$1"/v*/maps/dp_beat)" key 0 0 0 0 value hex 0 0 0 0 0 0 0 0 $beat
}
one_stale() { stale fra-1 && lab_wait 'the route' 10 goes_to r-fra fra-2 && answers; }
ok 'one edge is stale: another of its region is preferred' one_stale
both_stale() { stale fra-2 && lab_wait 'the route' 10 goes_to r-fra core && [ -n "$(dns c $VIP 53)" ]; }
ok 'all of its region are: the next region is preferred' both_stale
nyc_drained() {
	grows e >/dev/null || return 1
	lab_ctl nyc-1 node drain nyc-1 >/dev/null && lab_wait 'the route' 10 goes_to r-fra fra-1
}
ok '  stale ones are all there is: they are used' nyc_drained
current() {
	kill -CONT "$(cat "$LAB_DIR/fra-1/edged.pid")" "$(cat "$LAB_DIR/fra-2/edged.pid")"
	lab_ctl nyc-1 node undrain nyc-1 >/dev/null
	lab_wait 'the route' 20 goes_to r-fra fra-1 && lab_wait 'an answer' 20 answers
}
ok 'they are well again' current
lab_wait 'the route' 20 goes_to r-nyc nyc-1
hold e

documented() { # the example of the manual is one that BIRD takes
	awk '/^For BIRD 2/ { here = 1 } here && /^```/ { if (n++) exit; next } n' docs/OPERATIONS.md >"$LAB_DIR/documented.conf"
	grep -q 'bfd on' "$LAB_DIR/documented.conf" && bird -p -c "$LAB_DIR/documented.conf"
}
ok 'the documented configuration is one' documented

# Its link stays up and carries nothing, as behind a switch: only BFD can tell before the hold time of 9 s is over.
bfd_up() { is "$(lab_bfd_up r-fra)" 3 && is "$(lab_bfd_up fra-2)" 1; }
ok 'BFD watches each neighbour' lab_wait 'the sessions' 10 bfd_up
silent() {
	lab_in r-fra nft -f - <<<'table netdev dead { chain in { type filter hook ingress device fra-1 priority -500; policy drop; }; }' || return 1
	lab_wait 'the route' 3 goes_to r-fra fra-2 && answers
}
ok 'an edge falls silent: its packets go to the next before the hold time' silent
speaks() { lab_in r-fra nft delete table netdev dead && lab_wait 'the route' 20 goes_to r-fra fra-1 && lab_wait 'an answer' 10 answers; }
ok '  it speaks again: packets come back' speaks

die() {
	lab_in c "$OUT/lab/dnsprobe" $VIP 53 whoami.lab 4 10 >"$LAB_DIR/probe" 2>"$LAB_DIR/probe.begun" &
	local probe=$!
	lab_wait 'the probe' 5 grep -q begun "$LAB_DIR/probe.begun"
	lab_in r-fra ip link set fra-1 down
	wait $probe
	lab_wait 'the route' 10 goes_to r-fra fra-2 && lab_wait 'an answer' 10 answers
}
ok 'an edge dies: its packets go to the next' die
echo "# one question every 10 ms, lost: $(grep -c lost "$LAB_DIR/probe") of $(wc -l <"$LAB_DIR/probe")"
ok "the other region's connection noticed nothing" grows e
kill "$(cat "$LAB_DIR/held-c.pid")" "$(cat "$LAB_DIR/held-e.pid")" 2>/dev/null
tap_end
