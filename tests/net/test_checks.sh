#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Checks of every kind against real servers: nginx with a certificate of its own, nsd, programs; what they say of what is wrong;
# health that outlives a restart.
. tests/net/net.sh

VIP=198.51.100.80
lab_up
lab_region fra
lab_node fra-1 fra
lab_mesh
A=$(lab_addr4 fra-1)
mkdir -p "$LAB_DIR/checks" "$LAB_DIR/web"
LAB_EXTRA[fra-1]=$(printf '\n[worker]\ncheck_dir = %s/checks\ncheck_ca = %s/ca.pem\n' "$LAB_DIR" "$LAB_DIR")$'\n'

certificates() { # a CA; a certificate of it for good.lab; one that signs itself
	cd "$LAB_DIR" || return 1
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=lab ca' -keyout ca.key -out ca.pem &&
		openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=good.lab -keyout good.key -out good.csr &&
		openssl x509 -req -in good.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out good.pem \
			-extfile <(printf 'subjectAltName=DNS:good.lab') &&
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=good.lab -keyout self.key -out self.pem
}
(certificates) >"$LAB_DIR/openssl.log" 2>&1 || lab_die "openssl: $(tail -3 "$LAB_DIR/openssl.log")"
cat >"$LAB_DIR/nginx.conf" <<-END
	worker_processes 1; daemon off; pid $LAB_DIR/nginx.pid; error_log $LAB_DIR/nginx.log warn;
	events { worker_connections 4096; }
	http {
		access_log off; client_body_temp_path $LAB_DIR/web/t1; proxy_temp_path $LAB_DIR/web/t2;
		fastcgi_temp_path $LAB_DIR/web/t3; uwsgi_temp_path $LAB_DIR/web/t4; scgi_temp_path $LAB_DIR/web/t5;
		server {
			listen $A:8080; listen [$(lab_addr6 fra-1)]:8080;
			location / { return 200 "all good\n"; }
			location = /503 { return 503; }
			location = /moved { return 302 http://192.0.2.1/; }
			location = /host { return 200 "host=\$http_host\n"; }
		}
		server { listen $A:8443 ssl; ssl_certificate $LAB_DIR/good.pem; ssl_certificate_key $LAB_DIR/good.key; location / { return 200 "safe\n"; } }
		server { listen $A:8444 ssl; ssl_certificate $LAB_DIR/self.pem; ssl_certificate_key $LAB_DIR/self.key; location / { return 200 "safe\n"; } }
	}
END
lab_app nginx fra-1 nginx -c "$LAB_DIR/nginx.conf" -e "$LAB_DIR/nginx.log"
lab_dns ns fra-1 5353 "$A"
lab_app mute fra-1 socat TCP4-LISTEN:8090,fork,reuseaddr EXEC:'sleep 60' # takes connections and says nothing
lab_app junk fra-1 socat TCP4-LISTEN:8091,fork,reuseaddr SYSTEM:'head -c 3000 /dev/urandom'
cat >"$LAB_DIR/checks/word" <<-END
	#!/bin/sh
	echo \$*; exit \$1
END
cat >"$LAB_DIR/checks/slow" <<-END
	#!/bin/sh
	echo \$\$ >$LAB_DIR/slow.pid
	[ -e $LAB_DIR/fast ] || sleep 30
	echo fast
END
chmod 755 "$LAB_DIR"/checks/*
: >"$LAB_DIR/fast"
: >"$LAB_DIR/slow.pid" && chmod 666 "$LAB_DIR/slow.pid"
listening() { [ "$(lab_in fra-1 ss -Htln "( sport = :8080 or sport = :8443 or sport = :8444 or sport = :8090 or sport = :8091 )" | wc -l)" -ge 6 ]; }
lab_wait 'nginx and socat' 10 listening
lab_wait 'nsd' 10 sh -c "nsenter --net=/run/netns/$(lab_space fra-1) kdig +short +time=1 @$A -p 5353 whoami.lab TXT | grep -q ns"
lab_start_all

add() { # NAME SPEC: a service of its own for each check
	lab_ctl fra-1 service add "$1" --vip $VIP --port "tcp/$((20000 + tap_n))" >/dev/null &&
		lab_ctl fra-1 backend add "$1" "$A:9" --check "$2" >/dev/null
}
shows() { # NAME HEALTH OUTPUT-PATTERN
	like "$(lab_ctl fra-1 --json backend show "$1/$A:9" | jq -r '.backends[0]|.health+" "+.checked.output')" "$2 $3"
}
checks() { # NAME SPEC HEALTH OUTPUT-PATTERN
	add "$1" "$2" && lab_wait "$1" 10 shows "$1" "$3" "$4" || { shows "$1" "$3" "$4"; return 1; }
}
Q=interval=300ms,timeout=250ms
SLOW=interval=5s,timeout=5s
ok 'http' checks http "http:port=8080,match=^all,$SLOW" passing 'status 200 in *'
ok 'http: status' checks status "http:port=8080,path=/503,$SLOW" failing 'status 503, want 200-399'
ok 'http: a redirect is not followed' checks moved "http:port=8080,path=/moved,status=200-299,$SLOW" failing 'status 302, want 200-299'
ok 'http: Host' checks host "http:port=8080,path=/host,host=x.example,match=^host=x.example$,$SLOW" passing 'status 200 in *'
ok 'http: HEAD' checks head "http:port=8080,method=HEAD,$SLOW" passing 'status 200 in *'
ok 'http: another body' checks body "http:port=8080,match=bad,$SLOW" failing "status 200, the first 9 bytes don't match 'bad'"
ok 'http: nobody there' checks nobody "http:port=8099,$SLOW" failing 'connection refused'
ok 'http: mute' checks mute "http:port=8090,$Q" failing 'timed out after 250 ms'
ok 'http: garbage' checks junk "http:port=8091,$SLOW" failing '*HTTP*'
ok 'https' checks https "https:port=8443,sni=good.lab,match=safe,$SLOW" passing 'status 200 in *'
ok 'https: another name' checks name "https:port=8443,sni=bad.lab,$SLOW" failing '*bad.lab*'
ok 'https: a certificate that signs itself' checks self "https:port=8444,sni=good.lab,$SLOW" failing '*certificate*'
ok 'https: insecure' checks insecure "https:port=8444,insecure=on,$SLOW" passing 'status 200 in *'
ok 'https: the server speaks plainly' checks plain "https:port=8080,$SLOW" failing '*SSL*'
ok 'dns' checks dns "dns:name=whoami.lab,type=TXT,port=5353,$SLOW" passing 'rcode NOERROR in *'
ok 'dns over tcp' checks dnstcp "dns:name=whoami.lab,type=TXT,proto=tcp,port=5353,$SLOW" passing 'rcode NOERROR in *'
ok 'dns: rcode' checks rcode "dns:name=elsewhere.example,port=5353,$SLOW" failing 'rcode REFUSED, want NOERROR'
ok 'dns: answer' checks answer "dns:name=whoami.lab,answer=192.0.2.7,port=5353,$SLOW" failing '192.0.2.7 is not among 0 answers'
ok 'exec: 0' checks zero "exec:run=word 0 it works,$SLOW" passing '0 it works'
ok 'exec: 1 warns, and is used' checks one "exec:run=word 1 low disk,$SLOW" warning 'exit 1: 1 low disk'
ok 'exec: 2' checks two "exec:run=word 2 gone,$SLOW" failing 'exit 2: 2 gone'
used() { is "$(lab_ctl fra-1 --json backend show "one/$A:9" | jq -r '.backends[0].is_usable')" true; }
ok 'a backend that warns is usable' used
refused() { # SPEC PATTERN
	local out
	out=$(lab_ctl fra-1 backend add zero "$A:1" --check "$1" 2>&1) && return 1
	like "$out" "$2"
}
ok 'a program that is not there is refused' refused exec:run=missing '*checks/missing: No such file*'
ok 'a path is refused' refused exec:run=../word '*a file name*'
ok 'a pattern that is none is refused' refused 'http:match=(' '*Unmatched*'
text() { # what people see
	local out
	out=$(lab_ctl fra-1 backend show "two/$A:9")
	like "$out" '*health    failing*output    exit 2: 2 gone*checked   *, took * ms, bad, * in a row; next*'
}
ok 'backend show says when, how long, how often, what next' text

# ---- a restart: what was known stays until the first result
ok 'a check that will take long' checks slow "exec:run=slow,interval=20s,timeout=20s,fall=1" passing fast
stored() { is "$(lab_ctl fra-1 --json status | jq .store.queued)" 0; }
restart() {
	lab_wait 'the store' 10 stored || return 1
	rm "$LAB_DIR/fast"
	lab_kill fra-1 edged KILL || return 1
	lab_start fra-1 edged
	lab_wait 'edged' 20 lab_ctl fra-1 status
}
ok 'edged killed and restarted' restart
kept() {
	is "$(lab_ctl fra-1 --json backend show "slow/$A:9" | jq -r '.backends[0]|.health+" "+(.checked.streak|tostring)')" 'passing 0' &&
		is "$(lab_ctl fra-1 --json backend show "two/$A:9" | jq -r '.backends[0].health')" failing
}
ok 'health is what it was' kept
end_it() { # no program outlives its check
	lab_wait 'the program' 5 is_running && lab_ctl fra-1 backend rm "slow/$A:9" >/dev/null && lab_wait 'its end' 5 is_over
}
is_running() { kill -0 "$(cat "$LAB_DIR/slow.pid")"; }
is_over() { ! is_running; }
ok 'a removed backend takes its program along' end_it
tap_end
