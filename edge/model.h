/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/model.h - the nouns that records carry: node, service, backend, health, override, filter; to and from values.
 *
 * Values are MessagePack maps with short text keys (docs/WIRE.md §records). Unknown keys are skipped when read.
 * Whole objects only: a value that lacks a required key or breaks a rule is -EBADMSG and nothing is written.
 * Free text (why, reason, author, version) is printable UTF-8 when read; encoding puts ? for what is not.
 * Encoding refuses what decoding would refuse.
 * Memory    fixed-size structs, copied; no allocation
 * Errors    0 | -EBADMSG | -EMSGSIZE
 */
#ifndef EDGE_MODEL_H
#define EDGE_MODEL_H

#include "edge/ip.h"
#include "gossip/err.h"
#include "gossip/record.h"

/* Record kinds (gossip/record.h has the ranges). */
enum model_kind {
	MODEL_KIND_NODE = 1,	  /* own; key "node" */
	MODEL_KIND_BACKEND = 2,	  /* own; key "SERVICE/ADDR:PORT" */
	MODEL_KIND_HEALTH = 3,	  /* own; key as the backend's */
	MODEL_KIND_SERVICE = 65,  /* shared; key NAME */
	MODEL_KIND_OVERRIDE = 66, /* shared; key "backend/NODE/SERVICE/ADDR:PORT" */
	MODEL_KIND_SEED = 67,	  /* shared; key "flow": the data path's hash seed, made once */
	MODEL_KIND_FILTER =
		68, /* shared; key "filter/SERVICE/PREFIX", SERVICE * for every service */
};

#define MODEL_NAME_MAX 32 /* service, node, region: [a-z0-9]([a-z0-9-]*[a-z0-9])?, with the NUL */
#define MODEL_KEY_MAX 128
#define MODEL_VIPS_MAX 8      /* per service */
#define MODEL_PORTS_MAX 16    /* protocol and port (range) entries per service */
#define MODEL_RANGE_MAX 16384 /* ports in one range */
#define MODEL_WEIGHT_MAX 1000
#define MODEL_WATCH_MAX 128

struct model_node {
	char name[MODEL_NAME_MAX];
	char region[MODEL_NAME_MAX];
	struct ip_addr mesh_addr;
	bool is_edge; /* takes client traffic */
	bool is_worker;
	bool has_forwarder;
	uint8_t wg_pub[32];	/* zero = operator manages WireGuard by hand */
	struct ip_addr wg_addr; /* endpoint, zero = none */
	uint16_t wg_port;
	char version[24];
};

struct model_port {
	uint8_t l4_proto; /* IPPROTO_TCP, IPPROTO_UDP */
	struct ip_port_range ports;
};

/* What an operator may ask of a service beyond addresses and ports; all zero is how it is by default. */
struct model_policy {
	uint32_t pps; /* packets a second of all sources together at one edge, 0 = no limit */
	uint32_t source_pps; /* of one source prefix, 0 = no limit */
	uint32_t
		syn_pps; /* more SYNs a second than these: clients are asked for proof, 0 = never */
	uint32_t hop_pps; /* second chances a second at one worker, 0 = the programs' own number */
	uint32_t rows;	  /* of its table, 0 = as its backends need */
	uint32_t
		slow_start_s; /* a backend that comes back gets its weight in steps over so long, 0 = at once */
	uint8_t prefix4;   /* bits of a source prefix, 0 = 32 */
	uint8_t prefix6;   /* 0 = 64 */
	uint8_t is_direct; /* return=direct: workers answer from the VIP, not through the edge */
	uint8_t is_carried; /* mtu=carry: too large packets are fragmented on the mesh, the sender isn't told */
	uint8_t is_rejecting; /* reject=on: clients are told that a port of its VIPs has no service */
	uint8_t is_quic;      /* quic=on: connection ids name the backend */
	uint8_t is_closed;    /* closed=on: only sources that a filter of its own allows */
	uint8_t eject_pct; /* of its backends, that passive signals alone may take out; 0 = MODEL_EJECT_PCT */
	uint8_t spill_pct; /* a tier of which less is usable hands on what it lacks, 0 = never */
	uint8_t panic_pct; /* less than these pass, of all: those that fail are used too, the more the fewer pass; 0 = never */
	uint8_t is_udp_stay; /* udp_suspect=stay: UDP flows of a suspect node are looked for there */
	uint8_t is_local;    /* local=prefer: an edge's own backends before its region's */
	uint8_t is_moving;   /* moves=on: long connections leave pointers to their worker */
	uint8_t pad[3];
};
#define MODEL_EJECT_PCT 50
#define MODEL_PPS_MAX 1000000000u
#define MODEL_POLICIES_MAX 24 /* there are fewer */

struct model_service {
	char name[MODEL_NAME_MAX];
	struct ip_addr vip[MODEL_VIPS_MAX];
	size_t vip_count;
	struct model_port port[MODEL_PORTS_MAX];
	size_t port_count;
	uint8_t hash; /* enum dp_hash_policy; a policy too, spelled hash= */
	struct model_policy policy;
	uint64_t
		created; /* counter at creation: on a clash of (VIP, protocol, port) the lower (created, name) wins */
};
/* The lowest port: a backend's port stands for it, others keep their distance. */
uint16_t model_service_port_lo(const struct model_service *s);
bool model_service_has_proto(const struct model_service *s, uint8_t l4_proto);

/* "pps=1000", "hash=source", "quic=on": sets one policy; "off" takes a number away. e says what is wanted. -EINVAL. */
int model_policy_set(struct model_service *s, const char *text, struct err *e);
/* Do the service's policies make sense together, and with its ports? For operators: a record that is in force already is
 * not refused for it. -EINVAL. */
int model_policy_check(const struct model_service *s, struct err *e);
struct model_policy_item {
	const char *name, *word; /* word NULL: a number */
	uint32_t number;
};
/* One after another, those that are as by default left out (hash, which every service has, excepted). *cursor starts
 * at 0. */
bool model_policy_next(const struct model_service *s, size_t *cursor,
		       struct model_policy_item *ret_item);
#define MODEL_POLICY_TEXT_MAX 320
const char *model_policy_text(const struct model_service *s, char buf[MODEL_POLICY_TEXT_MAX]);

enum model_check_kind {
	MODEL_CHECK_NONE,
	MODEL_CHECK_TCP,
	MODEL_CHECK_UDP,
	MODEL_CHECK_HTTP,
	MODEL_CHECK_HTTPS,
	MODEL_CHECK_DNS,
	MODEL_CHECK_EXEC,
	MODEL_CHECK_KINDS
};
#define MODEL_CHECK_TARGET_MAX 128
#define MODEL_CHECK_MATCH_MAX 96
#define MODEL_CHECK_HOST_MAX 64
#define MODEL_CHECK_REPEAT_MAX 32 /* in a pattern's {n,m}; there may be one of them */
/* What one kind does not know is zero. */
struct model_check {
	uint8_t kind;	      /* enum model_check_kind */
	uint16_t port;	      /* 0 = the backend's */
	uint32_t interval_ms; /* default 1000 */
	uint32_t timeout_ms;  /* default 500 */
	uint8_t rise, fall;   /* results in a row that change the state; default 2, 2 */
	uint8_t send_len, expect_len;
	union {
		struct {
			uint8_t send[64];   /* udp: payload, default one zero byte */
			uint8_t expect[64]; /* udp: prefix of the reply; empty = any reply */
		};
		/* http: path; dns: the name asked for; exec: program, arguments, one blank between */
		char target[MODEL_CHECK_TARGET_MAX];
	};
	char match[MODEL_CHECK_MATCH_MAX]; /* extended regular expression for the reply (udp) or
					     * the body (http), "" = any */
	char host[MODEL_CHECK_HOST_MAX];   /* http: Host header, "" = the address */
	char sni[MODEL_CHECK_HOST_MAX];	   /* https: the name in TLS, "" = that of host */
	uint16_t status_lo, status_hi;	   /* http: default 200 to 399 */
	bool is_head, is_insecure;	   /* http: HEAD, not GET; https: any certificate will do */
	bool is_dns_tcp;
	uint8_t dns_rcode;
	uint16_t dns_type, dns_class; /* default A, IN */
	struct ip_addr answer;	      /* dns: an address among the answers, zero = any */
};
#define MODEL_CHECK_TEXT_MAX 768
/* "none", "tcp", "tcp:interval=500ms,timeout=200ms,rise=1,fall=2,port=8080", "udp:send=hex:00ff,expect=text:ok",
 * "https:path=/health,status=200-299,match=^ok,host=a.example", "dns:name=a.example,type=SOA", "exec:run=disk /var 90".
 * In values \, is a comma. e names what is wrong. */
int model_check_parse(const char *text, struct model_check *ret_check, struct err *e);
const char *model_check_text(const struct model_check *c, char buf[MODEL_CHECK_TEXT_MAX]);
/* "SERVFAIL", "SOA"; a number, where it has no name. */
#define MODEL_DNS_TEXT_MAX 12
const char *model_dns_rcode_text(uint8_t rcode, char buf[MODEL_DNS_TEXT_MAX]);

struct model_backend {
	char service[MODEL_NAME_MAX];
	struct ip_addr addr;
	uint16_t port;
	uint16_t weight; /* 1..MODEL_WEIGHT_MAX, default 100 */
	struct ip_port_range
		ports; /* the part of the service's ports that it takes; its own port stands for the
				     * part's lowest. Zero = all that nobody takes a part of */
	uint32_t token;	  /* 24 bits, DP_TOKEN(); bit 31.. zero */
	bool is_draining; /* by its own node */
	uint32_t
		quic_id; /* server id in connection ids that its operator chose, 0 = edge/quic.h makes one */
	struct model_check check;
	char watch
		[MODEL_WATCH_MAX]; /* edge/watch.h: what it stands on, "" = nothing that is watched */
};
/* "SERVICE/ADDR:PORT" */
int model_backend_key(const struct model_backend *b, char buf[MODEL_KEY_MAX]);
/* The reverse; service, addr and port alone are written. -EINVAL. */
int model_backend_key_parse(const char *key, struct model_backend *ret_backend);

enum model_health_state { MODEL_HEALTH_UNKNOWN, MODEL_HEALTH_PASSING, MODEL_HEALTH_FAILING };
enum model_health_cause {
	MODEL_CAUSE_CHECK,  /* a check's result */
	MODEL_CAUSE_SIGNAL, /* a passive signal, and no check has said so yet */
	MODEL_CAUSE_GONE,   /* its process, its address or the way to it is gone */
	MODEL_CAUSES,
	/* What a node thinks of another's word, and never writes: */
	MODEL_CAUSE_OTHERS = MODEL_CAUSES, /* of a headless node; two others say so */
	MODEL_CAUSE_STALE, /* of a headless node; nobody else can tell: its last word stands */
};
enum model_health_was { MODEL_WAS_SAME, MODEL_WAS_USED, MODEL_WAS_UNUSED, MODEL_WAS_COUNT };
struct model_health {
	uint8_t state;	   /* enum model_health_state */
	uint8_t cause;	   /* enum model_health_cause, of FAILING */
	bool is_warning;   /* of PASSING: its check says so, and it is used all the same */
	uint8_t share_pct; /* of PASSING: of its weight, while it starts slowly; 0 = all of it */
	uint8_t was; /* enum model_health_was: before its last change, for as long as rows remember that */
	char why[64];		  /* last check output, short */
	uint64_t changed_unix_ms; /* for people only */
};

/* Usable by its own account: passing, or never checked (kind none) and not said to fail. */
bool model_health_is_good(const struct model_check *c, enum model_health_state state);

struct model_override {
	bool is_drained;
	char author[MODEL_NAME_MAX];
	char reason[64];
	uint64_t
		expires_unix_s; /* 0 = never; judged by each node's clock, for people's convenience only */
};

struct model_seed {
	uint8_t key[16];
};

struct model_filter {
	char service[MODEL_NAME_MAX]; /* "" = every service */
	struct ip_prefix prefix;
	uint8_t verb; /* enum dp_filter_verb */
	char why[64];
	char author[MODEL_NAME_MAX];
};
/* "filter/SERVICE/PREFIX", * for every service. */
const char *model_filter_key(const struct model_filter *f, char buf[MODEL_KEY_MAX]);

/* Defaults of the kind; timeout_ms is never above interval_ms. */
void model_check_default(enum model_check_kind kind, struct model_check *ret_check);

int model_name_check(const char *name); /* 0 | -EINVAL */

/* Encode into buf, return the length or a negative errno. Same struct, same bytes. */
int model_node_encode(const struct model_node *n, uint8_t *buf, size_t cap);
int model_node_decode(const uint8_t *buf, size_t len, struct model_node *ret_node);
int model_service_encode(const struct model_service *s, uint8_t *buf, size_t cap);
int model_service_decode(const uint8_t *buf, size_t len, struct model_service *ret_service);
int model_backend_encode(const struct model_backend *b, uint8_t *buf, size_t cap);
int model_backend_decode(const uint8_t *buf, size_t len, struct model_backend *ret_backend);
int model_health_encode(const struct model_health *h, uint8_t *buf, size_t cap);
int model_health_decode(const uint8_t *buf, size_t len, struct model_health *ret_health);
int model_override_encode(const struct model_override *o, uint8_t *buf, size_t cap);
int model_override_decode(const uint8_t *buf, size_t len, struct model_override *ret_override);
int model_seed_encode(const struct model_seed *s, uint8_t *buf, size_t cap);
int model_seed_decode(const uint8_t *buf, size_t len, struct model_seed *ret_seed);
int model_filter_encode(const struct model_filter *f, uint8_t *buf, size_t cap);
int model_filter_decode(const uint8_t *buf, size_t len, struct model_filter *ret_filter);

#endif
