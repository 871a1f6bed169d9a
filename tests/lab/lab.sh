#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The lab: regions, routers, nodes and clients as network namespaces on veth pairs, with a real WireGuard mesh, real
# daemons and real applications. Source it; lab_up begins, a trap on EXIT takes everything of this run's tag down.
#
#   core ── r-fra ── fra-1, fra-2, c-fra      addresses of region R, host I:
#        ── r-nyc ── ...                        10.R.I.2/24, fd00:R:I::2/64 (router: .1, ::1)
#                                               mesh 10.77.R.I, fd77::R:I; client 192.0.2.(16R+2), 2001:db8:c:R::2
# VIPs are routed by each router to its region's first node, then the next, then the core.
#
# shellcheck disable=SC2034
set -u

OUT=${OUT:-build/std}
case $OUT in /*) ;; *) OUT=$PWD/$OUT ;; esac
LAB_VIP4=198.51.100.0/24
LAB_VIP6=2001:db8:100::/64
LAB_VIP_ROUTES=static # or bgp (tests/lab/bgp.sh)
LAB_PORT=7946
LAB_WG_PORT=51820
LAB_MESH='4 6'  # families of the mesh addresses
LAB_TRANSPORT=wireguard # or fabric: the mesh is an Ethernet, a bridge in a namespace of its own; or tun: devices that merge
                        # what comes in, as kernel WireGuard does, with a relay between them; or one: eth0 is the mesh of
                        # a fabric as well, all nodes of a region on one segment
LAB_FABRIC_MTU=1600
LAB_WG=manual   # who sets WireGuard's peers: lab_mesh, or managed: edgefwd, but for those of lab_peer

lab_die() {
	echo "lab: $*" >&2
	exit 1
}

lab_up() {
	local owner
	[ "$(id -u)" -eq 0 ] || lab_die "got user $(id -un), want root: namespaces and BPF need it"
	lab_sweep
	LAB_TAG=$(od -An -N3 -tx1 /dev/urandom | tr -d ' \n')
	LAB_DIR=/run/edge-lab-$LAB_TAG
	LAB_REGIONS=() LAB_NODES=() LAB_CLIENTS=()
	declare -gA LAB_REGION_IDX=() LAB_NODE_REGION=() LAB_NODE_IDX=() LAB_WG_PUB=() LAB_WG_DEV=() LAB_EXTRA=() LAB_PUBLIC=()
	trap lab_down EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	mkdir -p "$LAB_DIR/bpf" || lab_die "$LAB_DIR: can't be made"
	chmod 755 "$LAB_DIR"
	owner=$BASHPID # before $(...), which has a number of its own
	echo "$owner $(lab_born "$owner")" >"$LAB_DIR/owner"
	mount -t bpf bpf "$LAB_DIR/bpf" || lab_die "bpffs: can't be mounted"
	od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$LAB_DIR/cluster.key"
	chown root:nogroup "$LAB_DIR/cluster.key"
	chmod 640 "$LAB_DIR/cluster.key"
}

# When a process began, in clock ticks since boot; nothing if there is none. With its number it names it for good.
lab_born() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# The processes in the namespaces of a lab.
lab_pids() { # TAG
	local inodes
	inodes=$(stat -Lc %i "/run/netns/edge-lab-$1-"* 2>/dev/null) || return 0
	stat -Lc '%i %n' /proc/[0-9]*/ns/net 2>/dev/null |
		awk -F'[ /]' -v inodes="$inodes" 'BEGIN { n = split(inodes, a, "\n"); for (i = 1; i <= n; i++) in_lab[a[i]] = 1 } in_lab[$1] { print $4 }'
}

# Takes down what bears a tag, whoever made it.
lab_remove() { # TAG
	local tag=$1 pids s signal
	for signal in TERM KILL; do
		pids=$(lab_pids "$tag")
		# shellcheck disable=SC2086
		[ -n "$pids" ] && kill "-$signal" $pids 2>/dev/null
		for _ in $(seq 40); do
			[ -z "$(lab_pids "$tag")" ] && break
			sleep 0.05
		done
	done
	for s in "/run/netns/edge-lab-$tag-"*; do
		[ -e "$s" ] && ip netns del "${s##*/}"
	done
	rm -f "/var/run/wireguard/wg$tag"*.sock
	mountpoint -q "/run/edge-lab-$tag/bpf" && umount "/run/edge-lab-$tag/bpf"
	rm -rf "/run/edge-lab-$tag"
}

# Labs whose script was killed before it could take them down; one that is meant to stay has a file `keep`.
lab_sweep() {
	local d pid born
	for d in /run/edge-lab-*; do
		[ -s "$d/owner" ] && [ ! -e "$d/keep" ] || continue
		read -r pid born <"$d/owner"
		[ "$(lab_born "$pid")" = "$born" ] && continue
		echo "lab: taking down ${d##*/}, left behind by a script that was killed" >&2
		lab_remove "${d##*/edge-lab-}"
	done
}

lab_down() {
	local jobs
	trap '' INT TERM HUP
	trap - EXIT
	jobs=$(jobs -p)
	# shellcheck disable=SC2086
	[ -n "$jobs" ] && kill $jobs 2>/dev/null
	lab_remove "$LAB_TAG"
	wait 2>/dev/null
}

lab_space() { echo "edge-lab-$LAB_TAG-$1"; }

# Run a command in a namespace; the mount namespace stays, so pins are seen.
lab_in() {
	local name=$1
	shift
	nsenter --net="/run/netns/$(lab_space "$name")" -- "$@"
}

# lab_wait WHAT SECONDS COMMAND...: until the command succeeds; 1 and a line if it never does.
lab_wait() {
	local what=$1 limit=$2 end
	shift 2
	end=$(($(date +%s%N) + limit * 1000000000))
	until "$@" >/dev/null 2>&1; do
		if [ "$(date +%s%N)" -gt "$end" ]; then
			echo "lab: waited ${limit} s in vain for: $what" >&2
			return 1
		fi
		sleep 0.05
	done
}

lab_add_space() {
	local s
	s=$(lab_space "$1")
	ip netns add "$s" || lab_die "namespace $s: can't be made"
	lab_in "$1" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
		net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
	lab_in "$1" ip link set lo up
}

# lab_link A IF_A B IF_B: a veth pair between two namespaces, both ends up.
lab_link() {
	ip link add name "$2" netns "$(lab_space "$1")" type veth peer name "$4" netns "$(lab_space "$3")" ||
		lab_die "veth $1/$2 - $3/$4: can't be made"
	lab_in "$1" ip link set "$2" up
	lab_in "$3" ip link set "$4" up
}

lab_addr() { # SPACE IF ADDR...
	local space=$1 dev=$2 a
	shift 2
	for a in "$@"; do lab_in "$space" ip addr add "$a" dev "$dev" nodad 2>/dev/null || lab_in "$space" ip addr add "$a" dev "$dev"; done
}

lab_router() {
	lab_add_space "$1"
	lab_in "$1" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
}

# lab_region NAME: its router and its way to the core.
lab_region() {
	local name=$1 r
	if [ ${#LAB_REGIONS[@]} -eq 0 ]; then lab_router core; fi
	LAB_REGIONS+=("$name")
	r=${#LAB_REGIONS[@]}
	LAB_REGION_IDX[$name]=$r
	lab_router "r-$name"
	lab_link core "$name" "r-$name" core0
	lab_addr core "$name" "172.20.$r.1/30" "fd00:ffff:$r::1/64"
	lab_addr "r-$name" core0 "172.20.$r.2/30" "fd00:ffff:$r::2/64"
	lab_in "r-$name" ip route add default via "172.20.$r.1"
	lab_in "r-$name" ip -6 route add default via "fd00:ffff:$r::1"
	lab_in core ip route add "10.$r.0.0/16" via "172.20.$r.2"
	lab_in core ip route add "192.0.2.$((16 * r))/28" via "172.20.$r.2"
	lab_in core ip -6 route add "fd00:$r::/32" via "fd00:ffff:$r::2"
	lab_in core ip -6 route add "2001:db8:c:$r::/64" via "fd00:ffff:$r::2"
	[ "$LAB_VIP_ROUTES" = static ] || return 0
	lab_in core ip route append "$LAB_VIP4" via "172.20.$r.2" metric $((10 * r))
	lab_in core ip -6 route append "$LAB_VIP6" via "fd00:ffff:$r::2" metric $((10 * r))
}

# lab_node NAME REGION: a machine with one uplink (eth0) and a WireGuard device.
lab_node() {
	local name=$1 region=$2 r i wg
	r=${LAB_REGION_IDX[$region]}
	i=1
	for n in "${LAB_NODES[@]+"${LAB_NODES[@]}"}"; do [ "${LAB_NODE_REGION[$n]}" = "$region" ] && i=$((i + 1)); done
	LAB_NODES+=("$name")
	LAB_NODE_REGION[$name]=$region
	LAB_NODE_IDX[$name]=$i
	lab_add_space "$name"
	lab_link "r-$region" "$name" "$name" eth0
	if [ "$LAB_TRANSPORT" = one ]; then
		lab_one_device "$name"
	else
		lab_addr "r-$region" "$name" "10.$r.$i.1/24" "fd00:$r:$i::1/64"
		lab_addr "$name" eth0 "10.$r.$i.2/24" "fd00:$r:$i::2/64"
		lab_in "$name" ip route add default via "10.$r.$i.1"
		lab_in "$name" ip -6 route add default via "fd00:$r:$i::1"
	fi
	if [ "$LAB_VIP_ROUTES" = static ]; then
		lab_in "r-$region" ip route add "$LAB_VIP4" via "10.$r.$i.2" metric $((10 * i))
		lab_in "r-$region" ip -6 route add "$LAB_VIP6" via "fd00:$r:$i::2" metric $((10 * i))
	fi
	mkdir -p "$LAB_DIR/$name/state"
	if [ "$LAB_TRANSPORT" != wireguard ]; then
		LAB_WG_DEV[$name]=mesh0
		case $LAB_TRANSPORT in
		fabric) lab_fabric_device "$name" ;;
		one) LAB_WG_DEV[$name]=eth0 ;;
		esac
		chown -R nobody:nogroup "$LAB_DIR/$name"
		return
	fi
	wg=wg${LAB_TAG:0:6}${r}x$i
	LAB_WG_DEV[$name]=$wg
	lab_wg_device "$name" "$wg"
	lab_in "$name" ip link set "$wg" mtu 1420 up
	case $LAB_MESH in *4*)
		lab_addr "$name" "$wg" "10.77.$r.$i/32"
		lab_in "$name" ip route add 10.77.0.0/16 dev "$wg"
		;;
	esac
	case $LAB_MESH in *6*)
		lab_addr "$name" "$wg" "fd77::$r:$i/128"
		lab_in "$name" ip -6 route add fd77::/64 dev "$wg"
		;;
	esac
	chown -R nobody:nogroup "$LAB_DIR/$name"
}

# mesh0 of a node on the bridge of all nodes. XDP transmits what it gets: what comes to it must have its checksum, and the
# other end of a veth must be awake (GRO) to take a frame that XDP sends.
lab_fabric_device() {
	local name=$1 r i
	r=${LAB_REGION_IDX[${LAB_NODE_REGION[$name]}]} i=${LAB_NODE_IDX[$name]}
	if [ ! -e "/run/netns/$(lab_space fabric)" ]; then
		lab_add_space fabric
		lab_in fabric ip link add br0 mtu "$LAB_FABRIC_MTU" type bridge
		lab_in fabric ip link set br0 up
	fi
	lab_link fabric "$name" "$name" mesh0
	lab_in fabric ip link set "$name" mtu "$LAB_FABRIC_MTU" master br0
	lab_in "$name" ip link set mesh0 mtu "$LAB_FABRIC_MTU"
	lab_whole_frames fabric "$name"
	lab_whole_frames "$name" mesh0
	lab_whole_frames "r-${LAB_NODE_REGION[$name]}" "$name"
	case $LAB_MESH in *4*) lab_addr "$name" mesh0 "10.77.$r.$i/16" ;; esac
	case $LAB_MESH in *6*) lab_addr "$name" mesh0 "fd77::$r:$i/64" ;; esac
}

# eth0 of a node on its router's bridge, with the mesh addresses as well.
lab_one_device() {
	local name=$1 router=r-${LAB_NODE_REGION[$1]} r i
	r=${LAB_REGION_IDX[${LAB_NODE_REGION[$name]}]} i=${LAB_NODE_IDX[$name]}
	if ! lab_in "$router" ip link show br0 >/dev/null 2>&1; then
		lab_in "$router" ip link add br0 mtu "$LAB_FABRIC_MTU" type bridge
		lab_in "$router" ip link set br0 up
		lab_addr "$router" br0 "10.$r.0.1/16" "fd00:$r::1/32"
	fi
	lab_in "$router" ip link set "$name" mtu "$LAB_FABRIC_MTU" master br0
	lab_in "$name" ip link set eth0 mtu "$LAB_FABRIC_MTU"
	lab_whole_frames "$router" "$name"
	lab_whole_frames "$name" eth0
	lab_addr "$name" eth0 "10.$r.$i.2/16" "fd00:$r:$i::2/32" "10.77.$r.$i/16" "fd77::$r:$i/64"
	lab_in "$name" ip route add default via "10.$r.0.1"
	lab_in "$name" ip -6 route add default via "fd00:$r::1"
}

lab_whole_frames() { # SPACE IF
	lab_in "$1" ethtool -K "$2" tx off tso off gso off gro on >/dev/null || lab_die "ethtool -K $2: failed"
}

lab_wg_device() {
	local name=$1 wg=$2 key=$LAB_DIR/$1/wg.key
	(umask 077 && wg genkey >"$key")
	LAB_WG_PUB[$name]=$(wg pubkey <"$key")
	if ! lab_in "$name" ip link add "$wg" type wireguard 2>/dev/null; then
		# It goes before other programs, as the kernel's would: its socket overflows when a busy machine lets it wait. Its
		# session's share counts before its own.
		LOG_LEVEL=error setsid nice -n -15 nsenter --net="/run/netns/$(lab_space "$name")" -- \
			sh -c 'echo -15 2>/dev/null >/proc/self/autogroup; exec wireguard-go -f "$1"' sh "$wg" >/dev/null 2>"$LAB_DIR/$name/wireguard.log" </dev/null &
		disown $!
		lab_wait "wireguard-go on $name" 10 test -S "/var/run/wireguard/$wg.sock" || exit 1
		lab_wait "device $wg" 10 lab_in "$name" ip link show "$wg" || exit 1
	fi
	lab_in "$name" wg set "$wg" private-key "$key" listen-port $LAB_WG_PORT || lab_die "wg set $wg failed"
}

# lab_peer A B: A's WireGuard knows B.
lab_peer() {
	local r=${LAB_REGION_IDX[${LAB_NODE_REGION[$2]}]} i=${LAB_NODE_IDX[$2]}
	lab_in "$1" wg set "${LAB_WG_DEV[$1]}" peer "${LAB_WG_PUB[$2]}" endpoint "10.$r.$i.2:$LAB_WG_PORT" \
		allowed-ips "10.77.$r.$i/32,fd77::$r:$i/128" persistent-keepalive 25 || lab_die "wg set on $1 failed"
}

# mesh0 of all nodes, of one relay. What comes in waits for more to be merged with, 0.2 ms at most.
lab_tun_mesh() {
	local n args=()
	for n in "${LAB_NODES[@]}"; do
		args+=("/run/netns/$(lab_space "$n")" mesh0 "$(lab_mesh4 "$n")" "$(lab_mesh6 "$n")")
	done
	lab_app relay "${LAB_NODES[0]}" "$OUT/lab/tunrelay" "${args[@]}"
	lab_wait 'the relay' 10 grep -q ready "$LAB_DIR/app-relay.log" || exit 1
	for n in "${LAB_NODES[@]}"; do
		lab_in "$n" ip link set mesh0 mtu 1420 up
		lab_addr "$n" mesh0 "$(lab_mesh4 "$n")/32" "$(lab_mesh6 "$n")/128"
		lab_in "$n" ip route add 10.77.0.0/16 dev mesh0
		lab_in "$n" ip -6 route add fd77::/64 dev mesh0
		ip netns exec "$(lab_space "$n")" sh -c 'cd /sys/class/net/mesh0 && echo 200000 >gro_flush_timeout && echo 2 >napi_defer_hard_irqs' ||
			lab_die "mesh0 of $n: does not merge"
	done
}

# Every node knows every node.
lab_mesh() {
	local a b
	[ "$LAB_TRANSPORT" != tun ] || lab_tun_mesh
	[ "$LAB_TRANSPORT" = wireguard ] || return 0
	for a in "${LAB_NODES[@]}"; do
		for b in "${LAB_NODES[@]}"; do
			[ "$a" = "$b" ] || lab_peer "$a" "$b"
		done
	done
}

# lab_client NAME REGION
lab_client() {
	local name=$1 region=$2 r
	r=${LAB_REGION_IDX[$region]}
	LAB_CLIENTS+=("$name")
	lab_add_space "$name"
	lab_link "r-$region" "$name" "$name" eth0
	lab_addr "r-$region" "$name" "192.0.2.$((16 * r + 1))/28" "2001:db8:c:$r::1/64"
	lab_addr "$name" eth0 "192.0.2.$((16 * r + 2))/28" "2001:db8:c:$r::2/64"
	lab_in "$name" ip route add default via "192.0.2.$((16 * r + 1))"
	lab_in "$name" ip -6 route add default via "2001:db8:c:$r::1"
}

# lab_container NODE: a namespace NODE-box behind the bridge br0 of a node: 10.88.R.2, fd88:R::2.
lab_container() {
	local node=$1 r
	r=${LAB_REGION_IDX[${LAB_NODE_REGION[$node]}]}
	lab_add_space "$node-box"
	lab_in "$node" ip link add br0 type bridge
	lab_in "$node" ip link set br0 up
	lab_link "$node" box0 "$node-box" eth0
	lab_in "$node" ip link set box0 master br0
	lab_addr "$node" br0 "10.88.$r.1/24" "fd88:$r::1/64"
	lab_addr "$node-box" eth0 "10.88.$r.2/24" "fd88:$r::2/64"
	lab_in "$node-box" ip route add default via "10.88.$r.1"
	lab_in "$node-box" ip -6 route add default via "fd88:$r::1"
}

lab_addr4() { echo "10.${LAB_REGION_IDX[${LAB_NODE_REGION[$1]}]}.${LAB_NODE_IDX[$1]}.2"; }
lab_addr6() { echo "fd00:${LAB_REGION_IDX[${LAB_NODE_REGION[$1]}]}:${LAB_NODE_IDX[$1]}::2"; }
lab_mesh4() { echo "10.77.${LAB_REGION_IDX[${LAB_NODE_REGION[$1]}]}.${LAB_NODE_IDX[$1]}"; }
lab_mesh6() { echo "fd77::${LAB_REGION_IDX[${LAB_NODE_REGION[$1]}]}:${LAB_NODE_IDX[$1]}"; }
lab_client4() { echo "192.0.2.$((16 * LAB_REGION_IDX[$1] + 2))"; }
lab_client6() { echo "2001:db8:c:${LAB_REGION_IDX[$1]}::2"; }

# ---- daemons

lab_conf() {
	local node=$1 region r i n transport
	case $LAB_TRANSPORT in
	fabric | one) transport=fabric ;;
	*) transport=wireguard ;;
	esac
	region=${LAB_NODE_REGION[$node]}
	r=${LAB_REGION_IDX[$region]} i=${LAB_NODE_IDX[$node]}
	{
		printf '[node]\nname = %s\nregion = %s\nstate_dir = %s/state\ncontrol = %s/edged.sock\ngroup = nogroup\n' \
			"$node" "$region" "$LAB_DIR/$node" "$LAB_DIR/$node"
		printf '[mesh]\ndevice = %s\nport = %s\ncluster = lab\nkey_file = %s/cluster.key\nwireguard = %s\ntransport = %s\n' \
			"${LAB_WG_DEV[$node]}" "$LAB_PORT" "$LAB_DIR" "$LAB_WG" "$transport"
		[ "$LAB_WG" = manual ] ||
			printf 'wireguard_pub = %s\nendpoint = %s:%s\n' "${LAB_WG_PUB[$node]}" "$(lab_addr4 "$node")" "$LAB_WG_PORT"
		case $LAB_MESH in *4*) printf 'address = %s\n' "$(lab_mesh4 "$node")" ;; esac
		case $LAB_MESH in *6*) printf 'address = %s\n' "$(lab_mesh6 "$node")" ;; esac
		for n in "${LAB_NODES[@]:0:2}"; do
			[ "$n" = "$node" ] && continue
			case $LAB_MESH in
			*4*) printf 'seed = %s:%s\n' "$(lab_mesh4 "$n")" "$LAB_PORT" ;;
			*) printf 'seed = [%s]:%s\n' "$(lab_mesh6 "$n")" "$LAB_PORT" ;;
			esac
		done
		[ "${LAB_PUBLIC[$node]:-}" = none ] || # a worker, and no edge
			printf '[edge]\npublic = %s\nvip_prefix = %s\nvip_prefix = %s\n' "${LAB_PUBLIC[$node]:-eth0}" "$LAB_VIP4" "$LAB_VIP6"
		printf '[worker]\nuplink = eth0\nbridge = br*\n'
		if [ ${#LAB_REGIONS[@]} -gt 1 ]; then
			printf '[regions]\norder ='
			for n in "${LAB_REGIONS[@]}"; do [ "$n" = "$region" ] || printf ' %s' "$n"; done
			printf '\n'
		fi
		printf '[forwarder]\nsocket = %s/edgefwd.sock\npin_dir = %s/bpf/%s\nuser = nobody\nrows = 262144\nservices = 256\nbackends = 1024\nnodes = 256\npages = 256\nflows = 65536\nflows_new = 16384\n' \
			"$LAB_DIR/$node" "$LAB_DIR" "$node"
		printf '%s' "${LAB_EXTRA[$node]:-}"
	} >"$LAB_DIR/$node/edge.conf"
}

lab_start() { # NODE DAEMON: LAB_FROM=lab/next/ starts the program of the next ABI
	local node=$1 daemon=$2
	nsenter --net="/run/netns/$(lab_space "$node")" -- "$OUT/${LAB_FROM:-}$daemon" -c "$LAB_DIR/$node/edge.conf" \
		>>"$LAB_DIR/$node/$daemon.log" 2>&1 </dev/null &
	echo $! >"$LAB_DIR/$node/$daemon.pid"
	disown $!
}

lab_kill() { # NODE DAEMON SIGNAL: returns when it is gone
	local pid
	pid=$(cat "$LAB_DIR/$1/$2.pid")
	kill "-$3" "$pid" 2>/dev/null
	lab_wait "$2 on $1 to end" 20 lab_gone "$pid"
}

lab_gone() { ! kill -0 "$1" 2>/dev/null; }

lab_ctl() { # NODE ARGS...
	local node=$1
	shift
	"$OUT/edgectl" --socket "$LAB_DIR/$node/edged.sock" "$@"
}

lab_start_all() {
	local n
	for n in "${LAB_NODES[@]}"; do
		lab_conf "$n"
		lab_start "$n" edgefwd
	done
	for n in "${LAB_NODES[@]}"; do
		lab_wait "edgefwd on $n" 20 test -S "$LAB_DIR/$n/edgefwd.sock" || { lab_logs; exit 1; }
		lab_start "$n" edged
	done
	for n in "${LAB_NODES[@]}"; do
		lab_wait "all ${#LAB_NODES[@]} nodes alive as $n sees it" 30 lab_sees "$n" ${#LAB_NODES[@]} || { lab_logs; exit 1; }
	done
}

lab_sees() { # NODE COUNT: that many nodes are alive
	[ "$(lab_ctl "$1" --json node list | jq '[.nodes[]|select(.state=="alive")]|length')" = "$2" ]
}

lab_state() { # NODE OTHER STATE
	[ "$(lab_ctl "$1" --json node list | jq -r --arg n "$2" '.nodes[]|select(.name==$n)|.state')" = "$3" ]
}

lab_logs() {
	local f
	for f in "$LAB_DIR"/*/*.log; do
		[ -s "$f" ] || continue
		echo "--- ${f#"$LAB_DIR"/}" >&2
		tail -n "${1:-15}" "$f" >&2
	done
}

# ---- applications; each leaves its process group's number in $LAB_DIR/app-NAME.pid

lab_app() { # NAME SPACE COMMAND...
	local name=$1 space=$2
	shift 2
	setsid nsenter --net="/run/netns/$(lab_space "$space")" -- "$@" >"$LAB_DIR/app-$name.log" 2>&1 </dev/null &
	echo $! >"$LAB_DIR/app-$name.pid"
	disown $!
}

lab_app_kill() { # NAME [SIGNAL]: with all its processes
	local pid
	pid=$(cat "$LAB_DIR/app-$1.pid")
	kill "-${2:-KILL}" -- "-$pid" 2>/dev/null
}

# lab_dns NAME SPACE PORT ADDR...: nsd; whoami.lab. TXT says NAME.
lab_dns() {
	local name=$1 space=$2 port=$3 dir=$LAB_DIR/dns-$1 a
	shift 3
	mkdir -p "$dir"
	{
		printf 'server:\n server-count: 1\n username: ""\n zonesdir: "%s"\n database: ""\n pidfile: "%s/nsd.pid"\n xfrdfile: "%s/xfrd.state"\n xfrdir: "%s"\n zonelistfile: "%s/zone.list"\n identity: "%s"\n hide-version: yes\n verbosity: 0\n ipv4-edns-size: 8192\n ipv6-edns-size: 8192\n rrl-ratelimit: 0\n rrl-whitelist-ratelimit: 0\n' \
			"$dir" "$dir" "$dir" "$dir" "$dir" "$name"
		for a in "$@"; do printf ' ip-address: %s@%s\n' "$a" "$port"; done
		printf 'remote-control:\n control-enable: no\nzone:\n name: lab\n zonefile: lab.zone\n'
	} >"$dir/nsd.conf"
	# big: more than one datagram, so that a resolver asks again over TCP. huge: 4 KB.
	cat >"$dir/lab.zone" <<-ZONE
		\$TTL 60
		@ SOA ns.lab. admin.lab. 1 3600 600 86400 60
		@ NS ns.lab.
		ns A 198.51.100.53
		www A 198.51.100.80
		whoami TXT "$name"
		big TXT $(printf '"%0250d" ' $(seq 6))
		huge TXT $(printf '"%0250d" ' $(seq 16))
	ZONE
	lab_app "dns-$name" "$space" nsd -d -c "$dir/nsd.conf"
}

# lab_web NAME SPACE PORT ADDR...: nginx; / says who answered whom, /big is 100 MB.
lab_web() {
	local name=$1 space=$2 port=$3 dir=$LAB_DIR/web-$1 a
	shift 3
	mkdir -p "$dir/root"
	chmod 755 "$dir" "$dir/root"
	[ -e "$LAB_DIR/big" ] || head -c 104857600 /dev/urandom >"$LAB_DIR/big"
	ln "$LAB_DIR/big" "$dir/root/big"
	chmod 644 "$LAB_DIR/big"
	{
		printf 'daemon off;\nuser nobody nogroup;\nworker_processes 1;\npid %s/pid;\nerror_log %s/error.log;\nevents {}\nhttp {\n access_log off;\n sendfile on;\n client_body_temp_path %s/t1; proxy_temp_path %s/t2; fastcgi_temp_path %s/t3; uwsgi_temp_path %s/t4; scgi_temp_path %s/t5;\n server {\n' \
			"$dir" "$dir" "$dir" "$dir" "$dir" "$dir" "$dir"
		for a in "$@"; do printf '  listen %s:%s;\n' "$a" "$port"; done
		printf '  root %s/root;\n  location = / { return 200 "%s $remote_addr $remote_port\\n"; }\n  location = /slow { limit_rate 2k; alias %s/root/big; }\n }\n}\n' "$dir" "$name" "$dir"
	} >"$dir/nginx.conf"
	lab_app "web-$name" "$space" nginx -e "$dir/error.log" -c "$dir/nginx.conf"
}

# lab_upload NAME SPACE PORT: TCP, both families; once the client has said all, it hears the SHA-256 of it.
lab_upload() { lab_app "upload-$1" "$2" socat "TCP6-LISTEN:$3,ipv6only=0,fork,reuseaddr" EXEC:sha256sum; }

# lab_echo NAME SPACE PORT: bound to every address of both families.
lab_echo() { lab_app "echo-$1" "$2" "$OUT/lab/udpecho" "$3" "$1"; }
