/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/dp_way.c - the keeper's maps of ways: neighbours on an Ethernet mesh (dp_l2), uplinks by destination (dp_egress). */
#include "edge/dp_int.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <sys/mman.h>

const struct dp_node *dp_nodes(struct dp_loader *d, uint32_t *ret_count)
{
	const struct bpf_map *map = bpf_object__find_map_by_name(d->obj, "dp_node");

	if (!d->nodes && map) {
		uint32_t count = bpf_map__max_entries(map);
		const void *at = mmap(NULL, count * sizeof(*d->nodes), PROT_READ, MAP_SHARED,
				      bpf_map__fd(map), 0);

		if (at != MAP_FAILED) {
			d->nodes = at;
			d->node_count = count;
		}
	}
	*ret_count = d->node_count;
	return d->nodes;
}

static int map_fd(const struct dp_loader *d, const char *name)
{
	return bpf_object__find_map_fd_by_name(d->obj, name);
}

int dp_set_l2(struct dp_loader *d, uint32_t node_idx, const struct dp_l2 *l2)
{
	return bpf_map_update_elem(map_fd(d, "dp_l2"), &node_idx, l2, BPF_ANY);
}

int dp_get_l2(struct dp_loader *d, uint32_t node_idx, struct dp_l2 *ret_l2)
{
	return bpf_map_lookup_elem(map_fd(d, "dp_l2"), &node_idx, ret_l2);
}

int dp_set_egress(struct dp_loader *d, const struct dp_egress_key *prefix, uint32_t ifindex)
{
	int rc = ifindex ? bpf_map_update_elem(map_fd(d, "dp_egress"), prefix, &ifindex, BPF_ANY)
			 : bpf_map_delete_elem(map_fd(d, "dp_egress"), prefix);

	return !ifindex && rc == -ENOENT ? 0 : rc;
}

int dp_next_egress(struct dp_loader *d, const struct dp_egress_key *prev,
		   struct dp_egress_key *ret_next)
{
	return bpf_map_get_next_key(map_fd(d, "dp_egress"), prev, ret_next);
}
