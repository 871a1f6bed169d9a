#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The demo: three regions on this machine, real traffic, a backend killed. --once ends by itself; the exit code says
# whether every point worked.
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/lab/lab.sh
. tests/lab/lab.sh

once=0
for arg in "$@"; do
	case $arg in
	--once) once=1 ;;
	*) echo "demo: got '$arg', want --once or nothing" >&2; exit 2 ;;
	esac
done

VIP_DNS=198.51.100.53 VIP_DNS6=2001:db8:100::53 VIP_WEB=198.51.100.80 VIP_ECHO=198.51.100.7
bad=0
title() { printf '\n== %s\n' "$*"; }
say() { printf '   %s\n' "$*"; }
# point WHAT COMMAND...: run it, show its output, remember if it failed.
point() {
	local what=$1 out rc
	shift
	out=$("$@" 2>&1)
	rc=$?
	if [ $rc -eq 0 ]; then
		say "$what: $out"
	else
		say "FAILED: $what: $out"
		bad=$((bad + 1))
	fi
}
show() { sed 's/^/   | /'; }

whoami_dns() { # CLIENT VIP [OPTION]: who answers, and in what time; fails without an answer
	lab_in "$1" kdig "${3:-+notcp}" +noall +answer +stats +retry=0 +time=2 "@$2" whoami.lab TXT |
		awk '$4 == "TXT" { gsub(/"/, "", $5); who = $5 } /^;; From/ { took = $(NF - 1) " " $NF }
			END { if (who == "") exit 1; print who " in " took }'
}
whoami_web() { lab_in "$1" curl -sf -m 5 "http://$VIP_WEB/"; }
whoami_echo() { printf whoami | lab_in "$1" "$OUT/lab/udpask" $VIP_ECHO 7 2000; }
expect_region() { # WANTED COMMAND...: the answer comes from a node of that region
	local want=$1 out
	shift
	out=$("$@") || return 1
	echo "$out"
	case $out in "$want"*) return 0 ;; esac
	return 1
}
sees_client() { # ADDRESS COMMAND...: the application, which says its name and whom it saw, saw this address
	local want=$1 out who saw port
	shift
	out=$("$@") || return 1
	read -r who saw port <<<"$out"
	echo "$who saw the client as $saw port $port"
	[ "$saw" = "$want" ]
}
has_region() { expect_region "$1" whoami_dns "$2" "$VIP_DNS" >/dev/null; }
all_passing() { # NODE COUNT
	[ "$(lab_ctl "$1" --json backend list | jq '[.backends[]|select(.health=="passing")]|length')" = "$2" ]
}

build_mesh() {
	local r n
	for r in fra nyc sin; do
		lab_region $r
		for n in $r-1 $r-2; do lab_node $n $r; done
		lab_client c-$r $r
	done
	lab_mesh
	lab_container fra-2
}

start_applications() {
	local n a4 a6
	for n in "${LAB_NODES[@]}"; do
		a4=$(lab_addr4 "$n") a6=$(lab_addr6 "$n")
		lab_dns "$n" "$n" 5353 "$a4" "$a6"
		case $n in
		*-2) lab_web "$n" "$n" 8080 "$a4" ;;
		*-1) lab_echo "$n" "$n" 5300 ;;
		esac
	done
	lab_web fra-2-container fra-2-box 8080 0.0.0.0
}

declare_services() {
	local n a4 a6
	lab_ctl fra-1 service add dns --vip $VIP_DNS --vip $VIP_DNS6 --port udp/53 --port tcp/53 >/dev/null || return 1
	lab_ctl fra-1 service add web --vip $VIP_WEB --port tcp/80 >/dev/null || return 1
	lab_ctl fra-1 service add echo --vip $VIP_ECHO --port udp/7 >/dev/null || return 1
	for n in "${LAB_NODES[@]}"; do
		lab_wait "services at $n" 10 lab_ctl "$n" route show echo || return 1
		a4=$(lab_addr4 "$n") a6=$(lab_addr6 "$n")
		lab_ctl "$n" backend add dns "$a4:5353" --check tcp:interval=200ms,fall=1 >/dev/null || return 1
		lab_ctl "$n" backend add dns "[$a6]:5353" --check tcp:interval=200ms,fall=1 >/dev/null || return 1
		case $n in
		*-2) lab_ctl "$n" backend add web "$a4:8080" --check tcp >/dev/null || return 1 ;;
		*-1) lab_ctl "$n" backend add echo "$a4:5300" --check udp >/dev/null || return 1 ;;
		esac
	done
	lab_ctl fra-2 backend add web 10.88.1.2:8080 --check tcp >/dev/null || return 1
}

# Ask every 5 ms who answers, from sockets of their own; one line each: ms since the start, the answer or "lost".
query_loop() { # CLIENT SECONDS OUT
	lab_in "$1" "$OUT/lab/dnsprobe" "$VIP_DNS" 53 whoami.lab "$2" 5 >"$3" 2>"$3.begun"
}

# Kill the victim while queries run; every loss must lie within two seconds of it, and it must not answer afterwards.
kill_and_measure() { # CLIENT VICTIM
	local out=$LAB_DIR/probe.txt pid killed gone
	query_loop "$1" 4 "$out" &
	pid=$!
	lab_wait 'queries to begin' 5 grep -q begun "$out.begun" || { bad=$((bad + 1)); return; }
	sleep 1.5
	killed=$(date +%s%3N)
	lab_app_kill "dns-$2" KILL
	gone=$(date +%s%3N) # what was sent before this may still have found it alive
	say "killed with -9, under one query every 5 ms: the DNS server on $2"
	wait $pid
	awk -v killed="$killed" -v gone="$gone" -v victim="$2" '
		{ total++ }
		$2 == "lost" { lost++; if ($1 < killed - 50 || $1 > killed + 2000) stray++; last = $1; next }
		$1 <= gone { before[$2]++; next }
		{ after[$2]++; if ($2 == victim) late++ }
		function list(a,  n, text) { for (n in a) text = text " " n " (" a[n] ")"; return text }
		END {
			printf "   before: %d queries, answered by%s\n", total - lost - sum(after), list(before)
			printf "   lost: %d of %d queries\n", lost, total
			printf "   %d ms after the kill all queries were answered again: %d, by%s\n", lost ? last - killed + 5 : 0, sum(after), list(after)
			if (stray || late) printf "   FAILED: %d lost at other times, %d answered by the dead\n", stray, late
			exit !(total > 500 && lost < total / 4 && sum(after) > 100 && !stray && !late)
		}
		function sum(a,  n, t) { for (n in a) t += a[n]; return t }' "$out" || bad=$((bad + 1))
}

# Both daemons of an edge and of a worker are gone, queries go on.
daemons_killed() {
	local n d
	echo 'whoami.lab TXT' >"$LAB_DIR/queries"
	lab_in c-nyc dnsperf -s $VIP_DNS -d "$LAB_DIR/queries" -Q 500 -c 20 -l 4 >"$LAB_DIR/perf.txt" 2>&1 &
	lab_wait 'dnsperf to begin' 5 grep -q 'Sending queries' "$LAB_DIR/perf.txt" || return 1
	for n in nyc-1 nyc-2; do
		for d in edged edgefwd; do lab_kill $n $d KILL || return 1; done
	done
	wait $!
	awk '/Queries (sent|lost)/ { n[$2] = $3 } END { printf "%d sent, %d lost\n", n["sent:"], n["lost:"]; exit !(n["sent:"] > 1000 && n["lost:"] == 0) }' \
		"$LAB_DIR/perf.txt"
}
daemons_back() {
	local n
	for n in nyc-1 nyc-2; do
		lab_start $n edgefwd
		lab_wait "edgefwd on $n" 20 test -S "$LAB_DIR/$n/edgefwd.sock" || return 1
		lab_start $n edged
	done
	lab_wait 'all alive' 30 lab_sees nyc-1 6 && expect_region nyc whoami_dns c-nyc $VIP_DNS
}

title 'Building: 3 regions, 2 nodes each, a client near each'
lab_up
build_mesh
start_applications
lab_start_all
say "namespaces edge-lab-$LAB_TAG-*: nodes ${LAB_NODES[*]}; clients ${LAB_CLIENTS[*]}; routers and a core between them"
say "WireGuard mesh between all nodes ($(lab_in fra-1 ip -d link show "${LAB_WG_DEV[fra-1]}" | grep -q wireguard && echo "the kernel's" || echo wireguard-go)); edgefwd and edged on each"
say "dns  $VIP_DNS, $VIP_DNS6  udp+tcp/53 -> nsd on port 5353 of every node"
say "web  $VIP_WEB  tcp/80 -> nginx on port 8080 of every second node, and in a container on fra-2"
say "echo $VIP_ECHO  udp/7 -> an echo bound to 0.0.0.0:5300 on every first node"
declare_services || { lab_logs; exit 1; }
lab_wait 'all backends healthy' 20 all_passing sin-2 19 || { lab_ctl sin-2 status; lab_logs; exit 1; }
for r in fra nyc sin; do
	lab_wait "an answer in $r" 20 has_region $r c-$r || { lab_ctl $r-1 status; lab_ctl $r-1 stats; lab_logs; exit 1; }
done

title 'A query is answered in the nearest region'
for r in fra nyc sin; do
	point "client in $r asks $VIP_DNS over UDP, answered by" expect_region $r whoami_dns c-$r $VIP_DNS
	point "client in $r asks $VIP_DNS6 over TCP, answered by" expect_region $r whoami_dns c-$r $VIP_DNS6 +tcp
done

title "The application sees the client's own address"
for r in fra nyc; do
	point "client $(lab_client4 $r) asks nginx" sees_client "$(lab_client4 $r)" whoami_web c-$r
	point "client $(lab_client4 $r) asks the udp echo, which is bound to 0.0.0.0" sees_client "$(lab_client4 $r)" whoami_echo c-$r
done

title 'edgectl status'
lab_ctl fra-1 status | show

title 'A backend dies'
kill_and_measure c-fra fra-1
failing_seen() { [ "$(lab_ctl sin-1 --json backend list | jq '[.backends[]|select(.health=="failing")]|length')" -ge 1 ]; }
lab_wait 'the failure is known in sin' 10 failing_seen || bad=$((bad + 1))
point 'client in fra asks again, answered by' expect_region fra whoami_dns c-fra $VIP_DNS

title 'edgectl status, again'
lab_ctl sin-1 status | show

title 'edged and edgefwd killed with -9, on nyc-1 and nyc-2, under 500 queries a second'
point 'client in nyc' daemons_killed
point 'started again; client in nyc asks, answered by' daemons_back

title "To try next$([ $once -eq 0 ] || echo ', in a second shell while it is up: make demo, without --once')"
say "$OUT/edgectl --socket $LAB_DIR/fra-1/edged.sock route show dns"
say "$OUT/edgectl --socket $LAB_DIR/fra-1/edged.sock stats"
say "$OUT/edgectl --socket $LAB_DIR/fra-2/edged.sock backend drain fra-2/dns/$(lab_addr4 fra-2):5353 --reason try"
say "nsenter --net=/run/netns/$(lab_space c-fra) kdig @$VIP_DNS whoami.lab TXT"
say "nsenter --net=/run/netns/$(lab_space c-nyc) curl http://$VIP_WEB/"
say "nsenter --net=/run/netns/$(lab_space fra-1) tcpdump -ni ${LAB_WG_DEV[fra-1]}"
if [ $once -eq 0 ] && [ $bad -eq 0 ]; then
	say 'Ctrl-C takes it all down.'
	sleep infinity &
	wait $!
fi
title "$([ $bad -eq 0 ] && echo 'It worked.' || echo "$bad points failed.")"
if [ $bad -ne 0 ]; then lab_logs; fi
[ $bad -eq 0 ]
