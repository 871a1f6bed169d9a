#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A lab that ends in the middle leaves nothing: no namespace, process, mount, directory, device, socket, BPF map or program.
# One whose script was killed is taken down by the next.
. tests/net/net.sh

notes=$(mktemp -d)
small_lab() {
	lab_up
	lab_region fra
	lab_node fra-1 fra
	lab_node fra-2 fra
	lab_mesh
	lab_echo fra-1 fra-1 5300
	lab_start_all
	bpf_ids map >"$notes/map"
	bpf_ids prog >"$notes/prog"
	echo "$LAB_TAG" >"$notes/tag"
}
bpf_ids() { # map | prog: numbers of what is pinned
	find "$LAB_DIR/bpf" -type f -exec bpftool -j "$1" show pinned {} \; 2>/dev/null | jq -r .id
}
none() { # COMMAND...: prints nothing with the tag
	local out
	out=$("$@" 2>/dev/null | awk -v tag="$tag" 'index($0, tag) && !/awk/')
	[ -z "$out" ] || { echo "$out"; return 1; }
}
gone() { # map | prog: none of them is loaded any more
	local id
	while read -r id; do
		if bpftool "$1" show id "$id" 2>/dev/null; then return 1; fi
	done <"$notes/$1"
}
nothing_left() { # WHOSE
	local kind
	for kind in map prog; do
		ok "$1: BPF ${kind}s were there" test -s "$notes/$kind"
		ok "$1: no BPF $kind" lab_wait "the kernel to free ${kind}s" 20 gone $kind
	done
	ok "$1: no namespace" none ip netns list
	ok "$1: no mount" none cat /proc/mounts
	ok "$1: no process" none ps -eo args
	ok "$1: no device" none ip -o link
	ok "$1: no directory" none ls /run
	ok "$1: no WireGuard socket" none ls /var/run/wireguard
}

(
	trap - EXIT
	small_lab
	exit 3
)
ok 'a lab came up' test -s "$notes/tag"
tag=$(cat "$notes/tag")
nothing_left 'ended in the middle'

rm -f "$notes"/*
(
	trap - EXIT
	small_lab
	kill -9 "$BASHPID"
) 2>/dev/null
ok 'another one came up' test -s "$notes/tag"
tag=$(cat "$notes/tag")
there() { ip netns list | grep -q -- "$tag"; }
ok 'and its namespaces outlived its script' there
lab_sweep 2>/dev/null
nothing_left 'killed, then swept'

lab_up
lab_add_space alive
tag=$LAB_TAG
(lab_sweep) 2>/dev/null
ok 'a lab whose script lives is not swept' there
lab_down

rm -rf "$notes"
LAB_NODES=()
tap_end
