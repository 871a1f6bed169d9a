#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Mesh devices that merge what comes in, as kernel WireGuard does: super-packets both ways, replies handed over as one
# (UDP_SEGMENT), and the protocol that kernel WireGuard looks at, on every packet that goes out of the mesh device.
. tests/net/net.sh

V4=198.51.100 V6=2001:db8:100:
LAB_TRANSPORT=tun LAB_MESH=${OUTER:=4}
lab_up
lab_region fra
lab_node fra-1 fra
lab_node fra-2 fra
lab_client c fra
lab_mesh
lab_container fra-2
W=$(lab_addr4 fra-2) W6=$(lab_addr6 fra-2)

# Behind our program at the mesh device's egress: says what it saw, and drops what kernel WireGuard would.
judge_protocol() { # NODE
	tc_in "$1" filter add dev mesh0 egress prio 300 bpf da object-pinned "$LAB_DIR/bpf/protocol"
}
tc_in() { lab_in "$1" tc "${@:2}"; }
cat >"$LAB_DIR/protocol.c" <<'C'
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps"); /* wrong, IPv4, IPv6 */
SEC("tc")
int protocol(struct __sk_buff *skb)
{
	__u8 first = 0;
	__u32 at = 0;
	__u64 *n;

	bpf_skb_load_bytes(skb, 0, &first, 1);
	if (first >> 4 == 4 && skb->protocol == __builtin_bswap16(0x0800))
		at = 1;
	else if (first >> 4 == 6 && skb->protocol == __builtin_bswap16(0x86dd))
		at = 2;
	n = bpf_map_lookup_elem(&seen, &at);
	if (n)
		__sync_fetch_and_add(n, 1);
	return at ? -1 : 2;
}
char LICENSE[] SEC("license") = "GPL";
C
judge_made() {
	clang -O2 -g -target bpf -I"/usr/include/$(uname -m)-linux-gnu" -c "$LAB_DIR/protocol.c" -o "$LAB_DIR/protocol.o" &&
		bpftool prog load "$LAB_DIR/protocol.o" "$LAB_DIR/bpf/protocol" type classifier pinmaps "$LAB_DIR/bpf/protocol-maps"
}
seen() { bpftool -j map dump pinned "$LAB_DIR/bpf/protocol-maps/seen" | jq -r ".[$1].formatted.value // .[$1].value"; }

lab_dns fra-2 fra-2 5353 "$W" "$W6"
lab_web fra-2 fra-2 8080 "$W" "[$W6]"
lab_web box fra-2-box 8080 0.0.0.0 '[::]'
lab_upload fra-2 fra-2 9000
lab_upload box fra-2-box 9000
lab_app burst fra-2 "$OUT/lab/udpburst" serve 5400
lab_start_all
service() { # NAME N PROTO/PORT BACKEND4 BACKEND6 CHECK
	lab_ctl fra-1 service add "$1" --vip "$V4.$2" --vip "$V6:$2" --port "$3" >/dev/null || return 1
	lab_wait "service $1 at fra-2" 10 lab_ctl fra-2 route show "$1" || return 1
	lab_ctl fra-2 backend add "$1" "$4" --check "$6" >/dev/null && lab_ctl fra-2 backend add "$1" "$5" --check "$6" >/dev/null
}
services() {
	service dns 1 udp/53 "$W:5353" "[$W6]:5353" tcp && service web 2 tcp/80 "$W:8080" "[$W6]:8080" tcp &&
		service web-box 3 tcp/80 10.88.1.2:8080 '[fd88:1::2]:8080' tcp && service up 4 tcp/9 "$W:9000" "[$W6]:9000" tcp &&
		service up-box 5 tcp/9 10.88.1.2:9000 '[fd88:1::2]:9000' tcp && service burst 6 udp/5400 "$W:5400" "[$W6]:5400" none || return 1
	lab_wait '10 healthy backends' 20 ten_healthy && lab_wait 'the first answer' 10 answers
}
ten_healthy() { [ "$(lab_ctl fra-1 --json backend list | jq '[.backends[]|select(.health=="passing")]|length')" -ge 10 ]; }
answers() { is "$(dns c $V4.1 53)" fra-2 && is "$(dns c $V6:1 53)" fra-2; }
ok 'six services, a backend of each family' services
ok 'a judge of protocols behind our program' judge_made
ok '... at both ends' eval 'judge_protocol fra-1 && judge_protocol fra-2'

SIZE=20971520
SUM=$(head -c $SIZE "$LAB_DIR/big" | sha256sum | cut -d' ' -f1)
big() { lab_in c curl -gsf -m 60 -r 0-$((SIZE - 1)) "$1" | sha256sum | cut -d' ' -f1; }
up() { head -c $SIZE "$LAB_DIR/big" | lab_in c socat -t 30 - "$1" | cut -d' ' -f1; }
# 20 MB are 15,000 packets and more; as super-packets far fewer pass the program.
merged() { # NODE REASON COMMAND...
	local node=$1 reason=$2 before after
	shift 2
	before=$(counter "$node" "$reason")
	is "$("$@")" "$SUM" || return 1
	lab_wait 'the counter' 5 is_more "$node" "$reason" "$before" || return 1
	after=$(counter "$node" "$reason")
	echo "$reason: $((after - before)) for 20 MB"
	[ $((after - before)) -lt 7000 ]
}
is_more() { [ "$(counter "$1" "$2")" -gt "$3" ]; }
ok 'download of 20 MB, IPv4: the edge gets super-packets' merged fra-1 reply_out big "http://$V4.2/big"
ok 'download of 20 MB, IPv6' merged fra-1 reply_out big "http://[$V6:2]/big"
ok 'download of 20 MB, IPv4, container' merged fra-1 reply_out big "http://$V4.3/big"
ok 'download of 20 MB, IPv6, container' merged fra-1 reply_out big "http://[$V6:3]/big"
ok 'upload of 20 MB, IPv4: the worker gets super-packets' merged fra-2 delivered_host up "TCP:$V4.4:9"
ok 'upload of 20 MB, IPv6' merged fra-2 delivered_host up "TCP6:[$V6:4]:9"
ok 'upload of 20 MB, IPv4, container' merged fra-2 delivered_bridge up "TCP:$V4.5:9"
ok 'upload of 20 MB, IPv6, container' merged fra-2 delivered_bridge up "TCP6:[$V6:5]:9"

burst() { # ADDRESS: ten times forty datagrams
	for _ in $(seq 10); do lab_in c "$OUT/lab/udpburst" ask "$1" 5400 40 1200 || return 1; done
}
ok 'UDP_SEGMENT: 40 datagrams handed over as one, IPv4' burst $V4.6
ok 'UDP_SEGMENT, IPv6' burst $V6:6
judged() {
	local index=$((OUTER / 2 - 1)) # 4: 1, 6: 2
	[ "$(seen $index)" -gt 5000 ] && [ "$(seen 0)" = 0 ] && return
	echo "wrong $(seen 0), IPv4 $(seen 1), IPv6 $(seen 2)"
	return 1
}
ok 'every packet out of the mesh device had its protocol' judged
tap_end
