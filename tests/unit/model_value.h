/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/unit/model_value.h - a node, a service, a backend, and values packed by hand. Included by test_model*.c. */
#ifndef MODEL_VALUE_H
#define MODEL_VALUE_H

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <msgpack.h>

#include "bpf/dp_abi.h"
#include "edge/model.h"
#include "gossip/mp.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static inline struct ip_addr addr(const char *text)
{
	struct ip_addr a;

	if (ip_parse(text, &a))
		fail_msg("bad address %s", text);
	return a;
}

static inline void assert_same_check(const struct model_check *a, const struct model_check *b)
{
	assert_true(a->kind == b->kind && a->port == b->port && a->interval_ms == b->interval_ms &&
		    a->timeout_ms == b->timeout_ms && a->rise == b->rise && a->fall == b->fall &&
		    a->send_len == b->send_len && a->expect_len == b->expect_len);
	assert_memory_equal(a->send, b->send, sizeof(a->send));
	assert_memory_equal(a->expect, b->expect, sizeof(a->expect));
	assert_string_equal(a->match, b->match);
	assert_string_equal(a->host, b->host);
	assert_string_equal(a->sni, b->sni);
	assert_true(a->status_lo == b->status_lo && a->status_hi == b->status_hi &&
		    a->is_head == b->is_head && a->is_insecure == b->is_insecure &&
		    a->is_dns_tcp == b->is_dns_tcp && a->dns_type == b->dns_type &&
		    a->dns_class == b->dns_class && a->dns_rcode == b->dns_rcode &&
		    ip_equal(&a->answer, &b->answer));
}

static inline struct model_node a_node(void)
{
	struct model_node n = {.name = "fra-1",
			       .region = "fra",
			       .mesh_addr = addr("10.9.0.1"),
			       .is_edge = true,
			       .has_forwarder = true,
			       .wg_addr = addr("2001:db8::7"),
			       .wg_port = 51820,
			       .version = "0.1.0"};

	memset(n.wg_pub, 7, sizeof(n.wg_pub));
	return n;
}

static inline struct model_service a_service(void)
{
	return (struct model_service){
		.name = "dns",
		.vip = {addr("192.0.2.53"), addr("2001:db8::53")},
		.vip_count = 2,
		.port = {{IPPROTO_UDP, {53, 53}}, {IPPROTO_TCP, {53, 53}}},
		.port_count = 2,
		.created = 42,
	};
}

static inline struct model_backend a_backend(void)
{
	struct model_backend b = {.service = "dns",
				  .addr = addr("10.0.0.5"),
				  .port = 5353,
				  .weight = 100,
				  .token = DP_TOKEN(3, 77),
				  .is_draining = true};

	assert_int_equal(model_check_parse("udp:send=hex:00ff,expect=text:ok,interval=200ms",
					   &b.check, NULL),
			 0);
	return b;
}

struct value {
	uint8_t data[512];
	struct mp_buf buf;
	msgpack_packer pk;
};

static inline void begin(struct value *v, size_t pairs)
{
	v->buf = (struct mp_buf){.p = v->data, .cap = sizeof(v->data)};
	msgpack_packer_init(&v->pk, &v->buf, mp_buf_write);
	msgpack_pack_map(&v->pk, pairs);
}

static inline void text(struct value *v, const char *t)
{
	msgpack_pack_str_with_body(&v->pk, t, strlen(t));
}

#endif
