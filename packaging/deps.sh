#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Installs what building, testing and the demo need and this machine lacks (Debian 12, apt, as root). Says nothing when
# nothing is missing. Services that come with packages (nginx, nsd) are not started: the lab runs its own.
# deps.sh [THING:PACKAGE...]: these as well.
set -u

# What shows that a thing is there (a command, or a file under /usr), and the package that brings it.
needs='
gcc:gcc make:make clang:clang bpftool:bpftool pkg-config:pkg-config git:git
/usr/include/bpf/libbpf.h:libbpf-dev /usr/include/libelf.h:libelf-dev /usr/include/zlib.h:zlib1g-dev
/usr/include/uv.h:libuv1-dev /usr/include/msgpack.h:libmsgpack-dev /usr/include/sqlite3.h:libsqlite3-dev
/usr/include/cmocka.h:libcmocka-dev /usr/include/sodium.h:libsodium-dev /usr/include/uthash.h:uthash-dev
curl-config:libcurl4-openssl-dev /usr/include/ini.h:libinih-dev /usr/include/jansson.h:libjansson-dev /usr/include/libmnl/libmnl.h:libmnl-dev
ip:iproute2 tc:iproute2 wg:wireguard-tools wireguard-go:wireguard-go nsd:nsd dnsperf:dnsperf kdig:knot-dnsutils
nginx:nginx-light /usr/lib/nginx/modules/ngx_stream_module.so:libnginx-mod-stream tcpdump:tcpdump tshark:tshark nft:nftables socat:socat curl:curl jq:jq bc:bc pgrep:procps
ping:iputils-ping traceroute:traceroute ethtool:ethtool iperf3:iperf3 openssl:openssl in.tftpd:tftpd-hpa /usr/include/ngtcp2/ngtcp2_crypto_gnutls.h:libngtcp2-crypto-gnutls-dev /usr/include/ngtcp2/ngtcp2.h:libngtcp2-dev
/usr/include/gnutls/gnutls.h:libgnutls28-dev clang-format:clang-format nsenter:util-linux bird:bird2
'
[ $# -eq 0 ] || needs+=" $*"

missing_things=() packages=()
for need in $needs; do
	thing=${need%%:*} package=${need#*:}
	case $thing in
	/*) [ -e "$thing" ] && continue ;;
	*) PATH=$PATH:/usr/sbin:/sbin command -v "$thing" >/dev/null && continue ;;
	esac
	missing_things+=("$thing (package $package)")
	case " ${packages[*]-} " in
	*" $package "*) ;;
	*) packages+=("$package") ;;
	esac
done
[ ${#packages[@]} -eq 0 ] && exit 0

printf 'missing: %s\n' "${missing_things[@]}"
if [ "$(id -u)" -ne 0 ]; then
	echo "deps: got user $(id -un), want root to install: apt-get install ${packages[*]}" >&2
	exit 1
fi
if ! command -v apt-get >/dev/null; then
	echo 'deps: no apt-get here; install the packages above by hand' >&2
	exit 1
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
	trap 'rm -f $policy' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
echo "installing ${#packages[@]} packages and what they need"
# Lists that can't be fetched are no reason to give up: the packages may be in apt's cache.
apt-get update -qq </dev/null >"$log" 2>&1 || cat "$log" >&2
if ! apt-get install -y -qq --no-install-recommends "${packages[@]}" </dev/null >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	rm -f "$log"
	echo "deps: could not install: ${packages[*]}" >&2
	exit 1
fi
rm -f "$log"
# They were not here before, so nobody here runs them: not at the next boot either.
for unit in nginx nsd haproxy keepalived; do
	case " ${packages[*]} " in
	*" $unit"*) systemctl disable -q $unit 2>/dev/null ;;
	esac
done
exit 0
