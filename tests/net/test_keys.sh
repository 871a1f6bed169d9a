#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The cluster's key is changed under way: restarts in the middle, a late joiner, a node that was away, and one with the old
# key alone. Nobody refuses a message.
. tests/net/net.sh

LAB_TRANSPORT=fabric
lab_up
lab_region fra
for n in fra-1 fra-2 fra-3 late away old; do lab_node $n fra; done
all=("${LAB_NODES[@]}")
LAB_NODES=(fra-1 fra-2 fra-3 away)
lab_start_all

refused() { # what nodes got and could not open, all in all
	local n sum=0
	for n in "$@"; do
		sum=$((sum + $(lab_ctl "$n" --json stats | jq '.loop.unsealed')))
	done
	echo $sum
}
start() { # NODE: a daemon alone, no forwarder
	mkdir -p "$LAB_DIR/$1/state"
	lab_conf "$1"
	chown -R nobody "$LAB_DIR/$1/state" 2>/dev/null
	lab_start "$1" edged
}
keys() { lab_ctl fra-1 --json keys list | jq -r "$1"; }
held_by() { is "$(keys ".keys[]|select(.id==\"$NEW\")|\"\(.holders) of \(.live)\"")" "$1"; }
sealing() { is "$(keys ".keys[]|select(.id==\"$NEW\")|.sealers")" "$1"; }
one_key() { is "$(lab_ctl "$1" --json keys list | jq '.keys|length')" 1; }
says() { # EXIT PATTERN ARGS...
	local out rc want=$1 pattern=$2
	shift 2
	out=$(lab_ctl fra-1 "$@" 2>&1)
	rc=$?
	printf '%s\n' "$out"
	[ $rc -eq "$want" ] && printf '%s\n' "$out" | grep -qE "$pattern"
}
await() { lab_wait "$2" 15 "${@:3}"; }

OLD=$(keys '.keys[0].id')
ok 'one key, held by all' lab_wait it 10 says 0 "^$OLD +seals +4 of 4 +4 +-" keys list
lab_kill away edged TERM # it leaves; a killed one would be headless, and count
ok 'one is away' lab_wait 'its word' 15 lab_state fra-1 away left
ok 'a key is added' says 0 'it opens' keys add
NEW=$(keys ".keys[]|select(.id!=\"$OLD\")|.id")
lab_kill fra-2 edged KILL
lab_start fra-2 edged
ok 'all that live hold it, one restarted meanwhile' lab_wait it 15 held_by '3 of 3'
ok 'it can not be removed by who seals with it' says 1 'seals with it' keys rm "$OLD"
logged() { grep -qE "write .*method=keys.$1 .*uid=$(id -u) status=$2" "$LAB_DIR/fra-1/edged.log"; }
ok 'the log names who did it' logged add 0
ok '... also what was refused' logged rm '-[0-9]+'
ok 'it is used' says 0 'all seal' keys use "${NEW:0:6}"
lab_kill fra-3 edged USR1
lab_start fra-3 edged
ok 'all seal with it, one restarted meanwhile' lab_wait it 15 sealing 3
LAB_NODES=(fra-1 fra-2 fra-3 late)
start late
ok 'a late joiner with the old key file is let in' lab_wait it 15 sealing 4
ok '... and sees all' lab_wait them 10 lab_sees late 4
ok 'the old one is removed' lab_wait it 10 says 0 'more' keys rm "$OLD"
ok 'it opens for a while, then it is gone' lab_wait 'its end' 20 one_key fra-1
for n in fra-2 fra-3 late; do ok "... at $n" lab_wait 'its end' 5 one_key $n; done
ok 'no message was refused' is "$(refused fra-1 fra-2 fra-3 late)" 0
ok 'the one that was away gets the ring' eval 'lab_start away edged; lab_wait it 15 lab_state fra-1 away alive'
ok '... seals with the new key' lab_wait it 10 sealing 5
ok 'a node with the old key file alone' start old
ok '... waits for an answer' lab_wait it 10 lab_ctl old status
before=$(refused fra-1)
sleep_free() { [ "$(refused fra-1)" -gt "$before" ]; }
ok '... is refused' lab_wait 'a refusal' 15 sleep_free
ok '... knows nobody' lab_sees old 1
unknown() { ! lab_ctl fra-1 node list | grep -q '^old'; }
ok '... and nobody knows it' unknown
ok 'the ring is for its owner alone' is "$(stat -c %a "$LAB_DIR/fra-1/state/keyring")" 600
secret() { sed -n 's/^key //p' "$LAB_DIR/fra-1/state/keyring"; }
nowhere() { # in no store, log or answer
	local k
	k=$(secret)
	[ ${#k} -eq 64 ] || return 1
	! grep -qiF "$k" "$LAB_DIR"/*/*.log "$LAB_DIR"/fra-1/state/edge.db* &&
		! printf '%s' "$k" | xxd -r -p | grep -qFaf - "$LAB_DIR"/fra-1/state/*.db* 2>/dev/null
}
ok 'keys are in no log and no database' nowhere
ok 'no such key' says 1 'holds no key' keys use 0123456789abcdef
LAB_NODES=("${all[@]}")
tap_end
