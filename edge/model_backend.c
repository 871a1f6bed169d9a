/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Values of backend, health, override, seed and filter records; the table of keys is in edge/model.c. */
#include <errno.h>
#include <string.h>

#include "edge/model_map.h"

#define TOKEN_MAX 0xffffffu
#define WEIGHT_DEFAULT 100

int model_backend_key(const struct model_backend *b, char buf[MODEL_KEY_MAX])
{
	char addr[IP_TEXT_MAX];

	snprintf(buf, MODEL_KEY_MAX, "%.31s/%s", b->service, ip_port_text(&b->addr, b->port, addr));
	return 0;
}

int model_backend_key_parse(const char *key, struct model_backend *ret_backend)
{
	const char *slash = strchr(key, '/');
	char name[MODEL_NAME_MAX] = "";
	struct ip_addr addr;
	uint16_t port;

	if (!slash || (size_t)(slash - key) >= sizeof(name))
		return -EINVAL;
	memcpy(name, key, (size_t)(slash - key));
	if (model_name_check(name) || ip_parse_addr_port(slash + 1, &addr, &port))
		return -EINVAL;
	memcpy(ret_backend->service, name, sizeof(name));
	ret_backend->addr = addr;
	ret_backend->port = port;
	return 0;
}

int model_backend_rules(const struct model_backend *b)
{
	if (model_name_check(b->service) || !ip_is_unicast(&b->addr) || b->port == 0 ||
	    b->weight == 0 || b->weight > MODEL_WEIGHT_MAX || b->token > TOKEN_MAX ||
	    (b->ports.lo == 0) != (b->ports.hi == 0) || b->ports.lo > b->ports.hi)
		return -EBADMSG;
	return model_check_rules(&b->check);
}

int model_backend_encode(const struct model_backend *b, uint8_t *buf, size_t cap)
{
	struct model_packer p;

	if (model_backend_rules(b))
		return -EBADMSG;
	model_pack_begin(&p, buf, cap,
			 7u + (b->quic_id != 0) + 2u * (b->ports.lo != 0) + (b->watch[0] != 0));
	model_pack_text(&p, "s");
	model_pack_text(&p, b->service);
	model_pack_text(&p, "a");
	model_pack_addr(&p, &b->addr);
	model_pack_key_uint(&p, "p", b->port);
	model_pack_key_uint(&p, "w", b->weight);
	model_pack_key_uint(&p, "t", b->token);
	if (b->ports.lo) {
		model_pack_key_uint(&p, "l", b->ports.lo);
		model_pack_key_uint(&p, "h", b->ports.hi);
	}
	if (b->quic_id)
		model_pack_key_uint(&p, "q", b->quic_id);
	if (b->watch[0]) {
		model_pack_text(&p, "o");
		model_pack_free_text(&p, b->watch, sizeof(b->watch));
	}
	model_pack_text(&p, "d");
	if (b->is_draining)
		msgpack_pack_true(&p.pk);
	else
		msgpack_pack_false(&p.pk);
	model_pack_text(&p, "c");
	model_check_pack(&p, &b->check);
	return model_pack_end(&p);
}

int model_backend_decode(const uint8_t *buf, size_t len, struct model_backend *ret_backend)
{
	enum { S = 1, A = 2, P = 4, T = 8, REQUIRED = S | A | P | T };
	struct model_backend b = {.weight = WEIGHT_DEFAULT};
	unsigned int seen = 0;
	struct mp_reader r;
	struct model_map m;
	int rc;

	model_check_default(MODEL_CHECK_NONE, &b.check);
	mp_reader_init(&r, buf, len);
	if (model_map_open(&m, &r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		if (model_map_is(&m, "s")) {
			rc = mp_read_text(&r, b.service, sizeof(b.service));
			seen |= S;
		} else if (model_map_is(&m, "a")) {
			rc = model_read_addr(&r, &b.addr);
			seen |= A;
		} else if (model_map_is(&m, "p")) {
			rc = model_read_u16(&r, UINT16_MAX, &b.port);
			seen |= P;
		} else if (model_map_is(&m, "w")) {
			rc = model_read_u16(&r, MODEL_WEIGHT_MAX, &b.weight);
		} else if (model_map_is(&m, "t")) {
			rc = model_read_u32(&r, TOKEN_MAX, &b.token);
			seen |= T;
		} else if (model_map_is(&m, "l")) {
			rc = model_read_u16(&r, UINT16_MAX, &b.ports.lo);
		} else if (model_map_is(&m, "h")) {
			rc = model_read_u16(&r, UINT16_MAX, &b.ports.hi);
		} else if (model_map_is(&m, "q")) {
			rc = model_read_u32(&r, UINT32_MAX, &b.quic_id);
		} else if (model_map_is(&m, "o")) {
			rc = model_read_free_text(&r, b.watch, sizeof(b.watch));
		} else if (model_map_is(&m, "d")) {
			rc = mp_read_bool(&r, &b.is_draining);
		} else if (model_map_is(&m, "c")) {
			rc = model_check_read(&r, &b.check);
		} else {
			rc = mp_skip(&r);
		}
		if (rc)
			return -EBADMSG;
	}
	if (rc || !mp_at_end(&r) || (seen & REQUIRED) != REQUIRED || model_backend_rules(&b))
		return -EBADMSG;
	*ret_backend = b;
	return 0;
}

bool model_health_is_good(const struct model_check *c, enum model_health_state state)
{
	return state == MODEL_HEALTH_PASSING ||
	       (c->kind == MODEL_CHECK_NONE && state == MODEL_HEALTH_UNKNOWN);
}

int model_health_encode(const struct model_health *h, uint8_t *buf, size_t cap)
{
	struct model_packer p;

	if (h->state > MODEL_HEALTH_FAILING || h->cause >= MODEL_CAUSES || h->share_pct > 100 ||
	    h->was >= MODEL_WAS_COUNT)
		return -EBADMSG;
	model_pack_begin(&p, buf, cap,
			 3u + (h->cause != 0) + h->is_warning + (h->share_pct != 0) +
				 (h->was != 0));
	model_pack_key_uint(&p, "s", h->state);
	model_pack_text(&p, "w");
	model_pack_free_text(&p, h->why, sizeof(h->why));
	model_pack_key_uint(&p, "t", h->changed_unix_ms);
	if (h->cause)
		model_pack_key_uint(&p, "c", h->cause);
	if (h->is_warning) {
		model_pack_text(&p, "g");
		msgpack_pack_true(&p.pk);
	}
	if (h->share_pct)
		model_pack_key_uint(&p, "p", h->share_pct);
	if (h->was)
		model_pack_key_uint(&p, "b", h->was);
	return model_pack_end(&p);
}

int model_health_decode(const uint8_t *buf, size_t len, struct model_health *ret_health)
{
	struct model_health h = {0};
	bool has_state = false;
	struct mp_reader r;
	struct model_map m;
	int rc;

	mp_reader_init(&r, buf, len);
	if (model_map_open(&m, &r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		if (model_map_is(&m, "s")) {
			rc = model_read_u8(&r, MODEL_HEALTH_FAILING, &h.state);
			has_state = true;
		} else if (model_map_is(&m, "w")) {
			rc = model_read_free_text(&r, h.why, sizeof(h.why));
		} else if (model_map_is(&m, "t")) {
			rc = mp_read_uint(&r, UINT64_MAX, &h.changed_unix_ms);
		} else if (model_map_is(&m, "c")) {
			rc = model_read_u8(&r, UINT8_MAX, &h.cause);
			if (h.cause >= MODEL_CAUSES) /* a later version's */
				h.cause = MODEL_CAUSE_CHECK;
		} else if (model_map_is(&m, "g")) {
			rc = mp_read_bool(&r, &h.is_warning);
		} else if (model_map_is(&m, "p")) {
			rc = model_read_u8(&r, 100, &h.share_pct);
		} else if (model_map_is(&m, "b")) {
			rc = model_read_u8(&r, UINT8_MAX, &h.was);
			if (h.was >= MODEL_WAS_COUNT) /* a later version's */
				h.was = MODEL_WAS_SAME;
		} else {
			rc = mp_skip(&r);
		}
		if (rc)
			return -EBADMSG;
	}
	if (rc || !mp_at_end(&r) || !has_state)
		return -EBADMSG;
	*ret_health = h;
	return 0;
}

int model_override_encode(const struct model_override *o, uint8_t *buf, size_t cap)
{
	struct model_packer p;

	model_pack_begin(&p, buf, cap, 4);
	model_pack_text(&p, "d");
	if (o->is_drained)
		msgpack_pack_true(&p.pk);
	else
		msgpack_pack_false(&p.pk);
	model_pack_text(&p, "a");
	model_pack_free_text(&p, o->author, sizeof(o->author));
	model_pack_text(&p, "r");
	model_pack_free_text(&p, o->reason, sizeof(o->reason));
	model_pack_key_uint(&p, "x", o->expires_unix_s);
	return model_pack_end(&p);
}

int model_override_decode(const uint8_t *buf, size_t len, struct model_override *ret_override)
{
	struct model_override o = {0};
	bool has_drained = false;
	struct mp_reader r;
	struct model_map m;
	int rc;

	mp_reader_init(&r, buf, len);
	if (model_map_open(&m, &r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		if (model_map_is(&m, "d")) {
			rc = mp_read_bool(&r, &o.is_drained);
			has_drained = true;
		} else if (model_map_is(&m, "a")) {
			rc = model_read_free_text(&r, o.author, sizeof(o.author));
		} else if (model_map_is(&m, "r")) {
			rc = model_read_free_text(&r, o.reason, sizeof(o.reason));
		} else if (model_map_is(&m, "x")) {
			rc = mp_read_uint(&r, UINT64_MAX, &o.expires_unix_s);
		} else {
			rc = mp_skip(&r);
		}
		if (rc)
			return -EBADMSG;
	}
	if (rc || !mp_at_end(&r) || !has_drained)
		return -EBADMSG;
	*ret_override = o;
	return 0;
}

int model_seed_encode(const struct model_seed *s, uint8_t *buf, size_t cap)
{
	struct model_packer p;

	model_pack_begin(&p, buf, cap, 1);
	model_pack_text(&p, "k");
	model_pack_bin(&p, s->key, sizeof(s->key));
	return model_pack_end(&p);
}

int model_seed_decode(const uint8_t *buf, size_t len, struct model_seed *ret_seed)
{
	struct model_seed s = {0};
	bool has_key = false;
	struct mp_reader r;
	struct model_map m;
	int rc;

	mp_reader_init(&r, buf, len);
	if (model_map_open(&m, &r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		if (model_map_is(&m, "k")) {
			rc = mp_read_bytes(&r, s.key, sizeof(s.key));
			has_key = true;
		} else {
			rc = mp_skip(&r);
		}
		if (rc)
			return -EBADMSG;
	}
	if (rc || !mp_at_end(&r) || !has_key)
		return -EBADMSG;
	*ret_seed = s;
	return 0;
}
