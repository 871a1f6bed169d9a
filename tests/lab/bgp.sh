#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# BGP in the lab: BIRD on the core, on each region's router and on each node, eBGP with BFD over every link. Nodes export
# edgefwd's announce routes (kernel protocol 237); a stale one (metric 2000) with a longer path. Source it after lab.sh with
# LAB_VIP_ROUTES=bgp set before the regions are made; lab_bgp when the nodes are.
#
#   core AS 64400 ── r-R AS 64500 + R ── node I of region R: AS 65000 + 100 R + I
LAB_VIP_ROUTES=bgp

# One end of a session that carries both families. IMPORT none: who announces VIPs must not learn them from others, or the
# others' word is preferred to its own kernel's. No graceful restart: it would keep the routes of the dead. Why each timer is as it
# is: docs/OPERATIONS.md.
lab_bgp_peer() { # NAME LOCAL-AS PEER-AS LOCAL4 PEER4 LOCAL6 IMPORT EXPORT
	cat <<-CONF
		protocol bgp ${1//-/_} {
			local $4 as $2;
			neighbor $5 as $3;
			hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 2;
			bfd on; graceful restart off;
			ipv4 { import $7; export $8; next hop self; };
			ipv6 { import $7; export $8; next hop address $6; };
		}
	CONF
}
# "accept direct": of "accept ipv4 direct; accept ipv6 direct" each takes the other family away, and there is no session at all.
lab_bgp_base() { # ROUTER-ID
	cat <<-CONF
		router id $1;
		protocol device { scan time 1; }
		protocol bfd { accept direct; interface "*" { interval 50 ms; multiplier 3; }; }
	CONF
}
lab_bgp_router() { # what comes by BGP goes into the kernel
	lab_bgp_base "$1"
	printf 'protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }\n'
	printf 'protocol kernel { ipv6 { import none; export where source = RTS_BGP; }; }\n'
}
lab_bgp_node() { # what edgefwd put into the kernel goes out by BGP
	lab_bgp_base "$1"
	cat <<-CONF
		protocol kernel { learn; ipv4 { import where krt_source = 237; export none; }; }
		protocol kernel { learn; ipv6 { import where krt_source = 237; export none; }; }
		filter announced {
			if source != RTS_INHERIT then reject;
			if krt_metric >= 2000 then {
				bgp_path.prepend($2); bgp_path.prepend($2); bgp_path.prepend($2); bgp_path.prepend($2);
			}
			accept;
		}
	CONF
}
lab_bird() { # SPACE: its configuration is on stdin
	mkdir -p "$LAB_DIR/bird"
	cat >"$LAB_DIR/bird/$1.conf"
	lab_app "bird-$1" "$1" bird -f -c "$LAB_DIR/bird/$1.conf" -s "$LAB_DIR/bird/$1.ctl" -P "$LAB_DIR/bird/$1.pid"
}
lab_birdc() { # SPACE COMMAND...
	local space=$1
	shift
	birdc -r -s "$LAB_DIR/bird/$space.ctl" "$@"
}
# How many BFD sessions are up at a space.
lab_bfd_up() { lab_birdc "$1" show bfd sessions | awk '$3 == "Up" { n++ } END { print n + 0 }'; }

lab_bgp() {
	local region n r i
	{
		lab_bgp_router 172.20.0.1
		for region in "${LAB_REGIONS[@]}"; do
			r=${LAB_REGION_IDX[$region]}
			lab_bgp_peer "$region" 64400 $((64500 + r)) 172.20.$r.1 172.20.$r.2 fd00:ffff:$r::1 all all
		done
	} | lab_bird core
	for region in "${LAB_REGIONS[@]}"; do
		r=${LAB_REGION_IDX[$region]}
		{
			lab_bgp_router 172.20.$r.2
			lab_bgp_peer core $((64500 + r)) 64400 172.20.$r.2 172.20.$r.1 fd00:ffff:$r::2 all all
			for n in "${LAB_NODES[@]}"; do
				[ "${LAB_NODE_REGION[$n]}" = "$region" ] || continue
				i=${LAB_NODE_IDX[$n]}
				lab_bgp_peer "$n" $((64500 + r)) $((65000 + 100 * r + i)) 10.$r.$i.1 10.$r.$i.2 fd00:$r:$i::1 all all
			done
		} | lab_bird "r-$region"
	done
	for n in "${LAB_NODES[@]}"; do
		r=${LAB_REGION_IDX[${LAB_NODE_REGION[$n]}]} i=${LAB_NODE_IDX[$n]}
		{
			lab_bgp_node 10.$r.$i.2 $((65000 + 100 * r + i))
			lab_bgp_peer up $((65000 + 100 * r + i)) $((64500 + r)) 10.$r.$i.2 10.$r.$i.1 fd00:$r:$i::2 none 'filter announced'
		} | lab_bird "$n"
	done
}
