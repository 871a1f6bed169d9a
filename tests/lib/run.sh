#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Runs test programs and scripts, reads their TAP, and ends with "N passed, N failed, N skipped".
# An argument is a path, or KIND=path where KIND is a name for a check that speaks only through its exit code.
# REQUIRE=bpf,net: a skip in tests/bpf or tests/net is a failure. T=pattern runs only the cases that match.
# JOBS=n of them run at a time (one per CPU, at most 4). A script that has a line "# Alone: why" runs when all others are
# done, with nothing beside it.
set -u
out=${OUT:-build/std}
log=$out/log
jobs=${JOBS:-$(nproc)}
[ "$jobs" -le 4 ] || jobs=4
mkdir -p "$log"
passed=0 failed=0 skipped=0
failures=()

name_of() { # ARG
	local name=${1#*=}
	name=${name#"$out"/tests/} name=${name#build/}
	echo "${name#tests/}"
}
file_of() { echo "$log/$(name_of "$1" | tr '/,' '__').log"; } # ARG

# Its output goes to its log; exit code and seconds beside it.
run_one() { # ARG
	local kind='' path=${1#*=} file args=() start rc
	case $1 in *=*) kind=${1%%=*} ;; esac
	file=$(file_of "$1")
	[ "$kind" = fuzz ] && args=(tests/fuzz/"$(basename "$path")".in)
	start=$(date +%s.%N)
	CMOCKA_MESSAGE_OUTPUT=TAP OUT=$out timeout -k 10 "${TEST_TIMEOUT:-300}" "$path" "${args[@]}" >"$file" 2>&1 </dev/null &
	trap 'kill $!' TERM
	wait $!
	rc=$?
	[ $rc -ne 143 ] || wait $! # it still cleans up
	echo "$rc $(echo "$(date +%s.%N) - $start" | bc 2>/dev/null | cut -c1-6)" >"$file.end"
}

report() { # ARG
	local kind='' name file rc secs p f s
	case $1 in *=*) kind=${1%%=*} ;; esac
	name=$(name_of "$1")
	file=$(file_of "$1")
	read -r rc secs <"$file.end"
	rm -f "$file.end"
	if [ -n "$kind" ]; then
		p=0 f=0 s=0
		[ "$rc" -eq 0 ] && p=1 || f=1
	else
		s=$(grep -aciE '^ok [0-9]+.*# skip' "$file")
		p=$(($(grep -acE '^ok [0-9]+' "$file") - s))
		f=$(grep -acE '^not ok [0-9]+' "$file")
		# Died, or said nothing: that is a failure too.
		if [ "$rc" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
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
}

is_alone() { # ARG
	case ${1#*=} in *.sh) grep -q '^# Alone: ' "${1#*=}" ;; *) false ;; esac
}
declare -A running=() # pid -> argument
reap() { # one of them ends
	local pid
	wait -n -p pid "${!running[@]}"
	report "${running[$pid]}"
	unset "running[$pid]"
}
end_all() {
	[ ${#running[@]} -eq 0 ] || kill "${!running[@]}" 2>/dev/null
	wait
	exit 130
}
trap end_all INT TERM
alone=()
for arg in "$@"; do
	rm -f "$(file_of "$arg")" "$(file_of "$arg").end"
	if is_alone "$arg"; then
		alone+=("$arg")
		continue
	fi
	[ ${#running[@]} -lt "$jobs" ] || reap
	run_one "$arg" &
	running[$!]=$arg
done
while [ ${#running[@]} -gt 0 ]; do reap; done
for arg in "${alone[@]+"${alone[@]}"}"; do
	run_one "$arg" &
	running[$!]=$arg
	reap
done
for f in "${failures[@]+"${failures[@]}"}"; do echo "failed: $f"; done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
