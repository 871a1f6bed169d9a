#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# edgectl verify: one word of a map is changed behind edged's back, and named; edges of a region compare their tables.
# edgectl wait: until all know the same and have written it.
. tests/net/net.sh

V4=198.51.100 V6=2001:db8:100:
LAB_TRANSPORT=fabric
lab_up
lab_region fra
for n in fra-1 fra-2 fra-3; do lab_node $n fra; done
lab_start_all

service() {
	lab_ctl fra-1 service add dns --vip $V4.1 --vip $V6:1 --port udp/53 --port tcp/53 >/dev/null || return 1
	lab_wait 'the service at fra-3' 10 lab_ctl fra-3 route show dns || return 1
	for n in fra-2 fra-3; do
		lab_ctl $n backend add dns "$(lab_addr4 $n):5353" --check none >/dev/null || return 1
		lab_ctl $n backend add dns "[$(lab_addr6 $n)]:5353" --check none >/dev/null || return 1
	done
	lab_wait '4 healthy backends' 20 passing fra-1 4
}
verify_says() { # NODE EXIT PATTERN
	local out rc
	out=$(lab_ctl "$1" verify)
	rc=$?
	printf '%s\n' "$out"
	[ $rc -eq "$2" ] && printf '%s\n' "$out" | grep -qE "$3"
}
ok 'a service with two backends of each family' service
ok 'all know the same' lab_ctl fra-1 wait --converged --timeout 20
ok '... and so they say at another node' lab_ctl fra-3 wait --converged --timeout 20
for n in fra-1 fra-2 fra-3; do
	ok "$n: nothing differs" verify_says $n 0 'as in memory: 3 nodes, 4 backends, 2 services'
done
ok 'it compares with two others' is "$(lab_ctl fra-1 --json verify | jq '[.edges[]|select(.is_same)]|length')" 2

# One backend's word, as if memory had turned a bit over. Bytes as bpftool shows and takes them.
pinned() { echo "$LAB_DIR/bpf/$1"/v*/maps/"$2"; }
word() { # NODE: key and value of the first backend that has a word
	bpftool -j map dump pinned "$(pinned "$1" dp_backend)" |
		jq -r '[.[]|select(.value|any(. != "0x00"))][0]|"\(.key|join(" ")),\(.value|join(" "))"'
}
number() { # BYTES: little-endian
	local b n=0 shift=0
	for b in $1; do
		n=$((n | (b << shift)))
		shift=$((shift + 8))
	done
	echo "$n"
}
flipped() { # BYTES: one bit of the second is
	# shellcheck disable=SC2086
	set -- $1
	echo "$1 $(printf '0x%02x' $(($2 ^ 16))) ${*:3}"
}
change_word() { # NODE KEY VALUE
	# shellcheck disable=SC2086
	bpftool map update pinned "$(pinned "$1" dp_backend)" key $2 value $3
}
IFS=, read -r KEY WORD <<<"$(word fra-1)"
HAS=$(printf %016x "$(number "$WORD")") GETS=$(printf %016x "$(number "$(flipped "$WORD")")")
ok 'one word of dp_backend is changed' change_word fra-1 "$KEY" "$(flipped "$WORD")"
ok '... and verify names it' verify_says fra-1 1 "dp_backend $(number "$KEY") \\(.*\\): $HAS in memory, $GETS in the map"
ok '... once' is "$(lab_ctl fra-1 --json verify | jq '.differences|length')" 1
ok 'other nodes are well' verify_says fra-2 0 'as in memory'
ok 'it is put back' change_word fra-1 "$KEY" "$WORD"
ok '... and nothing differs' verify_says fra-1 0 'as in memory'

row() { bpftool -j map lookup pinned "$(pinned fra-1 dp_rows)" key 5 0 0 0 | jq -r '.value|join(" ")'; }
change_row() { # BYTES
	# shellcheck disable=SC2086
	bpftool map update pinned "$(pinned fra-1 dp_rows)" key 5 0 0 0 value $1
}
ROW=$(row)
other_row() { echo "$ROW" | awk '{ $1 = $1 == "0x01" ? "0x02" : "0x01"; print }'; }
ok 'the owner of a row is changed' change_row "$(other_row)"
ok '... and verify names service, row and owners' verify_says fra-1 1 'service dns IPv[46], row [0-9]+ \(dp_rows 5\): owner [0-9]+ \(.*\) in memory, [0-9]+ .* in the map'
ok 'put back' change_row "$ROW"
ok '... nothing differs' verify_says fra-1 0 'as in memory'

# A node that can't write: the others wait for it in vain, and are told whom.
in_vain() {
	local out
	out=$(lab_ctl fra-1 wait --converged --timeout 2)
	is $? 1 && like "$out" '*fra-3*'
}
lab_kill fra-3 edged KILL
ok 'a daemon is killed, and that is known' lab_wait headless 10 lab_state fra-1 fra-3 headless
ok 'wait ends in time and names who is missing' in_vain
lab_start fra-3 edged
ok 'it is seen again' lab_wait alive 10 lab_state fra-1 fra-3 alive
ok 'it is back: all know the same again' lab_ctl fra-1 wait --converged --timeout 20
ok '... and it knows that of them' lab_ctl fra-3 wait --converged --timeout 20
ok '... and nothing differs' verify_says fra-3 0 'as in memory'
# What the daemon that was killed had been told, and the one that runs: played back, the same packets.
plays() { # FILE
	cp "$1" "$LAB_DIR/box" && "$OUT/lab/replay" "$LAB_DIR/box" | tee "$LAB_DIR/played" && grep -q '^the same: .* from the birth$' "$LAB_DIR/played"
}
ok 'the black box of the killed one plays back the same' plays "$LAB_DIR/fra-3/state/blackbox.old"
ok '... and that of one that runs' plays "$LAB_DIR/fra-1/state/blackbox"
traced() { "$OUT/lab/replay" -v "$LAB_DIR/box" | grep -cE '^ +[0-9]+  (born as fra-1|heard (ack|probe) from|tick|sends a packet|event: (member|record))' | grep -qE '^[0-9]{2,}$'; }
ok '... readable, too' traced
ok 'it is for its owner alone' is "$(stat -c %a "$LAB_DIR/fra-1/state/blackbox")" 600
ok 'what else to wait for is asked' is "$(lab_ctl fra-1 wait 2>&1 | head -1)" 'edgectl: wait: for what: missing, want --converged'
tap_end
