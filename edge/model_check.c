/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Health check specifications as a map inside the backend's record; edge/model_check_text.c has the text for people.
 *
 * Kinds above udp say `k` 1 (tcp), which every version knows, and what they really are in the map `x`; who does not know
 * that kind checks, or shows, a TCP connection.
 */
#include <errno.h>
#include <string.h>

#include "edge/model_check.h"

enum { FLAG_HEAD = 1, FLAG_INSECURE = 2, FLAG_DNS_TCP = 4 };

void model_check_default(enum model_check_kind kind, struct model_check *ret_check)
{
	struct model_check c = {
		.kind = (uint8_t)kind,
		.interval_ms = CHECK_INTERVAL_DEFAULT_MS,
		.timeout_ms = CHECK_TIMEOUT_DEFAULT_MS,
		.rise = CHECK_STREAK_DEFAULT,
		.fall = CHECK_STREAK_DEFAULT,
		.send_len = kind == MODEL_CHECK_UDP ? 1 : 0,
	};

	if (model_check_is_http(&c)) {
		c.target[0] = '/';
		c.status_lo = CHECK_STATUS_LO;
		c.status_hi = CHECK_STATUS_HI;
	}
	if (kind == MODEL_CHECK_DNS) {
		c.dns_type = 1;
		c.dns_class = 1;
	}
	*ret_check = c;
}

/* ---- rules */

static bool is_printable(const char *text, size_t cap)
{
	size_t len = strnlen(text, cap);

	for (size_t i = 0; i < len; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			return false;
	/* A comma follows in the text form, and \, is one of its own. */
	return len < cap && (len == 0 || text[len - 1] != '\\');
}

static bool is_word(char c, const char *more)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr(more, c));
}

bool model_check_host_is_good(const char *host)
{
	size_t len = strnlen(host, MODEL_CHECK_HOST_MAX);

	for (size_t i = 0; i < len; i++)
		if (!is_word(host[i], ".-_:[]"))
			return false;
	return len < MODEL_CHECK_HOST_MAX;
}

bool model_check_sni_is_good(const char *sni)
{
	return model_check_host_is_good(sni) && !strpbrk(sni, ":[]_");
}

bool model_check_path_is_good(const char *path)
{
	return path[0] == '/' && is_printable(path, MODEL_CHECK_TARGET_MAX) && !strchr(path, ' ') &&
	       !strchr(path, '#');
}

/* "example.org", "example.org.", "." */
bool model_check_name_is_good(const char *name)
{
	size_t len = strnlen(name, MODEL_CHECK_TARGET_MAX), label = 0;

	if (len == 0 || len == MODEL_CHECK_TARGET_MAX)
		return false;
	if (strcmp(name, ".") == 0)
		return true;
	for (size_t i = 0; i < len; i++) {
		if (name[i] == '.' ? label == 0 : !is_word(name[i], "-_*/"))
			return false;
		label = name[i] == '.' ? 0 : label + 1;
		if (label > 63)
			return false;
	}
	return true;
}

/* A file's name, no path; one blank before each argument. */
bool model_check_run_is_good(const char *run)
{
	size_t len = strcspn(run, " "), args = 0;

	if (len == 0 || !is_word(run[0], "_") || !is_printable(run, MODEL_CHECK_TARGET_MAX))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_word(run[i], "._-"))
			return false;
	for (const char *p = run + len; *p; p++) {
		if (*p == ' ' && (p[1] == ' ' || !p[1] || ++args > CHECK_ARGS_MAX))
			return false;
	}
	return true;
}

/* Bounded by what is left out: references back, and more than one count of repetitions or a large one. */
bool model_check_match_is_good(const char *match)
{
	unsigned counts = 0;

	if (!is_printable(match, MODEL_CHECK_MATCH_MAX))
		return false;
	for (const char *p = match; *p; p++) {
		if (*p == '\\') {
			p++;
			if (*p >= '0' && *p <= '9')
				return false;
		} else if (*p == '{') {
			unsigned n = 0;

			if (counts++)
				return false;
			for (p++; *p && *p != '}'; p++) {
				n = *p >= '0' && *p <= '9' ? n * 10 + (unsigned)(*p - '0') : 0;
				if (n > MODEL_CHECK_REPEAT_MAX)
					return false;
			}
			if (!*p)
				return false;
		}
	}
	return true;
}

static bool http_is_good(const struct model_check *c)
{
	bool is_tls = c->kind == MODEL_CHECK_HTTPS;

	return model_check_path_is_good(c->target) && model_check_host_is_good(c->host) &&
	       model_check_sni_is_good(c->sni) && (is_tls || (!c->sni[0] && !c->is_insecure)) &&
	       c->status_lo >= 100 && c->status_lo <= c->status_hi && c->status_hi <= 599 &&
	       !(c->is_head && c->match[0]);
}

static bool dns_is_good(const struct model_check *c)
{
	return model_check_name_is_good(c->target) && c->dns_type && c->dns_class &&
	       c->dns_rcode <= 15;
}

int model_check_rules(const struct model_check *c)
{
	bool is_http = model_check_is_http(c), is_good = true;

	if (c->kind == MODEL_CHECK_NONE)
		return 0; /* the rest of it says nothing */
	if (c->kind >= MODEL_CHECK_KINDS || c->interval_ms < CHECK_INTERVAL_MIN_MS ||
	    c->interval_ms > CHECK_INTERVAL_MAX_MS || c->timeout_ms < CHECK_TIMEOUT_MIN_MS ||
	    c->timeout_ms > c->interval_ms || c->rise == 0 || c->rise > CHECK_STREAK_MAX ||
	    c->fall == 0 || c->fall > CHECK_STREAK_MAX || c->send_len > sizeof(c->send) ||
	    c->expect_len > sizeof(c->expect))
		return -EBADMSG;
	if (c->kind == MODEL_CHECK_UDP ? c->send_len == 0 : c->send_len || c->expect_len)
		return -EBADMSG;
	if (!model_check_match_is_good(c->match) ||
	    (c->match[0] && !is_http && c->kind != MODEL_CHECK_UDP))
		return -EBADMSG;
	if (is_http)
		is_good = http_is_good(c);
	else if (c->kind == MODEL_CHECK_DNS)
		is_good = dns_is_good(c);
	else if (c->kind == MODEL_CHECK_EXEC)
		is_good = model_check_run_is_good(c->target);
	return is_good ? 0 : -EBADMSG;
}

/* ---- reading */

static int read_payload(struct mp_reader *r, uint8_t *ret_data, size_t cap, uint8_t *ret_len)
{
	const uint8_t *data;
	size_t len;

	if (mp_read_bin(r, cap, &data, &len))
		return -EBADMSG;
	memcpy(ret_data, data, len);
	memset(ret_data + len, 0, cap - len);
	*ret_len = (uint8_t)len;
	return 0;
}

/* ret_kind may be one that this version does not know. */
#define KIND_NOT_SAID 0
static int read_more(struct mp_reader *r, struct model_check *ret_more, uint32_t *ret_kind)
{
	struct model_check c = {.target = "/",
				.status_lo = CHECK_STATUS_LO,
				.status_hi = CHECK_STATUS_HI,
				.dns_type = 1,
				.dns_class = 1};
	uint32_t kind = KIND_NOT_SAID, flags = 0;
	struct model_map m;
	int rc;

	if (model_map_open(&m, r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		if (model_map_is(&m, "k"))
			rc = model_read_u32(r, UINT32_MAX, &kind);
		else if (model_map_is(&m, "g"))
			rc = mp_read_text(r, c.target, sizeof(c.target));
		else if (model_map_is(&m, "m"))
			rc = mp_read_text(r, c.match, sizeof(c.match));
		else if (model_map_is(&m, "h"))
			rc = mp_read_text(r, c.host, sizeof(c.host));
		else if (model_map_is(&m, "n"))
			rc = mp_read_text(r, c.sni, sizeof(c.sni));
		else if (model_map_is(&m, "a"))
			rc = model_read_u16(r, 599, &c.status_lo);
		else if (model_map_is(&m, "b"))
			rc = model_read_u16(r, 599, &c.status_hi);
		else if (model_map_is(&m, "o"))
			rc = model_read_u32(r, UINT32_MAX, &flags);
		else if (model_map_is(&m, "q"))
			rc = model_read_u16(r, UINT16_MAX, &c.dns_type);
		else if (model_map_is(&m, "c"))
			rc = model_read_u16(r, UINT16_MAX, &c.dns_class);
		else if (model_map_is(&m, "d"))
			rc = model_read_u8(r, 15, &c.dns_rcode);
		else if (model_map_is(&m, "w"))
			rc = model_read_addr(r, &c.answer);
		else
			rc = mp_skip(r);
		if (rc)
			return -EBADMSG;
	}
	if (rc)
		return -EBADMSG;
	c.is_head = flags & FLAG_HEAD;
	c.is_insecure = flags & FLAG_INSECURE;
	c.is_dns_tcp = flags & FLAG_DNS_TCP;
	*ret_more = c;
	*ret_kind = kind;
	return 0;
}

/* What belongs to the kind; the rest may be anything. */
static void take_more(struct model_check *c, const struct model_check *more, uint32_t kind)
{
	if (c->kind == MODEL_CHECK_UDP && kind == KIND_NOT_SAID)
		memcpy(c->match, more->match, sizeof(c->match));
	if (kind < MODEL_CHECK_HTTP || kind >= MODEL_CHECK_KINDS)
		return; /* a later version's: it stays what `k` says */
	c->kind = (uint8_t)kind;
	memset(c->expect, 0, sizeof(c->expect));
	c->send_len = c->expect_len = 0;
	memcpy(c->target, more->target, sizeof(c->target));
	if (model_check_is_http(c)) {
		memcpy(c->match, more->match, sizeof(c->match));
		memcpy(c->host, more->host, sizeof(c->host));
		memcpy(c->sni, more->sni, sizeof(c->sni));
		c->status_lo = more->status_lo;
		c->status_hi = more->status_hi;
		c->is_head = more->is_head;
		c->is_insecure = more->is_insecure;
	} else if (c->kind == MODEL_CHECK_DNS) {
		c->is_dns_tcp = more->is_dns_tcp;
		c->dns_type = more->dns_type;
		c->dns_class = more->dns_class;
		c->dns_rcode = more->dns_rcode;
		c->answer = more->answer;
	}
}

int model_check_read(struct mp_reader *r, struct model_check *ret_check)
{
	bool has_kind = false, has_timeout = false, has_send = false, has_more = false;
	struct model_check c, more = {0};
	uint32_t kind = 0;
	struct model_map m;
	int rc;

	model_check_default(MODEL_CHECK_NONE, &c);
	if (model_map_open(&m, r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		if (model_map_is(&m, "k")) {
			rc = model_read_u8(r, MODEL_CHECK_UDP, &c.kind);
			has_kind = true;
		} else if (model_map_is(&m, "p")) {
			rc = model_read_u16(r, UINT16_MAX, &c.port);
		} else if (model_map_is(&m, "i")) {
			rc = model_read_u32(r, CHECK_INTERVAL_MAX_MS, &c.interval_ms);
		} else if (model_map_is(&m, "t")) {
			rc = model_read_u32(r, CHECK_INTERVAL_MAX_MS, &c.timeout_ms);
			has_timeout = true;
		} else if (model_map_is(&m, "r")) {
			rc = model_read_u8(r, CHECK_STREAK_MAX, &c.rise);
		} else if (model_map_is(&m, "f")) {
			rc = model_read_u8(r, CHECK_STREAK_MAX, &c.fall);
		} else if (model_map_is(&m, "s")) {
			rc = read_payload(r, c.send, sizeof(c.send), &c.send_len);
			has_send = true;
		} else if (model_map_is(&m, "e")) {
			rc = read_payload(r, c.expect, sizeof(c.expect), &c.expect_len);
		} else if (model_map_is(&m, "x")) {
			rc = read_more(r, &more, &kind);
			has_more = true;
		} else {
			rc = mp_skip(r);
		}
		if (rc)
			return -EBADMSG;
	}
	if (!has_timeout)
		c.timeout_ms = model_check_timeout_ms(c.interval_ms);
	if (!has_send && c.kind == MODEL_CHECK_UDP)
		c.send_len = 1;
	if (rc || !has_kind)
		return -EBADMSG;
	if (has_more && c.kind != MODEL_CHECK_NONE)
		take_more(&c, &more, kind);
	if (model_check_rules(&c))
		return -EBADMSG;
	if (c.kind == MODEL_CHECK_NONE)
		model_check_default(MODEL_CHECK_NONE, &c);
	*ret_check = c;
	return 0;
}

/* ---- writing */

static void pack_string(struct model_packer *p, const char *key, const char *text)
{
	model_pack_text(p, key);
	model_pack_text(p, text);
}

static void pack_more(struct model_packer *p, const struct model_check *c)
{
	uint32_t flags = (c->is_head ? FLAG_HEAD : 0u) | (c->is_insecure ? FLAG_INSECURE : 0u) |
			 (c->is_dns_tcp ? FLAG_DNS_TCP : 0u);
	bool has_answer = !ip_is_zero(&c->answer);

	model_pack_text(p, "x");
	if (c->kind == MODEL_CHECK_UDP) {
		msgpack_pack_map(&p->pk, 1);
		pack_string(p, "m", c->match);
		return;
	}
	msgpack_pack_map(&p->pk, model_check_is_http(c)	      ? 8
				 : c->kind == MODEL_CHECK_DNS ? 6u + has_answer
							      : 2);
	model_pack_key_uint(p, "k", c->kind);
	pack_string(p, "g", c->target);
	if (model_check_is_http(c)) {
		pack_string(p, "m", c->match);
		pack_string(p, "h", c->host);
		pack_string(p, "n", c->sni);
		model_pack_key_uint(p, "a", c->status_lo);
		model_pack_key_uint(p, "b", c->status_hi);
		model_pack_key_uint(p, "o", flags);
	} else if (c->kind == MODEL_CHECK_DNS) {
		model_pack_key_uint(p, "q", c->dns_type);
		model_pack_key_uint(p, "c", c->dns_class);
		model_pack_key_uint(p, "d", c->dns_rcode);
		model_pack_key_uint(p, "o", flags);
		if (has_answer) {
			model_pack_text(p, "w");
			model_pack_addr(p, &c->answer);
		}
	}
}

void model_check_pack(struct model_packer *p, const struct model_check *c)
{
	bool udp = c->kind == MODEL_CHECK_UDP;
	bool has_more = c->kind > MODEL_CHECK_UDP || (udp && c->match[0]);

	if (c->kind == MODEL_CHECK_NONE) {
		msgpack_pack_map(&p->pk, 1);
		model_pack_key_uint(p, "k", c->kind);
		return;
	}
	msgpack_pack_map(&p->pk, 6u + 2u * udp + has_more);
	model_pack_key_uint(p, "k", udp ? MODEL_CHECK_UDP : MODEL_CHECK_TCP);
	model_pack_key_uint(p, "p", c->port);
	model_pack_key_uint(p, "i", c->interval_ms);
	model_pack_key_uint(p, "t", c->timeout_ms);
	model_pack_key_uint(p, "r", c->rise);
	model_pack_key_uint(p, "f", c->fall);
	if (udp) {
		model_pack_text(p, "s");
		model_pack_bin(p, c->send, c->send_len);
		model_pack_text(p, "e");
		model_pack_bin(p, c->expect, c->expect_len);
	}
	if (has_more)
		pack_more(p, c);
}
