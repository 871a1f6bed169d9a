/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Policies of a service: one table for what operators type, what is shown and what the record carries; and the value of
 * filter records. The tables of keys are in edge/model.c. */
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/dp_abi.h"
#include "edge/model_map.h"

#define WORDS_MAX 4

enum kind { HASH, NUMBER, ROWS, BITS, WORD };

static const struct policy {
	const char *name;
	enum kind kind;
	size_t at;		     /* in struct model_policy */
	uint32_t max;		     /* NUMBER, BITS */
	const char *word[WORDS_MAX]; /* HASH, WORD: by value */
	const char *want;
} policies[] = {
#define AT(field) offsetof(struct model_policy, field)
#define PPS(field)                                                                                 \
	{                                                                                          \
#field, NUMBER, AT(field), MODEL_PPS_MAX,                                          \
			{NULL }, "1..1000000000 a second, or off"                                  \
	}
#define SWITCH(name, field)                                                                        \
	{                                                                                          \
		name, WORD, AT(field), 1, {"off", "on"}, "on or off"                               \
	}
	{"hash",
	 HASH,
	 0,
	 DP_HASH_PACKET,
	 {"5tuple", "source", "packet"},
	 "5tuple, source or packet"},
	PPS(pps),
	PPS(source_pps),
	{"prefix4", BITS, AT(prefix4), 32, {NULL}, "1..32 bits, or off"},
	{"prefix6", BITS, AT(prefix6), 128, {NULL}, "1..128 bits, or off"},
	PPS(syn_pps),
	PPS(hop_pps),
	{"return", WORD, AT(is_direct), 1, {"edge", "direct"}, "edge or direct"},
	{"mtu", WORD, AT(is_carried), 1, {"too-big", "carry"}, "too-big or carry"},
	SWITCH("reject", is_rejecting),
	SWITCH("quic", is_quic),
	SWITCH("closed", is_closed),
	{"eject", BITS, AT(eject_pct), 100, {NULL}, "1..100 percent, or off (50)"},
	{"spill", BITS, AT(spill_pct), 100, {NULL}, "1..100 percent, or off"},
	{"panic", BITS, AT(panic_pct), 100, {NULL}, "1..100 percent, or off"},
	{"slow_start", NUMBER, AT(slow_start_s), 3600, {NULL}, "1..3600 seconds, or off"},
	{"local", WORD, AT(is_local), 1, {"off", "prefer"}, "prefer or off"},
	{"udp_suspect", WORD, AT(is_udp_stay), 1, {"move", "stay"}, "move or stay"},
	SWITCH("moves", is_moving),
	{"rows", ROWS, AT(rows), 0, {NULL}, "251, 1021, 4099, 16381, 65537, or off"},
};
#define POLICY_COUNT (sizeof(policies) / sizeof(policies[0]))
_Static_assert(POLICY_COUNT <= MODEL_POLICIES_MAX, "all of them fit one command");

static bool is_wide(const struct policy *k)
{
	return k->kind == NUMBER || k->kind == ROWS;
}

static uint32_t get(const struct model_policy *p, const struct policy *k)
{
	const char *at = (const char *)p + k->at;

	return is_wide(k) ? *(const uint32_t *)(const void *)at : *(const uint8_t *)at;
}

static void put(struct model_policy *p, const struct policy *k, uint32_t value)
{
	char *at = (char *)p + k->at;

	if (is_wide(k))
		*(uint32_t *)(void *)at = value;
	else
		*(uint8_t *)at = (uint8_t)value;
}

static bool is_rows(uint64_t n)
{
	static const uint32_t size[] = DP_SIZE_CLASS_LIST;

	for (size_t i = 0; i < DP_SIZE_CLASSES; i++)
		if (size[i] == n)
			return n >
			       1; /* the one row is for a backend that is alone: routes see to that */
	return false;
}

/* 0 is what absence means, everywhere. */
static bool is_value(const struct policy *k, uint64_t n)
{
	return k->kind == ROWS ? n == 0 || is_rows(n) : n <= k->max;
}

bool model_policy_is_default(const struct model_policy *p)
{
	static const struct model_policy none;

	return memcmp(p, &none, sizeof(none)) == 0;
}

int model_policy_rules(const struct model_policy *p)
{
	for (size_t i = 0; i < POLICY_COUNT; i++)
		if (policies[i].kind != HASH && !is_value(&policies[i], get(p, &policies[i])))
			return -EBADMSG;
	return 0;
}

/* ---- the record's map: name -> number */

void model_policy_pack(struct model_packer *p, const struct model_policy *policy)
{
	size_t count = 0;

	for (size_t i = 0; i < POLICY_COUNT; i++)
		count += policies[i].kind != HASH && get(policy, &policies[i]);
	msgpack_pack_map(&p->pk, count);
	for (size_t i = 0; i < POLICY_COUNT; i++)
		if (policies[i].kind != HASH && get(policy, &policies[i]))
			model_pack_key_uint(p, policies[i].name, get(policy, &policies[i]));
}

int model_policy_read(struct mp_reader *r, struct model_policy *ret_policy)
{
	struct model_policy p = {0};
	struct model_map m;
	int rc;

	if (model_map_open(&m, r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		const struct policy *k = NULL;
		uint64_t n;

		for (size_t i = 0; i < POLICY_COUNT && !k; i++)
			if (policies[i].kind != HASH && model_map_is(&m, policies[i].name))
				k = &policies[i];
		if (!k) {
			if (mp_skip(r))
				return -EBADMSG;
			continue;
		}
		if (mp_read_uint(r, UINT32_MAX, &n) || !is_value(k, n))
			return -EBADMSG;
		put(&p, k, (uint32_t)n);
	}
	if (rc)
		return -EBADMSG;
	*ret_policy = p;
	return 0;
}

/* ---- what operators type and see */

static int wants(struct err *e, const struct policy *k, const char *got)
{
	return err_set(e, -EINVAL, "policy %s: got '%.40s', want %s", k->name, got, k->want);
}

static int unknown(struct err *e, const char *text)
{
	return err_set(e, -EINVAL,
		       "policy: got '%.40s', want KEY=VALUE with a policy's key: %s=, %s=, ...",
		       text, policies[0].name, policies[1].name);
}

static int read_number(const struct policy *k, const char *text, uint32_t *ret_value)
{
	unsigned long long n;
	char *end;

	if (!strcmp(text, "off")) {
		*ret_value = 0;
		return 0;
	}
	errno = 0;
	n = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || errno || *end || !n || !is_value(k, n))
		return -EINVAL;
	*ret_value = (uint32_t)n;
	return 0;
}

static int read_word(const struct policy *k, const char *text, uint32_t *ret_value)
{
	for (uint32_t i = 0; i < WORDS_MAX && k->word[i]; i++) {
		if (!strcmp(text, k->word[i])) {
			*ret_value = i;
			return 0;
		}
	}
	return -EINVAL;
}

int model_policy_set(struct model_service *s, const char *text, struct err *e)
{
	const char *equals = strchr(text, '=');
	const struct policy *k = NULL;
	uint32_t value;

	for (size_t i = 0; equals && i < POLICY_COUNT && !k; i++)
		if (strlen(policies[i].name) == (size_t)(equals - text) &&
		    !memcmp(policies[i].name, text, (size_t)(equals - text)))
			k = &policies[i];
	if (!k)
		return unknown(e, text);
	if (k->word[0] ? read_word(k, equals + 1, &value) : read_number(k, equals + 1, &value))
		return wants(e, k, equals + 1);
	if (k->kind == HASH)
		s->hash = (uint8_t)value;
	else
		put(&s->policy, k, value);
	return 0;
}

int model_policy_check(const struct model_service *s, struct err *e)
{
	const struct model_policy *p = &s->policy;

	if (s->hash == DP_HASH_PACKET && model_service_has_proto(s, IPPROTO_TCP))
		return err_set(
			e, -EINVAL,
			"policy hash=packet: the service has a TCP port, and the packets of a "
			"connection must reach one backend; want 5tuple or source");
	if (p->is_quic && !model_service_has_proto(s, IPPROTO_UDP))
		return err_set(e, -EINVAL, "policy quic=on: the service has no UDP port");
	if (p->syn_pps && !model_service_has_proto(s, IPPROTO_TCP))
		return err_set(e, -EINVAL, "policy syn_pps: the service has no TCP port");
	if (p->is_moving && !model_service_has_proto(s, IPPROTO_TCP))
		return err_set(e, -EINVAL, "policy moves=on: the service has no TCP port");
	if ((p->prefix4 || p->prefix6) && !p->source_pps)
		return err_set(e, -EINVAL,
			       "policy prefix%d: it is for source_pps, which is not set",
			       p->prefix4 ? 4 : 6);
	return 0;
}

bool model_policy_next(const struct model_service *s, size_t *cursor,
		       struct model_policy_item *ret_item)
{
	while (*cursor < POLICY_COUNT) {
		const struct policy *k = &policies[(*cursor)++];
		uint32_t n = k->kind == HASH ? s->hash : get(&s->policy, k);

		if (!n && k->kind != HASH)
			continue;
		*ret_item = (struct model_policy_item){
			.name = k->name, .word = k->word[0] ? "?" : NULL, .number = n};
		if (k->word[0] && n < WORDS_MAX && k->word[n])
			ret_item->word = k->word[n];
		return true;
	}
	return false;
}

const char *model_policy_text(const struct model_service *s, char buf[MODEL_POLICY_TEXT_MAX])
{
	struct model_policy_item item;
	size_t cursor = 0, len = 0;

	buf[0] = 0;
	while (model_policy_next(s, &cursor, &item) && len < MODEL_POLICY_TEXT_MAX) {
		len += (size_t)snprintf(buf + len, MODEL_POLICY_TEXT_MAX - len,
					"%s%s=", len ? " " : "", item.name);
		if (len >= MODEL_POLICY_TEXT_MAX)
			break;
		len += (size_t)(item.word ? snprintf(buf + len, MODEL_POLICY_TEXT_MAX - len, "%s",
						     item.word)
					  : snprintf(buf + len, MODEL_POLICY_TEXT_MAX - len, "%u",
						     item.number));
	}
	return buf;
}

/* ---- filters */

const char *model_filter_key(const struct model_filter *f, char buf[MODEL_KEY_MAX])
{
	char prefix[IP_TEXT_MAX];

	snprintf(buf, MODEL_KEY_MAX, "filter/%.31s/%s", f->service[0] ? f->service : "*",
		 ip_prefix_text(&f->prefix, prefix));
	return buf;
}

static int filter_rules(const struct model_filter *f)
{
	const struct ip_prefix *p = &f->prefix;
	bool is_v4 = ip_is_v4(&p->addr);

	if ((f->service[0] && model_name_check(f->service)) ||
	    (f->verb != DP_FILTER_DENY && f->verb != DP_FILTER_ALLOW) || p->bits > 128 ||
	    (is_v4 && p->bits < 96))
		return -EBADMSG;
	for (size_t bit = p->bits; bit < 128; bit++)
		if (p->addr.b[bit / 8] >> (7 - bit % 8) & 1)
			return -EBADMSG;
	return 0;
}

int model_filter_encode(const struct model_filter *f, uint8_t *buf, size_t cap)
{
	struct model_packer p;

	if (filter_rules(f))
		return -EBADMSG;
	model_pack_begin(&p, buf, cap, 6);
	model_pack_text(&p, "s");
	model_pack_text(&p, f->service);
	model_pack_text(&p, "a");
	model_pack_addr(&p, &f->prefix.addr);
	model_pack_key_uint(&p, "l", f->prefix.bits - (ip_is_v4(&f->prefix.addr) ? 96u : 0u));
	model_pack_key_uint(&p, "v", f->verb);
	model_pack_text(&p, "w");
	model_pack_free_text(&p, f->why, sizeof(f->why));
	model_pack_text(&p, "b");
	model_pack_free_text(&p, f->author, sizeof(f->author));
	return model_pack_end(&p);
}

int model_filter_decode(const uint8_t *buf, size_t len, struct model_filter *ret_filter)
{
	enum { A = 1, L = 2, V = 4, REQUIRED = A | L | V };
	struct model_filter f = {0};
	unsigned int seen = 0;
	uint8_t bits = 0;
	struct mp_reader r;
	struct model_map m;
	int rc;

	mp_reader_init(&r, buf, len);
	if (model_map_open(&m, &r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		if (model_map_is(&m, "s")) {
			rc = mp_read_text(&r, f.service, sizeof(f.service));
		} else if (model_map_is(&m, "a")) {
			rc = model_read_addr(&r, &f.prefix.addr);
			seen |= A;
		} else if (model_map_is(&m, "l")) {
			rc = model_read_u8(&r, 128, &bits);
			seen |= L;
		} else if (model_map_is(&m, "v")) {
			rc = model_read_u8(&r, DP_FILTER_ALLOW, &f.verb);
			seen |= V;
		} else if (model_map_is(&m, "w")) {
			rc = model_read_free_text(&r, f.why, sizeof(f.why));
		} else if (model_map_is(&m, "b")) {
			rc = model_read_free_text(&r, f.author, sizeof(f.author));
		} else {
			rc = mp_skip(&r);
		}
		if (rc)
			return -EBADMSG;
	}
	if (rc || !mp_at_end(&r) || (seen & REQUIRED) != REQUIRED ||
	    (ip_is_v4(&f.prefix.addr) && bits > 32))
		return -EBADMSG;
	f.prefix.bits = (uint8_t)(bits + (ip_is_v4(&f.prefix.addr) ? 96 : 0));
	if (filter_rules(&f))
		return -EBADMSG;
	*ret_filter = f;
	return 0;
}
