/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/dp_pin.c - the pin directory: where it may lie, who holds it, what is in it. */
#include "edge/dp_int.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define BPFFS_MAGIC 0xcafe4a11u /* linux/magic.h, BPF_FS_MAGIC */
#define BPFFS_USUAL "/sys/fs/bpf"
#define REMOVE_DEPTH_MAX 4 /* pin_dir/v1/maps/NAME */

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
const char *dp_pin_maps_dir(void)
{
	return "v" TEXT(DP_ABI_VERSION) "/maps";
}
const char *dp_pin_flows_dir(void)
{
	return "flows-v" TEXT(DP_FLOW_VERSION);
}

int dp_pin_path(const char *pin_dir, const char *sub, const char *name, char ret_path[DP_PATH_MAX])
{
	int n = snprintf(ret_path, DP_PATH_MAX, "%s/%s%s%s", pin_dir, sub, *name ? "/" : "", name);

	return n < 0 || n >= DP_PATH_MAX ? -ENAMETOOLONG : 0;
}

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned int)fs.f_type == BPFFS_MAGIC;
}

/* All missing directories of `path`, like mkdir -p. */
int dp_pin_mkdir(const char *path, struct err *e)
{
	char part[DP_PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof(part))
		return err_set(e, -ENAMETOOLONG, "%s: path is too long", path);
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return err_set(e, -errno, "%s: cannot make directory: %s", part,
				       strerror(errno));
	}
	return 0;
}

/* Pins can only live on a bpffs. We mount the usual place, never another one. */
static int require_bpffs(const char *pin_dir, struct err *e)
{
	char above[DP_PATH_MAX];
	size_t usual = strlen(BPFFS_USUAL);

	if (snprintf(above, sizeof(above), "%s", pin_dir) >= (int)sizeof(above) ||
	    pin_dir[0] != '/')
		return err_set(e, -EINVAL, "pin_dir: got '%s', want an absolute path on a bpffs",
			       pin_dir);
	if (!strncmp(pin_dir, BPFFS_USUAL "/", usual + 1) && !is_bpffs(BPFFS_USUAL) &&
	    mount("bpf", BPFFS_USUAL, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
		return err_set(e, -errno, "%s: cannot mount a bpffs there: %s", BPFFS_USUAL,
			       strerror(errno));
	while (access(above, F_OK) < 0) {
		char *slash = strrchr(above, '/');

		if (!slash || slash == above)
			break;
		*slash = '\0';
	}
	if (is_bpffs(above))
		return 0;
	return err_set(e, -EINVAL,
		       "pin_dir %s: %s is not on a bpffs; mount one (mount -t bpf bpf DIR)",
		       pin_dir, above);
}

int dp_pin_lock(const char *pin_dir, struct err *e)
{
	int rc = require_bpffs(pin_dir, e);

	if (rc == 0)
		rc = dp_pin_mkdir(pin_dir, e);
	if (rc < 0)
		return rc;
	int fd = open(pin_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_set(e, -errno, "%s: cannot open: %s", pin_dir, strerror(errno));
	if (fchmod(fd, 0700) < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0) {
		rc = errno == EWOULDBLOCK
			     ? err_set(e, -EBUSY, "another edgefwd holds %s: stop it first",
				       pin_dir)
			     : err_set(e, -errno, "%s: cannot lock: %s", pin_dir, strerror(errno));
		close(fd);
		return rc;
	}
	return fd;
}

/* "v3" with another number. */
static unsigned int other_number(const char *name, const char *prefix, unsigned int own)
{
	size_t len = strlen(prefix);
	unsigned int n;
	char rest;

	return strncmp(name, prefix, len) == 0 && sscanf(name + len, "%u%c", &n, &rest) == 1 &&
			       n != own
		       ? n
		       : 0;
}

unsigned int dp_pin_other_abi(const char *pin_dir)
{
	DIR *dir = opendir(pin_dir);
	struct dirent *ent;
	unsigned int abi = 0;

	while (dir && !abi && (ent = readdir(dir)))
		abi = other_number(ent->d_name, "v", DP_ABI_VERSION);
	if (dir)
		closedir(dir);
	return abi;
}

static void remove_below(int parent_fd, const char *name, int depth)
{
	int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *ent;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	/* bpffs lists what is there when asked; removing while reading may skip entries, so start again until
	 * a pass removes nothing. */
	for (bool is_moving = true; is_moving;) {
		is_moving = false;
		rewinddir(dir);
		while ((ent = readdir(dir))) {
			if (!strcmp(ent->d_name, ".") || !strcmp(ent->d_name, ".."))
				continue;
			if (unlinkat(fd, ent->d_name, 0) == 0) {
				is_moving = true;
				continue;
			}
			if (depth < REMOVE_DEPTH_MAX)
				remove_below(fd, ent->d_name, depth + 1);
			if (unlinkat(fd, ent->d_name, AT_REMOVEDIR) == 0)
				is_moving = true;
		}
	}
	closedir(dir);
}

void dp_pin_remove(const char *pin_dir)
{
	if (!is_bpffs(pin_dir))
		return;
	remove_below(AT_FDCWD, pin_dir, 1);
	(void)rmdir(pin_dir); /* a mount point of its own stays */
}

void dp_pin_remove_others(const char *pin_dir)
{
	struct dirent *ent;
	char path[DP_PATH_MAX];
	DIR *dir;

	for (bool is_moving = true; is_moving;) {
		is_moving = false;
		dir = opendir(pin_dir);
		while (dir && !is_moving && (ent = readdir(dir))) {
			if ((!other_number(ent->d_name, "v", DP_ABI_VERSION) &&
			     !other_number(ent->d_name, "flows-v", DP_FLOW_VERSION)) ||
			    dp_pin_path(pin_dir, ent->d_name, "", path) < 0)
				continue;
			remove_below(AT_FDCWD, path, 1);
			is_moving = rmdir(path) == 0;
		}
		if (dir)
			closedir(dir);
	}
}

static size_t map_ids_in(const char *path, uint32_t *ret_id, size_t max)
{
	DIR *dir = opendir(path);
	struct dirent *ent;
	size_t count = 0;

	if (!dir)
		return 0;
	while (count < max && (ent = readdir(dir))) {
		char pin[DP_PATH_MAX];
		struct bpf_map_info info = {};
		uint32_t len = sizeof(info);

		if (ent->d_name[0] == '.' || dp_pin_path(path, ent->d_name, "", pin) < 0)
			continue;
		int fd = bpf_obj_get(pin);

		if (fd < 0)
			continue;
		if (bpf_obj_get_info_by_fd(fd, &info, &len) == 0)
			ret_id[count++] = info.id;
		close(fd);
	}
	closedir(dir);
	return count;
}

size_t dp_pin_map_ids(const char *pin_dir, uint32_t *ret_id, size_t max)
{
	DIR *dir = opendir(pin_dir);
	struct dirent *ent;
	size_t count = 0;

	if (!dir)
		return 0;
	/* Every ABI's: --detach removes whatever an edgefwd left. */
	while ((ent = readdir(dir))) {
		char path[DP_PATH_MAX];

		if (ent->d_name[0] == '.')
			continue;
		if (!strncmp(ent->d_name, "flows-", 6)) {
			if (dp_pin_path(pin_dir, ent->d_name, "", path) == 0)
				count += map_ids_in(path, ret_id + count, max - count);
		} else if (ent->d_name[0] == 'v') {
			if (dp_pin_path(pin_dir, ent->d_name, "maps", path) == 0)
				count += map_ids_in(path, ret_id + count, max - count);
		}
	}
	closedir(dir);
	return count;
}
