/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/bpf/frag_cases.h - what the tests of fragments share: datagrams cut, sent through a program piece by piece, joined
 * again; who serves what in the fixture's world. */
#ifndef FRAG_CASES_H
#define FRAG_CASES_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/bpf_fixture.h"
#include "tests/lib/bpf_join.h"

#define ACT_OK 0u
#define ACT_SHOT 2u
#define ACT_REDIRECT 7u
#define ACT_UNSPEC ((uint32_t)-1)
#define XDP_DROPPED 1u
#define FOLLOWERS_MAX 64u
#define WHOLE 3001u /* bytes of payload: three fragments of 1,280 */

static const uint8_t protos[] = {IPPROTO_UDP, IPPROTO_TCP};
static struct pkt_join join;
static uint16_t next_id = 1000;

static const char *client_of(const char *addr)
{
	return strchr(addr, ':') ? BF_CLIENT6 : BF_CLIENT4;
}

/* A client's datagram, to be cut; every call has a new id. */
static inline struct bf_in datagram(const char *vip, uint16_t port, uint8_t proto)
{
	return (struct bf_in){.pkt = {.src = client_of(vip),
				      .dst = vip,
				      .sport = 40000,
				      .dport = port,
				      .l4_proto = proto,
				      .payload = WHOLE,
				      .frag_mtu = 1280,
				      .frag_id = next_id++}};
}

static inline void wrap(struct bf_in *in, int outer, uint32_t key)
{
	in->pkt.outer_src = outer == 4 ? "10.99.0.2" : "fd99::3";
	in->pkt.outer_dst = outer == 4 ? "10.99.0.1" : "fd99::1";
	in->pkt.gre_key = key;
}

/* One fragment through a program, counted under `reason`. */
static inline void one(struct bf *b, enum bf_prog prog, struct bf_in *in, unsigned no,
		       uint32_t reason, struct bf_out *out)
{
	char where[160];

	snprintf(where, sizeof(where), "program %d, %s -> %s, protocol %u, fragment %u", (int)prog,
		 in->pkt.src, in->pkt.dst, in->pkt.l4_proto, no);
	in->pkt.frag_no = (uint8_t)no;
	bf_run(b, prog, in, out);
	bf_expect_reason(b, reason, where);
}

/* All of them, in order; the whole of what came out is in *ret_seen, *ret_out is the last one's. */
static inline void all(struct bf *b, enum bf_prog prog, struct bf_in *in, uint32_t first,
		       uint32_t retval, struct pkt_seen *ret_seen, struct bf_out *ret_out)
{
	unsigned n = pkt_fragments(&in->pkt);
	const char *wrong;

	assert_true(n >= 2);
	memset(&join, 0, sizeof(join));
	for (unsigned k = 0; k < n; k++) {
		one(b, prog, in, k, k ? DP_R_FRAG_FOLLOWED : first, ret_out);
		assert_int_equal(ret_out->retval, retval);
		assert_int_equal(ret_out->seen.trailer, 0);
		wrong = pkt_join_add(&join, &ret_out->seen);
		if (wrong)
			fail_msg("%s, fragment %u: %s", in->pkt.dst, k, wrong);
	}
	wrong = pkt_join_end(&join, ret_seen);
	if (wrong)
		fail_msg("%s -> %s, protocol %u: %s", in->pkt.src, in->pkt.dst, in->pkt.l4_proto,
			 wrong);
	assert_int_equal(ret_seen->payload, in->pkt.payload);
	for (size_t i = 0; i < ret_seen->payload; i++)
		assert_int_equal(ret_seen->payload_at[i], (uint8_t)(i * 7 + 3));
}

static inline void expect_ends(const struct pkt_seen *seen, const char *src, uint16_t sport,
			       const char *dst, uint16_t dport)
{
	assert_string_equal(seen->src, src);
	assert_string_equal(seen->dst, dst);
	assert_int_equal(seen->sport, sport);
	assert_int_equal(seen->dport, dport);
}

static const struct remote {
	uint32_t svc;
	const char *vip;
	uint16_t port;
	const char *node;
} remotes[] = {
	{BF_SVC_EXACT4, "192.0.2.10", 53, "10.99.0.2"},
	{BF_SVC_EXACT6, "2001:db8::10", 53, "10.99.0.2"},
	{BF_SVC_RANGE4, "192.0.2.11", 5100, "fd99::3"},
	{BF_SVC_RANGE6, "2001:db8::11", 5100, "fd99::3"},
};
#define REMOTES (sizeof(remotes) / sizeof(*remotes))

static const struct target {
	uint32_t svc;
	const char *vip;
	uint16_t port;
	const char *backend;
	uint16_t bport;
	enum bf_prog reply;
} targets[] = {
	{BF_SVC_HOST4, "192.0.2.12", 80, "10.0.0.5", 8080, BF_UP_OUT},
	{BF_SVC_HOST6, "2001:db8::12", 80, "2001:db8:1::5", 8080, BF_UP_OUT},
	{BF_SVC_HOSTRANGE4, "192.0.2.12", 6299, "10.0.0.5", 7299, BF_MESH_OUT},
	{BF_SVC_HOSTRANGE6, "2001:db8::12", 6001, "2001:db8:1::5", 7001, BF_MESH_OUT},
	{BF_SVC_BRIDGE4, "192.0.2.13", 80, "172.17.0.2", 8080, BF_BR_IN},
	{BF_SVC_BRIDGE6, "2001:db8::13", 80, "fd17::2", 8080, BF_BR_IN},
};
#define TARGETS (sizeof(targets) / sizeof(*targets))

static inline uint32_t delivered(const struct target *t)
{
	return t->reply == BF_BR_IN ? DP_R_DELIVERED_BRIDGE : DP_R_DELIVERED_HOST;
}

/* The client's packet comes in: outer 4 or 6 = from that edge, 0 = on our own public interface. */
static inline void request(struct bf *b, const struct target *t, uint8_t proto, int outer)
{
	struct bf_in in = datagram(t->vip, t->port, proto);
	struct bf_out out;

	in.pkt.frag_mtu = 0;
	in.pkt.payload = 20;
	if (outer)
		wrap(&in, outer, DP_GRE_KEY(0, DP_TOKEN(t->svc, BF_USE)));
	bf_run(b, outer ? BF_MESH_IN : BF_PUB_IN, &in, &out);
	bf_expect_reason(b, outer ? delivered(t) : DP_R_LOCAL_DELIVERED, t->vip);
}

static inline struct bf_in answer(const struct target *t, uint8_t proto)
{
	struct bf_in in = datagram(client_of(t->vip), 40000, proto);

	in.pkt.src = t->backend;
	in.pkt.sport = t->bport;
	return in;
}

static inline struct bf_in reply_of(const struct remote *r, uint8_t proto, int outer)
{
	struct bf_in in = datagram(client_of(r->vip), 40000, proto);

	in.pkt.src = r->vip;
	in.pkt.sport = r->port;
	wrap(&in, outer, DP_GRE_KEY(DP_GRE_F_REPLY, 0));
	return in;
}

#endif
