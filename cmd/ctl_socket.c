/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control socket's file. */
#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/ctl_int.h"

/* The path is free: nothing there, or a socket without a listener, which is removed. */
static int clear_path(const struct sockaddr_un *sun, struct err *e)
{
	struct stat st;
	int fd, rc;

	if (lstat(sun->sun_path, &st))
		return errno == ENOENT ? 0
				       : err_set(e, -errno, "control socket %s: %s", sun->sun_path,
						 strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, -EEXIST, "control socket %s: something else is there",
			       sun->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, -errno, "control socket: %s", strerror(errno));
	rc = connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) ? -errno : 0;
	close(fd);
	if (rc != -ECONNREFUSED)
		return err_set(e, -EADDRINUSE, "control socket %s: another process answers there",
			       sun->sun_path);
	if (unlink(sun->sun_path) && errno != ENOENT)
		return err_set(e, -errno, "control socket %s: %s", sun->sun_path, strerror(errno));
	return 0;
}

static void set_group(const char *path, const char *group)
{
	struct group *g = group ? getgrnam(group) : NULL;

	if (!g)
		ctl_log("warn", "group_unknown",
			"group=%s socket=%s why=\"only the daemon's user and root can use it\"",
			group ? group : "-", path);
	else if (chown(path, (uid_t)-1, g->gr_gid) || chmod(path, 0660))
		ctl_log("warn", "group_refused", "group=%s socket=%s error=\"%s\"", group, path,
			strerror(errno));
}

/* A listening socket of mode 0600, 0660 for the group: never open to others in between. */
int ctl_socket_open(const char *path, const char *group, struct ctl_socket *ret_file, int *ret_fd,
		    struct err *e)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct stat st;
	mode_t was;
	int fd, rc;

	if (strlen(path) >= sizeof(sun.sun_path))
		return err_set(e, -ENAMETOOLONG, "control socket %.100s...: want at most %zu bytes",
			       path, sizeof(sun.sun_path) - 1);
	memcpy(sun.sun_path, path, strlen(path) + 1);
	rc = clear_path(&sun, e);
	if (rc)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, -errno, "control socket: %s", strerror(errno));
	was = umask(0177);
	rc = bind(fd, (struct sockaddr *)&sun, sizeof(sun)) ? -errno : 0;
	umask(was);
	if (!rc && (lstat(path, &st) || listen(fd, CTL_BACKLOG))) {
		rc = -errno;
		unlink(path);
	}
	if (rc) {
		close(fd);
		return err_set(e, rc, "control socket %s: %s", path, strerror(-rc));
	}
	ret_file->dev = st.st_dev;
	ret_file->ino = st.st_ino;
	snprintf(ret_file->path, sizeof(ret_file->path), "%s", path);
	set_group(path, group);
	*ret_fd = fd;
	return 0;
}

void ctl_socket_remove(const struct ctl_socket *file)
{
	struct stat st;

	if (!lstat(file->path, &st) && st.st_dev == file->dev && st.st_ino == file->ino)
		unlink(file->path);
}
