/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_syn.h - SYN floods: while one lasts, a source must prove that it gets our packets before its SYN is let in.
 *
 * XDP       answers the SYN with an ACK of a keyed number, not the client's. A TCP that did send the SYN answers with
 *           a reset of exactly that sequence number (RFC 9293, 3.10.7.3) and sends its SYN again; the source address
 *           is proved now. A spoofed source never sees the number. Nothing is kept until then
 * TC        alone can't answer: SYNs beyond the rate are dropped
 * State     on when a service gets more than syn_pps SYNs a second; off when those of sources not proved have been under
 *           half of that for DP_SYN_HOLD_S
 * Why so    docs/adr/0006
 */
#ifndef DP_SYN_H
#define DP_SYN_H

#include "bpf/dp_choose.h"
#include "bpf/dp_encap.h"
#include "bpf/dp_meter.h"

#define DP_SYN_HOLD_S 10
#define DP_SYN_PROVED_S                                                                            \
	300 /* a proof is good for so long; it is not renewed, for a SYN proves nothing */
#define DP_SYN_MINUTE_SHIFT 6	   /* a cookie is good for one to two times 64 seconds */
#define DP_SYN_TAG 0x736b6f6f63ull /* keeps cookies apart from the flow hashes of the same key */
#define DP_SYN_FRAME_BYTES 60u	   /* the least that Ethernet carries */

#define DP_SYN_L4_OFF4 (sizeof(struct ethhdr) + sizeof(struct iphdr))
#define DP_SYN_L4_OFF6 (sizeof(struct ethhdr) + sizeof(struct ipv6hdr))

/* What a client that has dp_work.pkt's addresses and ports must send back. The upper half is good for a sequence number. */
static __noinline __u64 dp_syn_cookie(struct dp_work *w, __u32 minute)
{
	const dp_word32 *s = (const void *)w->pkt.src, *d = (const void *)w->pkt.dst;
	struct dp_self *self = dp_self_get();
	struct dp_sip sip;

	if (!self)
		return 0;
	dp_sip_init(&sip, self->seed);
	dp_sip_word(&sip, DP_SYN_TAG);
	dp_sip_word(&sip, dp_word64(s));
	dp_sip_word(&sip, dp_word64(s + 2));
	dp_sip_word(&sip, dp_word64(d));
	dp_sip_word(&sip, dp_word64(d + 2));
	dp_sip_word(&sip, (__u64)w->pkt.dport_be << 48 | (__u64)w->pkt.sport_be << 32 | minute);
	return dp_sip_final(&sip);
}

static __always_inline int dp_syn_is_proved(const struct dp_pkt *p)
{
	struct dp_addr_key key __attribute__((aligned(8)));
	__u64 *until;

	dp_addr_copy(key.addr, p->src);
	until = bpf_map_lookup_elem(&dp_proved, &key);
	return until && *until > bpf_jiffies64();
}

/* Counts a SYN of a service. Not 0: it is under a flood. */
static __always_inline int dp_syn_is_flood(struct dp_gate *g, __u32 syn_pps, __u32 is_dry)
{
	__u64 now = dp_meter_now(), cost = dp_meter_cost(syn_pps), until = g->syn_until;
	__u32 is_on = until > now;

	if (is_on)
		cost *= 2; /* to half of the rate */
	if (dp_meter_take(&g->syn_due, now, cost, is_dry))
		return is_on;
	/* Every CPU comes here with every SYN of a flood: write once a second. */
	if (!is_dry && until < now + (DP_SYN_HOLD_S - 1) * dp_meter_second())
		*(volatile __u64 *)&g->syn_until = now + DP_SYN_HOLD_S * dp_meter_second();
	return 1;
}

static __always_inline __u32 dp_syn_add(__u32 sum, const void *bytes, __u32 halves)
{
	const __u16 *half = bytes;

	for (__u32 i = 0; i < halves; i++)
		sum += half[i];
	return sum;
}

static __always_inline __u16 dp_syn_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

static __always_inline void dp_syn_swap_eth(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

/* The whole TCP header of the answer, but its checksum. */
static __always_inline void dp_syn_fill_tcp(struct tcphdr *tcp, __u64 cookie)
{
	__be16 port_be = tcp->source;

	tcp->source = tcp->dest;
	tcp->dest = port_be;
	tcp->seq = (__be32)(cookie >> 32);
	tcp->ack_seq = (__be32)cookie;
	((__u8 *)tcp)[12] = sizeof(*tcp) / 4 << 4;
	((__u8 *)tcp)[13] = DP_TCP_ACK; /* without SYN: connection tracking lets it through */
	tcp->window = 0;
	tcp->check = 0;
	tcp->urg_ptr = 0;
}

/* The one number that would make it a real answer. */
static __always_inline int dp_syn_is_right(const struct tcphdr *tcp, __u64 cookie)
{
	return (__be32)cookie == bpf_htonl(bpf_ntohl(tcp->seq) + 1);
}

static __always_inline int dp_syn_answer4(struct xdp_md *ctx, __u64 cookie)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	__be32 addr_be;
	__u32 sum;

	if ((void *)(tcp + 1) > (void *)(long)ctx->data_end || dp_syn_is_right(tcp, cookie))
		return -1;
	dp_syn_swap_eth(eth);
	addr_be = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = addr_be;
	ip->tos = 0;
	ip->tot_len = bpf_htons(sizeof(*ip) + sizeof(*tcp));
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = DP_OUTER_TTL;
	ip->check = 0;
	ip->check = dp_syn_fold(dp_syn_add(0, ip, sizeof(*ip) / 2));
	dp_syn_fill_tcp(tcp, cookie);
	sum = dp_syn_add(bpf_htons(IPPROTO_TCP) + bpf_htons(sizeof(*tcp)), &ip->saddr, 4);
	tcp->check = dp_syn_fold(dp_syn_add(sum, tcp, sizeof(*tcp) / 2));
	return 0;
}

static __always_inline int dp_syn_answer6(struct xdp_md *ctx, __u64 cookie)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct ipv6hdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	__u8 addr[16] __attribute__((aligned(8)));
	__u32 sum;

	if ((void *)(tcp + 1) > (void *)(long)ctx->data_end || dp_syn_is_right(tcp, cookie))
		return -1;
	dp_syn_swap_eth(eth);
	dp_addr_copy(addr, &ip->saddr);
	dp_addr_copy(&ip->saddr, &ip->daddr);
	dp_addr_copy(&ip->daddr, addr);
	*(dp_word32 *)ip = bpf_htonl(0x60000000u);
	ip->payload_len = bpf_htons(sizeof(*tcp));
	ip->hop_limit = DP_OUTER_TTL;
	dp_syn_fill_tcp(tcp, cookie);
	sum = dp_syn_add(bpf_htons(IPPROTO_TCP) + bpf_htons(sizeof(*tcp)), &ip->saddr, 16);
	tcp->check = dp_syn_fold(dp_syn_add(sum, tcp, sizeof(*tcp) / 2));
	return 0;
}

/* Makes the SYN the answer to itself. Headers with options are not answered. 0, or negative: drop it. */
static __always_inline int dp_syn_answer(struct xdp_md *ctx, struct dp_work *w)
{
	__u64 cookie = dp_syn_cookie(w, dp_now_s() >> DP_SYN_MINUTE_SHIFT);
	__u32 bytes = ctx->data_end - ctx->data, want;
	int rc;

	if (w->pkt.frag || w->pkt.l3_off != sizeof(struct ethhdr))
		return -1;
	if (w->pkt.family == 4) {
		if (w->pkt.l4_off != DP_SYN_L4_OFF4)
			return -1;
		want = DP_SYN_L4_OFF4 + sizeof(struct tcphdr);
		rc = dp_syn_answer4(ctx, cookie);
	} else {
		if (w->pkt.l4_off != DP_SYN_L4_OFF6)
			return -1;
		want = DP_SYN_L4_OFF6 + sizeof(struct tcphdr);
		rc = dp_syn_answer6(ctx, cookie);
	}
	if (rc)
		return rc;
	if (want < DP_SYN_FRAME_BYTES)
		want = DP_SYN_FRAME_BYTES;
	if (bytes <= want)
		return 0;
	return bpf_xdp_adjust_tail(ctx, (int)want - (int)bytes) ? -1 : 0;
}

/* A reset: is it the proof? */
static __always_inline int dp_syn_reset(struct xdp_md *ctx, struct dp_work *w)
{
	struct dp_addr_key key __attribute__((aligned(8)));
	__u32 minute = dp_now_s() >> DP_SYN_MINUTE_SHIFT;
	__u64 until;
	__be32 seq_be;

	if (w->pkt.frag || bpf_xdp_load_bytes(ctx, w->pkt.l4_off + offsetof(struct tcphdr, seq),
					      &seq_be, sizeof(seq_be)))
		return DP_GO;
	if (seq_be != (__be32)dp_syn_cookie(w, minute) &&
	    seq_be != (__be32)dp_syn_cookie(w, minute - 1))
		return DP_GO;
	until = bpf_jiffies64() + DP_SYN_PROVED_S * (dp_hz ? dp_hz : 250);
	dp_addr_copy(key.addr, w->pkt.src);
	(void)bpf_map_update_elem(&dp_proved, &key, &until, BPF_ANY);
	return DP_OUT(DP_R_SYN_PROVED, XDP_DROP);
}

static __always_inline int dp_syn_is_syn(const struct dp_pkt *p)
{
	return (p->tcp_flags & (DP_TCP_SYN | DP_TCP_ACK | DP_TCP_RST)) == DP_TCP_SYN;
}

/* Is a SYN of this service to be challenged in XDP? Not 0: yes. is_dry: it isn't counted. */
static __always_inline int dp_syn_is_asked(const struct dp_pkt *p, struct dp_gate *g,
					   const struct dp_svc *svc, __u32 is_dry)
{
	if (!svc->syn_pps || !dp_syn_is_syn(p))
		return 0;
	if (g->syn_until > dp_meter_now() && dp_syn_is_proved(p))
		return 0;
	return dp_syn_is_flood(g, svc->syn_pps, is_dry);
}

/* A TCP packet of a service with syn_pps, which is in dp_work. DP_GO: let in; else how the program ends. */
__noinline int dp_syn_xdp(struct xdp_md *ctx)
{
	DP_USES(ctx);
	struct dp_work *w = dp_work_get();
	struct dp_gate *g;
	struct dp_svc *svc;
	__u32 svc_idx;

	if (!w)
		return DP_GO;
	if ((w->pkt.tcp_flags & (DP_TCP_SYN | DP_TCP_RST)) == DP_TCP_RST)
		return dp_syn_reset(ctx, w);
	svc_idx = w->choice.svc_idx;
	svc = dp_svc_get(svc_idx);
	g = bpf_map_lookup_elem(&dp_gate, &svc_idx);
	if (!svc || !g || !dp_syn_is_asked(&w->pkt, g, svc, 0))
		return DP_GO;
	if (dp_syn_answer(ctx, w))
		return DP_OUT(DP_R_SYN_LIMITED, XDP_DROP);
	return DP_OUT(DP_R_SYN_CHALLENGED, XDP_TX);
}

/* The same without an answer: DP_GO, or the reason. */
static __always_inline int dp_syn_tc(const struct dp_pkt *p, struct dp_gate *g,
				     const struct dp_svc *svc)
{
	if (!svc->syn_pps || !dp_syn_is_syn(p) ||
	    dp_meter_take(&g->syn_tc_due, dp_meter_now(), dp_meter_cost(svc->syn_pps), 0) ||
	    dp_syn_is_proved(p))
		return DP_GO;
	return DP_R_SYN_LIMITED;
}

#endif
