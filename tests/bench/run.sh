#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# All benchmarks, or the parts named: prog, mesh. Each prints a table of its own; docs/BENCHMARKS.md keeps them.
set -euo pipefail
cd "$(dirname "$0")/../.."
OUT=${OUT:-build/std}
parts=${*:-prog mesh}

for part in $parts; do
	case $part in
	prog) "$OUT/tests/bench/bench_prog" ;;
	mesh) tests/bench/mesh.sh ;;
	*)
		echo "bench: part: got $part, want prog, mesh" >&2
		exit 2
		;;
	esac
done
