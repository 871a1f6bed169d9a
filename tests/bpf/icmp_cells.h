/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/bpf/icmp_cells.h - kinds of errors and what they are about, family x protocol, for the tests of ICMP: what comes
 * out is compared with packets built from scratch, byte by byte, also where the quote is cut. Included by test_icmp*.c. */
#ifndef ICMP_CELLS_H
#define ICMP_CELLS_H

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/bpf_fixture.h"
#include "tests/lib/bpf_icmp.h"

#define ACT_OK 0u
#define ACT_SHOT 2u
#define ACT_REDIRECT 7u
#define ACT_UNSPEC ((uint32_t)-1)
#define TX 3u
#define PASS 2u

static const uint8_t protos[] = {IPPROTO_UDP, IPPROTO_TCP};

static inline const char *client(int family)
{
	return family == 4 ? BF_CLIENT4 : BF_CLIENT6;
}

static inline const char *router(int family)
{
	return family == 4 ? "203.0.113.9" : "2001:db8:f::9";
}

static inline struct icmp_seen read_icmp(const struct bf_out *out, const char *where)
{
	struct icmp_seen seen;
	const char *wrong = icmp_read(&out->seen, &seen);

	if (wrong)
		fail_msg("%s: %s", where, wrong);
	return seen;
}

static inline void expect_quote(const struct icmp_seen *i, const struct pkt_spec *wanted,
				const char *where)
{
	const char *wrong = icmp_quotes(i, wanted);

	if (wrong)
		fail_msg("%s: %s", where, wrong);
}

static inline struct bf_in echo_to(const char *vip, uint8_t *msg, uint16_t payload)
{
	int family = strchr(vip, ':') ? 6 : 4;
	struct bf_in in = {.pkt = {.src = client(family), .dst = vip}};
	struct icmp_spec i = {
		.type = family == 4 ? 8 : 128, .rest = 0x12345678, .payload = payload};

	icmp_fill(&in.pkt, &i, msg);
	return in;
}

static const struct kind {
	uint8_t type4, code4, type6, code6;
	uint32_t rest;
} kinds[] = {
	{3, 4, 2, 0, 1300}, /* too big */
	{3, 3, 1, 4, 0},    /* port unreachable */
	{3, 1, 1, 3, 0},    /* host, address unreachable */
	{11, 0, 3, 0, 0},   /* time exceeded */
	{12, 0, 4, 1, 6},   /* parameter problem */
};
#define KINDS (sizeof(kinds) / sizeof(*kinds))

static const struct target {
	int family;
	uint32_t svc;
	const char *vip;
	uint16_t port;
	const char *backend; /* here, or NULL */
	uint16_t bport;
	enum bf_prog hook; /* its answers leave by */
} targets[] = {
	{4, BF_SVC_EXACT4, "192.0.2.10", 53, NULL, 0, 0},
	{6, BF_SVC_EXACT6, "2001:db8::10", 53, NULL, 0, 0},
	{4, BF_SVC_RANGE4, "192.0.2.11", 5042, NULL, 0, 0},
	{6, BF_SVC_RANGE6, "2001:db8::11", 5042, NULL, 0, 0},
	{4, BF_SVC_HOST4, "192.0.2.12", 80, "10.0.0.5", 8080, BF_UP_OUT},
	{6, BF_SVC_HOST6, "2001:db8::12", 80, "2001:db8:1::5", 8080, BF_MESH_OUT},
	{4, BF_SVC_HOSTRANGE4, "192.0.2.12", 6299, "10.0.0.5", 7299, BF_MESH_OUT},
	{6, BF_SVC_HOSTRANGE6, "2001:db8::12", 6001, "2001:db8:1::5", 7001, BF_UP_OUT},
	{4, BF_SVC_BRIDGE4, "192.0.2.13", 80, "172.17.0.2", 8080, BF_BR_IN},
	{6, BF_SVC_BRIDGE6, "2001:db8::13", 80, "fd17::2", 8080, BF_BR_IN},
};
#define REMOTE 4
#define TARGETS (sizeof(targets) / sizeof(*targets))

/* What the client sent, and what the service answered. */
static inline struct pkt_spec request(const struct target *t, uint8_t proto)
{
	return (struct pkt_spec){.src = client(t->family),
				 .dst = t->vip,
				 .sport = 40000,
				 .dport = t->port,
				 .l4_proto = proto,
				 .payload = 64};
}

static inline struct pkt_spec answer(const struct target *t, uint8_t proto)
{
	return (struct pkt_spec){.src = t->vip,
				 .dst = client(t->family),
				 .sport = t->port,
				 .dport = 40000,
				 .l4_proto = proto,
				 .payload = 64};
}

static inline struct icmp_spec about(const struct target *t, const struct kind *k,
				     const struct pkt_spec *quote, uint16_t quote_bytes)
{
	return (struct icmp_spec){.type = t->family == 4 ? k->type4 : k->type6,
				  .code = t->family == 4 ? k->code4 : k->code6,
				  .rest = k->rest,
				  .quote = quote,
				  .quote_bytes = quote_bytes};
}

static inline void set_policy(struct bf *b, uint32_t svc_idx, uint8_t policy)
{
	struct dp_svc svc;

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_svc"), &svc_idx, &svc), 0);
	svc.hash = policy;
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_svc"), &svc_idx, &svc, BPF_ANY), 0);
}

static inline struct dp_verdict verdict_of(const struct bf_out *out)
{
	struct dp_verdict v;

	assert_int_equal(out->meta_len, sizeof(v));
	memcpy(&v, out->meta, sizeof(v));
	return v;
}

static inline void through(struct pkt_spec *p, uint32_t key, int outer)
{
	p->outer_src = outer == 4 ? "10.99.0.2" : "fd99::3";
	p->outer_dst = outer == 4 ? "10.99.0.1" : "fd99::1";
	p->gre_key = key;
}

/* Makes the flow, and says which client port the application sees. */
static inline uint16_t make_flow(struct bf *b, const struct target *t, uint8_t proto, int outer)
{
	struct bf_in in = {.pkt = request(t, proto)};
	struct bf_out out;

	if (outer)
		through(&in.pkt, DP_GRE_KEY(0, DP_TOKEN(t->svc, BF_USE)), outer);
	bf_run(b, outer ? BF_MESH_IN : BF_PUB_IN, &in, &out);
	bf_forget_reasons(b);
	assert_string_equal(out.seen.dst, t->backend);
	return out.seen.sport;
}

/* The answer as the application's machine sent it. */
static inline struct pkt_spec bare_answer(const struct target *t, uint8_t proto, uint16_t cport)
{
	struct pkt_spec p = answer(t, proto);

	p.src = t->backend;
	p.sport = t->bport;
	p.dport = cport;
	return p;
}

static inline int group_setup(void **state)
{
	int rc = bf_group_setup(state);
	struct bf *b = *state;

	if (!rc)
		b->is_complete = bf_can_complete(b);
	return rc;
}

#define T(f) cmocka_unit_test_setup(f, bf_setup)

#endif
