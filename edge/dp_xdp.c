/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/dp_xdp.c - XDP programs onto interfaces: in the mode asked for or the best there is, in place where an earlier run
 * left its own, never in the place of another's. */
#include "edge/dp_int.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <string.h>
#include <unistd.h>

#define PUBLIC_PROG "dp_xdp"
#define MESH_PROG "dp_xdp_mesh"
#define ONE_PROG "dp_xdp_one"

static int link_path(const char *pin_dir, int ifindex, char ret_path[DP_PATH_MAX])
{
	char name[32];

	snprintf(name, sizeof(name), "xdp-%d", ifindex);
	return dp_pin_path(pin_dir, "links", name, ret_path);
}

/* The pinned link if it is alive on this interface, else -1; a dead one's pin is removed. */
static int open_link(const char *path, int ifindex)
{
	struct bpf_link_info info = {};
	uint32_t len = sizeof(info);
	int fd = bpf_obj_get(path);

	if (fd < 0)
		return -1;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) == 0 && info.type == BPF_LINK_TYPE_XDP &&
	    (int)info.xdp.ifindex == ifindex)
		return fd;
	close(fd);
	(void)unlink(path); /* its interface went while no edgefwd ran */
	return -1;
}

enum dp_xdp dp_xdp_mode(int ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);

	if (bpf_xdp_query(ifindex, 0, &opts) < 0)
		return DP_XDP_OFF;
	if (opts.attach_mode == XDP_ATTACHED_SKB)
		return DP_XDP_GENERIC;
	return opts.attach_mode == XDP_ATTACHED_NONE ? DP_XDP_OFF : DP_XDP_NATIVE;
}

static int create(int fd, int ifindex, uint32_t mode_flag, const char *path)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = mode_flag);
	int link_fd = bpf_link_create(fd, ifindex, BPF_XDP, &opts);

	if (link_fd < 0)
		return link_fd;
	int rc = bpf_obj_pin(link_fd, path);

	close(link_fd); /* without a pin this detaches */
	return rc;
}

/* The link of an earlier run: 0 = replaced in place, 1 = there is none (any more), or an error. A link in another mode
 * than asked for goes (the TC program decides until the new one is there); ret_old says which mode it had. */
static int replace(const char *path, int ifindex, int fd, enum dp_xdp want, enum dp_xdp *ret_old)
{
	int link_fd = open_link(path, ifindex);
	int rc = 1;

	*ret_old = DP_XDP_OFF;
	if (link_fd < 0)
		return 1;
	enum dp_xdp mode = dp_xdp_mode(ifindex);

	if (want == DP_XDP_AUTO || want == mode) {
		rc = bpf_link_update(link_fd, fd, NULL);
	} else {
		(void)bpf_link_detach(link_fd); /* at once; the last reference may go later */
		(void)unlink(path);		/* fails only if it is gone */
		*ret_old = mode;
	}
	close(link_fd);
	return rc;
}

static bool is_taken(int rc)
{
	return rc == -EBUSY || rc == -EEXIST;
}

/* No link of an earlier run. *ret_xdp is what came of it; with AUTO that may be nothing. */
static int attach_new(int fd, int ifindex, enum dp_xdp want, bool may_be_generic, const char *path,
		      enum dp_xdp *ret_xdp)
{
	int rc = want == DP_XDP_GENERIC ? -EOPNOTSUPP
					: create(fd, ifindex, XDP_FLAGS_DRV_MODE, path);

	*ret_xdp = DP_XDP_NATIVE;
	if (rc < 0 && !is_taken(rc) && want != DP_XDP_NATIVE && may_be_generic) {
		rc = create(fd, ifindex, XDP_FLAGS_SKB_MODE, path);
		*ret_xdp = DP_XDP_GENERIC;
	}
	if (rc < 0)
		*ret_xdp = DP_XDP_OFF;
	return rc;
}

/* Why a driver refuses native mode, as far as its errno says. */
static const char *native_hint(enum dp_xdp want, int rc)
{
	if (want != DP_XDP_NATIVE)
		return "";
	if (rc == -EOPNOTSUPP)
		return " (the driver has none, or not with an MTU or settings like this; xdp = "
		       "auto "
		       "takes what there is)";
	if (rc == -ERANGE || rc == -EINVAL)
		return " (an MTU over a page, about 3,500 bytes, or offloads that it can't have "
		       "together? see OPERATIONS.md; xdp = auto takes what there is)";
	return "";
}

int dp_xdp_attach(struct dp_loader *d, int ifindex, const char *ifname, uint32_t roles,
		  enum dp_xdp want, enum dp_xdp *ret_xdp, struct err *e)
{
	bool is_mesh = roles == DP_ROLE_MESH;
	const char *prog = is_mesh ? MESH_PROG : roles & DP_ROLE_MESH ? ONE_PROG : PUBLIC_PROG;
	char path[DP_PATH_MAX];
	enum dp_xdp old;
	int fd = dp_prog_fd(d, prog);
	int rc = link_path(d->pin_dir, ifindex, path);

	*ret_xdp = DP_XDP_OFF;
	if (fd < 0 || rc < 0)
		return err_set(e, -ENOENT, "the BPF object has no program %s", prog);
	/* A tunnel can't be taken off super-packets: the mesh interface has it natively, or in TC. */
	if (is_mesh && (!d->is_fabric || want == DP_XDP_GENERIC))
		want = DP_XDP_OFF;
	rc = replace(path, ifindex, fd, want, &old);
	if (rc < 0)
		return err_set(e, rc, "%s: cannot replace the XDP program: %s", ifname,
			       strerror(-rc));
	if (rc == 0)
		*ret_xdp = dp_xdp_mode(ifindex);
	if (rc == 0 || want == DP_XDP_OFF)
		return 0;
	rc = attach_new(fd, ifindex, want, !is_mesh, path, ret_xdp);
	/* AUTO, and there is no XDP to be had here, or it is another's: TC decides, with the same code. */
	if (rc == 0 || want == DP_XDP_AUTO)
		return 0;
	if (old != DP_XDP_OFF)
		(void)create(fd, ifindex,
			     old == DP_XDP_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE,
			     path); /* as it was; the first error is the one to tell */
	if (is_taken(rc))
		return err_set(e, -EBUSY, "%s: another XDP program is attached", ifname);
	return err_set(e, rc, "%s: cannot attach %s in %s mode: %s%s", ifname, prog,
		       want == DP_XDP_NATIVE ? "native" : "generic", strerror(-rc),
		       native_hint(want, rc));
}

bool dp_is_xdp_taken(struct dp_loader *d, int ifindex)
{
	char path[DP_PATH_MAX];

	if (dp_xdp_mode(ifindex) == DP_XDP_OFF || link_path(d->pin_dir, ifindex, path))
		return false;
	int fd = open_link(path, ifindex);

	if (fd < 0)
		return true;
	close(fd);
	return false;
}

void dp_xdp_unlink(const char *pin_dir, int ifindex)
{
	char path[DP_PATH_MAX];
	int fd;

	if (link_path(pin_dir, ifindex, path))
		return;
	/* The kernel lets go of a link some time after its last reference; asked to, it detaches at once. */
	fd = bpf_obj_get(path);
	if (fd >= 0) {
		(void)bpf_link_detach(
			fd); /* fails where the interface is gone: so is the program */
		close(fd);
	}
	(void)unlink(path);
}
