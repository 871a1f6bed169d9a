#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What the end-to-end tests share: TAP, and a lab. Source it from the root of the tree.
#
# shellcheck source=tests/lab/lab.sh
. tests/lab/lab.sh

if [ "$(id -u)" -ne 0 ]; then
	echo 'ok 1 # skip needs root, for network namespaces and BPF'
	exit 0
fi
tap_n=0 tap_bad=0
# ok NAME COMMAND...: the command must succeed; what it said is shown if it doesn't.
ok() {
	local name=$1 out rc
	shift
	tap_n=$((tap_n + 1))
	out=$("$@" 2>&1)
	rc=$?
	if [ $rc -eq 0 ]; then
		echo "ok $tap_n - $name"
	else
		echo "not ok $tap_n - $name"
		printf '%s\n' "$out" "exit $rc of: $*" | tail -n 40 | cut -c1-400 | sed 's/^/# /'
		tap_bad=$((tap_bad + 1))
	fi
}
# Ends the script: plan line, logs of daemons where something failed, exit code.
tap_end() {
	echo "1..$tap_n"
	if [ $tap_bad -ne 0 ]; then
		for n in "${LAB_NODES[@]}"; do
			echo "# $n"
			lab_ctl "$n" stats 2>&1 | sed 's/^/# /'
		done
		[ -n "${LAB_DIR:-}" ] && lab_logs 20 2>&1 | sed 's/^/# /'
	fi
	[ $tap_bad -eq 0 ]
	exit
}

is() { # GOT WANTED
	[ "$1" = "$2" ] || { echo "got '$1', want '$2'"; return 1; }
}
like() { # GOT PATTERN
	# shellcheck disable=SC2254
	case $1 in $2) return 0 ;; esac
	echo "got '$1', want '$2'"
	return 1
}

dns() { # SPACE SERVER PORT [OPTION...]: the TXT of whoami.lab
	local space=$1 server=$2 port=$3
	shift 3
	lab_in "$space" kdig +short +retry=0 +time=3 "$@" "@$server" -p "$port" whoami.lab TXT 2>&1 | tr -d '"'
}
web() { # SPACE HOST:PORT PATH
	lab_in "$1" curl -gsf -m 10 "http://$2$3"
}
udp_ask() { # SPACE ADDRESS PORT: sends stdin, prints the answer
	lab_in "$1" "$OUT/lab/udpask" "$2" "$3" 3000
}
udp_whoami() { # SPACE ADDRESS PORT
	printf whoami | udp_ask "$@"
}
# Every backend known to NODE is passing, and there are COUNT of them.
passing() { # NODE COUNT
	is "$(lab_ctl "$1" --json backend list | jq '[.backends[]|select(.health=="passing")]|length')" "$2"
}
counter() { # NODE REASON
	lab_ctl "$1" --json stats | jq -r --arg r "$2" '[.reasons[]|select(.name==$r)|.packets][0] // 0'
}
