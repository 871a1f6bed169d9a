#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What else operators put before two backends, in the lab of ours and in the same run: one of the two is killed, or its machine
# falls silent (a power cut behind a switch), under RATE questions a second, each a flow of its own.
#
#   ours             fra-1 forwards; checks of a minute, so that only passive signals can tell of a dead backend
#   nginx            stream on fra-1; proxy_responses 1, without which UDP sessions pile up, all else as it comes
#   nginx quick      the shortest patience: proxy_connect_timeout and proxy_timeout (UDP) 50 ms
#   haproxy          on fra-1, TCP, for it has no UDP: `check` as it comes, every 2 s, three times
#   haproxy quick    a check every 10 ms, one decides
#   haproxy all      with what connections tell (observe layer4, on-error mark-down), and another server at once (redispatch 1)
#   keepalived       the two backends share an address by VRRP: script and advert each second
#   keepalived quick adverts every 20 ms; scripts can't be more often
#
# A peer begins anew before every event and remembers nothing. PEERS=haproxy: one of them, and ours. Some notice silence after
# longer than anybody would ask: FEW events of it, asked about for SILENT_S.
. tests/bench/failover/common.sh
VIP=198.51.100.53
SHARED=10.9.0.100
PEERS=${PEERS:-nginx haproxy keepalived}
FEW=${FEW:-$(((EVENTS + 9) / 10))}
SILENT_S=${SILENT_S:-10}

packaging/deps.sh haproxy:haproxy keepalived:keepalived >&2 || note 'peers: not all could be installed'

lab_up
lab_region fra
for n in fra-1 fra-2 fra-3; do lab_node $n fra; done
lab_client c fra
lab_mesh
for n in fra-2 fra-3; do serve udp-$n $n 7001 && serve tcp-$n $n 7002; done

# ---- one failure

silence() { # SPACE DEVICE...: no packet in any more; carrier stays
	local space=$1 devices
	shift
	devices=$(printf '%s, ' "$@")
	printf 'table netdev dead {\n chain in { type filter hook ingress devices = { %s } priority -500; policy drop; }\n}\n' "${devices%, }" |
		lab_in "$space" nft -f -
}
begin() { :; } # KIND: the peer, anew
app() { echo "$1-$VICTIM"; }
app_again() { serve "$1-$VICTIM" "$VICTIM" "$([ "$1" = udp ] && echo 7001 || echo 7002)"; }
devices() { :; } # of VICTIM, besides its uplink: the router's, its own
ready() { asks c "$1" "$TO" "$2"; }

# took-WHO-KIND-FAILURE and -lost. Questions lost to the end count as lost for all of SECONDS.
one() { # WHO KIND FAILURE PORT SECONDS
	local at lost last early=0 text='' file=$1-$2-$3 router_dev dev
	begin "$2"
	lab_wait "$1: $2" 60 ready "$2" "$4" || return 1
	sleep $((RANDOM % 2)).$((RANDOM % 90 + 10)) # where it is between two of its checks is not for us to say
	read -r router_dev dev < <(devices)
	probe_begin p c "$2" "$TO" "$4" "$5"
	sleep 0.3
	at=$(now_us)
	case $3 in
	killed) lab_app_kill "$(app "$2")" ;;
	silent) silence r-fra "$VICTIM" ${router_dev:+"$router_dev"} && silence "$VICTIM" eth0 ${dev:+"$dev"} || return 1 ;;
	esac
	if probe_end p "$at" >"$LAB_DIR/one" 2>"$LAB_DIR/one.err"; then
		read -r lost last _ early <"$LAB_DIR/one"
	else
		grep -q 'ask for longer' "$LAB_DIR/one.err" || { cat "$LAB_DIR/one.err" >&2; return 1; }
		lost=$(awk -v at="$at" '!/^sent/ && $1 > at - 20000 { n++ } END { print n + 0 }' "$LAB_DIR/probe-p")
		last=$(($5 * 1000)) text=', to the end'
		touch "$LAB_DIR/open-$file"
	fi
	note "$1, $2, $3: $lost lost, the last one $last ms after$text$([ "$early" = 0 ] || echo ", $early lost before")"
	case $3 in
	killed) app_again "$2" ;;
	silent) lab_in r-fra nft delete table netdev dead && lab_in "$VICTIM" nft delete table netdev dead ;;
	esac
	took "$file" "$last" && took "$file-lost" "$lost"
}
say() { # WHO NAME KIND FAILURE SECONDS
	local file=$1-$3-$4 more='' kind=${3^^}
	[ -e "$LAB_DIR/open-$file" ] && more=", or longer than the $5 s of questions"
	kind=${kind/DNS/UDP}
	result peers "$2: $kind backend $4: no answer until$more" ms "$file" | ratio "$file"
	result peers "$2: $kind backend $4: lost of $(($5 * RATE))" n "$file-lost" | ratio "$file-lost"
}
# What a peer's median and worst are by ours, in the place of the aim.
ratio() { # FILE
	local ours=ours-${1#*-}
	ours=${ours/dns/udp}
	sort -g "$LAB_DIR/took-$ours" >"$LAB_DIR/ours"
	awk -F'\t' -v OFS='\t' -v is_ours="$([ "$ours" = "$1" ] && echo 1)" '
		function times(x, y) { return y > 0 ? sprintf("%.3g x", x / y) : x > 0 ? x " to 0 of" : "1 x" }
		FNR == NR { a[++n] = $1; next }
		!is_ours { i = int(n / 2); if (i < n / 2) i++; $9 = "p50 " times($6, a[i]) " ours, worst " times($8, a[n]) " ours" }
		1' "$LAB_DIR/ours" -
}
row() { # WHO NAME KIND PORT SECONDS: both failures
	local e
	for ((e = 0; e < EVENTS; e++)); do one "$1" "$3" killed "$4" "$5" || return 1; done
	say "$1" "$2" "$3" killed "$5"
	for ((e = 0; e < FEW; e++)); do one "$1" "$3" silent "$4" "$SILENT_S" || return 1; done
	say "$1" "$2" "$3" silent "$SILENT_S"
}
absent() { printf 'result\tpeers\t%s: not available here: %s\t-\t0\t-\t-\t-\t\t\n' "$1" "$2"; } # NAME WHY

# ---- ours

VICTIM=fra-3 TO=$VIP
lab_start_all
{
	lab_ctl fra-1 service add udp --vip $VIP --port udp/7001 && lab_ctl fra-1 service add tcp --vip $VIP --port tcp/7002 &&
		for n in fra-2 fra-3; do
			lab_wait "services at $n" 20 lab_ctl $n route show tcp &&
				lab_ctl $n backend add udp "$(lab_addr4 $n):7001" --check udp:interval=60s,timeout=1s,send=text:whoami &&
				lab_ctl $n backend add tcp "$(lab_addr4 $n):7002" --check tcp:interval=60s,timeout=1s || exit 1
		done
} >/dev/null || { lab_logs 15; exit 1; }
ready() { passing fra-1 4 && lab_sees fra-1 3 && asks c "$1" "$TO" "$2"; }
row ours ours udp 7001 2 && row ours ours tcp 7002 2 || { lab_logs 15; exit 1; }
for n in fra-1 fra-2 fra-3; do
	lab_kill $n edged TERM && lab_kill $n edgefwd TERM && lab_in $n "$OUT/edgefwd" -c "$LAB_DIR/$n/edge.conf" --detach || exit 1
done

# ---- proxies in the place of edgefwd

ready() { [ "$(lab_in c "$OUT/lab/failprobe" "$1" "$TO" "$2" 20 1 2>/dev/null | grep -c ' lost 0 ')" = 1 ]; }
lab_in fra-1 ip addr add $VIP/32 dev lo
# A proxy's connections are its own: as many ports as there are, and those that rest may be used again.
lab_in fra-1 sysctl -qw net.ipv4.ip_local_port_range='10240 65535' net.ipv4.tcp_tw_reuse=1

proxy_again() { # COMMAND...
	[ ! -e "$LAB_DIR/app-proxy.pid" ] || lab_app_kill proxy
	lab_app proxy fra-1 "$@"
}
nginx_conf() { # FILE UDP TCP: what else is said of each
	local kind port
	printf 'load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\nuser nobody nogroup;\nworker_processes 1;\nworker_rlimit_nofile 65536;\npid %s/nginx.pid;\nerror_log %s/nginx.log crit;\nevents { worker_connections 32768; }\nstream {\n' "$LAB_DIR" "$LAB_DIR"
	for kind in udp tcp; do
		port=$([ $kind = udp ] && echo 7001 || echo 7002)
		printf ' upstream %s { server %s:%s; server %s:%s; }\n' $kind "$(lab_addr4 fra-2)" $port "$(lab_addr4 fra-3)" $port
		printf ' server { listen %s:%s%s; proxy_pass %s; %s }\n' $VIP $port "$([ $kind = udp ] && echo ' udp')" $kind "$([ $kind = udp ] && echo "$1" || echo "$2")"
	done
	printf '}\n'
}
nginx_rows() {
	[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || { absent nginx 'no package'; return; }
	begin() { proxy_again nginx -e "$LAB_DIR/nginx.log" -c "$LAB_DIR/nginx.conf"; }
	nginx_conf 'proxy_responses 1;' '' >"$LAB_DIR/nginx.conf"
	row nginx 'nginx' udp 7001 2 && row nginx 'nginx' tcp 7002 2 || return 1
	nginx_conf 'proxy_responses 1; proxy_timeout 50ms;' 'proxy_connect_timeout 50ms;' >"$LAB_DIR/nginx.conf"
	row nginxquick 'nginx, quick' udp 7001 2 && row nginxquick 'nginx, quick' tcp 7002 2
}
haproxy_conf() { # DEFAULTS SERVER-OPTIONS
	cat <<-CONF
		global
			maxconn 8192
		defaults
			mode tcp
			timeout connect 5s
			timeout client 1m
			timeout server 1m
			$1
		listen tcp
			bind $VIP:7002
			server a $(lab_addr4 fra-2):7002 $2
			server b $(lab_addr4 fra-3):7002 $2
	CONF
}
haproxy_rows() {
	command -v haproxy >/dev/null || { absent haproxy 'no package'; return; }
	begin() { proxy_again haproxy -db -f "$LAB_DIR/haproxy.cfg"; }
	haproxy_conf '' check >"$LAB_DIR/haproxy.cfg"
	row haproxy 'haproxy' tcp 7002 8 || return 1
	haproxy_conf $'timeout connect 50ms\n\ttimeout check 50ms' 'check inter 10ms fall 1' >"$LAB_DIR/haproxy.cfg"
	row haproxyquick 'haproxy, quick' tcp 7002 2 || return 1
	haproxy_conf $'timeout connect 50ms\n\ttimeout check 50ms\n\toption redispatch 1' \
		'check inter 10ms fall 1 observe layer4 error-limit 1 on-error mark-down' >"$LAB_DIR/haproxy.cfg"
	row haproxyall 'haproxy, all' tcp 7002 2
}

# ---- VRRP: the backends share an address, on a segment of their own

segment() {
	local i
	lab_in r-fra ip link add seg0 type bridge
	lab_in r-fra ip link set seg0 up
	lab_addr r-fra seg0 10.9.0.1/24
	for i in 2 3; do
		lab_link r-fra seg$i fra-$i seg0
		lab_in r-fra ip link set seg$i master seg0
		lab_addr fra-$i seg0 10.9.0.$i/24
		lab_in fra-$i sysctl -qw net.ipv4.ip_nonlocal_bind=1
		lab_in fra-$i ip route add 192.0.2.0/24 via 10.9.0.1 # replies by the way they came
		lab_dns shared-fra-$i fra-$i 7053 $SHARED
	done
}
keepalived_conf() { # NODE PRIORITY ADVERT_S
	cat <<-CONF
		global_defs {
			script_user root
			enable_script_security
			vrrp_version 3
		}
		vrrp_script serves {
			script "/bin/sh -c 'kill -0 \$(cat $LAB_DIR/app-tcp-$1.pid) && kill -0 \$(cat $LAB_DIR/app-dns-shared-$1.pid)'"
			interval 1
		}
		vrrp_instance shared {
			state BACKUP
			interface seg0
			virtual_router_id 51
			priority $2
			advert_int $3
			virtual_ipaddress { $SHARED/24 }
			track_script { serves }
		}
	CONF
}
keepalived_rows() {
	local advert
	command -v keepalived >/dev/null || { absent keepalived 'no package'; return; }
	[ -e /proc/net/ip_vs ] || modprobe -q ip_vs 2>/dev/null || absent 'keepalived as a balancer' 'this kernel has no IPVS'
	segment
	VICTIM=fra-2 TO=$SHARED
	app() { [ "$1" = tcp ] && echo tcp-fra-2 || echo dns-shared-fra-2; }
	app_again() { [ "$1" = tcp ] && serve tcp-fra-2 fra-2 7002 || lab_dns shared-fra-2 fra-2 7053 $SHARED; }
	devices() { echo seg2 seg0; }
	begin() {
		local n
		for n in fra-2 fra-3; do
			[ ! -e "$LAB_DIR/app-vrrp-$n.pid" ] || { lab_app_kill vrrp-$n TERM && lab_wait 'keepalived to end' 10 lab_gone "$(cat "$LAB_DIR/app-vrrp-$n.pid")"; }
			keepalived_conf $n "$([ $n = fra-2 ] && echo 100 || echo 90)" "$advert" >"$LAB_DIR/vrrp-$n.conf"
			chmod 600 "$LAB_DIR/vrrp-$n.conf"
			lab_app vrrp-$n $n keepalived -n -l -P -f "$LAB_DIR/vrrp-$n.conf" -p "$LAB_DIR/vrrp-$n.pid" -r "$LAB_DIR/vrrp-$n.vpid"
		done
	}
	ready() { lab_in fra-2 ip -4 addr show dev seg0 | grep -q $SHARED && ! lab_in fra-3 ip -4 addr show dev seg0 | grep -q $SHARED && asks c "$1" "$TO" "$2"; }
	advert=1
	row keepalived 'keepalived' dns 7053 4 && row keepalived 'keepalived' tcp 7002 4 || return 1
	advert=0.02
	row keepalivedquick 'keepalived, quick' dns 7053 4 && row keepalivedquick 'keepalived, quick' tcp 7002 4
}
absent anycast-healthchecker 'no Debian package'
for peer in $PEERS; do
	"${peer}_rows" || { note "$peer could not be measured"; tail -n 15 "$LAB_DIR"/app-proxy.log "$LAB_DIR"/app-vrrp-*.log "$LAB_DIR"/nginx.log >&2; exit 1; }
done
