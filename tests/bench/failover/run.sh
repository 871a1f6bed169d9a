#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Failures, measured: all rows, or those named. EVENTS of each (30). Prints the "result" lines as they come, then a table with
# the aims; docs/BENCHMARKS.md keeps it.
set -uo pipefail
cd "$(dirname "$0")/../../.."
export OUT=${OUT:-build/std} EVENTS=${EVENTS:-30}
rows=${*:-kill cut headless edge restart routes peers}
for row in $rows; do
	[ -e "tests/bench/failover/$row.sh" ] && [ "$row" != run ] && [ "$row" != common ] || {
		echo "bench: row: got $row, want kill, cut, headless, edge, restart, routes, peers" >&2
		exit 2
	}
done
all=$(mktemp) rc=0
trap 'rm -f "$all"' EXIT
for row in $rows; do
	bash "tests/bench/failover/$row.sh" | tee -a "$all" || {
		echo "bench: $row could not be measured" >&2
		rc=1
	}
done
awk -F'\t' '
	BEGIN { print "\n| | unit | events | p50 | p99 | worst | aim | met |\n|---|---|---|---|---|---|---|---|" }
	$1 == "result" { printf "| %s | %s | %s | %s | %s | %s | %s | %s |\n", $3, $4, $5, $6, $7, $8, $9, $10 }' "$all"
exit $rc
