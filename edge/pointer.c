/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/pointer.h"

#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "edge/ip.h"

enum { V4, V6, FAMILIES };

struct pointers {
	struct ring_buffer *ring;
	uv_poll_t poll;
	struct pointer_config cfg;
	int fd[FAMILIES]; /* -1: this machine has none of that family */
	size_t taken;
	uint64_t second, used;
	struct pointer_counts counts;
	bool is_open, is_closing, has_failed;
	void (*close_cb)(void *arg);
	void *close_arg;
};

static int send_to(const struct pointers *p, const uint8_t addr[16], const void *msg, size_t len)
{
	struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = htons(DP_PING_PORT)};
	struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons(DP_PING_PORT)};
	struct ip_addr a;
	ssize_t n;

	memcpy(a.b, addr, sizeof(a.b));
	memcpy(&to6.sin6_addr, addr, sizeof(to6.sin6_addr));
	memcpy(&to4.sin_addr, addr + 12, sizeof(to4.sin_addr));
	if (ip_is_v4(&a))
		n = sendto(p->fd[V4], msg, len, MSG_DONTWAIT, (void *)&to4, sizeof(to4));
	else
		n = sendto(p->fd[V6], msg, len, MSG_DONTWAIT, (void *)&to6, sizeof(to6));
	return n < 0 ? -errno : 0;
}

/* By the mesh device alone: it may be another one than before. */
static int bind_all(struct pointers *p)
{
	int ifindex = (int)p->cfg.mesh_cb(p->cfg.arg), rc = 0;

	for (size_t i = 0; i < FAMILIES && !rc; i++)
		if (p->fd[i] >= 0 &&
		    setsockopt(p->fd[i], SOL_SOCKET, SO_BINDTOIFINDEX, &ifindex, sizeof(ifindex)))
			rc = -errno;
	return rc;
}

static bool may_send(struct pointers *p)
{
	uint64_t second = uv_now(p->poll.loop) / 1000;

	if (second != p->second) {
		p->second = second;
		p->used = 0;
		if (p->has_failed)
			(void)bind_all(p);
		p->has_failed = false;
	}
	return p->used++ < POINTER_PPS_MAX;
}

static void carry(struct pointers *p, const struct dp_leave *l)
{
	struct dp_pointer_msg msg = {.magic_be = htonl(DP_POINTER_MAGIC_BE), .key = l->key};
	uint8_t addr[16];
	int rc;

	if (!may_send(p) || !p->cfg.addr_cb(l->node_idx, addr, p->cfg.arg)) {
		p->counts.held++;
		return;
	}
	rc = send_to(p, addr, &msg, sizeof(msg));
	if (rc) {
		p->counts.failed++;
		p->counts.error = rc;
		p->has_failed = true;
	} else {
		p->counts.sent++;
	}
}

/* Negative ends the consuming, with this record taken. */
static int on_record(void *arg, void *data, size_t len)
{
	struct pointers *p = arg;
	struct dp_leave l;

	if (len < sizeof(l) || p->is_closing)
		return 0;
	memcpy(&l, data, sizeof(l));
	if (p->is_open)
		carry(p, &l);
	return ++p->taken == POINTER_BATCH_MAX ? -ENOBUFS : 0;
}

static void on_ready(uv_poll_t *h, int status, int events)
{
	struct pointers *p = h->data;

	(void)status;
	(void)events;
	p->taken = 0;
	(void)ring_buffer__consume(p->ring); /* on_record() alone fails, when the batch is full */
}

struct pointer_counts pointers_counts(const struct pointers *p)
{
	return p->counts;
}

/* ---- open and close */

static void free_all(struct pointers *p)
{
	for (size_t i = 0; i < FAMILIES; i++)
		if (p->fd[i] >= 0)
			close(p->fd[i]);
	ring_buffer__free(p->ring);
	free(p);
}

static void on_closed(uv_handle_t *h)
{
	struct pointers *p = h->data;
	void (*cb)(void *arg) = p->close_cb;
	void *arg = p->close_arg;

	free_all(p);
	if (cb)
		cb(arg);
}

void pointers_close(struct pointers *p, void (*cb)(void *arg), void *arg)
{
	p->is_closing = true;
	p->close_cb = cb;
	p->close_arg = arg;
	uv_close((uv_handle_t *)&p->poll, on_closed);
}

static int open_sockets(struct pointers *p)
{
	static const int family[FAMILIES] = {[V4] = AF_INET, [V6] = AF_INET6};

	for (size_t i = 0; i < FAMILIES; i++) {
		p->fd[i] = socket(family[i], SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (p->fd[i] < 0 && errno != EAFNOSUPPORT)
			return -errno;
	}
	return bind_all(p);
}

int pointers_open(uv_loop_t *uv, int leave_fd, const struct pointer_config *cfg,
		  struct pointers **ret_pointers, struct err *e)
{
	struct pointers *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return err_set(e, -ENOMEM, "out of memory");
	p->cfg = *cfg;
	p->fd[V4] = p->fd[V6] = -1;
	rc = open_sockets(p);
	if (!rc) {
		p->ring = ring_buffer__new(leave_fd, on_record, p, NULL);
		rc = p->ring ? 0 : -errno;
	}
	while (!rc) { /* what nobody took, before is_open is set */
		p->taken = 0;
		(void)ring_buffer__consume(p->ring);
		if (p->taken < POINTER_BATCH_MAX)
			break;
	}
	if (!rc)
		rc = uv_poll_init(uv, &p->poll, ring_buffer__epoll_fd(p->ring));
	if (rc) {
		free_all(p);
		return err_set(e, rc, "dp_leave: %s", strerror(-rc));
	}
	p->is_open = true;
	p->poll.data = p;
	rc = uv_poll_start(&p->poll, UV_READABLE, on_ready);
	if (rc) {
		pointers_close(p, NULL, NULL);
		return err_set(e, rc, "dp_leave: %s", strerror(-rc));
	}
	*ret_pointers = p;
	return 0;
}
