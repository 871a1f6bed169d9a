/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Health check specifications as text for people. */
#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "edge/model_check.h"

static const char *const kind_name[MODEL_CHECK_KINDS] = {"none",  "tcp", "udp", "http",
							 "https", "dns", "exec"};

/* Names of numbers, the usual ones; others are written as numbers. */
struct dns_word {
	const char *name;
	uint16_t number;
};
static const struct dns_word dns_types[] = {
	{"A", 1},    {"NS", 2},	   {"CNAME", 5}, {"SOA", 6},	 {"PTR", 12},	{"MX", 15},
	{"TXT", 16}, {"AAAA", 28}, {"SRV", 33},	 {"DNSKEY", 48}, {"HTTPS", 65}, {NULL, 0},
};
static const struct dns_word dns_classes[] = {{"IN", 1}, {"CH", 3}, {"HS", 4}, {NULL, 0}};
static const struct dns_word dns_rcodes[] = {
	{"NOERROR", 0}, {"FORMERR", 1}, {"SERVFAIL", 2}, {"NXDOMAIN", 3},
	{"NOTIMP", 4},	{"REFUSED", 5}, {NULL, 0},
};

static const char *dns_text(const struct dns_word *word, unsigned number,
			    char buf[MODEL_DNS_TEXT_MAX])
{
	for (; word->name; word++)
		if (word->number == number)
			return word->name;
	snprintf(buf, MODEL_DNS_TEXT_MAX, "%u", number);
	return buf;
}

const char *model_dns_rcode_text(uint8_t rcode, char buf[MODEL_DNS_TEXT_MAX])
{
	return dns_text(dns_rcodes, rcode, buf);
}

/* ---- values */

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

	if (parse_uint(text, CHECK_INTERVAL_MAX_MS, &v, &end))
		return -EINVAL;
	if (strcmp(end, "s") == 0 && v <= CHECK_INTERVAL_MAX_MS / 1000)
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

	if (parse_uint(value, CHECK_STREAK_MAX, &v, &end) || *end || v == 0)
		return bad_value(e, key, value, "1 to 20");
	*ret = (uint8_t)v;
	return 0;
}

/* One of two words. */
static int parse_switch(const char *value, const char *off, const char *on, bool *ret_is_on)
{
	if (strcmp(value, on) && strcmp(value, off))
		return -EINVAL;
	*ret_is_on = strcmp(value, on) == 0;
	return 0;
}

/* -EINVAL: too long, or is_good says no. */
static int parse_word(const char *value, char *ret_text, size_t cap, bool (*is_good)(const char *))
{
	size_t len = strlen(value);

	if (len >= cap || !is_good(value))
		return -EINVAL;
	memset(ret_text, 0, cap);
	memcpy(ret_text, value, len);
	return 0;
}

/* "200", "200-299" */
static int parse_status(const char *value, struct model_check *c)
{
	uint32_t lo, hi;
	const char *end;

	if (parse_uint(value, 599, &lo, &end))
		return -EINVAL;
	hi = lo;
	if (*end == '-' && parse_uint(end + 1, 599, &hi, &end))
		return -EINVAL;
	if (*end || lo < 100 || hi < lo)
		return -EINVAL;
	c->status_lo = (uint16_t)lo;
	c->status_hi = (uint16_t)hi;
	return 0;
}

static int parse_dns(const struct dns_word *word, const char *value, uint32_t max, uint32_t *ret)
{
	const char *end;

	for (; word->name; word++) {
		if (strcmp(word->name, value) == 0) {
			*ret = word->number;
			return 0;
		}
	}
	return parse_uint(value, max, ret, &end) || *end ? -EINVAL : 0;
}

static int parse_match(struct model_check *c, const char *value, struct err *e)
{
	char why[80], want[160];
	regex_t re;
	int rc;

	if (strlen(value) >= sizeof(c->match))
		return err_set(e, -EINVAL, "check: match: got %zu characters, want at most %zu",
			       strlen(value), sizeof(c->match) - 1);
	if (parse_word(value, c->match, sizeof(c->match), model_check_match_is_good))
		return bad_value(e, "match", value,
				 "printable ASCII, no \\1 to \\9, at most one {n,m}, to 32, and no "
				 "\\ at the end");
	rc = regcomp(&re, value, REG_EXTENDED | REG_NOSUB);
	if (rc) {
		regerror(rc, &re, why, sizeof(why));
		snprintf(want, sizeof(want), "an extended regular expression: %s", why);
		return bad_value(e, "match", value, want);
	}
	regfree(&re);
	return 0;
}

/* ---- options: 1 = it is none of this kind */

static int option_udp(struct model_check *c, const char *key, const char *value, struct err *e)
{
	if (strcmp(key, "send") == 0) {
		if (parse_payload(value, c->send, &c->send_len) || c->send_len == 0)
			return bad_value(e, key, value, "hex:DIGITS or text:TEXT, 1 to 64 bytes");
	} else if (strcmp(key, "expect") == 0) {
		if (parse_payload(value, c->expect, &c->expect_len))
			return bad_value(e, key, value,
					 "hex:DIGITS or text:TEXT, at most 64 bytes");
	} else if (strcmp(key, "match") == 0) {
		return parse_match(c, value, e);
	} else {
		return 1;
	}
	return 0;
}

static int option_http(struct model_check *c, const char *key, const char *value, struct err *e)
{
	bool is_tls = c->kind == MODEL_CHECK_HTTPS;

	if (strcmp(key, "path") == 0) {
		if (parse_word(value, c->target, sizeof(c->target), model_check_path_is_good))
			return bad_value(e, key, value,
					 "/ and at most 126 characters of printable ASCII, no "
					 "blank, no #");
	} else if (strcmp(key, "status") == 0) {
		if (parse_status(value, c))
			return bad_value(e, key, value, "100 to 599, or LO-HI of them");
	} else if (strcmp(key, "host") == 0) {
		if (!*value ||
		    parse_word(value, c->host, sizeof(c->host), model_check_host_is_good))
			return bad_value(e, key, value, "a host name of at most 63 characters");
	} else if (strcmp(key, "method") == 0) {
		if (parse_switch(value, "GET", "HEAD", &c->is_head))
			return bad_value(e, key, value, "GET or HEAD");
	} else if (strcmp(key, "match") == 0) {
		return parse_match(c, value, e);
	} else if (is_tls && strcmp(key, "sni") == 0) {
		if (!*value || parse_word(value, c->sni, sizeof(c->sni), model_check_sni_is_good))
			return bad_value(e, key, value, "a host name of at most 63 characters");
	} else if (is_tls && strcmp(key, "insecure") == 0) {
		if (parse_switch(value, "off", "on", &c->is_insecure))
			return bad_value(e, key, value, "on or off");
	} else {
		return 1;
	}
	return 0;
}

static int option_dns(struct model_check *c, const char *key, const char *value, struct err *e)
{
	uint32_t n;

	if (strcmp(key, "name") == 0) {
		if (parse_word(value, c->target, sizeof(c->target), model_check_name_is_good))
			return bad_value(e, key, value, "a domain name of at most 127 characters");
	} else if (strcmp(key, "type") == 0) {
		if (parse_dns(dns_types, value, UINT16_MAX, &n) || n == 0)
			return bad_value(e, key, value, "A, AAAA, SOA ... or 1 to 65535");
		c->dns_type = (uint16_t)n;
	} else if (strcmp(key, "class") == 0) {
		if (parse_dns(dns_classes, value, UINT16_MAX, &n) || n == 0)
			return bad_value(e, key, value, "IN, CH, HS or 1 to 65535");
		c->dns_class = (uint16_t)n;
	} else if (strcmp(key, "rcode") == 0) {
		if (parse_dns(dns_rcodes, value, 15, &n))
			return bad_value(e, key, value,
					 "NOERROR, NXDOMAIN, REFUSED ... or 0 to 15");
		c->dns_rcode = (uint8_t)n;
	} else if (strcmp(key, "answer") == 0) {
		if (ip_parse(value, &c->answer) || ip_is_zero(&c->answer))
			return bad_value(e, key, value, "an address");
	} else if (strcmp(key, "proto") == 0) {
		if (parse_switch(value, "udp", "tcp", &c->is_dns_tcp))
			return bad_value(e, key, value, "udp or tcp");
	} else {
		return 1;
	}
	return 0;
}

static int option_exec(struct model_check *c, const char *key, const char *value, struct err *e)
{
	if (strcmp(key, "run") != 0)
		return 1;
	if (parse_word(value, c->target, sizeof(c->target), model_check_run_is_good))
		return bad_value(e, key, value,
				 "PROGRAM [ARGUMENT ...]: a file name, one blank before each of at "
				 "most 16 arguments, 127 characters together");
	return 0;
}

static int option_of_kind(struct model_check *c, const char *key, const char *value, struct err *e)
{
	static const char *const more[MODEL_CHECK_KINDS] = {
		[MODEL_CHECK_UDP] = ", send, expect, match",
		[MODEL_CHECK_HTTP] = ", path, status, match, host, method",
		[MODEL_CHECK_HTTPS] = ", path, status, match, host, method, sni, insecure",
		[MODEL_CHECK_DNS] = ", name, type, class, rcode, answer, proto",
		[MODEL_CHECK_EXEC] = ", run",
	};
	int rc = 1;

	if (c->kind == MODEL_CHECK_UDP)
		rc = option_udp(c, key, value, e);
	else if (model_check_is_http(c))
		rc = option_http(c, key, value, e);
	else if (c->kind == MODEL_CHECK_DNS)
		rc = option_dns(c, key, value, e);
	else if (c->kind == MODEL_CHECK_EXEC)
		rc = option_exec(c, key, value, e);
	if (rc != 1)
		return rc;
	return err_set(e, -EINVAL,
		       "check: got option '%.40s', want interval, timeout, rise, fall, port%s", key,
		       more[c->kind] ? more[c->kind] : "");
}

static int parse_option(struct model_check *c, const char *key, const char *value,
			bool *ret_has_timeout, struct err *e)
{
	if (strcmp(key, "interval") == 0) {
		if (parse_ms(value, &c->interval_ms) || c->interval_ms < CHECK_INTERVAL_MIN_MS)
			return bad_value(e, key, value, "50ms to 3600s");
	} else if (strcmp(key, "timeout") == 0) {
		if (parse_ms(value, &c->timeout_ms) || c->timeout_ms < CHECK_TIMEOUT_MIN_MS)
			return bad_value(e, key, value, "10ms to the interval");
		*ret_has_timeout = true;
	} else if (strcmp(key, "rise") == 0) {
		return parse_streak(key, value, &c->rise, e);
	} else if (strcmp(key, "fall") == 0) {
		return parse_streak(key, value, &c->fall, e);
	} else if (strcmp(key, "port") == 0) {
		if (ip_parse_port(value, &c->port))
			return bad_value(e, key, value, "1 to 65535");
	} else {
		return option_of_kind(c, key, value, e);
	}
	return 0;
}

/* Ends the option at the comma behind it, takes the \ from before commas that are its own, and returns what follows. */
static char *cut_option(char *text)
{
	char *to = text;

	for (char *p = text; *p; p++) {
		if (*p == ',') {
			*to = 0;
			return p + 1;
		}
		if (p[0] == '\\' && p[1] == ',')
			p++;
		*to++ = *p;
	}
	*to = 0;
	return NULL;
}

static int check_together(const struct model_check *c, struct err *e)
{
	if (c->timeout_ms > c->interval_ms)
		return err_set(e, -EINVAL,
			       "check: timeout: got %ums, want at most the interval (%ums)",
			       c->timeout_ms, c->interval_ms);
	if (c->kind == MODEL_CHECK_DNS && !c->target[0])
		return err_set(e, -EINVAL, "check: dns: want name=DOMAIN");
	if (c->kind == MODEL_CHECK_EXEC && !c->target[0])
		return err_set(e, -EINVAL, "check: exec: want run=PROGRAM");
	if (c->is_head && c->match[0])
		return err_set(e, -EINVAL, "check: match: method HEAD brings no body");
	return model_check_rules(c) ? err_set(e, -EINVAL, "check: these values don't go together")
				    : 0;
}

static int parse_kind(const char *text, size_t len, struct model_check *ret_check)
{
	for (size_t i = 0; i < MODEL_CHECK_KINDS; i++) {
		if (strlen(kind_name[i]) == len && memcmp(text, kind_name[i], len) == 0) {
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
		return err_set(e, -EINVAL,
			       "check: got '%.40s', want none, tcp, udp, http, https, dns or exec",
			       text);
	memcpy(buf, text, len + 1);
	if (buf[kind_len] == ':')
		next = buf + kind_len + 1;
	if (next && c.kind == MODEL_CHECK_NONE)
		return err_set(e, -EINVAL, "check: none takes no options");
	while (next) {
		char *key = next, *equals;

		next = cut_option(key);
		equals = strchr(key, '=');
		if (!equals)
			return err_set(e, -EINVAL, "check: got '%.40s', want option=value", key);
		*equals = 0;
		if (parse_option(&c, key, equals + 1, &has_timeout, e))
			return -EINVAL;
	}
	if (!has_timeout)
		c.timeout_ms = model_check_timeout_ms(c.interval_ms);
	if (check_together(&c, e))
		return -EINVAL;
	*ret_check = c;
	return 0;
}

/* ---- printing */

struct out {
	char *buf;
	size_t len;
};

static void __attribute__((format(printf, 2, 3))) add(struct out *o, const char *fmt, ...)
{
	size_t left = MODEL_CHECK_TEXT_MAX - o->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(o->buf + o->len, left, fmt, ap);
	va_end(ap);
	o->len += n < 0 ? 0 : (size_t)n < left ? (size_t)n : left - 1;
}

static void add_ms(struct out *o, const char *key, uint32_t ms)
{
	if (ms % 1000 == 0)
		add(o, ",%s=%us", key, ms / 1000);
	else
		add(o, ",%s=%ums", key, ms);
}

static void add_payload(struct out *o, const char *key, const uint8_t *data, uint8_t data_len)
{
	bool is_text = true;

	for (uint8_t i = 0; i < data_len; i++)
		if (data[i] <= 0x20 || data[i] >= 0x7f || data[i] == ',' || data[i] == '\\')
			is_text = false;
	add(o, ",%s=%s", key, is_text ? "text:" : "hex:");
	for (uint8_t i = 0; i < data_len; i++)
		add(o, is_text ? "%c" : "%02x", data[i]);
}

static void add_string(struct out *o, const char *key, const char *text)
{
	if (!text[0])
		return;
	add(o, ",%s=", key);
	for (; *text; text++)
		add(o, *text == ',' ? "\\%c" : "%c", *text);
}

static void add_http(struct out *o, const struct model_check *c)
{
	if (strcmp(c->target, "/") != 0)
		add_string(o, "path", c->target);
	if (c->status_lo == c->status_hi)
		add(o, ",status=%u", c->status_lo);
	else if (c->status_lo != CHECK_STATUS_LO || c->status_hi != CHECK_STATUS_HI)
		add(o, ",status=%u-%u", c->status_lo, c->status_hi);
	add_string(o, "host", c->host);
	add_string(o, "sni", c->sni);
	if (c->is_head)
		add(o, ",method=HEAD");
	if (c->is_insecure)
		add(o, ",insecure=on");
}

static void add_dns(struct out *o, const struct model_check *c)
{
	char buf[MODEL_DNS_TEXT_MAX], addr[IP_TEXT_MAX];

	add_string(o, "name", c->target);
	if (c->dns_type != 1)
		add(o, ",type=%s", dns_text(dns_types, c->dns_type, buf));
	if (c->dns_class != 1)
		add(o, ",class=%s", dns_text(dns_classes, c->dns_class, buf));
	if (c->dns_rcode)
		add(o, ",rcode=%s", dns_text(dns_rcodes, c->dns_rcode, buf));
	if (!ip_is_zero(&c->answer))
		add(o, ",answer=%s", ip_text(&c->answer, addr));
	if (c->is_dns_tcp)
		add(o, ",proto=tcp");
}

const char *model_check_text(const struct model_check *c, char buf[MODEL_CHECK_TEXT_MAX])
{
	struct out o = {.buf = buf};
	size_t kind_len;

	add(&o, "%s", c->kind < MODEL_CHECK_KINDS ? kind_name[c->kind] : "?");
	kind_len = o.len;
	if (c->kind == MODEL_CHECK_NONE)
		return buf;
	if (c->interval_ms != CHECK_INTERVAL_DEFAULT_MS)
		add_ms(&o, "interval", c->interval_ms);
	if (c->timeout_ms != model_check_timeout_ms(c->interval_ms))
		add_ms(&o, "timeout", c->timeout_ms);
	if (c->rise != CHECK_STREAK_DEFAULT)
		add(&o, ",rise=%u", c->rise);
	if (c->fall != CHECK_STREAK_DEFAULT)
		add(&o, ",fall=%u", c->fall);
	if (c->port)
		add(&o, ",port=%u", c->port);
	if (c->kind == MODEL_CHECK_UDP && !(c->send_len == 1 && c->send[0] == 0))
		add_payload(&o, "send", c->send, c->send_len);
	if (c->kind == MODEL_CHECK_UDP && c->expect_len)
		add_payload(&o, "expect", c->expect, c->expect_len);
	if (model_check_is_http(c))
		add_http(&o, c);
	if (c->kind == MODEL_CHECK_DNS)
		add_dns(&o, c);
	if (c->kind == MODEL_CHECK_EXEC)
		add_string(&o, "run", c->target);
	add_string(&o, "match", c->match);
	if (o.len > kind_len)
		buf[kind_len] = ':';
	return buf;
}
