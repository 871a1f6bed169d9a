/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Health check specifications: text for people, a map inside the backend's record. */
#include <errno.h>
#include <string.h>

#include "edge/model_map.h"

#define INTERVAL_DEFAULT_MS 1000u
#define TIMEOUT_DEFAULT_MS 500u
#define INTERVAL_MIN_MS 50u /* a fifth of it, while changing state, is still a sane timer */
#define INTERVAL_MAX_MS 3600000u
#define TIMEOUT_MIN_MS 10u
#define STREAK_DEFAULT 2
#define STREAK_MAX 20

static uint32_t default_timeout_ms(uint32_t interval_ms)
{
	return interval_ms < TIMEOUT_DEFAULT_MS ? interval_ms : TIMEOUT_DEFAULT_MS;
}

void model_check_default(enum model_check_kind kind, struct model_check *ret_check)
{
	*ret_check = (struct model_check){
		.kind = (uint8_t)kind,
		.interval_ms = INTERVAL_DEFAULT_MS,
		.timeout_ms = TIMEOUT_DEFAULT_MS,
		.rise = STREAK_DEFAULT,
		.fall = STREAK_DEFAULT,
		.send_len = kind == MODEL_CHECK_UDP ? 1 : 0,
	};
}

int model_check_rules(const struct model_check *c)
{
	if (c->kind == MODEL_CHECK_NONE)
		return 0; /* the rest of it says nothing */
	if (c->kind > MODEL_CHECK_UDP || c->interval_ms < INTERVAL_MIN_MS ||
	    c->interval_ms > INTERVAL_MAX_MS || c->timeout_ms < TIMEOUT_MIN_MS ||
	    c->timeout_ms > c->interval_ms || c->rise == 0 || c->rise > STREAK_MAX ||
	    c->fall == 0 || c->fall > STREAK_MAX || c->send_len > sizeof(c->send) ||
	    c->expect_len > sizeof(c->expect))
		return -EBADMSG;
	if (c->kind == MODEL_CHECK_UDP ? c->send_len == 0 : c->send_len || c->expect_len)
		return -EBADMSG;
	return 0;
}

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

int model_check_read(struct mp_reader *r, struct model_check *ret_check)
{
	bool has_kind = false, has_timeout = false, has_send = false;
	struct model_check c;
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
			rc = model_read_u32(r, INTERVAL_MAX_MS, &c.interval_ms);
		} else if (model_map_is(&m, "t")) {
			rc = model_read_u32(r, INTERVAL_MAX_MS, &c.timeout_ms);
			has_timeout = true;
		} else if (model_map_is(&m, "r")) {
			rc = model_read_u8(r, STREAK_MAX, &c.rise);
		} else if (model_map_is(&m, "f")) {
			rc = model_read_u8(r, STREAK_MAX, &c.fall);
		} else if (model_map_is(&m, "s")) {
			rc = read_payload(r, c.send, sizeof(c.send), &c.send_len);
			has_send = true;
		} else if (model_map_is(&m, "e")) {
			rc = read_payload(r, c.expect, sizeof(c.expect), &c.expect_len);
		} else {
			rc = mp_skip(r);
		}
		if (rc)
			return -EBADMSG;
	}
	if (!has_timeout)
		c.timeout_ms = default_timeout_ms(c.interval_ms);
	if (!has_send && c.kind == MODEL_CHECK_UDP)
		c.send_len = 1;
	if (rc || !has_kind || model_check_rules(&c))
		return -EBADMSG;
	if (c.kind == MODEL_CHECK_NONE)
		model_check_default(MODEL_CHECK_NONE, &c);
	*ret_check = c;
	return 0;
}

void model_check_pack(struct model_packer *p, const struct model_check *c)
{
	bool udp = c->kind == MODEL_CHECK_UDP;

	msgpack_pack_map(&p->pk, udp ? 8 : c->kind == MODEL_CHECK_NONE ? 1 : 6);
	model_pack_key_uint(p, "k", c->kind);
	if (c->kind == MODEL_CHECK_NONE)
		return;
	model_pack_key_uint(p, "p", c->port);
	model_pack_key_uint(p, "i", c->interval_ms);
	model_pack_key_uint(p, "t", c->timeout_ms);
	model_pack_key_uint(p, "r", c->rise);
	model_pack_key_uint(p, "f", c->fall);
	if (!udp)
		return;
	model_pack_text(p, "s");
	model_pack_bin(p, c->send, c->send_len);
	model_pack_text(p, "e");
	model_pack_bin(p, c->expect, c->expect_len);
}

/* ---- text */

static int parse_uint(const char *text, uint32_t max, uint32_t *ret, const char **ret_end)
{
	uint32_t v = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9' && p - text < 8; p++)
		v = v * 10 + (uint32_t)(*p - '0');
	if (p == text || v > max || (*p >= '0' && *p <= '9'))
		return -EINVAL;
	*ret = v;
	*ret_end = p;
	return 0;
}

/* "500ms", "3s" */
static int parse_ms(const char *text, uint32_t *ret_ms)
{
	const char *end;
	uint32_t v;

	if (parse_uint(text, INTERVAL_MAX_MS, &v, &end))
		return -EINVAL;
	if (strcmp(end, "s") == 0 && v <= INTERVAL_MAX_MS / 1000)
		v *= 1000;
	else if (strcmp(end, "ms") != 0)
		return -EINVAL;
	*ret_ms = v;
	return 0;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* "hex:00ff" or "text:ok" */
static int parse_payload(const char *text, uint8_t ret_data[64], uint8_t *ret_len)
{
	uint8_t data[64] = {0};
	size_t len;

	if (strncmp(text, "text:", 5) == 0) {
		len = strlen(text + 5);
		if (len > sizeof(data))
			return -EINVAL;
		memcpy(data, text + 5, len);
	} else if (strncmp(text, "hex:", 4) == 0) {
		len = strlen(text + 4);
		if (len % 2 || len > 2 * sizeof(data))
			return -EINVAL;
		len /= 2;
		for (size_t i = 0; i < len; i++) {
			int hi = hex_digit(text[4 + 2 * i]), lo = hex_digit(text[5 + 2 * i]);

			if (hi < 0 || lo < 0)
				return -EINVAL;
			data[i] = (uint8_t)(hi << 4 | lo);
		}
	} else {
		return -EINVAL;
	}
	memcpy(ret_data, data, sizeof(data));
	*ret_len = (uint8_t)len;
	return 0;
}

static int bad_value(struct err *e, const char *key, const char *got, const char *want)
{
	return err_set(e, -EINVAL, "check: %s: got '%.40s', want %s", key, got, want);
}

static int parse_streak(const char *key, const char *value, uint8_t *ret, struct err *e)
{
	const char *end;
	uint32_t v;

	if (parse_uint(value, STREAK_MAX, &v, &end) || *end || v == 0)
		return bad_value(e, key, value, "1 to 20");
	*ret = (uint8_t)v;
	return 0;
}

static int parse_option(struct model_check *c, const char *key, const char *value,
			bool *ret_has_timeout, struct err *e)
{
	if (strcmp(key, "interval") == 0) {
		if (parse_ms(value, &c->interval_ms) || c->interval_ms < INTERVAL_MIN_MS)
			return bad_value(e, key, value, "50ms to 3600s");
	} else if (strcmp(key, "timeout") == 0) {
		if (parse_ms(value, &c->timeout_ms) || c->timeout_ms < TIMEOUT_MIN_MS)
			return bad_value(e, key, value, "10ms to the interval");
		*ret_has_timeout = true;
	} else if (strcmp(key, "rise") == 0) {
		return parse_streak(key, value, &c->rise, e);
	} else if (strcmp(key, "fall") == 0) {
		return parse_streak(key, value, &c->fall, e);
	} else if (strcmp(key, "port") == 0) {
		if (ip_parse_port(value, &c->port))
			return bad_value(e, key, value, "1 to 65535");
	} else if (c->kind == MODEL_CHECK_UDP && strcmp(key, "send") == 0) {
		if (parse_payload(value, c->send, &c->send_len) || c->send_len == 0)
			return bad_value(e, key, value, "hex:DIGITS or text:TEXT, 1 to 64 bytes");
	} else if (c->kind == MODEL_CHECK_UDP && strcmp(key, "expect") == 0) {
		if (parse_payload(value, c->expect, &c->expect_len))
			return bad_value(e, key, value,
					 "hex:DIGITS or text:TEXT, at most 64 bytes");
	} else {
		return err_set(e, -EINVAL,
			       "check: got option '%.40s', want interval, timeout, rise, fall, "
			       "port%s",
			       key, c->kind == MODEL_CHECK_UDP ? ", send, expect" : "");
	}
	return 0;
}

static int parse_kind(const char *text, size_t len, struct model_check *ret_check)
{
	static const char *const name[] = {"none", "tcp", "udp"};

	for (size_t i = 0; i < sizeof(name) / sizeof(name[0]); i++) {
		if (strlen(name[i]) == len && memcmp(text, name[i], len) == 0) {
			model_check_default((enum model_check_kind)i, ret_check);
			return 0;
		}
	}
	return -EINVAL;
}

int model_check_parse(const char *text, struct model_check *ret_check, struct err *e)
{
	char buf[MODEL_CHECK_TEXT_MAX], *next = NULL;
	size_t len = strnlen(text, sizeof(buf)), kind_len = strcspn(text, ":");
	bool has_timeout = false;
	struct model_check c;

	if (len == sizeof(buf))
		return err_set(e, -EINVAL, "check: longer than %d characters",
			       MODEL_CHECK_TEXT_MAX - 1);
	if (parse_kind(text, kind_len, &c))
		return err_set(e, -EINVAL, "check: got '%.40s', want none, tcp or udp", text);
	memcpy(buf, text, len + 1);
	if (buf[kind_len] == ':')
		next = buf + kind_len + 1;
	if (next && c.kind == MODEL_CHECK_NONE)
		return err_set(e, -EINVAL, "check: none takes no options");
	while (next) {
		char *key = next, *comma = strchr(key, ','), *equals;

		next = comma ? comma + 1 : NULL;
		if (comma)
			*comma = 0;
		equals = strchr(key, '=');
		if (!equals)
			return err_set(e, -EINVAL, "check: got '%.40s', want option=value", key);
		*equals = 0;
		if (parse_option(&c, key, equals + 1, &has_timeout, e))
			return -EINVAL;
	}
	if (!has_timeout)
		c.timeout_ms = default_timeout_ms(c.interval_ms);
	if (c.timeout_ms > c.interval_ms)
		return err_set(e, -EINVAL,
			       "check: timeout: got %ums, want at most the interval (%ums)",
			       c.timeout_ms, c.interval_ms);
	*ret_check = c;
	return 0;
}

static void __attribute__((format(printf, 3, 4)))
add(char buf[MODEL_CHECK_TEXT_MAX], size_t *len, const char *fmt, ...)
{
	size_t left = MODEL_CHECK_TEXT_MAX - *len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf + *len, left, fmt, ap);
	va_end(ap);
	*len += n < 0 ? 0 : (size_t)n < left ? (size_t)n : left - 1;
}

static void add_ms(char buf[MODEL_CHECK_TEXT_MAX], size_t *len, const char *key, uint32_t ms)
{
	if (ms % 1000 == 0)
		add(buf, len, ",%s=%us", key, ms / 1000);
	else
		add(buf, len, ",%s=%ums", key, ms);
}

static void add_payload(char buf[MODEL_CHECK_TEXT_MAX], size_t *len, const char *key,
			const uint8_t *data, uint8_t data_len)
{
	bool is_text = true;

	for (uint8_t i = 0; i < data_len; i++)
		if (data[i] <= 0x20 || data[i] >= 0x7f || data[i] == ',')
			is_text = false;
	add(buf, len, ",%s=%s", key, is_text ? "text:" : "hex:");
	for (uint8_t i = 0; i < data_len; i++)
		add(buf, len, is_text ? "%c" : "%02x", data[i]);
}

const char *model_check_text(const struct model_check *c, char buf[MODEL_CHECK_TEXT_MAX])
{
	static const char *const name[] = {"none", "tcp", "udp"};
	size_t len = 0, kind_len;

	add(buf, &len, "%s", c->kind <= MODEL_CHECK_UDP ? name[c->kind] : "?");
	kind_len = len;
	if (c->kind == MODEL_CHECK_NONE)
		return buf;
	if (c->interval_ms != INTERVAL_DEFAULT_MS)
		add_ms(buf, &len, "interval", c->interval_ms);
	if (c->timeout_ms != default_timeout_ms(c->interval_ms))
		add_ms(buf, &len, "timeout", c->timeout_ms);
	if (c->rise != STREAK_DEFAULT)
		add(buf, &len, ",rise=%u", c->rise);
	if (c->fall != STREAK_DEFAULT)
		add(buf, &len, ",fall=%u", c->fall);
	if (c->port)
		add(buf, &len, ",port=%u", c->port);
	if (c->kind == MODEL_CHECK_UDP && !(c->send_len == 1 && c->send[0] == 0))
		add_payload(buf, &len, "send", c->send, c->send_len);
	if (c->kind == MODEL_CHECK_UDP && c->expect_len)
		add_payload(buf, &len, "expect", c->expect, c->expect_len);
	if (len > kind_len)
		buf[kind_len] = ':';
	return buf;
}
