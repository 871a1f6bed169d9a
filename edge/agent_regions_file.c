/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Summaries over a restart: one file for each other region in the state directory, `summary-REGION`, exchanged by renaming. A
 * cache: what is not whole is not believed, since its version has its hash, and what is newer comes from others.
 *
 * [1, region, removals, lives, marks, bin 8: hash, bin: value] */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge/agent_regions.h"
#include "gossip/mp.h"

#define PREFIX "summary-"
#define FORMAT 1
#define HEAD_MAX 128
#define FILE_MAX (GOSSIP_SUMMARY_MAX + HEAD_MAX)
#define STORE_EVERY_MS 5000 /* of one region: a cache may be a little old */

/* ---- out */

static size_t pack(const struct gossip_region *g, uint8_t *buf)
{
	struct mp_buf b = {.p = buf, .cap = FILE_MAX};
	msgpack_packer pk;

	msgpack_packer_init(&pk, &b, mp_buf_write);
	msgpack_pack_array(&pk, 7);
	msgpack_pack_uint8(&pk, FORMAT);
	msgpack_pack_str_with_body(&pk, g->name, strlen(g->name));
	msgpack_pack_uint64(&pk, g->version.removals);
	msgpack_pack_uint64(&pk, g->version.lives);
	msgpack_pack_uint64(&pk, g->version.marks);
	msgpack_pack_bin_with_body(&pk, g->version.hash, sizeof(g->version.hash));
	msgpack_pack_bin_with_body(&pk, g->value, g->len);
	return b.is_full ? 0 : b.len;
}

static int write_file(const char *dir, const char *region, const uint8_t *buf, size_t len)
{
	char path[PATH_MAX], fresh[PATH_MAX];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/" PREFIX "%s", dir, region);
	snprintf(fresh, sizeof(fresh), "%s/" PREFIX "%s.new", dir, region);
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	n = write(fd, buf, len);
	if (close(fd) || n != (ssize_t)len || rename(fresh, path)) {
		unlink(fresh);
		return n >= 0 && n != (ssize_t)len ? -ENOSPC : -errno;
	}
	return 0;
}

static void store(struct agent *a, struct agent_region *r, const struct gossip_region *g)
{
	uint8_t *buf = malloc(FILE_MAX);
	size_t len = buf ? pack(g, buf) : 0;
	int err = len ? write_file(a->cfg.state_dir, r->name, buf, len) : -ENOMEM;

	free(buf);
	r->is_unstored = false;
	r->stored_ms = agent_now_ms(a);
	if (err)
		agent_log("warn", "summary_not_stored", "region=%s error=\"%s\"", r->name,
			  strerror(-err));
}

/* Only what a computation has gone through with: a restart must not find what ends it. */
void agent_regions_store(struct agent *a, bool is_last)
{
	struct agent_regions *t = a->regions;

	if (!t || !a->cfg.state_dir || a->is_dirty || a->is_compute_armed)
		return;
	for (size_t i = 0; i < gossip_core_region_count(a->core); i++) {
		struct gossip_region g;

		gossip_core_region_at(a->core, i, &g);
		for (size_t k = 0; k < t->count && g.has_value && !g.is_own; k++) {
			struct agent_region *r = t->r[k];

			if (!strcmp(r->name, g.name) && r->is_unstored &&
			    !memcmp(r->version.hash, g.version.hash, sizeof(g.version.hash)) &&
			    (is_last || !r->stored_ms ||
			     agent_now_ms(a) >= r->stored_ms + STORE_EVERY_MS))
				store(a, r, &g);
		}
	}
}

/* ---- in */

static int read_whole(const char *path, uint8_t *buf, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, FILE_MAX);
	close(fd);
	if (n < 0)
		return -EIO;
	*ret_len = (size_t)n;
	return 0;
}

static int unpack(const uint8_t *buf, size_t len, struct gossip_summary *ret_summary)
{
	struct gossip_summary s = {0};
	struct mp_reader r;
	uint64_t format;
	size_t count;

	mp_reader_init(&r, buf, len);
	if (mp_read_array(&r, 7, &count) || count != 7 || mp_read_uint(&r, FORMAT, &format) ||
	    format != FORMAT || mp_read_text(&r, s.region, sizeof(s.region)) ||
	    mp_read_uint(&r, UINT64_MAX, &s.version.removals) ||
	    mp_read_uint(&r, UINT64_MAX, &s.version.lives) ||
	    mp_read_uint(&r, UINT64_MAX, &s.version.marks) ||
	    mp_read_bytes(&r, s.version.hash, sizeof(s.version.hash)) ||
	    mp_read_bin(&r, GOSSIP_SUMMARY_MAX, &s.value, &s.len) || !mp_at_end(&r))
		return -EBADMSG;
	*ret_summary = s;
	return 0;
}

static void load(struct agent *a, const char *name, uint8_t *buf)
{
	char path[PATH_MAX];
	struct gossip_summary s;
	size_t len = 0;
	int err;

	snprintf(path, sizeof(path), "%s/%s", a->cfg.state_dir, name);
	err = read_whole(path, buf, &len);
	if (!err)
		err = unpack(buf, len, &s);
	if (!err)
		err = gossip_core_load_summary(a->core, &s);
	if (err)
		agent_log("warn", "summary_not_loaded", "file=%s error=\"%s\"", name,
			  strerror(-err));
	else
		agent_regions_summary(a, &s);
}

void agent_regions_load(struct agent *a)
{
	uint8_t *buf = a->regions && a->cfg.state_dir ? malloc(FILE_MAX) : NULL;
	DIR *d = buf ? opendir(a->cfg.state_dir) : NULL;
	const struct dirent *e;

	while (d && (e = readdir(d)))
		if (!strncmp(e->d_name, PREFIX, strlen(PREFIX)) &&
		    !model_name_check(e->d_name + strlen(PREFIX)))
			load(a, e->d_name, buf);
	if (d)
		closedir(d);
	free(buf);
	/* What is on disk need not be written again. */
	for (size_t i = 0; a->regions && i < a->regions->count; i++)
		a->regions->r[i]->is_unstored = false;
}
