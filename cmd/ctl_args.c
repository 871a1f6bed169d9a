/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "cmd/ctl_args.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/dp_abi.h"
#include "edge/quic.h"
#include "edge/watch.h"
#include "gossip/mp.h"

#define PARAMS_MAX                                                                                 \
	64 /* pairs in a params map: more than there are names means that some are doubled */

enum arg_kind { TEXT, NUMBER, TEXTS };

static const struct arg {
	const char *name;
	enum arg_kind kind;
	size_t max, at;
} args[] = {
#define CTL_ARG_ROW(name, kind, max) {#name, kind, max, offsetof(struct ctl_args, name)},
	CTL_ARGS(CTL_ARG_ROW)
#undef CTL_ARG_ROW
};
_Static_assert(MODEL_VIPS_MAX <= MODEL_POLICIES_MAX && MODEL_PORTS_MAX <= MODEL_POLICIES_MAX,
	       "struct ctl_texts holds each");
_Static_assert(CTL_ARG_COUNT <= 32, "one bit each");

const struct ctl_signature ctl_signatures[] = {
	{"status", 0, 0},
	{"node.list", 0, 0},
	{"service.add", CTL_BIT(name) | CTL_BIT(vips) | CTL_BIT(ports) | CTL_BIT(policy),
	 CTL_BIT(name) | CTL_BIT(vips) | CTL_BIT(ports)},
	{"service.set", CTL_BIT(name) | CTL_BIT(policy), CTL_BIT(name) | CTL_BIT(policy)},
	{"service.list", 0, 0},
	{"service.show", CTL_BIT(name), CTL_BIT(name)},
	{"service.rm", CTL_BIT(name), CTL_BIT(name)},
	{"backend.add",
	 CTL_BIT(service) | CTL_BIT(addr) | CTL_BIT(ports) | CTL_BIT(weight) | CTL_BIT(check) |
		 CTL_BIT(quic_id) | CTL_BIT(watched),
	 CTL_BIT(service) | CTL_BIT(addr)},
	{"backend.list", CTL_BIT(service), 0},
	{"backend.show", CTL_BIT(spec), CTL_BIT(spec)},
	{"backend.rm", CTL_BIT(spec), CTL_BIT(spec)},
	{"backend.set", CTL_BIT(spec) | CTL_BIT(weight), CTL_BIT(spec) | CTL_BIT(weight)},
	{"backend.drain", CTL_BIT(spec) | CTL_BIT(author) | CTL_BIT(reason), CTL_BIT(spec)},
	{"backend.undrain", CTL_BIT(spec) | CTL_BIT(author) | CTL_BIT(reason), CTL_BIT(spec)},
	{"node.show", CTL_BIT(name), CTL_BIT(name)},
	{"node.drain", CTL_BIT(name) | CTL_BIT(seconds) | CTL_BIT(author) | CTL_BIT(reason),
	 CTL_BIT(name)},
	{"node.rm", CTL_BIT(name) | CTL_BIT(author) | CTL_BIT(reason), CTL_BIT(name)},
	{"node.restore", CTL_BIT(name), CTL_BIT(name)},
	{"node.undrain", CTL_BIT(name) | CTL_BIT(author), CTL_BIT(name)},
	{"region.drain", CTL_BIT(name) | CTL_BIT(seconds) | CTL_BIT(author) | CTL_BIT(reason),
	 CTL_BIT(name)},
	{"region.undrain", CTL_BIT(name) | CTL_BIT(author), CTL_BIT(name)},
	{"filter.add",
	 CTL_BIT(verb) | CTL_BIT(prefix) | CTL_BIT(service) | CTL_BIT(author) | CTL_BIT(reason),
	 CTL_BIT(verb) | CTL_BIT(prefix)},
	{"filter.list", CTL_BIT(service), 0},
	{"filter.rm", CTL_BIT(prefix) | CTL_BIT(service), CTL_BIT(prefix)},
	{"route.show", CTL_BIT(service), CTL_BIT(service)},
	{"plan", CTL_BIT(kill) | CTL_BIT(load), 0},
	{"stats", CTL_BIT(service), 0},
	{"events", CTL_BIT(after) | CTL_BIT(count), 0},
	{"verify", 0, 0},
	{"converged", 0, 0},
	{"quarantine.list", 0, 0},
	{"keys.list", 0, 0},
	{"keys.add", 0, 0},
	{"keys.use", CTL_BIT(name) | CTL_BIT(verb), CTL_BIT(name)},
	{"keys.rm", CTL_BIT(name) | CTL_BIT(verb), CTL_BIT(name)},
	{"quarantine.release", CTL_BIT(spec), CTL_BIT(spec)},
	{"trace", CTL_BIT(proto) | CTL_BIT(src) | CTL_BIT(dst) | CTL_BIT(node) | CTL_BIT(cid),
	 CTL_BIT(proto) | CTL_BIT(src) | CTL_BIT(dst)},
	{"hist.on", CTL_BIT(every), 0},
	{"hist.off", 0, 0},
	{"hist.show", 0, 0},
	{"capture.start", CTL_BIT(every) | CTL_BIT(reasons), 0},
	{"capture.read", 0, 0},
	{"capture.stop", 0, 0},
};
const size_t ctl_signature_count = sizeof(ctl_signatures) / sizeof(ctl_signatures[0]);

const struct ctl_signature *ctl_signature_find(const char *method)
{
	for (size_t i = 0; i < ctl_signature_count; i++)
		if (strcmp(ctl_signatures[i].method, method) == 0)
			return &ctl_signatures[i];
	return NULL;
}

static void *at(struct ctl_args *a, const struct arg *g)
{
	return (char *)a + g->at;
}

static const void *at_const(const struct ctl_args *a, const struct arg *g)
{
	return (const char *)a + g->at;
}

/* "service.add" is what the daemon calls it; people type "service add". */
static const char *spoken(const struct ctl_signature *s, char buf[CTL_METHOD_MAX])
{
	snprintf(buf, CTL_METHOD_MAX, "%s", s->method);
	for (char *p = buf; *p; p++)
		if (*p == '.')
			*p = ' ';
	return buf;
}

static int bad(struct err *e, const char *method, const char *param, const char *got,
	       const char *want)
{
	return err_set(e, -EINVAL, "%s: %s: got '%.60s', want %s", method, param, got, want);
}

/* ---- one argument */

static int put_text(char *to, size_t cap, const char *text, size_t len)
{
	if (len >= cap || memchr(text, 0, len))
		return -EINVAL;
	memcpy(to, text, len);
	to[len] = 0;
	return 0;
}

static int too_long(struct err *e, const struct ctl_signature *s, const struct arg *g, size_t len,
		    size_t cap)
{
	char method[CTL_METHOD_MAX];

	return err_set(e, -EINVAL, "%s: %s: got %zu bytes, want at most %zu", spoken(s, method),
		       g->name, len, cap - 1);
}

static int put_arg(struct ctl_args *a, const struct arg *g, const char *text, size_t len,
		   const struct ctl_signature *s, struct err *e)
{
	char method[CTL_METHOD_MAX];

	if (g->kind == TEXT)
		return put_text(at(a, g), g->max, text, len) ? too_long(e, s, g, len, g->max) : 0;

	struct ctl_texts *list = at(a, g);

	if (list->count == g->max)
		return err_set(e, -EINVAL, "%s: %s: got more than %zu", spoken(s, method), g->name,
			       g->max);
	if (put_text(list->text[list->count], CTL_TEXT_BYTES, text, len))
		return too_long(e, s, g, len, CTL_TEXT_BYTES);
	list->count++;
	return 0;
}

int ctl_args_set(struct ctl_args *a, enum ctl_arg which, const char *text,
		 const struct ctl_signature *s, struct err *e)
{
	const struct arg *g = &args[which];
	char method[CTL_METHOD_MAX];
	unsigned long long n;
	char *end;

	if (g->kind != TEXTS && (a->has & 1u << which))
		return err_set(e, -EINVAL, "%s: %s: got '%.60s' a second time", spoken(s, method),
			       g->name, text);
	if (g->kind == NUMBER) {
		char want[32];

		snprintf(want, sizeof(want), "1..%zu", g->max);
		errno = 0;
		n = strtoull(text, &end, 10);
		if (text[0] < '0' || text[0] > '9' || errno || *end || n < 1 || n > g->max)
			return bad(e, spoken(s, method), g->name, text, want);
		*(uint64_t *)at(a, g) = n;
	} else if (put_arg(a, g, text, strlen(text), s, e)) {
		return -EINVAL;
	}
	a->has |= 1u << which;
	return 0;
}

/* ---- the params map */

static void pack_text(msgpack_packer *pk, const char *text)
{
	size_t len = strlen(text);

	msgpack_pack_str(pk, len);
	msgpack_pack_str_body(pk, text, len);
}

void ctl_args_pack(const struct ctl_args *a, msgpack_sbuffer *out)
{
	msgpack_packer pk;

	msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, (size_t)__builtin_popcount(a->has));
	for (size_t i = 0; i < CTL_ARG_COUNT; i++) {
		const struct arg *g = &args[i];

		if (!(a->has & 1u << i))
			continue;
		pack_text(&pk, g->name);
		if (g->kind == TEXT) {
			pack_text(&pk, at_const(a, g));
		} else if (g->kind == NUMBER) {
			msgpack_pack_uint64(&pk, *(const uint64_t *)at_const(a, g));
		} else {
			const struct ctl_texts *list = at_const(a, g);

			msgpack_pack_array(&pk, list->count);
			for (size_t k = 0; k < list->count; k++)
				pack_text(&pk, list->text[k]);
		}
	}
}

static int read_value(struct mp_reader *r, const struct arg *g, const struct ctl_signature *s,
		      struct ctl_args *a, struct err *e)
{
	char method[CTL_METHOD_MAX];
	const char *text;
	size_t len, count = 1;

	spoken(s, method);
	if (g->kind == NUMBER) {
		uint64_t *n = at(a, g);

		if (mp_read_uint(r, g->max, n) || *n < 1)
			return err_set(e, -EINVAL, "%s: %s: want 1..%zu", method, g->name, g->max);
		return 0;
	}
	if (g->kind == TEXTS && mp_read_array(r, g->max, &count))
		return err_set(e, -EINVAL, "%s: %s: want a list of at most %zu texts", method,
			       g->name, g->max);
	for (size_t i = 0; i < count; i++) {
		if (mp_read_str(r, SIZE_MAX, &text, &len))
			return err_set(e, -EINVAL, "%s: %s: want text", method, g->name);
		if (put_arg(a, g, text, len, s, e))
			return -EINVAL;
	}
	return 0;
}

static const struct arg *find_arg(const char *name, size_t len)
{
	for (size_t i = 0; i < CTL_ARG_COUNT; i++)
		if (strlen(args[i].name) == len && memcmp(args[i].name, name, len) == 0)
			return &args[i];
	return NULL;
}

int ctl_args_read(const uint8_t *params, size_t len, const struct ctl_signature *s,
		  struct ctl_args *ret_args, struct err *e)
{
	struct ctl_args a = {0};
	char method[CTL_METHOD_MAX];
	struct mp_reader r;
	const char *key;
	size_t pairs, key_len;

	spoken(s, method);
	mp_reader_init(&r, params, len);
	if (mp_read_map(&r, PARAMS_MAX, &pairs))
		return err_set(e, -EINVAL, "%s: params: want a map of at most %d", method,
			       PARAMS_MAX);
	for (size_t i = 0; i < pairs; i++) {
		const struct arg *g;
		uint32_t bit;

		if (mp_read_str(&r, CTL_METHOD_MAX, &key, &key_len))
			return err_set(e, -EINVAL, "%s: params: want short text as keys", method);
		g = find_arg(key, key_len);
		bit = g ? 1u << (g - args) : 0;
		if (!(bit & s->takes))
			return err_set(e, -EINVAL, "%s: takes no parameter '%.*s'", method,
				       (int)key_len, key);
		if (bit & a.has)
			return err_set(e, -EINVAL, "%s: %s: given twice", method, g->name);
		if (read_value(&r, g, s, &a, e))
			return -EINVAL;
		a.has |= bit;
	}
	if (!mp_at_end(&r))
		return err_set(e, -EINVAL, "%s: params: bytes follow the map", method);
	for (size_t i = 0; i < CTL_ARG_COUNT; i++)
		if ((s->needs & ~a.has) & 1u << i)
			return err_set(e, -EINVAL, "%s: %s: missing", method, args[i].name);
	*ret_args = a;
	return 0;
}

/* ---- what they mean */

static const char *const hash_name[] = {
	[DP_HASH_5TUPLE] = "5tuple", [DP_HASH_SOURCE] = "source", [DP_HASH_PACKET] = "packet"};

const char *ctl_hash_text(uint8_t hash)
{
	return hash < sizeof(hash_name) / sizeof(hash_name[0]) ? hash_name[hash] : "?";
}

int ctl_port_parse(const char *text, struct model_port *ret_port)
{
	struct model_port p = {0};

	if (strncmp(text, "udp/", 4) == 0)
		p.l4_proto = IPPROTO_UDP;
	else if (strncmp(text, "tcp/", 4) == 0)
		p.l4_proto = IPPROTO_TCP;
	else
		return -EINVAL;
	if (ip_parse_port_range(text + 4, &p.ports) || p.ports.hi - p.ports.lo >= MODEL_RANGE_MAX)
		return -EINVAL;
	*ret_port = p;
	return 0;
}

const char *ctl_port_text(const struct model_port *p, char buf[24])
{
	const char *proto = p->l4_proto == IPPROTO_TCP	 ? "tcp"
			    : p->l4_proto == IPPROTO_UDP ? "udp"
							 : "?";

	if (p->ports.lo == p->ports.hi)
		snprintf(buf, 24, "%s/%u", proto, p->ports.lo);
	else
		snprintf(buf, 24, "%s/%u-%u", proto, p->ports.lo, p->ports.hi);
	return buf;
}

static int read_name(const char *method, const char *param, const char *text,
		     char ret_name[MODEL_NAME_MAX], struct err *e)
{
	if (model_name_check(text))
		return bad(e, method, param, text,
			   "1 to 31 of a-z, 0-9 and hyphens, none at either end");
	memcpy(ret_name, text, strlen(text) + 1); /* checked: it fits */
	return 0;
}

static int set_policies(const struct ctl_args *a, const char *method, struct model_service *s,
			struct err *e)
{
	struct err why;

	for (size_t i = 0; i < a->policy.count; i++)
		if (model_policy_set(s, a->policy.text[i], &why))
			return err_set(e, -EINVAL, "%s: %.170s", method, why.text);
	return 0;
}

int ctl_args_policy(const struct ctl_args *a, struct err *e)
{
	struct model_service s = {0};

	return set_policies(a, "service set", &s, e);
}

int ctl_args_service(const struct ctl_args *a, struct model_service *ret_service, struct err *e)
{
	static const char method[] = "service add";
	struct model_service s = {0};
	struct err why;

	if (read_name(method, "name", a->name, s.name, e))
		return -EINVAL;
	if (a->vips.count == 0 || a->ports.count == 0)
		return err_set(e, -EINVAL, "%s: %s: want at least one", method,
			       a->vips.count ? "port" : "vip");
	for (size_t i = 0; i < a->vips.count; i++)
		if (ip_parse(a->vips.text[i], &s.vip[s.vip_count++]))
			return bad(e, method, "vip", a->vips.text[i], "an IPv4 or IPv6 address");
	for (size_t i = 0; i < a->ports.count; i++)
		if (ctl_port_parse(a->ports.text[i], &s.port[s.port_count++]))
			return bad(e, method, "port", a->ports.text[i],
				   "udp/PORT, tcp/PORT or a range like udp/5000-5999 of at most "
				   "16384");
	if (set_policies(a, method, &s, e))
		return -EINVAL;
	if (model_policy_check(&s, &why))
		return err_set(e, -EINVAL, "%s: %.170s", method, why.text);
	*ret_service = s;
	return 0;
}

int ctl_args_backend(const struct ctl_args *a, struct model_backend *ret_backend, struct err *e)
{
	static const char method[] = "backend add";
	struct model_backend b = {.weight = 100};
	struct err why;

	if (read_name(method, "service", a->service, b.service, e))
		return -EINVAL;
	if (ip_parse_addr_port(a->addr, &b.addr, &b.port))
		return bad(e, method, "address", a->addr, "ADDRESS:PORT, [ADDRESS]:PORT for IPv6");
	if (!ip_is_unicast(&b.addr))
		return bad(e, method, "address", a->addr,
			   "an address that other hosts can reach: no loopback, wildcard or "
			   "multicast");
	if (a->has & CTL_BIT(weight))
		b.weight = (uint16_t)a->weight;
	if ((a->has & CTL_BIT(quic_id)) && quic_id_parse(a->quic_id, &b.quic_id))
		return bad(e, method, "quic-id", a->quic_id,
			   "eight digits of 0-9 and a-f, not all zero");
	if (a->ports.count > 1 ||
	    (a->ports.count && ip_parse_port_range(a->ports.text[0], &b.ports)))
		return bad(e, method, "ports", a->ports.text[a->ports.count - 1],
			   "one range like 5000-5999");
	model_check_default(MODEL_CHECK_NONE, &b.check);
	if ((a->has & CTL_BIT(check)) && model_check_parse(a->check, &b.check, &why))
		return err_set(e, -EINVAL, "%s: %.170s", method, why.text);
	if (a->has & CTL_BIT(watched)) {
		if (watch_check(a->watched, &why))
			return err_set(e, -EINVAL, "%s: %.170s", method, why.text);
		snprintf(b.watch, sizeof(b.watch), "%s", a->watched);
	}
	*ret_backend = b;
	return 0;
}

int ctl_args_filter(const struct ctl_args *a, struct model_filter *ret_filter, struct err *e)
{
	const char *method = a->has & CTL_BIT(verb) ? "filter add" : "filter rm";
	struct model_filter f = {0};
	struct ip_addr addr;

	if (a->has & CTL_BIT(verb)) {
		if (strcmp(a->verb, "deny") != 0 && strcmp(a->verb, "allow") != 0)
			return bad(e, method, "verb", a->verb, "deny or allow");
		f.verb = a->verb[0] == 'd' ? DP_FILTER_DENY : DP_FILTER_ALLOW;
	}
	/* An address is a prefix of itself. */
	if (!ip_parse(a->prefix, &addr))
		f.prefix = (struct ip_prefix){addr, 128};
	else if (ip_parse_prefix(a->prefix, &f.prefix))
		return bad(e, method, "prefix", a->prefix,
			   "an address, or a prefix like 192.0.2.0/24 or 2001:db8::/32 whose host "
			   "bits are zero");
	if ((a->has & CTL_BIT(service)) && strcmp(a->service, "*") != 0 &&
	    read_name(method, "service", a->service, f.service, e))
		return -EINVAL;
	memcpy(f.why, a->reason,
	       sizeof(f.why) < sizeof(a->reason) ? sizeof(f.why) : sizeof(a->reason));
	memcpy(f.author, a->author, sizeof(f.author));
	*ret_filter = f;
	return 0;
}

const char *ctl_args_object(const struct ctl_args *a, char buf[CTL_OBJECT_TEXT])
{
	const char *part[] = {a->spec, a->name, a->service, a->prefix, a->addr};
	size_t len = 0;

	buf[0] = 0;
	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++)
		if (part[i][0] && len + 1 < CTL_OBJECT_TEXT)
			len += (size_t)snprintf(buf + len, CTL_OBJECT_TEXT - len, "%s%s",
						len ? " " : "", part[i]);
	for (char *c = buf; *c; c++)
		if ((unsigned char)*c < ' ' || *c == '"' || (unsigned char)*c >= 0x7f)
			*c = '?';
	return buf;
}

void ctl_args_author(struct ctl_args *a, const struct ctl_signature *s, uid_t uid)
{
	char who[24], name[MODEL_NAME_MAX];
	int room;

	if (!(s->takes & CTL_BIT(author)))
		return;
	snprintf(who, sizeof(who), "uid %u", (unsigned int)uid);
	memcpy(name, a->author, sizeof(name));
	room = (int)(sizeof(a->author) - strlen(who) - 4); /* " (", ")", NUL */
	if (name[0] && strcmp(name, who) != 0)
		snprintf(a->author, sizeof(a->author), "%.*s (%s)", room, name, who);
	else
		snprintf(a->author, sizeof(a->author), "%s", who);
	a->has |= CTL_BIT(author);
}
