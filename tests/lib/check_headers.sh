#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Each header compiles alone; the packet-map ABI has no hidden padding for either target.
set -u
out=${OUT:-build/std}
bad=0
cflags="$(pkg-config --cflags libbpf libuv msgpack sqlite3 libsodium inih jansson libmnl 2>/dev/null)"
for h in gossip/*.h store/*.h edge/*.h edge/*/*.h cmd/*.h cmd/*/*.h bpf/dp_abi.h bpf/dp_see_abi.h bpf/dp_reasons.h tests/lib/*.h tests/sim/*.h; do
	[ -e "$h" ] || continue
	# shellcheck disable=SC2086
	echo "#include \"$h\"" | gcc -std=gnu11 -D_GNU_SOURCE -iquote . -iquote "$out" $cflags -Wall -Wextra -Wno-unused-function -fsyntax-only -x c - ||
		{ echo "$h: does not compile alone"; bad=1; }
done
for cc in gcc "clang -target bpf"; do
	printf '#include "bpf/dp_see_abi.h"\n#include "bpf/dp_reasons.h"\n' |
		$cc -iquote . -I"/usr/include/$(gcc -print-multiarch)" -Wpadded -Werror -x c -c - -o /dev/null ||
		{ echo "bpf/dp_abi.h or dp_see_abi.h: padding with $cc"; bad=1; }
done
exit $bad
