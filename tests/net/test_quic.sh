#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Real QUIC connections that move: to another port as behind a NAT, and of their client's own will. With connection ids that
# name the backend they live on, by the hash they don't. Two nodes with a server each.
. tests/net/net.sh

if [ ! -x "$OUT/lab/quicecho" ]; then
	echo 'ok 1 # skip no QUIC library: libngtcp2-crypto-gnutls-dev'
	exit 0
fi
V4=198.51.100.1 V6=2001:db8:100::1
lab_up
lab_region fra
lab_node fra-1 fra
lab_node fra-2 fra
lab_client c fra
lab_mesh
lab_start_all
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$LAB_DIR/key.pem" -out "$LAB_DIR/cert.pem" \
	-days 30 -subj /CN=lab 2>/dev/null
chmod 644 "$LAB_DIR/key.pem"
server() { # NODE PORT SERVER-ID
	lab_app "quic-$1-$2" "$1" "$OUT/lab/quicecho" server "$2" "$1" "$3" "$LAB_DIR/cert.pem" "$LAB_DIR/key.pem"
}
backend() { lab_ctl "$1" backend add h3 "$2" "${@:3}" >/dev/null; } # NODE ADDRESS OPTION...
quic_id() { lab_ctl "$1" --json backend show "h3/$2" | jq -r '.backends[0].quic_id'; }

# fra-1: one server on both families, an id that was chosen. fra-2: one for each, ids that were made.
services() {
	lab_ctl fra-2 service add h3 --vip $V4 --vip $V6 --port udp/443 --policy quic=on >/dev/null || return 1
	lab_wait 'the service at fra-1' 10 lab_ctl fra-1 service show h3 || return 1
	backend fra-1 "$(lab_addr4 fra-1):4433" --quic-id 00000a01 && backend fra-1 "[$(lab_addr6 fra-1)]:4433" --quic-id 00000a01 &&
		backend fra-2 "$(lab_addr4 fra-2):4433" && backend fra-2 "[$(lab_addr6 fra-2)]:4434" || return 1
	lab_wait 'four backends' 10 passing fra-1 4
}
ok 'a service with quic=on, four backends' services
server fra-1 4433 00000a01
server fra-2 4433 "$(quic_id fra-2 "$(lab_addr4 fra-2):4433")"
server fra-2 4434 "$(quic_id fra-2 "[$(lab_addr6 fra-2)]:4434")"

connection() { lab_in c "$OUT/lab/quicecho" client "$1" 443 "$2"; } # ADDRESS MOVES: who answered, before and after each
first() { connection $V4 0 && connection $V6 0; }
ok 'QUIC through a VIP' lab_wait 'an answer in each family' 10 first
# Connections until both servers had some, at most 12; each asks its one server three times, from three ports.
both() {
	local i who seen=
	for ((i = 0; i < 12; i++)); do
		who=$(connection "$1" 2) || { echo "connection $i broke: $who"; return 1; }
		[ "$(wc -l <<<"$who")" -eq 3 ] && [ "$(sort -u <<<"$who" | wc -l)" -eq 1 ] || { echo "connection $i: $who"; return 1; }
		seen+=" ${who%%$'\n'*}"
		case $seen in *fra-1*fra-2* | *fra-2*fra-1*) [ $i -ge 4 ] && return 0 ;; esac
	done
	echo "seen:$seen"
	return 1
}
ok 'IPv4: every connection lives on, wherever its client is' both $V4
ok 'IPv6 too' both $V6

# A drained backend gets no new connections; what lives there goes on, even from another port.
drained() {
	local pid who other
	lab_in c "$OUT/lab/quicecho" client $V4 443 2 1200 >"$LAB_DIR/drained" 2>&1 &
	pid=$!
	lab_wait 'the first answer' 5 test -s "$LAB_DIR/drained" || return 1
	who=$(head -n 1 "$LAB_DIR/drained")
	lab_ctl "$who" backend drain "h3/$(lab_addr4 "$who"):4433" >/dev/null || return 1
	other=fra-$((3 - ${who#fra-}))
	lab_wait 'new connections elsewhere' 5 new_go_to "$other" || return 1
	wait $pid || { cat "$LAB_DIR/drained"; return 1; }
	is "$(sort "$LAB_DIR/drained" | uniq -c | tr -s ' ')" " 3 $who" && lab_ctl "$who" backend undrain "h3/$(lab_addr4 "$who"):4433"
}
new_go_to() { is "$(for _ in 1 2 3; do connection $V4 0; done | sort -u)" "$1"; }
ok 'a drained backend keeps the connections it has' drained

ok 'quic=off' lab_ctl fra-1 service set h3 quic=off
breaks() {
	local i
	for ((i = 0; i < 12; i++)); do connection $V4 2 || return 0; done
	return 1
}
ok 'by the hash a connection that moves is lost sooner or later' breaks
ok 'and on again' lab_ctl fra-1 service set h3 quic=on
ok 'they live' lab_wait 'connections that live' 10 both $V4
tap_end
