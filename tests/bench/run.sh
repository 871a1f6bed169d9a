#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# All benchmarks, or the parts named: prog, live, mesh. Each prints a table of its own; docs/BENCHMARKS.md keeps them.
set -euo pipefail
cd "$(dirname "$0")/../.."
OUT=${OUT:-build/std}
parts=${*:-prog live mesh}

for part in $parts; do
	case $part in
	prog) "$OUT/tests/bench/bench_prog" ;;
	live) tests/bench/live.sh ;;
	mesh) tests/bench/mesh.sh ;;
	*)
		echo "bench: part: got $part, want prog, live, mesh" >&2
		exit 2
		;;
	esac
done
