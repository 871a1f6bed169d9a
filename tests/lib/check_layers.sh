#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The pure parts call no clock, socket, random source, log or event loop, and arrows between folders point one way.
set -u
out=${OUT:-build/std}
bad=0

pure='gossip/core gossip/member gossip/dissem gossip/suspect gossip/twin gossip/reach gossip/sync gossip/wire gossip/record gossip/mp
edge/ip edge/model edge/route edge/maglev edge/plan edge/quic edge/mapset edge/filter edge/pcapng edge/reason edge/trace'
forbidden='uv_.*|bpf_.*|sqlite3_.*|clock_gettime|gettimeofday|time|rand|random|getrandom|randombytes.*|socket|send|sendto|sendmsg|sendmmsg|recv|recvfrom|recvmsg|recvmmsg|printf|fprintf|vfprintf|puts|syslog|open|fopen'
for m in $pure; do
	for o in "$out/$m".o "$out/$m"_*.o; do
		if [ ! -e "$o" ]; then
			case $o in *'*'*) continue ;; esac
			echo "$o: missing (build first)"; bad=1; continue
		fi
		hits=$(nm -u "$o" | awk '{print $2}' | sed 's/@.*//; s/^__//; s/_chk$//' | grep -xE "$forbidden")
		if [ -n "$hits" ]; then
			echo "$o: calls $(echo "$hits" | tr '\n' ' ')"
			bad=1
		fi
	done
done

# folder: what it may include of ours
check_includes() {
	local dir=$1 allowed=$2 hits
	hits=$(grep -nE '^#include "' "$dir"/*.[ch] "$dir"/*/*.[ch] 2>/dev/null | grep -vE "#include \"($allowed)")
	if [ -n "$hits" ]; then
		echo "$dir/ may include only: $allowed"
		echo "$hits"
		bad=1
	fi
}
check_includes gossip 'gossip/'
check_includes store 'store/|gossip/record\.h|gossip/err\.h'
check_includes edge 'edge/|gossip/|store/store\.h|bpf/dp'
check_includes bpf 'bpf/'
# Only edge/ and the tests know the packet map ABI; only store/ knows SQLite; pure headers know no libuv.
if grep -lE '#include <sqlite3.h>' gossip/*.[ch] edge/*.[ch] cmd/*.[ch] 2>/dev/null; then echo 'SQLite is for store/ alone'; bad=1; fi
if grep -lE '#include <(uv|sodium)\.h>' gossip/core.* gossip/gossip.h gossip/record.* gossip/wire.* edge/route.* edge/plan.* edge/model.h 2>/dev/null; then
	echo 'pure parts know no libuv and no libsodium'; bad=1
fi
exit $bad
