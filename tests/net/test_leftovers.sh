#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A lab that ends in the middle leaves nothing: no namespace, process, mount, directory, device or socket.
. tests/net/net.sh

run_and_die() {
	(
		trap - EXIT
		lab_up
		lab_region fra
		lab_node fra-1 fra
		lab_node fra-2 fra
		lab_mesh
		lab_echo fra-1 fra-1 5300
		lab_start_all
		echo "$LAB_TAG" >"$1"
		exit 3
	)
}
tag_file=$(mktemp)
run_and_die "$tag_file"
tag=$(cat "$tag_file")
rm -f "$tag_file"
none() { # COMMAND...: prints nothing with the tag
	local out
	out=$("$@" 2>/dev/null | awk -v tag="$tag" 'index($0, tag) && !/awk/')
	[ -z "$out" ] || { echo "$out"; return 1; }
}
ok 'the lab came up' test -n "$tag"
tag=${tag:-none}
ok 'no namespace' none ip netns list
ok 'no mount' none cat /proc/mounts
ok 'no process' none ps -eo args
ok 'no device' none ip -o link
ok 'no directory' none ls /run
ok 'no WireGuard socket' none ls /var/run/wireguard
LAB_NODES=()
tap_end
