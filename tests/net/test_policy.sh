#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Policies and prefix lists change at run time: typed on one node, in force at the edge within gossip's time, and packets
# that they are not about never notice. One edge, one worker; the operator sits at the worker.
. tests/net/net.sh

V4=198.51.100.1 V6=2001:db8:100::1
lab_up
lab_region fra
lab_node fra-1 fra
lab_node fra-2 fra
lab_client c fra
lab_mesh
C4=$(lab_client4 fra) C6=$(lab_client6 fra)
lab_echo fra-1 fra-1 5300
lab_echo fra-2 fra-2 5300
lab_start_all

ctl() { lab_ctl fra-2 "$@"; }
# An answer within 200 ms, by whom.
asks() { printf whoami | lab_in c "$OUT/lab/udpask" "$1" 7 200 2>&1; }
answers() { like "$(asks "$1")" "$2 *"; }
silent() { like "$(asks "$1")" '*no answer*'; }
# "Within gossip's time": five seconds is what a busy machine gets.
soon() { # NAME COMMAND...
	local name=$1
	shift
	ok "$name" lab_wait "$name" 5 "$@"
}
service_up() {
	ctl service add echo --vip $V4 --vip $V6 --port udp/7 --policy hash=source >/dev/null || return 1
	ctl backend add echo "$(lab_addr4 fra-2):5300" --check udp >/dev/null || return 1
	ctl backend add echo "[$(lab_addr6 fra-2)]:5300" --check udp >/dev/null || return 1
	lab_wait 'two healthy backends' 20 passing fra-1 2 && lab_wait 'the first answer' 10 answers $V4 fra-2
}
ok 'a service with a policy, two backends' service_up
ok 'IPv6 too' lab_wait 'an answer' 10 answers $V6 fra-2
digest() { lab_ctl fra-1 --json route show echo | jq -r '[.families[].digest]|join(" ")'; }
BEFORE=$(digest)
policy() { lab_ctl fra-1 --json service show echo | jq -c '.services[0].policy'; }
ok 'the policy is known to the edge' is "$(policy)" '{"hash":"source"}'

# Prefix lists
ok 'a client is denied' like "$(ctl filter add deny "$C4/32" --service echo --why 'too many')" "$C4/32 is denied for service echo"
soon 'it is answered no more' silent $V4
ok 'another family is' answers $V6 fra-2
denied() { [ "$(counter fra-1 denied)" -gt 0 ]; }
ok 'and the edge says why' denied
ok 'filters are listed, with their reason' like "$(lab_ctl fra-1 filter list | tr -s ' ')" "*echo $C4/32 deny too many*"
ok 'allowed within a denied network' ctl filter add deny "${C4%.*}.0/24" --service echo
ok 'the longest prefix decides' ctl filter add allow "$C4" --service echo
soon 'it is answered again' answers $V4 fra-2
ok 'all off the list' eval "ctl filter rm '${C4%.*}.0/24' --service echo && ctl filter rm $C4 --service echo"
ok 'a network is denied for every service' ctl filter add deny "${C6%:*}:/64"
soon 'IPv6 is answered no more' silent $V6
ok 'IPv4 is' answers $V4 fra-2

# edged dies: what is denied stays denied; what changed meanwhile is caught up with.
deny_without_edged() {
	lab_kill fra-1 edged KILL
	silent $V6 || return 1
	answers $V4 fra-2 || return 1
	ctl filter rm "${C6%:*}:/64" >/dev/null && ctl filter add deny "$C4" >/dev/null || return 1
	answers $V4 fra-2 || return 1
	lab_start fra-1 edged
}
ok 'edged killed: lists stay as they were' deny_without_edged
soon 'restarted: what was taken off is answered' answers $V6 fra-2
soon 'and what was put on is not' silent $V4
ok 'off again' ctl filter rm "$C4"
soon 'and answered' answers $V4 fra-2

# Closed
closed() { like "$(ctl service set echo closed=on)" '*closed*no filter of its own*'; }
ok 'closed to all, and edgectl says so' closed
soon 'no source is served' silent $V4
ok 'one is let in' ctl filter add allow "$C4/32" --service echo
soon 'it is served' answers $V4 fra-2
ok 'another is not' silent $V6
ok 'open again' ctl service set echo closed=off
soon 'both are served' answers $V6 fra-2

# Rates
burst() { # answers to 60 datagrams at once
	local i
	for ((i = 0; i < 60; i++)); do
		printf whoami | lab_in c "$OUT/lab/udpask" $V4 7 1500 2>&1 &
	done | grep -o fra-2 | wc -l
}
ok 'a rate for every source' ctl service set echo source_pps=2 prefix4=24
limited() {
	local got
	got=$(burst)
	[ "$got" -gt 0 ] && [ "$got" -lt 60 ] && [ "$(counter fra-1 rate_source)" -gt 0 ]
}
soon 'a burst is cut' limited
ok 'taken back' ctl service set echo source_pps=off prefix4=off
soon 'a burst is served whole' eval '[ "$(burst)" -eq 60 ]'

under_changes() { # every query is answered while policies change
	local n changes
	for n in 1 2 3 4 5; do ctl service set echo pps=$((n * 1000000)) mtu=carry hop_pps=$n; done >"$LAB_DIR/changes" 2>&1 &
	changes=$!
	while kill -0 $changes 2>/dev/null; do answers $V4 fra-2 && answers $V6 fra-2 || return 1; done
	ctl service set echo pps=off mtu=too-big hop_pps=off >/dev/null && is "$(grep -c mtu=carry "$LAB_DIR/changes")" 5
}
ok 'changes under traffic cost no packet' under_changes
ok 'and no table' is "$(digest)" "$BEFORE"

# The size of the table is a policy too: a new one is flipped in.
rows() { is "$(lab_ctl fra-1 --json route show echo | jq -c '[.families[].rows]')" "$1"; }
ok 'a table of another size' ctl service set echo rows=1021
soon 'both families have it' rows '[1021,1021]'
ok 'and serve' answers $V4 fra-2
ok 'as before' ctl service set echo rows=off
soon 'one backend is one row' rows '[1,1]'

# Told instead of dropped
refused() { like "$(printf x | lab_in c "$OUT/lab/udpask" $V4 9 300 2>&1)" '*refused*'; }
ok 'a port without service is silent' eval '! refused'
ok 'reject=on' ctl service set echo reject=on
soon 'the client is told' refused

# Refusals change nothing.
ok 'a policy that makes no sense is refused' like "$(ctl service set echo syn_pps=5 2>&1)" '*no TCP port*'
ok 'one that is none, too' like "$(ctl service set echo sticky=on 2>&1)" "*got 'sticky=on', want*"
ok 'an unknown service, too' like "$(ctl service set nope pps=5 2>&1)" '*no service nope*'

# Connection ids name a backend, whatever the source is.
ids() { ctl --json service show echo | jq -r --arg a "$1" '.backends[]|select(.addr==$a)|.quic_id'; }
second() {
	lab_ctl fra-1 backend add echo "$(lab_addr4 fra-1):5300" --check udp --quic-id 0badcafe >/dev/null &&
		lab_wait 'three backends' 20 passing fra-1 3
}
ok 'a second backend of IPv4' second
ID=$(ids "$(lab_addr4 fra-2):5300")
ok 'every backend has a server id' like "$ID" '[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
ok 'a chosen one stays' is "$(ids "$(lab_addr4 fra-1):5300")" 0badcafe
ok 'quic=on, per packet but for connection ids' ctl service set echo quic=on hash=packet
served() { lab_ctl fra-1 --json stats | jq --arg s "$1" '[.backends[]|select(.spec==$s)|.packets][0] // 0'; }
short() { # SERVER-ID: ten datagrams, each from another port; how many of them that backend's node got
	local spec=$2 before i
	before=$(served "$spec")
	for ((i = 0; i < 10; i++)); do
		# shellcheck disable=SC2059
		printf '\x40\x08'"$(sed 's/../\\x&/g' <<<"$1")"'nonce and payload' | lab_in c "$OUT/lab/udpask" $V4 7 300 >/dev/null 2>&1
	done
	echo $(($(served "$spec") - before))
}
all_at() { is "$(short "$1" "$2")" 10; }
soon 'ten ports, one connection: all at the first' all_at "$ID" "fra-2/echo/$(lab_addr4 fra-2):5300"
soon 'and at the second' all_at 0badcafe "fra-1/echo/$(lab_addr4 fra-1):5300"
spread() { [ "$(short 00000001 "fra-1/echo/$(lab_addr4 fra-1):5300")" -lt 10 ] && [ "$(short 00000001 "fra-2/echo/$(lab_addr4 fra-2):5300")" -lt 10 ]; }
ok 'an id of no backend goes by the hash' lab_wait 'both have some' 5 spread
ok 'all of it is shown' is "$(policy)" '{"hash":"packet","reject":"on","quic":"on"}'
ok 'nothing is wrong' is "$(lab_ctl fra-1 --json status | jq -c .problems)" '[]'
tap_end
