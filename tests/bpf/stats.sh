#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What each program costs: instructions as loaded, bytes of machine code, instructions the verifier walked (limit
# 1,000,000), its stack. Loads into a private bpffs and leaves nothing behind. Needs root.
set -eu
obj=${OUT:-build/std}/bpf/dp.bpf.o
if [ -z "${IN_PRIVATE_MOUNT:-}" ]; then
	IN_PRIVATE_MOUNT=1 exec unshare -m "$0" "$@"
fi
dir=$(mktemp -d)
trap 'umount "$dir" 2>/dev/null; rmdir "$dir"' EXIT
mount -t bpf bpf "$dir"
bpftool prog loadall "$obj" "$dir/dp" 2>"$dir.log" || { cat "$dir.log"; rm -f "$dir.log"; exit 1; }
rm -f "$dir.log"
printf '%-16s %8s %8s %10s\n' program insns jited verified
for pin in "$dir"/dp/*; do
	bpftool -j prog show pinned "$pin" | jq -r '[.name, .bytes_xlated / 8, .bytes_jited, .verified_insns // "-"] | @tsv' |
		while IFS=$'\t' read -r name insns jited verified; do
			printf '%-16s %8s %8s %10s\n' "$name" "$insns" "$jited" "$verified"
		done
done
