#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Real daemons say who hears whom: a one-way link, a forwarder that is silent; and forget it when it is over.
. tests/net/net.sh

lab_up
lab_region fra
for n in fra-1 fra-2 fra-3 fra-4; do lab_node $n fra; done
lab_mesh
ok 'four nodes find each other' lab_start_all

problems() { lab_ctl fra-1 --json status | jq -r '.problems[]'; }
has_problem() { problems | grep -qF "$1"; }
well() { ! problems | grep -qE 'one-way|half dead|does not$|get lost|hears nothing'; }
ok 'nothing is wrong' well
lab_in fra-3 nft -f - <<NFT
table inet reach { chain in { type filter hook input priority 0; ip saddr $(lab_mesh4 fra-2) udp dport { 7946, 7947 } drop; }; }
NFT
# fra-4 takes pings before any filter of its own: they are stopped where they are sent.
for n in fra-1 fra-2; do
	lab_in $n nft -f - <<-NFT
	table inet ping { chain out { type filter hook output priority 0; ip daddr $(lab_mesh4 fra-4) udp dport 7947 drop; }; }
	NFT
done
ok 'a one-way link is named at a third node' lab_wait 'the sentence' 60 has_problem \
	"one-way link: packets of fra-2 don't reach fra-3, those of fra-3 reach fra-2"
shown() { lab_ctl fra-4 node show fra-2 | grep -qF 'problem: one-way link'; }
ok 'and shown with its node' lab_wait 'node show' 10 shown
ok 'a silent forwarder is named' lab_wait 'the sentence' 60 has_problem 'node fra-4 (fra): its edged answers, its forwarder does not'
lab_in fra-3 nft delete table inet reach
for n in fra-1 fra-2; do lab_in $n nft delete table inet ping; done
ok 'it is forgotten when packets get through' lab_wait 'no such problem' 30 well
tap_end
