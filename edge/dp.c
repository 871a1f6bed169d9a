/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/dp.c - load the programs over adopted or new maps, and pin those. */
#include "edge/dp_int.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* bpftool's output, not ours to mend: it multiplies counts as int. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wconversion"
#include "bpf/dp.skel.h"
#pragma GCC diagnostic pop

/* Text of libbpf and the verifier, kept until a failure makes it interesting: libbpf warns about things that are no
 * fault here (a qdisc that exists already). */
#define LIBBPF_TEXT_MAX 65536
static char libbpf_buf[LIBBPF_TEXT_MAX];
static size_t libbpf_len;

static int keep_libbpf_text(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (level != LIBBPF_WARN)
		return 0;
	if (libbpf_len >= sizeof(libbpf_buf) / 2)
		libbpf_len = 0; /* the newest matters */
	int n = vsnprintf(libbpf_buf + libbpf_len, sizeof(libbpf_buf) - libbpf_len, fmt, ap);

	if (n > 0)
		libbpf_len += (size_t)n;
	if (libbpf_len >= sizeof(libbpf_buf))
		libbpf_len = sizeof(libbpf_buf) - 1;
	return n;
}

const char *dp_libbpf_text(void)
{
	libbpf_buf[libbpf_len] = '\0';
	libbpf_len = 0;
	return libbpf_buf;
}

#define FILLED_BEAT_S 3 /* edged beats every second */

/* Maps whose size is configured; all others keep the size that the object gives them. */
static uint32_t configured_size(const struct dp_sizes *s, const char *map)
{
	/* a VIP that is served takes at least one directory */
	uint32_t vips = !s->dirs ? 1024 : s->dirs < DP_VIP_MAX ? s->dirs : DP_VIP_MAX;
	const struct {
		const char *map;
		uint32_t entries;
	} size[] = {
		{"dp_rows", s->rows ? s->rows : 1u << 20},
		{"dp_svc", s->svcs ? s->svcs : 4096},
		{"dp_svc_stat", s->svcs ? s->svcs : 4096},
		{"dp_gate", s->svcs ? s->svcs : 4096},
		{"dp_lot", s->svcs ? s->svcs : 4096},
		{"dp_backend", s->backends ? s->backends : 16384},
		{"dp_be_stat", s->backends ? s->backends : 16384},
		{"dp_node", s->nodes ? s->nodes : 4096},
		{"dp_known", s->nodes ? s->nodes : 4096},
		{"dp_num", s->nodes ? s->nodes : 4096},
		{"dp_l2", s->nodes ? s->nodes : 4096},
		{"dp_quic", s->backends ? s->backends : 16384},
		{"dp_portpage", (s->pages ? s->pages : 4096) * DP_PORTS_PER_PAGE},
		{"dp_portdir", (s->dirs ? s->dirs : 1024) * DP_PORTS_PER_PAGE},
		{"dp_vip", vips},
		{"dp_vipmap", vips},
		{"dp_fwd", s->flows ? s->flows : 262144},
		{"dp_rev", s->flows ? s->flows : 262144},
		{"dp_fwd_new", s->flows_new ? s->flows_new : 65536},
		{"dp_rev_new", s->flows_new ? s->flows_new : 65536},
	};

	for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++)
		if (!strcmp(size[i].map, map))
			return size[i].entries;
	return 0;
}

static int check_sizes(const struct dp_sizes *s, struct err *e)
{
	const struct {
		const char *key;
		uint32_t got, max;
	} limit[] = {
		{"rows", s->rows, DP_ROWS_MAX},
		{"services", s->svcs, DP_SVC_MAX},
		{"backends", s->backends, DP_BACKEND_MAX},
		{"nodes", s->nodes, DP_NODE_MAX},
		{"pages", s->pages, 1u << 16},
		{"dirs", s->dirs, 1u << 16},
		{"flows", s->flows, 1u << 26},
		{"flows_new", s->flows_new, 1u << 26},
	};

	for (size_t i = 0; i < sizeof(limit) / sizeof(limit[0]); i++)
		if (limit[i].got > limit[i].max)
			return err_set(e, -EINVAL, "forwarder %s: got %u, want at most %u",
				       limit[i].key, limit[i].got, limit[i].max);
	return 0;
}

static bool is_flow_map(const char *name)
{
	return !strncmp(name, "dp_fwd", 6) || !strncmp(name, "dp_rev", 6);
}

/* What one packet's functions tell each other: worth nothing to the next program, so never pinned or adopted. */
static bool is_scratch_map(const char *name)
{
	return !strcmp(name, "dp_work") || !strcmp(name, "dp_quic_seen");
}

/* Use the pinned map in place of a new one if it is the same kind of map: 1, 0 = no pin, or an error. */
static int adopt_map(struct bpf_map *map, const char *path, struct err *e)
{
	struct bpf_map_info info = {};
	uint32_t len = sizeof(info);
	int fd = bpf_obj_get(path);

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return err_set(e, fd, "%s: cannot open pin: %s", path, strerror(-fd));
	int rc = bpf_obj_get_info_by_fd(fd, &info, &len);

	if (rc < 0) {
		rc = err_set(e, -EPROTONOSUPPORT, "%s is no map: run `edgefwd --detach`", path);
		goto out;
	}
	const struct {
		const char *what;
		uint32_t got, want;
	} same[] = {
		{"type", info.type, bpf_map__type(map)},
		{"key bytes", info.key_size, bpf_map__key_size(map)},
		{"value bytes", info.value_size, bpf_map__value_size(map)},
		{"flags", info.map_flags, bpf_map__map_flags(map)},
		{"entries", info.max_entries, bpf_map__max_entries(map)},
	};

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		if (same[i].got == same[i].want)
			continue;
		rc = err_set(e, -EPROTONOSUPPORT,
			     "%s: pinned map has %s %u, want %u: put the old value back, or run "
			     "`edgefwd --detach` and start again (forwarding stops meanwhile)",
			     path, same[i].what, same[i].got, same[i].want);
		goto out;
	}
	rc = bpf_map__reuse_fd(map, fd);
	rc = rc < 0 ? err_set(e, rc, "%s: cannot reuse: %s", path, strerror(-rc)) : 1;
out:
	close(fd);
	return rc;
}

static int map_pin_path(const struct dp_loader *d, const struct bpf_map *map,
			char ret_path[DP_PATH_MAX])
{
	const char *name = bpf_map__name(map);

	return dp_pin_path(d->pin_dir, is_flow_map(name) ? dp_pin_flows_dir() : dp_pin_maps_dir(),
			   name, ret_path);
}

static int adopt_maps(struct dp_loader *d, const struct dp_sizes *sizes, size_t *ret_adopted,
		      struct err *e)
{
	struct bpf_map *map;
	size_t adopted = 0;

	bpf_object__for_each_map(map, d->obj)
	{
		char path[DP_PATH_MAX];
		uint32_t entries = configured_size(sizes, bpf_map__name(map));

		if (bpf_map__is_internal(map) || is_scratch_map(bpf_map__name(map)))
			continue;
		if (entries)
			(void)bpf_map__set_max_entries(map, entries); /* fails only after load */
		int rc = map_pin_path(d, map, path);

		if (rc == 0)
			rc = adopt_map(map, path, e);
		if (rc < 0)
			return rc;
		adopted += (size_t)rc;
	}
	*ret_adopted = adopted;
	return 0;
}

/* Pin what has no pin yet; on failure take away what this call has pinned. */
static int pin_maps(struct dp_loader *d, struct err *e)
{
	char done[DP_PINNED_MAX][DP_PATH_MAX];
	size_t done_count = 0;
	struct bpf_map *map;
	char path[DP_PATH_MAX];
	int rc = 0;

	bpf_object__for_each_map(map, d->obj)
	{
		if (bpf_map__is_internal(map) || is_scratch_map(bpf_map__name(map)) ||
		    map_pin_path(d, map, path) < 0 || access(path, F_OK) == 0)
			continue;
		if (done_count == DP_PINNED_MAX) {
			rc = err_set(e, -E2BIG, "more than %d maps", DP_PINNED_MAX);
			break;
		}
		rc = bpf_obj_pin(bpf_map__fd(map), path);
		if (rc < 0) {
			rc = err_set(e, rc, "%s: cannot pin: %s", path, strerror(-rc));
			break;
		}
		memcpy(done[done_count++], path, sizeof(path));
	}
	while (rc < 0 && done_count)
		(void)unlink(done[--done_count]); /* nothing better to do about a failure */
	return rc;
}

static int collect_fds(struct dp_loader *d, struct err *e)
{
	const struct {
		const char *name;
		int *fd;
	} want[] = {
#define DP_MAP_WANT(field, map_name) {map_name, &d->fds.field},
		DP_MAPS(DP_MAP_WANT)
#undef DP_MAP_WANT
	};

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		*want[i].fd = bpf_object__find_map_fd_by_name(d->obj, want[i].name);
		if (*want[i].fd < 0)
			return err_set(e, -ENOENT, "the BPF object has no map %s", want[i].name);
	}
	return 0;
}

/* The programs count in ticks of the kernel's clock; its coarse clocks advance by one tick. */
static int set_constants(struct dp_loader *d, struct err *e)
{
	struct bpf_map *map = bpf_object__find_map_by_name(d->obj, ".rodata");
	size_t bytes = 0;
	const void *defaults = map ? bpf_map__initial_value(map, &bytes) : NULL;
	struct dp__rodata *constants;
	struct timespec tick;
	int rc;

	/* What bpftool has no name for stands behind the named ones. */
	if (!defaults || bytes < sizeof(*constants) ||
	    clock_getres(CLOCK_MONOTONIC_COARSE, &tick) || tick.tv_nsec <= 0)
		return err_set(e, -EINVAL, "cannot set the constants of the BPF object");
	constants = malloc(bytes);
	if (!constants)
		return err_set(e, -ENOMEM, "out of memory");
	memcpy(constants, defaults, bytes);
	constants->dp_hz = (uint32_t)((1000000000L + tick.tv_nsec / 2) / tick.tv_nsec);
	constants->dp_mesh_l2 = d->is_fabric ? 14 : 0;
	rc = bpf_map__set_initial_value(map, constants, bytes);
	free(constants);
	return rc;
}

static int load(struct dp_loader *d, const struct dp_sizes *sizes, bool *ret_was_adopted,
		struct err *e)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "dp");
	struct dp_host host;
	size_t bytes, adopted = 0;
	const void *elf = dp__elf_bytes(&bytes);

	d->obj = bpf_object__open_mem(elf, bytes, &opts);
	if (!d->obj)
		return err_set(e, -errno, "cannot open the BPF object: %s", strerror(errno));
	int rc = set_constants(d, e);

	if (rc == 0)
		rc = adopt_maps(d, sizes, &adopted, e);
	if (rc < 0)
		return rc;
	rc = bpf_object__load(d->obj);
	if (rc < 0)
		return err_set(e, rc, "the kernel refuses the BPF programs: %s%s", strerror(-rc),
			       rc == -EPERM ? " (needs CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON)" : "");
	rc = collect_fds(d, e);
	if (rc == 0)
		rc = pin_maps(d, e);
	if (rc < 0)
		return rc;
	/* Through a mapping, for edged's word beside ours must not be written back from a copy. */
	void *beat = mmap(NULL, sizeof(struct dp_beat), PROT_READ | PROT_WRITE, MAP_SHARED,
			  d->fds.beat, 0);

	if (beat == MAP_FAILED)
		return err_set(e, -errno, "dp_beat: cannot map: %s", strerror(errno));
	d->beat = beat;
	rc = dp_get_host(d, &host);
	if (rc < 0)
		return err_set(e, rc, "dp_host: cannot read: %s", strerror(-rc));
	if (host.abi && host.abi != DP_ABI_VERSION)
		return err_set(e, -EPROTONOSUPPORT,
			       "%s: maps are of ABI %u, this edgefwd has %u: somebody else wrote "
			       "them; run "
			       "`edgefwd --detach` and start again (forwarding stops meanwhile)",
			       d->pin_dir, host.abi, DP_ABI_VERSION);
	*ret_was_adopted = adopted > 0;
	return 0;
}

int dp_open(const char *pin_dir, const struct dp_sizes *sizes, bool is_fabric,
	    struct dp_loader **ret_dp, bool *ret_was_adopted, struct err *e)
{
	const char *sub[] = {dp_pin_maps_dir(), dp_pin_flows_dir(), "links"};
	struct dp_loader *d = calloc(1, sizeof(*d));
	char path[DP_PATH_MAX];

	if (!d)
		return err_set(e, -ENOMEM, "out of memory");
	libbpf_set_print(keep_libbpf_text);
	snprintf(d->pin_dir, sizeof(d->pin_dir), "%s", pin_dir);
	d->lock_fd = -1;
	d->is_fabric = is_fabric;
	int rc = check_sizes(sizes, e);

	if (rc == 0)
		rc = d->lock_fd = dp_pin_lock(pin_dir, e);
	if (rc >= 0) {
		rc = 0;
		d->old_abi = dp_pin_other_abi(pin_dir);
		d->is_waiting = d->old_abi != 0;
	}
	for (size_t i = 0; rc == 0 && i < sizeof(sub) / sizeof(sub[0]); i++) {
		rc = dp_pin_path(pin_dir, sub[i], "", path);
		rc = rc < 0 ? err_set(e, rc, "%s: path is too long", pin_dir)
			    : dp_pin_mkdir(path, e);
	}
	if (rc == 0)
		rc = load(d, sizes, ret_was_adopted, e);
	if (rc < 0) {
		dp_close(d);
		return rc;
	}
	*ret_dp = d;
	return 0;
}

/* ---- beside another ABI */

unsigned int dp_old_abi(const struct dp_loader *d)
{
	return d->old_abi;
}

bool dp_is_waiting(const struct dp_loader *d)
{
	return d->is_waiting;
}

bool dp_is_filled(const struct dp_loader *d, uint64_t now_s)
{
	struct dp_self self;
	uint32_t key = 0;

	return !bpf_map_lookup_elem(d->fds.self, &key, &self) && self.ready &&
	       dp_edged_beat(d) + FILLED_BEAT_S >= now_s;
}

void dp_switch(struct dp_loader *d)
{
	d->is_waiting = false;
}

void dp_drop_old(struct dp_loader *d)
{
	dp_pin_remove_others(d->pin_dir);
	d->old_abi = 0;
}

uint32_t dp_old_gre_mark(const struct dp_loader *d)
{
	struct bpf_map_info info = {};
	uint32_t len = sizeof(info), key = 0, mark = 0;
	char dir[32], path[DP_PATH_MAX];
	uint8_t *value;
	int fd;

	snprintf(dir, sizeof(dir), "v%u/maps", d->old_abi);
	if (!d->old_abi || dp_pin_path(d->pin_dir, dir, "dp_host", path) < 0)
		return 0;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return 0;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) == 0 && info.key_size == sizeof(key) &&
	    info.value_size >= offsetof(struct dp_host, gre_mark) + sizeof(mark)) {
		value = calloc(1, info.value_size);
		if (value && bpf_map_lookup_elem(fd, &key, value) == 0)
			memcpy(&mark, value + offsetof(struct dp_host, gre_mark), sizeof(mark));
		free(value);
	}
	close(fd);
	return mark;
}

void dp_close(struct dp_loader *d)
{
	if (!d)
		return;
	if (d->beat)
		munmap(d->beat, sizeof(*d->beat));
	if (d->nodes)
		munmap((void *)d->nodes, d->node_count * sizeof(*d->nodes));
	bpf_object__close(d->obj);
	if (d->lock_fd >= 0)
		close(d->lock_fd);
	free(d);
}

int dp_set_host(struct dp_loader *d, const struct dp_host *host)
{
	uint32_t key = 0;

	return bpf_map_update_elem(d->fds.host, &key, host, BPF_ANY);
}

int dp_get_host(struct dp_loader *d, struct dp_host *ret_host)
{
	uint32_t key = 0;

	return bpf_map_lookup_elem(d->fds.host, &key, ret_host);
}

void dp_beat(struct dp_loader *d, uint64_t now_s)
{
	__atomic_store_n(&d->beat->edgefwd_s, now_s, __ATOMIC_RELAXED);
}

uint64_t dp_edged_beat(const struct dp_loader *d)
{
	return __atomic_load_n(&d->beat->edged_s, __ATOMIC_RELAXED);
}

void dp_fds(const struct dp_loader *d, struct dp_fds *ret_fds)
{
	*ret_fds = d->fds;
}
