#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Bytes that nobody should send, to every place that takes any: an error or a counted drop, and afterwards everything
# works, with the memory and the file descriptors of before.
. tests/net/net.sh

ABUSE=$OUT/lab/abuse VIP=198.51.100.53 VIP6=2001:db8:100::53
lab_up
lab_region fra
for n in fra-1 fra-2 mallory; do lab_node $n fra; done
lab_client c fra
lab_mesh
LAB_NODES=(fra-1 fra-2) # mallory is in the mesh, but has no key and no daemon
lab_dns fra-2 fra-2 5353 "$(lab_addr4 fra-2)" "$(lab_addr6 fra-2)"
lab_start_all
M=$(lab_mesh4 fra-1) CTL=$LAB_DIR/fra-1/edged.sock FWD=$LAB_DIR/fra-1/edgefwd.sock

answers() { is "$(dns c $VIP 53)" fra-2 && is "$(dns c $VIP6 53)" fra-2; }
declare_all() {
	lab_ctl fra-1 service add dns --vip $VIP --vip $VIP6 --port udp/53 --port tcp/53 || return 1
	lab_wait 'the service' 10 lab_ctl fra-2 route show dns || return 1
	lab_ctl fra-2 backend add dns "$(lab_addr4 fra-2):5353" || return 1
	lab_ctl fra-2 backend add dns "[$(lab_addr6 fra-2)]:5353" || return 1
	lab_wait 'answers' 10 answers
}
ok 'a service' declare_all

pid() { cat "$LAB_DIR/$1/$2.pid"; }
fds() { find "/proc/$(pid "$1" "$2")/fd" -mindepth 1 2>/dev/null | wc -l; }
rss() { awk '/VmRSS/ {print $2}' "/proc/$(pid "$1" "$2")/status"; }
PID=$(pid fra-1 edged) FWD_PID=$(pid fra-1 edgefwd)
FDS=$(fds fra-1 edged) RSS=$(rss fra-1 edged) FWD_RSS=$(rss fra-1 edgefwd)
gossip_counter() { lab_ctl fra-1 --json stats | jq -r --arg n "$1" '[.. | objects | .[$n]? // empty][0] // 0'; }
more() { # FUNCTION NAME BEFORE: a counter has grown
	[ "$("$1" "$2")" -gt "$3" ]
}
fra1() { counter fra-1 "$1"; }
fra2() { counter fra-2 "$1"; }

within() { [ "$1" -le "$2" ] || { echo "$1 KiB, want at most $2"; return 1; }; }

# ---- gossip
sees() { lab_sees fra-1 2 && lab_sees fra-2 2; }
capture() {
	lab_in fra-1 timeout 20 tcpdump -i "${LAB_WG_DEV[fra-1]}" -w "$LAB_DIR/gossip.pcap" -U -c 30 'ip and udp port 7946'
}
ok 'sealed datagrams to mutate' capture
before=$(gossip_counter unsealed)
ok 'random and mutated datagrams from a stranger' lab_in mallory "$ABUSE" dgrams "$M" 7946 8000 1 "$LAB_DIR/gossip.pcap"
ok 'they are counted' lab_wait 'the count' 5 more gossip_counter unsealed $((before + 4000))
ok 'the same from a member' lab_in fra-2 "$ABUSE" dgrams "$M" 7946 2000 2 "$LAB_DIR/gossip.pcap"
ok 'streams: random, cut short, great lengths' lab_in mallory "$ABUSE" frames "$M" 7946 500 3
mkfifo "$LAB_DIR/hold-gossip" "$LAB_DIR/hold-ctl"
lab_in mallory "$ABUSE" idle "$M" 7946 64 <"$LAB_DIR/hold-gossip" >"$LAB_DIR/held-gossip" &
exec 8>"$LAB_DIR/hold-gossip"
ok '64 streams that say nothing' lab_wait 'them' 10 grep -q held "$LAB_DIR/held-gossip"
write_spreads() { lab_ctl fra-1 service add spread --vip 198.51.100.60 --port tcp/99 && lab_wait 'it' 5 lab_ctl fra-2 route show spread; }
ok 'a write spreads all the same' write_spreads
exec 8>&-
ok 'both nodes alive' lab_wait 'both' 10 sees

# ---- a flood of what nobody can open, and of what was there before
FLOOD=20000
counted() { echo $(($(gossip_counter unsealed) + $(gossip_counter replayed))); }
cpu() { awk '{print $14 + $15}' "/proc/$PID/stat"; } # ticks
lives() { lab_state fra-2 fra-1 alive && lab_state fra-1 fra-2 alive; }
never_dead() { ! grep -E 'state=dead' "$LAB_DIR"/fra-[12]/edged.log; }
flood() { # COUNTER COMMAND...: in the middle of it DNS answers, and both nodes see each other alive
	local counter=$1 before all cpu_was rss_was start us n pid rc=0
	shift
	before=$(gossip_counter "$counter") all=$(counted) cpu_was=$(cpu) rss_was=$(rss fra-1 edged) start=${EPOCHREALTIME/./}
	lab_in mallory "$@" &
	pid=$!
	lab_wait 'the first' 10 more gossip_counter "$counter" "$before" || rc=1
	answers && lives || rc=1
	wait $pid || rc=1
	us=$((${EPOCHREALTIME/./} - start)) n=$(($(counted) - all))
	lab_wait 'a quarter of them counted' 5 more gossip_counter "$counter" $((before + FLOOD / 4)) || rc=1
	echo "# $counter: $n of $FLOOD came, $((n * 1000000 / us)) dropped a second, $((($(cpu) - cpu_was) * 1000000 / $(getconf CLK_TCK) / (n ? n : 1))) us of CPU each, \
$(($(rss fra-1 edged) - rss_was)) KiB more" >>"$LAB_DIR/flood"
	[ "${OUT##*/}" != std ] || within "$(rss fra-1 edged)" $((rss_was + 2048)) || rc=1
	lab_wait 'both alive' 5 lives || rc=1
	return $rc
}
ok 'a flood of noise' flood unsealed "$ABUSE" dgrams "$M" 7946 $FLOOD 20
ok '... sealed with another key' flood unsealed "$OUT/lab/sealflood" "$M" 7946 $FLOOD - lab
ok '... for another cluster with our key' flood unsealed "$OUT/lab/sealflood" "$M" 7946 $FLOOD "$LAB_DIR/cluster.key" bal
ok '... of real datagrams again' flood replayed "$ABUSE" replay "$M" 7946 $FLOOD "$LAB_DIR/gossip.pcap"
cat "$LAB_DIR/flood"
ok 'nobody was taken for dead' never_dead

# ---- control socket
ok 'garbage on the control socket' "$ABUSE" ctl "$CTL" 200 4
ok 'clients that go in the middle of an answer' "$ABUSE" ctlslow "$CTL" 20
"$ABUSE" ctlidle "$CTL" 40 <"$LAB_DIR/hold-ctl" >"$LAB_DIR/held-ctl" &
exec 9>"$LAB_DIR/hold-ctl"
ok '40 clients that say nothing' lab_wait 'them' 10 grep -q held "$LAB_DIR/held-ctl"
too_many() { like "$(lab_ctl fra-1 status 2>&1)" '*too many clients*'; }
ok 'one more is told so' too_many
exec 9>&-
ok 'they go: the next one is served' lab_wait 'an answer' 5 lab_ctl fra-1 status

# ---- edgectl: what it says and how it ends
ctl_ends() { # CODE ARGS...
	local want=$1 rc
	shift
	lab_ctl fra-1 "$@" >"$LAB_DIR/said" 2>&1
	rc=$?
	[ $rc -eq "$want" ] && { [ "$want" -eq 0 ] || [ -s "$LAB_DIR/said" ]; } && return
	echo "edgectl $*: exit $rc, want $want"
	cat "$LAB_DIR/said"
	return 1
}
all_end() { # CODE, lines of arguments on stdin; all of them are tried
	local rc=0 line
	while read -ra line; do ctl_ends "$1" "${line[@]}" || rc=1; done
	return $rc
}
ok 'edgectl: usage errors end with 2' all_end 2 <<-END
	nonsense
	service
	service nonsense
	service add
	service add x
	service add x --vip
	service add x --nonsense 1
	service rm
	backend add dns
	backend add dns 10.0.0.1:1 extra
	route show
	service add Bad_Name --vip 198.51.100.9 --port udp/53
	service add x --vip 198.51.100.999 --port udp/53
	service add x --vip 198.51.100.9 --port udp/0
	service add x --vip 198.51.100.9 --port udp/65536
	service add x --vip 198.51.100.9 --port sctp/1
	service add x --vip 198.51.100.9 --port udp/9-8
	backend add dns 127.0.0.1:1
	backend add dns 10.0.0.1:0
	backend add dns 10.0.0.1:1 --weight 70000
	backend add dns 10.0.0.1:1 --check nonsense
	--nonsense
END
ok 'edgectl: refusals end with 1' all_end 1 <<-END
	service add dns --vip 198.51.100.9 --port udp/53
	service add x --vip $VIP --port udp/53
	service rm nothing
	backend add nothing 10.0.0.1:1
	backend rm nothing
	backend rm nothing/10.0.0.1:1
	backend drain nothing/10.0.0.1:1
	route show nothing
END
unreachable() {
	"$OUT/edgectl" --socket "$LAB_DIR/nobody.sock" status
	is $? 3
}
ok 'edgectl: nobody there ends with 3' unreachable

# ---- edgefwd's socket
stranger() {
	setpriv --reuid 12345 --regid nogroup --clear-groups "$ABUSE" fwd "$FWD" 5 5 && grep -q 'peer_refused.*uid=12345' "$LAB_DIR/fra-1/edgefwd.log"
}
ok 'edgefwd: a stranger is refused and named' stranger
ok 'edgefwd: wrong sizes, versions, kinds, floods' "$ABUSE" fwd "$FWD" 100 6
fwd_back() { [ "$(lab_ctl fra-1 --json status | jq -r .forwarder.is_up)" = true ]; }
ok 'edged has its forwarder again' lab_wait 'it' 10 fwd_back

# ---- packets
MAC=$(lab_in fra-1 cat /sys/class/net/eth0/address)
WG1=${LAB_WG_DEV[fra-1]} WGM=${LAB_WG_DEV[mallory]} M2=$(lab_mesh4 fra-2)
MARK=$(bpftool -j map dump pinned "$(find "$LAB_DIR/bpf/fra-1" -name dp_host)" | jq -r '.[0].formatted.value.gre_mark')
declare -A was=()
for r in bad_packet bad_ext_header frag_no_first icmp_unknown proto_unsupported no_service gre_unmarked; do was[$r]=$(fra1 $r); done
ok 'malformed packets to an IPv4 VIP' lab_in r-fra "$ABUSE" packets fra-1 "$MAC" "$(lab_client4 fra)" $VIP 3000 7
ok 'malformed packets to an IPv6 VIP' lab_in r-fra "$ABUSE" packets fra-1 "$MAC" "$(lab_client6 fra)" $VIP6 3000 8
ok 'GRE that the programs did not make' lab_in fra-1 "$ABUSE" gre "$WG1" - "$M" "$M2" 192.0.2.18 $VIP 200 9
for r in "${!was[@]}"; do ok "the edge counts $r" lab_wait "$r" 5 more fra1 "$r" "${was[$r]}"; done
was=()
for r in gre_unknown_peer gre_bad token_unknown bad_packet bad_ext_header frag_no_first icmp_unknown icmp_no_flow proto_unsupported reply_not_service; do was[$r]=$(fra2 $r); done
OUT_BEFORE=$(fra2 reply_out)
ok 'malformed GRE from a stranger' lab_in mallory "$ABUSE" gre "$WGM" - "$(lab_mesh4 mallory)" "$M2" 192.0.2.18 $VIP 2000 10
ok 'malformed GRE from a member' lab_in fra-1 "$ABUSE" gre "$WG1" - "$M" "$M2" 192.0.2.18 $VIP 4000 11 "$MARK"
ok 'with IPv6 inside' lab_in fra-1 "$ABUSE" gre "$WG1" - "$M" "$M2" 2001:db8:c:1::2 $VIP6 4000 12 "$MARK"
ok 'replies from what is no service' lab_in fra-1 "$ABUSE" gre "$WG1" - "$M" "$M2" 198.51.100.61 192.0.2.18 4000 13 "$MARK"
ok 'no GRE, but malformed, on the mesh device' lab_in mallory "$ABUSE" packets "$WGM" - "$(lab_mesh4 mallory)" "$M2" 1000 14
for r in "${!was[@]}"; do ok "the worker counts $r" lab_wait "$r" 5 more fra2 "$r" "${was[$r]}"; done
ok 'no reply of a stranger went out' is "$(fra2 reply_out)" "$OUT_BEFORE"

# ---- no room
wide() { # VERB: six services of 16384 ports; the lab has 256 pages
	local i
	for i in 1 2 3 4 5 6; do
		case $1 in
		add) lab_ctl fra-1 service add wide$i --vip 198.51.100.$((200 + i)) --port udp/10000-26383 ;;
		rm) lab_ctl fra-1 service rm wide$i ;;
		esac || return 1
	done
}
problem() { lab_ctl fra-1 --json status | jq -r '.problems[]' | grep -q "$1"; }
full_told() { problem 'pages.*ports of VIP 198.51.100.20[0-9] are not served'; }
full_over() { ! problem pages; }
drained() { ! answers; }
drain() { lab_ctl fra-1 backend drain "fra-2/dns/$(lab_addr4 fra-2):5353" && lab_wait 'no answer' 10 drained; }
undrain() { lab_ctl fra-1 backend undrain "fra-2/dns/$(lab_addr4 fra-2):5353" && lab_wait 'answers' 10 answers; }
ok 'more ports than there are pages for' wide add
ok 'status says whose ports are not served' lab_wait 'the problem' 10 full_told
ok 'a drain works meanwhile' drain
ok 'and so does its end' undrain
ok 'they are removed' wide rm
ok 'and the problem is gone' lab_wait 'its end' 15 full_over

# ---- files
refused() { # CODE PATTERN SPACE COMMAND...
	local want=$1 pattern=$2 space=$3 rc
	shift 3
	lab_in "$space" timeout 10 "$@" >"$LAB_DIR/said" 2>&1
	rc=$?
	[ $rc -eq "$want" ] && grep -qE "$pattern" "$LAB_DIR/said" && return
	echo "exit $rc, want $want and: $pattern"
	cat "$LAB_DIR/said"
	return 1
}
CONF=$LAB_DIR/fra-1/edge.conf
ok 'a second edged on the same state' refused 1 'another edged uses' fra-1 "$OUT/edged" -c "$CONF"
ok 'a second edgefwd on the same socket' refused 1 'another' fra-1 "$OUT/edgefwd" -c "$CONF"
lab_conf mallory
sed "s/^public = eth0/public = eth9/" "$LAB_DIR/mallory/edge.conf" >"$LAB_DIR/no-if.conf"
no_interface() { # it is named; edgefwd waits for it or ends
	lab_in mallory timeout 3 "$OUT/edgefwd" -c "$LAB_DIR/no-if.conf" >"$LAB_DIR/said" 2>&1
	grep -q eth9 "$LAB_DIR/said" || { cat "$LAB_DIR/said"; return 1; }
}
ok 'an interface that does not exist is named' no_interface
head -c 4096 /dev/urandom >"$LAB_DIR/junk.conf"
ok 'random bytes for a configuration' refused 2 'junk.conf' mallory "$OUT/edged" -c "$LAB_DIR/junk.conf"
ok 'random bytes for edgefwd too' refused 2 'junk.conf' mallory "$OUT/edgefwd" -c "$LAB_DIR/junk.conf"
mkdir "$LAB_DIR/loose" && chmod 775 "$LAB_DIR/loose"
sed "s|^\[worker\]|&\ncheck_dir = $LAB_DIR/loose|" "$LAB_DIR/mallory/edge.conf" >"$LAB_DIR/loose.conf"
ok 'a check_dir that others may write to' refused 1 'check_dir .*/loose: it has mode 0775' mallory "$OUT/edged" -c "$LAB_DIR/loose.conf"

# ---- afterwards
ok 'DNS answers as before' answers
ok 'both nodes alive' lab_wait 'both' 10 sees
ok 'edged is the one of before' is "$(pid fra-1 edged) $(kill -0 "$PID" && echo lives)" "$PID lives"
ok 'edgefwd is the one of before' is "$(pid fra-1 edgefwd) $(kill -0 "$FWD_PID" && echo lives)" "$FWD_PID lives"
few_fds() { [ "$(fds fra-1 edged)" -le $((FDS + 4)) ]; } # its own streams come and go
ok 'edged holds no more file descriptors' lab_wait "at most $((FDS + 4)), not $(fds fra-1 edged)" 25 few_fds
[ "${OUT##*/}" = std ] && ok 'edged has grown by less than 8 MiB' within "$(rss fra-1 edged)" $((RSS + 8192))
ok 'edgefwd has grown by less than 1 MiB' within "$(rss fra-1 edgefwd)" $((FWD_RSS + 1024))
no_findings() { ! grep -E 'runtime error|Sanitizer' "$LAB_DIR"/*/edged.log; }
ok 'no sanitizer spoke' no_findings
tap_end
