#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Three edged without a forwarder in one network namespace: a cluster forms, writes and health spread, deaths show, a
# node cut off knows what it knew; wrong keys, a second daemon and bad configuration are refused.
set -u
out=$(realpath "${OUT:-build/std}")
edged=$out/edged edgectl=$out/edgectl
ns=eagt-$$
dir=$(mktemp -d /tmp/eagt.XXXXXX)
declare -A pid=()
n=0 bad=0

ok() { n=$((n + 1)); echo "ok $n - $1"; }
not_ok() { n=$((n + 1)); bad=1; echo "not ok $n - $1"; }
check() { local name=$1; shift; if "$@"; then ok "$name"; else not_ok "$name"; fi; }
# until_true SECONDS COMMAND...: the event that is waited for, with a generous limit
until_true() {
	local end=$((SECONDS + $1)); shift
	while ! "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -ge "$end" ] && { echo "# gave up on: $*"; return 1; }
		sleep 0.05
	done
}

cleanup() {
	for p in "${pid[@]}"; do kill -9 "$p" 2>/dev/null; done
	wait 2>/dev/null
	ip netns del "$ns" 2>/dev/null
	if [ "$bad" -ne 0 ]; then for f in "$dir"/*.log; do echo "# --- $f"; tail -n 20 "$f" | sed 's/^/# /'; done; fi
	rm -rf "$dir"
}
trap cleanup EXIT

if [ "$(id -u)" -ne 0 ]; then echo "1..0 # skip needs root"; echo "ok 1 # skip needs root"; exit 0; fi
ip netns add "$ns" || { echo "not ok 1 - a network namespace"; exit 1; }
ip -n "$ns" link set lo up
chmod 755 "$dir"
for i in 1 2 3 4; do
	ip -n "$ns" addr add 10.66.0.$i/32 dev lo
	install -d -o nobody -m 700 "$dir/n$i"
done
install -d -o nobody -m 755 "$dir/run"
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$dir/key"
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$dir/key.wrong"
chown nobody "$dir"/key*; chmod 600 "$dir"/key*

conf() { # node, key file
	cat >"$dir/n$1.conf" <<-END
		[node]
		name = n$1
		region = r$1
		state_dir = $dir/n$1
		control = $dir/run/n$1.sock
		group = nogroup
		[mesh]
		device = lo
		address = 10.66.0.$1
		cluster = eagt
		key_file = $dir/$2
		seed = 10.66.0.1:7946
		seed = 10.66.0.2:7946
		[forwarder]
		user = nobody
	END
}
for i in 1 2 3; do conf $i key; done
conf 4 key.wrong

start() {
	nsenter --net=/run/netns/"$ns" "$edged" -c "$dir/n$1.conf" >>"$dir/n$1.log" 2>&1 &
	pid[n$1]=$!
}
ctl() { local i=$1; shift; "$edgectl" --socket "$dir/run/n$i.sock" "$@"; }
# query NODE JQ-FILTER: true if the status of that node, as seen by itself, passes
query() { ctl "$1" status --json 2>/dev/null | jq -e "$2" >/dev/null; }
sees() { query "$1" "[.nodes[] | select(.name == \"n$2\" and .state == \"$3\")] | length == 1"; }
has_service() { query "$1" "[.services[] | select(.name == \"$2\")] | length == 1"; }
has_backend() { query "$1" "[.backends[] | select(.service == \"$2\" and .node == \"$3\" and .health == \"$4\")] | length == 1"; }
all() { local f=$1; shift; "$f" 1 "$@" && "$f" 2 "$@" && "$f" 3 "$@"; }
every_sees_all() { for i in 1 2 3; do for k in 1 2 3; do sees $i $k alive || return 1; done; done; }
status_of() { wait "${pid[$1]}"; local rc=$?; unset "pid[$1]"; return $rc; }

for i in 1 2 3; do start $i; done
check "three nodes form a cluster" until_true 20 every_sees_all
[ "$bad" -eq 0 ] || exit 1 # nothing below would tell more
check "it has given up root" [ "$(awk '/^Uid:/ {print $2}' /proc/"${pid[n1]}"/status)" = "$(id -u nobody)" ]
check "it has no capability" [ "$(awk '/^Cap(Prm|Eff)/ {print $2}' /proc/"${pid[n1]}"/status | sort -u)" = 0000000000000000 ]

check "a service is added" ctl 1 service add dns --vip 198.51.100.1 --port udp/53 --port tcp/53
check "every node has it" until_true 10 all has_service dns
ctl 2 service add dns --vip 198.51.100.9 --port udp/53 >"$dir/out" 2>&1
check "the same name on another node is refused with exit 1" [ $? -eq 1 ]
ctl 2 service add other --vip 198.51.100.1 --port udp/53 >"$dir/out" 2>&1
check "a clash is refused" grep -q "vip 198.51.100.1 udp/53 belongs to service dns" "$dir/out"
ctl 2 backend add dns 127.0.0.1:5300 >"$dir/out" 2>&1
check "a loopback backend is refused" grep -q "loopback" "$dir/out"
ctl 2 backend add nothing 10.66.0.2:5300 >"$dir/out" 2>&1
check "a backend without a service is refused" grep -q "no service nothing" "$dir/out"

nsenter --net=/run/netns/"$ns" socat TCP-LISTEN:5300,bind=10.66.0.2,fork,reuseaddr EXEC:/bin/true >/dev/null 2>&1 &
pid[listener]=$!
check "a backend is added" ctl 2 backend add dns 10.66.0.2:5300 --check "tcp:interval=200ms,timeout=100ms,rise=1,fall=1"
check "every node sees it pass" until_true 10 all has_backend dns n2 passing
kill -9 "${pid[listener]}" 2>/dev/null
status_of listener
check "its listener is killed: every node sees it fail" until_true 10 all has_backend dns n2 failing

start 4
check "one with a wrong cluster key runs" until_true 5 sees 4 4 alive
heard_unsealed() { ctl "$1" stats --json 2>/dev/null | jq -e '.loop.unsealed > 2' >/dev/null; }
check "what it says is counted" until_true 20 heard_unsealed 1
check "nobody knows the stranger" query 1 '[.nodes[] | select(.name == "n4")] | length == 0'
check "the stranger knows nobody" query 4 '[.nodes[] | select(.name != "n4")] | length == 0'
kill -TERM "${pid[n4]}"
check "SIGTERM ends it with 0" status_of n4

nsenter --net=/run/netns/"$ns" "$edged" -c "$dir/n1.conf" >"$dir/second.log" 2>&1
check "a second edged on the same state ends with 1" [ $? -eq 1 ]
check "and says why" grep -q "another edged uses $dir/n1" "$dir/second.log"
check "the first goes on" sees 1 1 alive

kill -9 "${pid[n2]}"; status_of n2
check "a killed node is dead to the others" until_true 20 sees 1 2 dead
check "and to all of them" until_true 20 sees 3 2 dead
kill -TERM "${pid[n3]}"; check "a node leaves with exit 0" status_of n3
check "the others see that it left" until_true 10 sees 1 3 left
kill -9 "${pid[n1]}"; status_of n1

start 2
check "a node restarted alone answers" until_true 10 has_service 2 dns
check "it knows its backend and its last health" has_backend 2 dns n2 failing
check "it knows the others" query 2 '[.nodes[]] | length == 3'
start 1
start 3
check "the cluster is whole again" until_true 20 every_sees_all
check "with what it knew" until_true 10 all has_backend dns n2 failing

check "another node drains it" ctl 1 backend drain n2/dns/10.66.0.2:5300 --reason test
drained() { query "$1" "[.backends[] | select(.is_overridden == $2)] | length == 1"; }
check "every node sees that" until_true 10 all drained true
check "its own node undrains it" ctl 2 backend undrain dns/10.66.0.2:5300
check "and every node sees that too" until_true 10 all drained false
ctl 1 backend rm n2/dns/10.66.0.2:5300 >"$dir/out" 2>&1
check "another node can't remove it" grep -q "belongs to node n2" "$dir/out"
check "a backend is removed" ctl 2 backend rm dns/10.66.0.2:5300
gone() { query "$1" '[.backends[]] | length == 0'; }
check "everywhere" until_true 10 all gone
check "a service is removed" ctl 3 service rm dns
none() { query "$1" '[.services[]] | length == 0'; }
check "everywhere too" until_true 10 all none

sed 's/^name = .*/name = Not_A_Name/' "$dir/n1.conf" >"$dir/bad.conf"
"$edged" -c "$dir/bad.conf" >"$dir/out" 2>&1
check "bad configuration ends with 2" [ $? -eq 2 ]
check "naming file, line and value" grep -q "bad.conf:2: name: got 'Not_A_Name'" "$dir/out"
"$edged" --check -c "$dir/n1.conf" >"$dir/out" 2>&1
check "--check likes a good one" [ $? -eq 0 ]
"$edged" --nonsense >"$dir/out" 2>&1
check "unknown options end with 2" [ $? -eq 2 ]
sed "s,^state_dir = .*,state_dir = /proc," "$dir/n1.conf" >"$dir/ro.conf"
"$edged" -c "$dir/ro.conf" >"$dir/out" 2>&1
check "an unwritable state_dir ends with 1 and says so" grep -q "state_dir /proc: user nobody can't write there" "$dir/out"

kill -USR1 "${pid[n3]}"; check "SIGUSR1 ends it with 0" status_of n3
check "without leaving" until_true 20 sees 1 3 dead
for i in 1 2; do kill -TERM "${pid[n$i]}"; check "n$i ends clean" status_of n$i; done
check "no handle was left open" [ "$(grep -c unclean "$dir"/n*.log | awk -F: '{s += $2} END {print s}')" -eq 0 ]
echo "1..$n"
exit $bad
