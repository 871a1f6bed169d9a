#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Formatting and cheap static checks over what git tracks. Prints only what is wrong.
set -u
bad=0
mapfile -t c_files < <(git ls-files '*.c' '*.h')
mapfile -t sh_files < <(git ls-files '*.sh' .ci/run)
if [ ${#c_files[@]} -gt 0 ]; then
	out=$(clang-format --dry-run "${c_files[@]}" 2>&1 | grep -E 'warning:' | cut -d: -f1 | sort | uniq -c)
	if [ -n "$out" ]; then echo "not as clang-format wants it (make format):"; echo "$out"; bad=1; fi
fi
for f in "${c_files[@]}" "${sh_files[@]}"; do
	grep -q 'SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause' "$f" || { echo "$f: no SPDX line"; bad=1; }
done
for f in "${sh_files[@]}"; do bash -n "$f" || bad=1; done
if git grep -nIE '\b(strcpy|strcat|sprintf|gets|alloca)\(' -- '*.c' '*.h'; then echo 'unbounded string calls are not used here'; bad=1; fi
if git grep -nIE 'msgpack_unpack_next|msgpack_unpacker_' -- gossip edge store ':!*.h'; then echo 'received bytes are read with gossip/mp.h'; bad=1; fi
mapfile -t logged < <(git ls-files 'cmd/*.c' 'edge/*.c' | xargs grep -hzoE '(_log|say)\([^"]*"(info|warn|error)"[^"]*"[a-z_]+"' | tr '\0' '\n' |
	grep -oE '"[a-z_]+"' | sort -u | tr -d '"' | grep -vxE 'info|warn|error')
[ ${#logged[@]} -ge 40 ] || { echo "only ${#logged[@]} log events found: has their form changed?"; bad=1; }
for event in "${logged[@]}"; do
	grep -q "^|.*\`$event\`" docs/OPERATIONS.md || { echo "docs/OPERATIONS.md: log event $event is missing"; bad=1; }
done
exit $bad
