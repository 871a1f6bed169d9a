#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Passive signals: a backend that dies under load is left within 100 ms, long before its check's period is over, and comes back by
# its check; what a client can do (knock at closed ports, send errors) takes nobody out; the last one is never taken out.
# Alone: how fast a dead backend is left.
. tests/net/net.sh

VIP=198.51.100.53 RANGE=198.51.100.54 VIP6=2001:db8:100::53
lab_up
lab_region fra
for n in fra-1 fra-2 fra-3; do lab_node $n fra; done
lab_client c fra
lab_container fra-3
lab_mesh
serve() { lab_app "$1" "$2" "$OUT/lab/flows" serve "$3" "$1"; } # NAME SPACE PORT
serve a-udp fra-2 7001
serve b-udp fra-3 7001
serve a-tcp fra-2 7002
serve box fra-3-box 7002
serve a-range fra-2 7100
serve b-range fra-3 7100
lab_start_all

# The checks alone would take between one and two minutes.
declare_all() {
	local slow=interval=60s,timeout=1s
	lab_ctl fra-1 service add udp --vip $VIP --vip $VIP6 --port udp/7001 >/dev/null || return 1
	lab_ctl fra-1 service add tcp --vip $VIP --vip $VIP6 --port tcp/7002 >/dev/null || return 1
	lab_ctl fra-1 service add range --vip $RANGE --port tcp/7100-7199 >/dev/null || return 1
	for n in fra-2 fra-3; do lab_wait "services at $n" 10 lab_ctl $n route show range || return 1; done
	for n in fra-2 fra-3; do
		lab_ctl $n backend add udp "$(lab_addr4 $n):7001" --check udp:$slow,send=text:whoami || return 1
		lab_ctl $n backend add udp "[$(lab_addr6 $n)]:7001" --check udp:$slow,send=text:whoami || return 1
		lab_ctl $n backend add range "$(lab_addr4 $n):7100" --check tcp:$slow || return 1
	done
	lab_ctl fra-2 backend add tcp "$(lab_addr4 fra-2):7002" --check tcp:$slow || return 1
	lab_ctl fra-2 backend add tcp "[$(lab_addr6 fra-2)]:7002" --check tcp:$slow || return 1
	lab_ctl fra-3 backend add tcp 10.88.1.2:7002 --check tcp:$slow || return 1
	lab_ctl fra-3 backend add tcp '[fd88:1::2]:7002' --check tcp:$slow || return 1
	lab_wait 'ten healthy backends' 20 passing fra-1 10 && lab_wait 'answers' 10 all_answer
}
all_answer() {
	asks udp $VIP 7001 && asks udp $VIP6 7001 && asks tcp $VIP 7002 && asks tcp $VIP6 7002 && asks tcp $RANGE 7100
}
asks() { lab_in c "$OUT/lab/failprobe" "$@" 5 1 2>/dev/null | grep -q ' lost 0 '; } # KIND ADDRESS PORT
ok 'UDP and TCP services, with checks of a minute' declare_all

health() { # SPEC: its health and why, as the edge knows it
	lab_ctl fra-1 --json backend show "$1" | jq -r '.backends[0]|.health+" "+.why'
}
is_health() { like "$(health "$1")" "$2"; }
begin() { # KIND ADDRESS PORT SECONDS
	lab_in c "$OUT/lab/failprobe" "$1" "$2" "$3" 1000 "$4" >"$LAB_DIR/probe" 2>"$LAB_DIR/probe.err" &
	PROBE=$!
	lab_wait 'the probe' 5 grep -q begun "$LAB_DIR/probe.err"
}
ended() { # KILLED_US: what was lost, was lost within 100 ms of that
	wait $PROBE
	awk -v killed="$1" '
		/^sent/ { n = $2; gap = $6; next }
		{ lost++; t = $1 - killed; if (t > last) last = t; if (t < -20000 || t > 100000) stray++ }
		END { printf "# %d asked, %d lost, the last one %.1f ms after the kill, longest gap %.1f ms\n", n, lost, last / 1000, gap / 1000
			exit !(n == 1000 && !stray) }' "$LAB_DIR/probe" >"$LAB_DIR/said"
	rc=$?
	cat "$LAB_DIR/said" >&3
	[ $rc -eq 0 ] || sed 's/^[0-9]* //' "$LAB_DIR/probe" | sort | uniq -c
	return $rc
}
exec 3>&1
dies() { # KIND ADDRESS PORT APP: under 1,000 questions a second
	local killed
	begin "$1" "$2" "$3" 1 || return 1
	sleep 0.4
	killed=$(date +%s%6N)
	lab_app_kill "$4"
	ended "$killed"
}
back() { # SPEC APP SPACE PORT: started again, its check brings it back
	serve "$2" "$3" "$4"
	lab_wait "$1 passes" 10 is_health "$1" 'passing *'
}
A4=fra-2/udp/$(lab_addr4 fra-2):7001 A6="fra-2/udp/[$(lab_addr6 fra-2)]:7001"
T4=fra-2/tcp/$(lab_addr4 fra-2):7002 BOX4=fra-3/tcp/10.88.1.2:7002 BOX6='fra-3/tcp/[fd88:1::2]:7002'
ok 'a UDP server is killed' dies udp $VIP 7001 a-udp
ok '  and failing' is_health "$A4" 'failing *'
ok '  its check brings it back' back "$A4" a-udp fra-2 7001
ok 'the same over IPv6' dies udp $VIP6 7001 a-udp
ok '  and failing' is_health "$A6" 'failing *'
ok '  its check brings it back' back "$A6" a-udp fra-2 7001
ok 'a TCP server is killed' dies tcp $VIP 7002 a-tcp
ok '  and failing' is_health "$T4" 'failing *'
ok '  its check brings it back' back "$T4" a-tcp fra-2 7002
ok 'a TCP server in a container is killed' dies tcp $VIP 7002 box
ok '  and failing' is_health "$BOX4" 'failing *'
ok '  its check brings it back' back "$BOX4" box fra-3-box 7002
ok 'the same over IPv6' dies tcp $VIP6 7002 box
ok '  its check brings it back' back "$BOX6" box fra-3-box 7002

reach() { # NODE: what it knows of how the failure of a TCP server reached the three edges
	lab_ctl "$1" --json events | jq -e --arg w "tcp/$(lab_addr4 fra-2):7002" '[.events[]|select(.kind=="health" and .what==$w and (.text|startswith("failing")))]
		|last.reach|select(.edges==3 and .p50_us>0 and .p50_us<=.p99_us and .p99_us<1000000 and (.slowest|startswith("fra-")))' >"$LAB_DIR/reach"
}
ok 'the owner knows when it was in the maps of all edges' lab_wait 'reports' 5 reach fra-2
jq -r '"# in all maps: p50 \(.p50_us/1000) ms, p99 \(.p99_us/1000) ms, slowest \(.slowest)"' "$LAB_DIR/reach"
ok '  and tells the others' lab_wait 'its summary' 5 reach fra-1
follows() { grep -q 'reach .*in the maps of 3 edges' "$LAB_DIR/follow"; }
follow() {
	lab_ctl fra-1 events --follow >"$LAB_DIR/follow" 2>&1 &
	lab_wait 'events' 5 follows
	local rc=$?
	kill $!
	return $rc
}
ok '  events can be followed' follow

# Port 7105 of the range is closed at every backend.
knocks() {
	local i
	for i in $(seq 60); do
		lab_in c timeout 1 bash -c "exec 3<>/dev/tcp/$RANGE/7105" 2>&1 | grep -q refused || return 1
	done
	is "$(lab_ctl fra-1 --json backend list range | jq '[.backends[]|select(.health=="passing")]|length')" 2
}
ok 'knocking at a closed port of a range takes nobody out' knocks
ok '  but the checked port does' dies tcp $RANGE 7100 a-range
ok '  and its check brings it back' back "fra-2/range/$(lab_addr4 fra-2):7100" a-range fra-2 7100

# What a backend stands on: the address, the process that a file names. Nobody sends anything here, and no check looks.
lab_addr fra-2 lo 10.1.2.9/32
serve alone fra-2 7300
cp "$LAB_DIR/app-alone.pid" "$LAB_DIR/alone.pid" && chmod 644 "$LAB_DIR/alone.pid"
stands() {
	lab_ctl fra-1 service add quiet --vip 198.51.100.55 --port udp/7300 >/dev/null || return 1
	lab_wait 'the service' 10 lab_ctl fra-2 route show quiet || return 1
	lab_ctl fra-2 backend add quiet 10.1.2.9:7300 --pidfile "$LAB_DIR/alone.pid" || return 1
	lab_wait 'it passes' 10 is_health fra-2/quiet/10.1.2.9:7300 'passing *'
}
QUIET=fra-2/quiet/10.1.2.9:7300
ok 'a backend without a check, its process watched' stands
ended_process() { lab_app_kill alone && lab_wait 'failing' 2 is_health $QUIET 'failing process * has ended'; }
ok '  is out when the process ends' ended_process
new_process() {
	serve alone fra-2 7300
	cp "$LAB_DIR/app-alone.pid" "$LAB_DIR/alone.pid" && lab_wait 'passing' 5 is_health $QUIET 'passing *'
}
ok '  and back when the file names another' new_process
no_address() { lab_in fra-2 ip addr del 10.1.2.9/32 dev lo && lab_wait 'failing' 2 is_health $QUIET 'failing its address*'; }
ok '  is out when its address is gone' no_address
address() { lab_in fra-2 ip addr add 10.1.2.9/32 dev lo && lab_wait 'passing' 5 is_health $QUIET 'passing *'; }
ok '  and back with it' address

# One of two is out: the other is the last.
last_stays() {
	lab_app_kill a-udp
	begin udp $VIP 7001 1
	wait $PROBE
	is_health "$A4" 'failing *' || return 1
	lab_app_kill b-udp
	begin udp $VIP 7001 1
	wait $PROBE
	grep -q 'eject_refused backend=udp/.* why="it is the last usable one"' "$LAB_DIR"/fra-3/edged.log
}
ok 'the last usable one is not taken out by signals' last_stays
tap_end
