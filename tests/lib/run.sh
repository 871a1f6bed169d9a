#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Runs test programs and scripts one after another, reads their TAP, and ends with "N passed, N failed, N skipped".
# An argument is a path, or KIND=path where KIND is a name for a check that speaks only through its exit code.
# REQUIRE=bpf,net: a skip in tests/bpf or tests/net is a failure. T=pattern runs only the cases that match.
set -u
out=${OUT:-build/std}
log=$out/log
mkdir -p "$log"
passed=0 failed=0 skipped=0
failures=()

for arg in "$@"; do
	kind='' path=$arg
	case $arg in *=*) kind=${arg%%=*} path=${arg#*=} ;; esac
	name=${path#"$out"/tests/} name=${name#build/} name=${name#tests/}
	file=$log/$(echo "$name" | tr '/,' '__').log
	args=()
	[ "$kind" = fuzz ] && args=(tests/fuzz/"$(basename "$path")".in)
	start=$(date +%s.%N)
	CMOCKA_MESSAGE_OUTPUT=TAP OUT=$out timeout -k 10 "${TEST_TIMEOUT:-300}" "$path" "${args[@]}" >"$file" 2>&1 </dev/null
	rc=$?
	secs=$(echo "$(date +%s.%N) - $start" | bc 2>/dev/null | cut -c1-6)
	if [ -n "$kind" ]; then
		p=0 f=0 s=0
		[ $rc -eq 0 ] && p=1 || f=1
	else
		s=$(grep -aciE '^ok [0-9]+.*# skip' "$file")
		p=$(($(grep -acE '^ok [0-9]+' "$file") - s))
		f=$(grep -acE '^not ok [0-9]+' "$file")
		# Died, or said nothing: that is a failure too.
		if [ $rc -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
		if [ $((p + f + s)) -eq 0 ]; then f=1; fi
	fi
	if [ "$s" -gt 0 ]; then
		case ",${REQUIRE:-}," in
		*,bpf,*) case $name in *bpf/*) f=$((f + s)) s=0 ;; esac ;;
		esac
		case ",${REQUIRE:-}," in
		*,net,*) case $name in *net/*) f=$((f + s)) s=0 ;; esac ;;
		esac
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	printf '%-6s %-44s %3d passed %d failed %d skipped  %ss\n' "$([ "$f" -eq 0 ] && echo ok || echo FAIL)" "$name" "$p" "$f" "$s" "$secs"
	if [ "$f" -gt 0 ]; then
		failures+=("$name: $file")
		grep -anE '^not ok|ERROR|error:|# ' "$file" | head -n 40
		echo "  ... last lines (exit $rc):"
		tail -n 25 "$file" | sed 's/^/  | /'
	fi
	if [ "$s" -gt 0 ]; then grep -aiE '^ok [0-9]+.*# skip' "$file" | sed 's/^/  skipped: /'; fi
done
for f in "${failures[@]+"${failures[@]}"}"; do echo "failed: $f"; done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
