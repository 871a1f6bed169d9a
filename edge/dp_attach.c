/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/dp_attach.c - programs onto hooks and off again, in place where an earlier run left its own. */
#include "edge/dp_int.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A public interface gets its TC program before its XDP program: a verdict must not come before its reader. A row is for
 * interfaces that have of the roles `asked` just `has`. */
static const struct tc_hook {
	uint32_t asked, has;
	enum bpf_tc_attach_point point;
	const char *prog;
} tc_hooks[] = {
	{DP_ROLE_MESH | DP_ROLE_PUBLIC, DP_ROLE_MESH, BPF_TC_INGRESS, "dp_tc_mesh_in"},
	{DP_ROLE_MESH | DP_ROLE_PUBLIC, DP_ROLE_MESH, BPF_TC_EGRESS, "dp_tc_mesh_out"},
	{DP_ROLE_MESH | DP_ROLE_PUBLIC, DP_ROLE_MESH | DP_ROLE_PUBLIC, BPF_TC_INGRESS,
	 "dp_tc_one_in"},
	{DP_ROLE_MESH | DP_ROLE_PUBLIC, DP_ROLE_MESH | DP_ROLE_PUBLIC, BPF_TC_EGRESS,
	 "dp_tc_one_out"},
	{DP_ROLE_BRIDGE, DP_ROLE_BRIDGE, BPF_TC_INGRESS, "dp_tc_br_in"},
	{DP_ROLE_UPLINK | DP_ROLE_MESH, DP_ROLE_UPLINK, BPF_TC_EGRESS, "dp_tc_up_out"},
	{DP_ROLE_MESH | DP_ROLE_PUBLIC, DP_ROLE_PUBLIC, BPF_TC_INGRESS, "dp_tc_pub_in"},
};
#define TC_HOOKS (sizeof(tc_hooks) / sizeof(tc_hooks[0]))

static bool is_for(const struct tc_hook *hook, uint32_t roles)
{
	return (roles & hook->asked) == hook->has;
}

/* What one call has changed, to be undone if a later step fails. */
struct undo {
	const struct tc_hook *hook[TC_HOOKS];
	int old_prog_fd[TC_HOOKS]; /* -1 unknown */
	bool was_empty[TC_HOOKS];
	size_t count;
};

/* Id of the program in our place, 0 if none. */
static uint32_t tc_prog_id(int ifindex, enum bpf_tc_attach_point point)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = point);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = DP_TC_HANDLE, .priority = DP_TC_PRIORITY);

	return bpf_tc_query(&hook, &opts) == 0 ? opts.prog_id : 0;
}

int dp_prog_fd(const struct dp_loader *d, const char *name)
{
	const struct bpf_program *prog = bpf_object__find_program_by_name(d->obj, name);

	return prog ? bpf_program__fd(prog) : -ENOENT;
}

static uint32_t prog_id_of(int fd)
{
	struct bpf_prog_info info = {};
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) == 0 ? info.id : 0;
}

/* ---- clsact */

static int mark_path(const char *pin_dir, int ifindex, char ret_path[DP_PATH_MAX])
{
	char name[32];

	snprintf(name, sizeof(name), "clsact-%d", ifindex);
	return dp_pin_path(pin_dir, "links", name, ret_path);
}

static int make_clsact(const char *pin_dir, int ifindex, const char *ifname, struct err *e)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	char mark[DP_PATH_MAX];
	int rc = bpf_tc_hook_create(&hook);

	if (rc == -EEXIST)
		return 0; /* ours of an earlier run (marked), or another's: it stays either way */
	if (rc < 0)
		return err_set(e, rc, "%s: cannot add a clsact qdisc: %s", ifname, strerror(-rc));
	if (mark_path(pin_dir, ifindex, mark) == 0)
		(void)mkdir(mark,
			    0700); /* without the mark the empty qdisc stays behind: harmless */
	return 0;
}

static void drop_clsact(const char *pin_dir, int ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	char mark[DP_PATH_MAX];

	if (mark_path(pin_dir, ifindex, mark) < 0 || rmdir(mark) < 0)
		return; /* not ours */
	if (!dp_filter_has_any(ifindex))
		(void)bpf_tc_hook_destroy(&hook); /* it may be gone with the interface */
}

/* ---- TC */

static void tc_detach(int ifindex, enum bpf_tc_attach_point point)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = point);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = DP_TC_HANDLE, .priority = DP_TC_PRIORITY);

	(void)bpf_tc_detach(&hook, &opts); /* gone already is fine */
}

static int tc_put(int ifindex, enum bpf_tc_attach_point point, int fd)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = point);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = DP_TC_HANDLE, .priority = DP_TC_PRIORITY,
		    .flags = BPF_TC_F_REPLACE, .prog_fd = fd);

	return bpf_tc_attach(&hook, &opts);
}

static int tc_attach(struct dp_loader *d, int ifindex, const char *ifname,
		     const struct tc_hook *hook, struct undo *undo, struct err *e)
{
	const char *way = hook->point == BPF_TC_INGRESS ? "ingress" : "egress";
	uint32_t old = tc_prog_id(ifindex, hook->point);
	int fd = dp_prog_fd(d, hook->prog);

	if (fd < 0)
		return err_set(e, fd, "the BPF object has no program %s", hook->prog);
	if (old && old == prog_id_of(fd))
		return 0;
	if (old && !dp_filter_is_ours(ifindex, hook->point))
		return err_set(e, -EBUSY,
			       "%s: TC %s has another's filter at priority %u handle %#x", ifname,
			       way, DP_TC_PRIORITY, DP_TC_HANDLE);
	int old_fd = old ? bpf_prog_get_fd_by_id(old) : -1;
	int rc = tc_put(ifindex, hook->point, fd);

	if (rc < 0) {
		if (old_fd >= 0)
			close(old_fd);
		return err_set(e, rc, "%s: cannot attach %s at TC %s: %s%s", ifname, hook->prog,
			       way, strerror(-rc),
			       rc == -EINVAL ? " (an `ingress` qdisc in the place of clsact?)"
					     : "");
	}
	undo->hook[undo->count] = hook;
	undo->was_empty[undo->count] = !old;
	undo->old_prog_fd[undo->count++] = old_fd;
	return 0;
}

static void undo_tc(int ifindex, struct undo *undo)
{
	while (undo->count) {
		size_t i = --undo->count;

		if (undo->old_prog_fd[i] >= 0)
			(void)tc_put(ifindex, undo->hook[i]->point, undo->old_prog_fd[i]);
		else if (undo->was_empty[i])
			tc_detach(ifindex, undo->hook[i]->point);
		/* else: without CAP_SYS_ADMIN the old program can't be had; the new one works on the same maps. */
	}
}

static void undo_done(struct undo *undo)
{
	for (size_t i = 0; i < TC_HOOKS; i++)
		if (undo->old_prog_fd[i] >= 0)
			close(undo->old_prog_fd[i]);
}

/* ---- the face */

int dp_attach(struct dp_loader *d, const char *ifname, uint32_t roles, enum dp_xdp want,
	      enum dp_xdp *ret_xdp, struct err *e)
{
	int ifindex = (int)if_nametoindex(ifname);
	enum dp_xdp xdp = DP_XDP_OFF;
	struct undo undo = {};
	int rc = 0;

	if (!ifindex)
		return err_set(e, -ENODEV, "interface %s does not exist", ifname);
	if (((roles & DP_ROLE_MESH) && roles != DP_ROLE_MESH &&
	     (!d->is_fabric || roles != (DP_ROLE_MESH | DP_ROLE_PUBLIC | DP_ROLE_UPLINK))) ||
	    ((roles & DP_ROLE_PUBLIC) && (roles & DP_ROLE_BRIDGE)))
		return err_set(e, -EINVAL,
			       "%s: the mesh device is nothing else, but on a fabric public, and "
			       "a public interface is no bridge of backends",
			       ifname);
	if (d->is_waiting) {
		*ret_xdp = dp_is_xdp_taken(d, ifindex) ? DP_XDP_OFF : dp_xdp_mode(ifindex);
		return 0;
	}
	for (size_t i = 0; i < TC_HOOKS; i++)
		undo.old_prog_fd[i] = -1;
	rc = make_clsact(d->pin_dir, ifindex, ifname, e);
	for (size_t i = 0; rc == 0 && i < TC_HOOKS; i++)
		if (is_for(&tc_hooks[i], roles))
			rc = tc_attach(d, ifindex, ifname, &tc_hooks[i], &undo, e);
	if (rc == 0 && (roles & (DP_ROLE_PUBLIC | DP_ROLE_MESH)))
		rc = dp_xdp_attach(d, ifindex, ifname, roles, want, &xdp, e);
	if (rc < 0) {
		undo_tc(ifindex, &undo);
		if (!dp_filter_has_any(ifindex))
			drop_clsact(d->pin_dir, ifindex);
	}
	undo_done(&undo);
	if (rc < 0)
		return rc;
	*ret_xdp = xdp;
	return 0;
}

bool dp_is_attached(struct dp_loader *d, int ifindex, uint32_t roles, enum dp_xdp xdp)
{
	for (size_t i = 0; i < TC_HOOKS && !d->is_waiting; i++) {
		if (!is_for(&tc_hooks[i], roles))
			continue;
		uint32_t id = tc_prog_id(ifindex, tc_hooks[i].point);

		if (!id || id != prog_id_of(dp_prog_fd(d, tc_hooks[i].prog)))
			return false;
	}
	if (d->is_waiting || !(roles & (DP_ROLE_PUBLIC | DP_ROLE_MESH)) || xdp == DP_XDP_OFF)
		return true;
	return dp_xdp_mode(ifindex) == xdp;
}

void dp_detach(struct dp_loader *d, int ifindex, uint32_t roles)
{
	if (roles & (DP_ROLE_PUBLIC | DP_ROLE_MESH))
		dp_xdp_unlink(d->pin_dir, ifindex);
	for (size_t i = TC_HOOKS; i-- > 0;) {
		uint32_t id = tc_hooks[i].has & roles ? tc_prog_id(ifindex, tc_hooks[i].point) : 0;

		if (id && dp_filter_is_ours(ifindex, tc_hooks[i].point))
			tc_detach(ifindex, tc_hooks[i].point);
	}
	if (!dp_filter_has_any(ifindex))
		drop_clsact(d->pin_dir, ifindex);
}

void dp_forget(struct dp_loader *d, int ifindex)
{
	char mark[DP_PATH_MAX];

	dp_xdp_unlink(d->pin_dir, ifindex);
	if (mark_path(d->pin_dir, ifindex, mark) == 0)
		(void)rmdir(mark);
}

/* Does this program of ours use a map of the pin directory? When that can't be found out, name and place must do. */
static bool belongs_to(uint32_t prog_id, const uint32_t *map_id, size_t map_count)
{
	uint32_t used[DP_PINNED_MAX] = {};
	struct bpf_prog_info info = {};
	uint32_t len = sizeof(info);

	int fd = map_count ? bpf_prog_get_fd_by_id(prog_id) : -EPERM;

	if (fd < 0)
		return fd == -EPERM;
	info.nr_map_ids = DP_PINNED_MAX;
	info.map_ids = (uintptr_t)used;
	int rc = bpf_obj_get_info_by_fd(fd, &info, &len);

	close(fd);
	for (uint32_t i = 0; rc == 0 && i < info.nr_map_ids && i < DP_PINNED_MAX; i++)
		for (size_t j = 0; j < map_count; j++)
			if (used[i] == map_id[j])
				return true;
	return false;
}

int dp_detach_all(const char *pin_dir, struct err *e)
{
	uint32_t map_id[DP_PINNED_MAX];
	bool is_there = access(pin_dir, F_OK) == 0;
	int lock_fd = is_there ? dp_pin_lock(pin_dir, e) : -1;

	libbpf_set_print(NULL);
	if (is_there && lock_fd < 0)
		return lock_fd;
	size_t map_count = dp_pin_map_ids(pin_dir, map_id, DP_PINNED_MAX);
	struct if_nameindex *ifs = if_nameindex();

	for (struct if_nameindex *i = ifs; i && i->if_index; i++) {
		int ifindex = (int)i->if_index;

		dp_xdp_unlink(pin_dir, ifindex);
		for (size_t p = 0; p < 2; p++) {
			enum bpf_tc_attach_point point = p ? BPF_TC_EGRESS : BPF_TC_INGRESS;
			uint32_t id = tc_prog_id(ifindex, point);

			if (id && dp_filter_is_ours(ifindex, point) &&
			    belongs_to(id, map_id, map_count))
				tc_detach(ifindex, point);
		}
		drop_clsact(pin_dir, ifindex);
	}
	if (ifs)
		if_freenameindex(ifs);
	dp_pin_remove(pin_dir);
	if (lock_fd >= 0)
		close(lock_fd);
	return 0;
}
