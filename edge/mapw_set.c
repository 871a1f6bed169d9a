/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps that are sets of keys: prefix lists, server ids; and what is written row by row, by the kernel's call. */
#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include "edge/mapw.h"

static int put(int fd, const void *key, uint32_t value)
{
	return bpf_map_update_elem(fd, key, &value, BPF_ANY) ? -errno : 0;
}

static int del(int fd, const void *key)
{
	return bpf_map_delete_elem(fd, key) && errno != ENOENT ? -errno : 0;
}

int mapw_set_meet(struct mapw *m, uint32_t row, uint32_t node_idx)
{
	return put(mapw_fds(m)->meet, &row, node_idx);
}

static int put_quic(void *arg, const void *key, uint32_t value)
{
	int rc = put(mapw_fds(arg)->quic, key, value);

	mapw_quic_changed(arg);
	return rc;
}

static int del_quic(void *arg, const void *key)
{
	int rc = del(mapw_fds(arg)->quic, key);

	mapw_quic_changed(arg);
	return rc;
}

static int put_filter(void *arg, const void *key, uint32_t value)
{
	return put(mapw_fds(arg)->filter, key, value);
}

static int del_filter(void *arg, const void *key)
{
	return del(mapw_fds(arg)->filter, key);
}

struct mapset_ops mapw_set_ops(struct mapw *m, enum mapw_set which)
{
	return which == MAPW_QUIC ? (struct mapset_ops){m, "server ids", put_quic, del_quic}
				  : (struct mapset_ops){m, "filters", put_filter, del_filter};
}

/* The kernel may walk a changing trie for ever; nobody else writes these, but the end is ours all the same. */
static int read_all(int fd, uint32_t room, struct mapset *s)
{
	uint8_t key[MAPSET_KEY_MAX], last[MAPSET_KEY_MAX];
	uint32_t value;

	for (uint32_t n = 0; n < room; n++) {
		if (bpf_map_get_next_key(fd, n ? last : NULL, key))
			return errno == ENOENT ? 0 : -errno;
		memcpy(last, key, s->key_bytes);
		if (bpf_map_lookup_elem(fd, key, &value))
			return -errno;
		if (mapset_add(s, key, value))
			return -ENOMEM;
	}
	return 0;
}

int mapw_set_read(struct mapw *m, enum mapw_set which, struct mapset *ret_have, uint32_t *ret_room,
		  struct err *e)
{
	struct mapset s = {.key_bytes = which == MAPW_QUIC ? sizeof(struct dp_quic_key)
							   : sizeof(struct dp_filter_key)};
	int fd = which == MAPW_QUIC ? mapw_fds(m)->quic : mapw_fds(m)->filter, rc;
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);

	_Static_assert(sizeof(struct dp_filter_key) <= MAPSET_KEY_MAX &&
			       sizeof(struct dp_quic_key) <= MAPSET_KEY_MAX,
		       "keys fit");
	rc = bpf_obj_get_info_by_fd(fd, &info, &len) ? -errno : read_all(fd, info.max_entries, &s);
	if (rc) {
		mapset_clear(&s);
		return err_set(e, rc, "%s: the map can't be read: %s", mapw_set_ops(m, which).what,
			       strerror(-rc));
	}
	mapset_sort(&s);
	*ret_have = s;
	*ret_room = info.max_entries;
	return 0;
}
