#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Three regions that know each other by summaries: a client's packets go to its own region while something serves there, then to
# another one's, whose deaths are known here; a region that is cut off is not used; an edge that starts alone knows the ways.
. tests/net/net.sh

VIP=198.51.100.53
LAB_MESH=4
lab_up
for r in fra nyc sin; do lab_region $r; done
for node in fra-1 fra-2 nyc-1 nyc-2 sin-1 sin-2; do
	lab_node $node ${node%-*}
	LAB_EXTRA[$node]=$'[regions]\nmode = summaries\n'
done
lab_client c fra
lab_mesh
for n in fra-2 nyc-1 nyc-2 sin-1; do lab_dns $n $n 5353 "$(lab_addr4 $n)"; done
lab_start_all

status() { lab_ctl "$1" --json status; }
# Of the other two regions it has summaries, the newest that anyone has; of its own, both members.
knows() {
	status "$1" | jq -e '([.regions[] | select(.is_own | not) | select(.state == "alive" and .is_applied and (.is_behind | not))] | length) == 2
		and ([.nodes[] | select(.is_summary | not)] | length) == 2 and (.nodes | length) == 6' >/dev/null
}
all_know() { for n in "${LAB_NODES[@]}"; do lab_wait "summaries at $n" 10 knows $n || { status $n | jq -c .regions; return 1; }; done; }
ok 'every node knows two members and two summaries' all_know

answers() { for _ in $(seq 12); do dns c $VIP 53 +time=1; done | sort -u | tr '\n' ' '; }
from() { is "$(answers)" "$* "; }
declare_all() {
	lab_ctl sin-2 service add dns --vip $VIP --port udp/53 --port tcp/53 >/dev/null || return 1
	for n in fra-2 nyc-1 nyc-2 sin-1; do
		lab_wait "the service at $n" 10 lab_ctl $n route show dns || return 1
		lab_ctl $n backend add dns "$(lab_addr4 $n):5353" --check tcp:interval=200ms,rise=1,fall=2 >/dev/null || return 1
	done
	lab_wait 'four backends here' 10 passing fra-1 4 && lab_wait 'an answer from here' 10 from fra-2
}
ok 'a service: its own region answers' declare_all
shown() {
	like "$(lab_ctl fra-1 route show dns)" '*nyc-1/dns/*nyc (by summary)*' || return 1
	like "$(lab_ctl fra-1 status --wide)" '*REGION*nyc*alive*newest*' || return 1
	like "$(lab_ctl fra-1 node show nyc-2)" '*by summary*'
}
ok 'what is known by summary is shown so' shown

gone() {
	lab_app_kill dns-fra-2
	lab_wait 'both of nyc answer' 10 from nyc-1 nyc-2
}
ok 'nothing serves here any more: the next region does' gone
far_health() {
	lab_app_kill dns-nyc-1
	lab_wait 'nyc-2 alone answers' 10 from nyc-2
	lab_dns nyc-1 nyc-1 5353 "$(lab_addr4 nyc-1)"
	lab_wait 'both answer again' 10 from nyc-1 nyc-2
}
ok 'a backend of the other region fails and comes back: known here' far_health
far_node() {
	lab_in r-nyc ip link set nyc-1 down
	lab_wait 'nyc-2 alone answers' 10 from nyc-2 || return 1
	is "$(status fra-1 | jq -r '.regions[] | select(.name == "nyc") | .down | join(" ")')" nyc-1 || return 1
	lab_in r-nyc ip link set nyc-1 up
	lab_wait 'both answer again' 20 from nyc-1 nyc-2
}
ok 'a node of the other region dies: avoided' far_node

region_is() { is "$(status fra-1 | jq -r '.regions[] | select(.name == "nyc") | .state')" "$1"; }
cut_nyc() { # its gossip with the others; its own, and packets of flows, go on
	for n in nyc-1 nyc-2; do
		lab_in $n nft -f - <<-NFT || return 1
			table inet cut {
				chain in {
					type filter hook input priority 0
					ip saddr { 10.77.1.0/24, 10.77.3.0/24 } meta l4proto { tcp, udp } th dport $LAB_PORT drop
				}
				chain out {
					type filter hook output priority 0
					ip daddr { 10.77.1.0/24, 10.77.3.0/24 } meta l4proto { tcp, udp } th dport $LAB_PORT drop
				}
			}
		NFT
	done
}
region_cut() {
	cut_nyc || return 1
	lab_wait 'sin answers' 20 from sin-1 && region_is dead || return 1
	like "$(lab_ctl fra-1 status)" '*! region nyc is dead*'
}
ok 'a region nobody hears: its ways in are not used' region_cut
region_back() {
	for n in nyc-1 nyc-2; do lab_in $n nft delete table inet cut; done
	lab_wait 'nyc answers again' 30 from nyc-1 nyc-2 && region_is alive
}
ok 'it is heard again: used again' region_back

# Without its pins, from what the disk remembers: nobody answers it.
alone() {
	lab_in fra-1 nft -f - <<-NFT || return 1
		table inet alone {
			chain in {
				type filter hook input priority 0
				ip saddr 10.77.0.0/16 meta l4proto { tcp, udp } th dport $LAB_PORT drop
			}
			chain out {
				type filter hook output priority 0
				ip daddr 10.77.0.0/16 meta l4proto { tcp, udp } th dport $LAB_PORT drop
			}
		}
	NFT
	lab_kill fra-1 edged KILL && lab_kill fra-1 edgefwd KILL || return 1
	lab_in fra-1 "$OUT/edgefwd" -c "$LAB_DIR/fra-1/edge.conf" --detach || return 1
	lab_start fra-1 edgefwd
	lab_wait edgefwd 20 test -S "$LAB_DIR/fra-1/edgefwd.sock" || return 1
	lab_start fra-1 edged
	lab_wait 'answers of nyc' 10 from nyc-1 nyc-2 || { lab_ctl fra-1 route show dns; return 1; }
	lab_in fra-1 nft delete table inet alone
}
ok 'restarted while cut off from everyone: it knows the ways into other regions' alone
home() {
	lab_dns fra-2 fra-2 5353 "$(lab_addr4 fra-2)"
	lab_wait 'its own region answers' 20 from fra-2 && lab_wait 'summaries at fra-1' 20 knows fra-1
}
ok 'its own region serves again' home

# Nobody of this region was ever cut off, so they saw the same.
same() { lab_ctl sin-1 wait --converged --timeout 10 && lab_ctl sin-1 verify; }
ok 'all of a region agree: records, summaries, tables, maps' same
key() {
	local id
	id=$(lab_ctl fra-1 --json keys add | jq -r .text | sed 's/^key \([0-9a-f]*\) .*/\1/')
	lab_wait "key $id with all nodes of all regions" 10 lab_ctl fra-1 keys use "$id" || { lab_ctl fra-1 keys use "$id"; return 1; }
	for n in sin-2 nyc-1; do lab_wait "$n to seal with it" 10 seals $n "$id" || return 1; done
	lab_wait 'summaries at sin-2' 10 knows sin-2
}
seals() { lab_ctl "$1" --json keys list | jq -e --arg id "$2" 'any(.keys[]; .id == $id and .state == "seals")'; }
ok 'the key of the cluster is changed across regions' key
tap_end
