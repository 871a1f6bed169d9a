/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Record values: MessagePack maps. Addresses are binaries of 4 or 16 bytes (16 is never an IPv4-mapped one); names
 * are [a-z0-9-]; text is printable UTF-8. "-" in the last column: required; else what absence means. Unknown keys are
 * skipped, doubled keys and trailing bytes refused.
 *
 * kind  value     key  type                          meaning, rule                                       absent
 *   1   node      n    str <= 31                     name                                                -
 *                 r    str <= 31                     region                                              -
 *                 a    addr                          mesh address, unicast                               -
 *                 f    uint                          1 edge | 2 worker | 4 has a forwarder; others       -
 *                                                    are ignored
 *                 wk   bin 32                        WireGuard public key, not zero                      none
 *                 wa   addr                          WireGuard endpoint, unicast; with wp only           none
 *                 wp   uint 1..65535                 its port; with wa only                              none
 *                 v    text <= 23                    version of the program                              ""
 *   2   backend   s    str <= 31                     service name                                        -
 *                 a    addr                          where the application is reached, unicast           -
 *                 p    uint 1..65535                 its port; stands for the service's lowest           -
 *                 w    uint 1..1000                  weight                                              100
 *                 t    uint < 2^24                   token: the GRE key of its packets                   -
 *                 q    uint < 2^32                   server id in QUIC connection ids                    0: a hash
 *                 o    text <= 127                   what it stands on on its node: pid:, pidfile:,      "": nothing
 *                                                    cgroup:, unit:; for that node alone
 *                 d    bool                          draining                                            false
 *                 c    map                           check, below                                        none
 *   3   health    s    uint 0..2                     0 unknown, 1 passing, 2 failing                     -
 *                 w    text <= 63                    why: last output of the check                       ""
 *                 t    uint                          unix ms of the change, for people                   0
 *                 c    uint                          of failing: 0 a check, 1 a passive signal alone,    0
 *                                                    2 its process or address is gone
 *  65   service   n    str <= 31                     name                                                -
 *                 v    array 1..8 of addr            VIPs, unicast, none twice                           -
 *                 p    array 1..16 of [proto, lo,    6 TCP, 17 UDP; ports lo..hi, 1 <= lo <= hi, at      -
 *                      hi]                           most 16384; entries of a protocol do not overlap
 *                 h    uint 0..2                     hash over 0 5-tuple, 1 source, 2 each packet        0
 *                 o    map                           other policies, below                               none
 *                 c    uint                          counter when it was created: settles clashes        -
 *  66   override  d    bool                          drained                                             -
 *                 a    text <= 31                    author                                              ""
 *                 r    text <= 63                    reason                                              ""
 *                 x    uint                          unix s when it ends, 0 never                        0
 *  67   seed      k    bin 16                        key of the flow hash                                -
 *  68   filter    s    str <= 31                     service name                                        "": every service
 *                 a    addr                          prefix, host bits zero                              -
 *                 l    uint 0..32 or 0..128          its length                                          -
 *                 v    uint 1..2                     1 deny, 2 allow                                     -
 *                 w    text <= 63                    why                                                 ""
 *                 b    text <= 31                    who said so                                         ""
 *
 *       policies  pps, source_pps, syn_pps           packets (SYNs) a second, 0..10^9                    0: no limit
 *                 hop_pps                            second chances a second, 0..10^9                    0: as built in
 *                 prefix4, prefix6                   bits of a source prefix, 1..32, 1..128              32, 64
 *                 rows                               251, 1021, 4099, 16381 or 65537                     as needed
 *                 return                             0 edge, 1 direct                                    0
 *                 mtu                                0 too-big, 1 carry                                  0
 *                 reject, quic, closed               0 off, 1 on                                         0
 *                 eject                              percent that passive signals may take out, 1..100   50
 *
 *       check     k    uint 0..2                     0 none, 1 tcp, 2 udp                                -
 *                 p    uint 0..65535                 port, 0 the backend's                               0
 *                 i    uint 50..3600000              interval in ms                                      1000
 *                 t    uint 10..i                    timeout in ms                                       min(500, i)
 *                 r    uint 1..20                    successes in a row that bring it up                 2
 *                 f    uint 1..20                    failures in a row that take it down                 2
 *                 s    bin 1..64, udp only           payload                                             one zero byte
 *                 e    bin <= 64, udp only           what the reply begins with                          empty: any
 */
#include "edge/model.h"

#include <errno.h>
#include <string.h>
#include <netinet/in.h>

#include "bpf/dp_abi.h"
#include "edge/model_map.h"

#define NODE_EDGE 1u
#define NODE_WORKER 2u
#define NODE_FORWARDER 4u

int model_name_check(const char *name)
{
	size_t len = strnlen(name, MODEL_NAME_MAX);

	if (len == 0 || len == MODEL_NAME_MAX || name[0] == '-' || name[len - 1] == '-')
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if (!(name[i] >= 'a' && name[i] <= 'z') && !(name[i] >= '0' && name[i] <= '9') &&
		    name[i] != '-')
			return -EINVAL;
	return 0;
}

int model_node_rules(const struct model_node *n)
{
	static const struct ip_addr zero;
	bool has_addr = !ip_equal(&n->wg_addr, &zero);

	if (model_name_check(n->name) || model_name_check(n->region) ||
	    !ip_is_unicast(&n->mesh_addr))
		return -EBADMSG;
	if (has_addr != (n->wg_port != 0) || (has_addr && !ip_is_unicast(&n->wg_addr)))
		return -EBADMSG;
	return 0;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

int model_node_encode(const struct model_node *n, uint8_t *buf, size_t cap)
{
	bool has_key = !is_zero(n->wg_pub, sizeof(n->wg_pub)), has_endpoint = n->wg_port != 0;
	struct model_packer p;

	if (model_node_rules(n))
		return -EBADMSG;
	model_pack_begin(&p, buf, cap, 5u + has_key + 2u * has_endpoint);
	model_pack_text(&p, "n");
	model_pack_text(&p, n->name);
	model_pack_text(&p, "r");
	model_pack_text(&p, n->region);
	model_pack_text(&p, "a");
	model_pack_addr(&p, &n->mesh_addr);
	model_pack_key_uint(&p, "f",
			    (n->is_edge ? NODE_EDGE : 0) | (n->is_worker ? NODE_WORKER : 0) |
				    (n->has_forwarder ? NODE_FORWARDER : 0));
	model_pack_text(&p, "v");
	model_pack_free_text(&p, n->version, sizeof(n->version));
	if (has_key) {
		model_pack_text(&p, "wk");
		model_pack_bin(&p, n->wg_pub, sizeof(n->wg_pub));
	}
	if (has_endpoint) {
		model_pack_text(&p, "wa");
		model_pack_addr(&p, &n->wg_addr);
		model_pack_key_uint(&p, "wp", n->wg_port);
	}
	return model_pack_end(&p);
}

int model_node_decode(const uint8_t *buf, size_t len, struct model_node *ret_node)
{
	enum { N = 1, R = 2, A = 4, F = 8, REQUIRED = N | R | A | F };
	struct model_node n = {0};
	unsigned int seen = 0;
	struct mp_reader r;
	struct model_map m;
	uint8_t flags = 0;
	int rc;

	mp_reader_init(&r, buf, len);
	if (model_map_open(&m, &r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		if (model_map_is(&m, "n")) {
			rc = mp_read_text(&r, n.name, sizeof(n.name));
			seen |= N;
		} else if (model_map_is(&m, "r")) {
			rc = mp_read_text(&r, n.region, sizeof(n.region));
			seen |= R;
		} else if (model_map_is(&m, "a")) {
			rc = model_read_addr(&r, &n.mesh_addr);
			seen |= A;
		} else if (model_map_is(&m, "f")) {
			rc = model_read_u8(&r, UINT8_MAX, &flags);
			seen |= F;
		} else if (model_map_is(&m, "wk")) {
			rc = mp_read_bytes(&r, n.wg_pub, sizeof(n.wg_pub));
			if (!rc && is_zero(n.wg_pub, sizeof(n.wg_pub)))
				rc = -EBADMSG;
		} else if (model_map_is(&m, "wa")) {
			rc = model_read_addr(&r, &n.wg_addr);
		} else if (model_map_is(&m, "wp")) {
			rc = model_read_u16(&r, UINT16_MAX, &n.wg_port);
		} else if (model_map_is(&m, "v")) {
			rc = model_read_free_text(&r, n.version, sizeof(n.version));
		} else {
			rc = mp_skip(&r);
		}
		if (rc)
			return -EBADMSG;
	}
	n.is_edge = flags & NODE_EDGE;
	n.is_worker = flags & NODE_WORKER;
	n.has_forwarder = flags & NODE_FORWARDER;
	if (rc || !mp_at_end(&r) || (seen & REQUIRED) != REQUIRED || model_node_rules(&n))
		return -EBADMSG;
	*ret_node = n;
	return 0;
}

uint16_t model_service_port_lo(const struct model_service *s)
{
	uint16_t lo = UINT16_MAX;

	for (size_t i = 0; i < s->port_count; i++)
		if (s->port[i].ports.lo < lo)
			lo = s->port[i].ports.lo;
	return lo;
}

bool model_service_has_proto(const struct model_service *s, uint8_t l4_proto)
{
	for (size_t i = 0; i < s->port_count; i++)
		if (s->port[i].l4_proto == l4_proto)
			return true;
	return false;
}

static int port_rules(const struct model_service *s, size_t i)
{
	const struct model_port *p = &s->port[i];

	if (p->l4_proto != IPPROTO_TCP && p->l4_proto != IPPROTO_UDP)
		return -EBADMSG;
	if (p->ports.lo == 0 || p->ports.hi < p->ports.lo ||
	    p->ports.hi - p->ports.lo >= MODEL_RANGE_MAX)
		return -EBADMSG;
	for (size_t j = 0; j < i; j++)
		if (s->port[j].l4_proto == p->l4_proto && s->port[j].ports.lo <= p->ports.hi &&
		    p->ports.lo <= s->port[j].ports.hi)
			return -EBADMSG;
	return 0;
}

static int service_rules(const struct model_service *s)
{
	if (model_name_check(s->name) || s->hash > DP_HASH_PACKET || s->vip_count == 0 ||
	    s->vip_count > MODEL_VIPS_MAX || s->port_count == 0 || s->port_count > MODEL_PORTS_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < s->vip_count; i++) {
		if (!ip_is_unicast(&s->vip[i]))
			return -EBADMSG;
		for (size_t j = 0; j < i; j++)
			if (ip_equal(&s->vip[i], &s->vip[j]))
				return -EBADMSG;
	}
	for (size_t i = 0; i < s->port_count; i++)
		if (port_rules(s, i))
			return -EBADMSG;
	return model_policy_rules(&s->policy);
}

int model_service_encode(const struct model_service *s, uint8_t *buf, size_t cap)
{
	bool has_policy = !model_policy_is_default(&s->policy);
	struct model_packer p;

	if (service_rules(s))
		return -EBADMSG;
	model_pack_begin(&p, buf, cap, 5u + has_policy);
	model_pack_text(&p, "n");
	model_pack_text(&p, s->name);
	model_pack_text(&p, "v");
	msgpack_pack_array(&p.pk, s->vip_count);
	for (size_t i = 0; i < s->vip_count; i++)
		model_pack_addr(&p, &s->vip[i]);
	model_pack_text(&p, "p");
	msgpack_pack_array(&p.pk, s->port_count);
	for (size_t i = 0; i < s->port_count; i++) {
		msgpack_pack_array(&p.pk, 3);
		msgpack_pack_uint8(&p.pk, s->port[i].l4_proto);
		msgpack_pack_uint16(&p.pk, s->port[i].ports.lo);
		msgpack_pack_uint16(&p.pk, s->port[i].ports.hi);
	}
	model_pack_key_uint(&p, "h", s->hash);
	if (has_policy) {
		model_pack_text(&p, "o");
		model_policy_pack(&p, &s->policy);
	}
	model_pack_key_uint(&p, "c", s->created);
	return model_pack_end(&p);
}

static int read_vips(struct mp_reader *r, struct model_service *s)
{
	if (mp_read_array(r, MODEL_VIPS_MAX, &s->vip_count))
		return -EBADMSG;
	for (size_t i = 0; i < s->vip_count; i++)
		if (model_read_addr(r, &s->vip[i]))
			return -EBADMSG;
	return 0;
}

static int read_ports(struct mp_reader *r, struct model_service *s)
{
	size_t n;

	if (mp_read_array(r, MODEL_PORTS_MAX, &s->port_count))
		return -EBADMSG;
	for (size_t i = 0; i < s->port_count; i++) {
		struct model_port *p = &s->port[i];

		if (mp_read_array(r, 3, &n) || n != 3 ||
		    model_read_u8(r, UINT8_MAX, &p->l4_proto) ||
		    model_read_u16(r, UINT16_MAX, &p->ports.lo) ||
		    model_read_u16(r, UINT16_MAX, &p->ports.hi))
			return -EBADMSG;
	}
	return 0;
}

int model_service_decode(const uint8_t *buf, size_t len, struct model_service *ret_service)
{
	enum { N = 1, V = 2, P = 4, C = 8, REQUIRED = N | V | P | C };
	struct model_service s = {0};
	unsigned int seen = 0;
	struct mp_reader r;
	struct model_map m;
	int rc;

	mp_reader_init(&r, buf, len);
	if (model_map_open(&m, &r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		if (model_map_is(&m, "n")) {
			rc = mp_read_text(&r, s.name, sizeof(s.name));
			seen |= N;
		} else if (model_map_is(&m, "v")) {
			rc = read_vips(&r, &s);
			seen |= V;
		} else if (model_map_is(&m, "p")) {
			rc = read_ports(&r, &s);
			seen |= P;
		} else if (model_map_is(&m, "h")) {
			rc = model_read_u8(&r, DP_HASH_PACKET, &s.hash);
		} else if (model_map_is(&m, "o")) {
			rc = model_policy_read(&r, &s.policy);
		} else if (model_map_is(&m, "c")) {
			rc = mp_read_uint(&r, UINT64_MAX, &s.created);
			seen |= C;
		} else {
			rc = mp_skip(&r);
		}
		if (rc)
			return -EBADMSG;
	}
	if (rc || !mp_at_end(&r) || (seen & REQUIRED) != REQUIRED || service_rules(&s))
		return -EBADMSG;
	*ret_service = s;
	return 0;
}
