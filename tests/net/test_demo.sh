#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The demo as a newcomer meets it: each point of its story is there with a number, the commands it says to try work, and
# ending it leaves nothing.
set -u
out=${OUT:-build/std}
story=$(mktemp)
demo=
n=0 bad=0
ok() { # NAME COMMAND...
	local name=$1 said
	shift
	n=$((n + 1))
	if said=$("$@" 2>&1); then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name"
		printf '%s\n' "$said" "of: $*" | tail -n 20 | sed 's/^/# /'
		bad=1
	fi
}
finish() {
	[ -n "$demo" ] && kill -TERM "$demo" 2>/dev/null && wait "$demo" 2>/dev/null
	rm -f "$story"
}
trap finish EXIT
if [ "$(id -u)" -ne 0 ]; then echo 'ok 1 # skip needs root'; exit 0; fi

told() { grep -qE "$1" "$story" || { cat "$story"; return 1; }; }
until_told() { # PATTERN SECONDS
	local end=$((SECONDS + $2))
	until grep -qE "$1" "$story"; do
		if [ $SECONDS -ge $end ] || ! kill -0 "$demo" 2>/dev/null; then cat "$story"; return 1; fi
		sleep 0.05
	done
}

refused() { OUT=$out tests/lab/demo.sh --onec; [ $? -eq 2 ]; }
ok 'a wrong argument is refused' refused

OUT=$out tests/lab/demo.sh >"$story" 2>&1 &
demo=$!
ok 'the demo is up and waits' until_told 'Ctrl-C takes it all down' 150
for r in fra nyc sin; do
	ok "$r: answered in the region, over UDP" told "client in $r asks 198\.51\.100\.53 over UDP, answered by: $r-"
	ok "$r: answered in the region, IPv6, over TCP" told "client in $r asks 2001:db8:100::53 over TCP, answered by: $r-"
done
ok "nginx saw the client's address" told 'nginx: .* 192\.0\.2\.18 '
ok "the echo on a wildcard socket saw it too" told 'udp echo, .* 192\.0\.2\.18 '
ok 'status: everybody alive' told '6 nodes: 6 alive'
ok 'a backend killed: losses counted' told 'lost: [0-9]+ of [0-9]+ queries'
ok 'a backend killed: time measured' told '[0-9]+ ms after the kill all queries were answered again'
ok 'status: says what fails' told 'backend fra-1/dns/.* is failing'
ok 'daemons killed: nothing lost' told ' sent, 0 lost'
failures() { ! grep -n FAILED "$story"; }
ok 'nothing says FAILED' failures

tag=$(grep -oE 'edge-lab-[0-9a-f]{6}' "$story" | head -n 1)
tag=${tag#edge-lab-}
while read -r command; do
	case $command in *tcpdump*) command="$command -c 1" ;; esac
	ok "to try: $(echo "$command" | sed -E 's,[^ ]*/,,; s,/run/[^ ]* ?,,; s,(edge-lab-|wg)[0-9a-f]{6},\1TAG,' | cut -c1-60)" bash -c "timeout 20 $command"
done < <(sed -n '/== To try next/,$p' "$story" | sed -n 's/^   \(.*\(edgectl\|nsenter\) .*\)/\1/p')

kill -TERM "$demo"
wait "$demo"
ok 'ended by a signal' [ $? -eq 143 ]
demo=
left() {
	local what
	what=$( (ip netns list; cat /proc/mounts; ls /run /var/run/wireguard; ip -o link; ps -eo args) 2>/dev/null |
		awk -v tag="${tag:-none}" 'index($0, tag) && !/awk/')
	[ -z "$what" ] || { echo "$what"; return 1; }
}
ok 'nothing is left of it' left
echo "1..$n"
[ $bad -eq 0 ]
