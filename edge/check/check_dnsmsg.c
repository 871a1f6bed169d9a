/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A DNS query, and whether its reply is what was wanted. PURE: the C library's message functions, bounded by the message. */
#include <arpa/nameser.h>
#include <string.h>
#include <strings.h>

#include "edge/check/check_int.h"

static uint8_t *put_u16(uint8_t *to, unsigned value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
	return to + 2;
}

size_t check_dns_query(const struct model_check *spec, uint16_t id,
		       uint8_t ret_query[CHECK_DNS_QUERY_MAX])
{
	uint8_t *p = ret_query;
	const char *name = spec->target;

	p = put_u16(p, id);
	p = put_u16(p, 0x0100); /* recursion desired */
	p = put_u16(p, 1);
	memset(p, 0, 6);
	p += 6;
	/* Labels were looked at when the check was made; a final dot ends the name. */
	while (*name && strcmp(name, ".") != 0) {
		size_t len = strcspn(name, ".");

		*p++ = (uint8_t)len;
		memcpy(p, name, len);
		p += len;
		name += len;
		name += *name == '.';
	}
	*p++ = 0;
	p = put_u16(p, spec->dns_type);
	p = put_u16(p, spec->dns_class);
	return (size_t)(p - ret_query);
}

/* "a.example." and "a.example" are one name. */
static bool is_same_name(const char *a, const char *b)
{
	size_t a_len = strlen(a), b_len = strlen(b);

	a_len -= a_len && a[a_len - 1] == '.';
	b_len -= b_len && b[b_len - 1] == '.';
	return a_len == b_len && strncasecmp(a, b, a_len) == 0;
}

static bool is_question_ours(const struct model_check *spec, ns_msg *msg)
{
	ns_rr rr;

	return ns_msg_count(*msg, ns_s_qd) == 1 && !ns_parserr(msg, ns_s_qd, 0, &rr) &&
	       is_same_name(ns_rr_name(rr), spec->target) && ns_rr_type(rr) == spec->dns_type &&
	       ns_rr_class(rr) == spec->dns_class;
}

static bool is_wanted(const ns_rr *rr, const struct ip_addr *a)
{
	bool is_v4 = ip_is_v4(a);

	return ns_rr_type(*rr) == (is_v4 ? ns_t_a : ns_t_aaaa) &&
	       ns_rr_rdlen(*rr) == (is_v4 ? 4 : 16) &&
	       memcmp(ns_rr_rdata(*rr), is_v4 ? a->b + 12 : a->b, is_v4 ? 4 : 16) == 0;
}

bool check_dns_is_answer(const struct model_check *spec, uint16_t id, const uint8_t *reply,
			 size_t len)
{
	ns_msg msg;

	return len <= CHECK_DNS_REPLY_MAX && !ns_initparse(reply, (int)len, &msg) &&
	       ns_msg_getflag(msg, ns_f_qr) && ns_msg_id(msg) == id && is_question_ours(spec, &msg);
}

enum check_verdict check_dns_judge(const struct model_check *spec, uint16_t id,
				   const uint8_t *reply, size_t len, char ret_why[96])
{
	char got[MODEL_DNS_TEXT_MAX], want[MODEL_DNS_TEXT_MAX], addr[IP_TEXT_MAX];
	unsigned rcode;
	ns_msg msg;
	ns_rr rr;

	if (len > CHECK_DNS_REPLY_MAX || ns_initparse(reply, (int)len, &msg) ||
	    !ns_msg_getflag(msg, ns_f_qr)) {
		snprintf(ret_why, 96, "reply of %zu bytes is no DNS answer", len);
		return CHECK_BAD;
	}
	if (ns_msg_id(msg) != id || !is_question_ours(spec, &msg)) {
		snprintf(ret_why, 96, "reply of %zu bytes answers another question", len);
		return CHECK_BAD;
	}
	rcode = (unsigned)ns_msg_getflag(msg, ns_f_rcode);
	if (rcode != spec->dns_rcode) {
		snprintf(ret_why, 96, "rcode %s, want %s",
			 model_dns_rcode_text((uint8_t)rcode, got),
			 model_dns_rcode_text(spec->dns_rcode, want));
		return CHECK_BAD;
	}
	snprintf(ret_why, 96, "rcode %s", model_dns_rcode_text((uint8_t)rcode, got));
	if (ip_is_zero(&spec->answer))
		return CHECK_GOOD;
	for (int i = 0; i < ns_msg_count(msg, ns_s_an) && !ns_parserr(&msg, ns_s_an, i, &rr); i++)
		if (is_wanted(&rr, &spec->answer))
			return CHECK_GOOD;
	snprintf(ret_why, 96, "%s is not among %d answers%s", ip_text(&spec->answer, addr),
		 ns_msg_count(msg, ns_s_an), ns_msg_getflag(msg, ns_f_tc) ? ", truncated" : "");
	return CHECK_BAD;
}
