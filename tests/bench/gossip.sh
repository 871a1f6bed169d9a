#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Gossip, measured: real (daemons on addresses of the loopback device, each mesh in a network namespace of its own, beside
# serf where it is installed), sim (cores in virtual time), and curve (how often to probe, in virtual time). Prints a table each;
# docs/BENCHMARKS.md keeps them.
#
# NODES=50 of the real meshes.
set -euo pipefail
cd "$(dirname "$0")/../.."
export OUT=${OUT:-build/std}
NODES=${NODES:-50}
parts=${*:-real sim curve}

die() {
	echo "bench: $*" >&2
	exit 1
}

dir='' pids=()
clean() {
	[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
	wait
	[ -z "$dir" ] || rm -rf "$dir"
	dir='' pids=()
}

real() {
	local kind pid
	[ "$(id -u)" -eq 0 ] || die "got user $(id -un), want root: namespaces and nft need it"
	dir=$(mktemp -d /run/edge-bench-XXXXXX)
	# The namespaces go with the last process in them.
	trap clean EXIT
	trap 'exit 130' INT TERM
	for kind in edged serf; do
		if [ "$kind" = serf ] && ! command -v serf >/dev/null; then
			echo "bench: serf not installed: its column stays empty (apt-get install serf)" >&2
			continue
		fi
		mkdir "$dir/$kind"
		# --kill-child: whatever happens to us, no daemon stays behind
		unshare --net --pid --fork --kill-child --mount-proc sh -c \
			'mount -t tmpfs tmpfs "$4" && ip link set lo up && ip route add local 10.77.0.0/16 dev lo && exec "$@"' \
			sh "$OUT/tests/bench/gossip_bench" "$kind" "$NODES" "$dir/$kind" "$dir/lock" >"$dir/$kind.txt" &
		pids+=($!)
		sleep 1 # ours has the lock first
	done
	for pid in "${pids[@]}"; do
		wait "$pid" || die "a mesh could not be measured"
	done
	touch "$dir/serf.txt"
	printf '\n| %s nodes on loopback | edged | serf | ratio |\n|---|---|---|---|\n' "$NODES"
	awk -F'\t' '
		FNR == NR { serf[$1] = $2; next }
		{
			ratio = $1 in serf && serf[$1] > 0 && $2 >= 0 ? sprintf("%.3g", $2 / serf[$1]) : ""
			printf "| %s | %s | %s | %s |\n", $1, $2, $1 in serf ? serf[$1] : "", ratio
		}' "$dir/serf.txt" "$dir/edged.txt"
	clean
}

sim() {
	"$OUT/tests/bench/gossip_sim"
}

curve() {
	"$OUT/tests/bench/gossip_sim" curve
}

for part in $parts; do
	case $part in
	real | sim | curve) "$part" ;;
	*)
		echo "bench: part: got $part, want real, sim or curve" >&2
		exit 2
		;;
	esac
done
