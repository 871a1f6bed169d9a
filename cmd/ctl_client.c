/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edgectl's end. The daemon's bytes are checked like anybody else's: bounded, well-formed, then unpacked. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/ctl_int.h"

#define READ_BYTES 65536

struct ctl_client {
	int fd;
	uint64_t next_id;
	uint8_t *buf;
	size_t len, cap;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

static const char *cause(int err)
{
	switch (err) {
	case ENOENT:
		return "no such socket (is edged running?)";
	case ECONNREFUSED:
		return "nobody listens there (is edged running?)";
	case EACCES:
		return "permission denied (root and the group of the socket may use it)";
	}
	return strerror(err);
}

int ctl_connect(const char *path, struct ctl_client **ret_client, struct err *e)
{
	const struct timeval limit = {.tv_sec = CTL_ANSWER_S};
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct ctl_client *c;
	int rc;

	if (strlen(path) >= sizeof(sun.sun_path))
		return err_set(e, -ENAMETOOLONG, "can't reach edged at %.100s...: path is too long",
			       path);
	memcpy(sun.sun_path, path, strlen(path) + 1);
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(e, -ENOMEM, "out of memory");
	memcpy(c->path, sun.sun_path, sizeof(c->path));
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
	    connect(c->fd, (struct sockaddr *)&sun, sizeof(sun))) {
		rc = err_set(e, -errno, "can't reach edged at %s: %s", path, cause(errno));
		ctl_disconnect(c);
		return rc;
	}
	*ret_client = c;
	return 0;
}

void ctl_disconnect(struct ctl_client *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		close(c->fd);
	free(c->buf);
	free(c);
}

/* A daemon that closes early may have said why: what there is to read is read all the same. */
static int send_all(struct ctl_client *c, const char *p, size_t len)
{
	while (len) {
		ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EPIPE ? 0 : -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int receive(struct ctl_client *c, size_t *ret_len, struct err *e)
{
	struct ctl_scan scan = {0};

	c->len = 0;
	for (;;) {
		int rc = ctl_scan(&scan, c->buf, c->len, CTL_REPLY_MAX);
		ssize_t n;

		if (rc == 1) {
			*ret_len = scan.at;
			return 0;
		}
		if (rc < 0)
			return err_set(e, rc, "edged at %s sent what is no answer (%s)", c->path,
				       strerror(-rc));
		if (c->cap - c->len < READ_BYTES) {
			size_t cap = c->cap ? 2 * c->cap : 2 * READ_BYTES;
			uint8_t *buf = realloc(c->buf, cap);

			if (!buf)
				return err_set(e, -ENOMEM, "out of memory");
			c->buf = buf;
			c->cap = cap;
		}
		do
			n = recv(c->fd, c->buf + c->len, READ_BYTES, 0);
		while (n < 0 && errno == EINTR);
		if (n == 0)
			return err_set(e, -ECONNRESET, "edged at %s closed the connection",
				       c->path);
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return err_set(e, -ETIMEDOUT, "edged at %s gave no answer in %d s", c->path,
				       CTL_ANSWER_S);
		if (n < 0)
			return err_set(e, -errno, "edged at %s: %s", c->path, strerror(errno));
		c->len += (size_t)n;
	}
}

/* {code, text} of a refusal; anything odd in it becomes a plain sentence. */
static int refused(struct mp_reader *r, struct err *e)
{
	char text[sizeof(e->text)] = "refused, and edged does not say why";
	const char *key, *s;
	size_t pairs, key_len, len;
	uint64_t code = EIO;

	if (mp_read_map(r, 16, &pairs))
		pairs = 0;
	for (size_t i = 0; i < pairs; i++) {
		if (mp_read_str(r, 64, &key, &key_len))
			break;
		if (key_len == 4 && !memcmp(key, "code", 4)) {
			if (mp_read_uint(r, 4095, &code) || code == 0)
				break;
		} else if (key_len == 4 && !memcmp(key, "text", 4)) {
			if (mp_read_str(r, SIZE_MAX, &s, &len))
				break;
			snprintf(text, sizeof(text), "%.*s",
				 (int)(len < sizeof(text) ? len : sizeof(text)), s);
		} else if (mp_skip(r)) {
			break;
		}
	}
	(void)err_set(e, code ? -(int)code : -EIO, "%s", text);
	return CTL_REFUSED;
}

static int open_answer(struct ctl_client *c, size_t len, uint64_t id, msgpack_unpacked *ret_result,
		       struct err *e)
{
	struct mp_reader r;
	uint64_t kind, got;
	size_t count, off;

	mp_reader_init(&r, c->buf, len);
	if (mp_check(c->buf, len) || mp_read_array(&r, 4, &count) || count != 4 ||
	    mp_read_uint(&r, 1, &kind) || kind != 1 || mp_read_uint(&r, UINT64_MAX, &got))
		goto bad;
	/* Id 0: about the connection, not about our request. */
	if (mp_peek(&r) != MP_NIL)
		return got == id || got == 0
			       ? refused(&r, e)
			       : err_set(e, -EBADMSG, "edged at %s answers another question",
					 c->path);
	if (got != id || mp_read_nil(&r))
		goto bad;
	off = (size_t)(r.p - c->buf);
	msgpack_unpacked_init(ret_result);
	if (msgpack_unpack_next(ret_result, (const char *)c->buf, len, &off) !=
	    MSGPACK_UNPACK_SUCCESS) {
		msgpack_unpacked_destroy(ret_result);
		goto bad;
	}
	return 0;
bad:
	return err_set(e, -EBADMSG, "edged at %s sent what is no answer", c->path);
}

int ctl_call(struct ctl_client *c, const char *method, const msgpack_sbuffer *params,
	     msgpack_unpacked *ret_result, struct err *e)
{
	uint64_t id = ++c->next_id;
	msgpack_sbuffer sb;
	msgpack_packer pk;
	size_t len = 0;
	int rc;

	msgpack_sbuffer_init(&sb);
	msgpack_packer_init(&pk, &sb, msgpack_sbuffer_write);
	msgpack_pack_array(&pk, 4);
	msgpack_pack_uint64(&pk, 0);
	msgpack_pack_uint64(&pk, id);
	msgpack_pack_str(&pk, strlen(method));
	msgpack_pack_str_body(&pk, method, strlen(method));
	rc = msgpack_sbuffer_write(&sb, params->data, params->size);
	if (rc || sb.size > CTL_REQUEST_MAX) {
		msgpack_sbuffer_destroy(&sb);
		return err_set(e, -EMSGSIZE, "request is longer than %d bytes", CTL_REQUEST_MAX);
	}
	rc = send_all(c, sb.data, sb.size);
	msgpack_sbuffer_destroy(&sb);
	if (rc)
		return err_set(e, rc, "edged at %s: %s", c->path, strerror(-rc));
	rc = receive(c, &len, e);
	return rc ? rc : open_answer(c, len, id, ret_result, e);
}
