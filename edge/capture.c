/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/capture.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

struct capture {
	struct dp_fds fds;
	struct dp_ctl *ctl;
	struct ring_buffer *ring;
	uv_poll_t poll;
	uv_timer_t timer; /* end of a read's patience, or of ours when nobody reads */
	void (*over_cb)(void *arg);
	void *over_arg;
	capture_cb read_cb; /* NULL = nobody waits */
	void *read_arg;
	struct capture_frame frame[CAPTURE_BATCH_MAX];
	size_t count;
	uint64_t unix_less_mono_ns;
	uint64_t lost_before;
	int open_handles;
	void (*close_cb)(void *arg);
	void *close_arg;
};

/* ---- the switch */

static void switch_off(struct dp_ctl *ctl)
{
	__atomic_store_n(&ctl->capture_every, 0, __ATOMIC_RELEASE);
}

static void switch_on(struct dp_ctl *ctl, const struct capture_config *cfg)
{
	__atomic_store_n(&ctl->capture_reasons, cfg->reasons[0], __ATOMIC_RELAXED);
	__atomic_store_n(&ctl->capture_reasons_hi, cfg->reasons[1], __ATOMIC_RELAXED);
	__atomic_store_n(&ctl->capture_every, cfg->every, __ATOMIC_RELEASE);
}

/* ---- the ring */

static int64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts); /* fails for no clock that is asked for here */
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* A program that puts a tunnel on leaves the link header as it was, for the packet goes on without it. One that says
 * another IP version than what follows it is such a leftover, and no tool could read the packet behind it. */
static void cut_stale_link(struct dp_captured *rec)
{
	const uint8_t *p = rec->data;
	uint32_t type = (uint32_t)p[12] << 8 | p[13], want = type == ETH_P_IP ? 4 : 6;

	if (rec->bytes < ETH_HLEN + sizeof(struct ip) || capture_is_raw_ip(rec) ||
	    (type != ETH_P_IP && type != ETH_P_IPV6) || p[ETH_HLEN] >> 4 == want)
		return;
	if (p[ETH_HLEN] >> 4 != (want ^ 2u))
		return;
	rec->bytes = (uint16_t)(rec->bytes - ETH_HLEN);
	rec->frame_bytes -= ETH_HLEN;
	memmove(rec->data, rec->data + ETH_HLEN, rec->bytes);
}

/* Negative ends the consuming, with this record taken. */
static int on_record(void *arg, void *data, size_t len)
{
	struct capture *c = arg;
	struct capture_frame *f = &c->frame[c->count];

	if (len < sizeof(f->rec))
		return 0;
	memcpy(&f->rec, data, sizeof(f->rec));
	if (f->rec.bytes > DP_CAPTURE_BYTES)
		f->rec.bytes = DP_CAPTURE_BYTES;
	cut_stale_link(&f->rec);
	f->unix_ns = f->rec.time_ns + c->unix_less_mono_ns;
	return ++c->count == CAPTURE_BATCH_MAX ? -ENOBUFS : 0;
}

static void take(struct capture *c)
{
	c->unix_less_mono_ns = (uint64_t)(clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC));
	c->count = 0;
	(void)ring_buffer__consume(c->ring); /* only on_record() fails, when the batch is full */
}

static int read_lost(const struct dp_fds *fds, uint64_t *ret_lost)
{
	int cpus = libbpf_num_possible_cpus(), rc = 0;
	uint64_t *value, sum = 0;
	uint32_t zero = 0;

	if (cpus <= 0)
		return cpus ? cpus : -EIO;
	value = calloc((size_t)cpus, sizeof(*value));
	if (!value)
		return -ENOMEM;
	if (bpf_map_lookup_elem(fds->capture_lost, &zero, value))
		rc = -errno;
	for (int i = 0; i < cpus; i++)
		sum += value[i];
	free(value);
	if (!rc)
		*ret_lost = sum;
	return rc;
}

/* ---- reading */

static void on_timer(uv_timer_t *t);

static void answer(struct capture *c, int status)
{
	struct capture_batch batch = {.frame = c->frame, .count = c->count};
	capture_cb cb = c->read_cb;
	uint64_t lost;

	c->read_cb = NULL;
	if (!read_lost(&c->fds, &lost))
		batch.lost = lost - c->lost_before;
	if (!uv_is_closing((uv_handle_t *)&c->timer)) {
		uv_poll_stop(&c->poll);
		uv_timer_start(&c->timer, on_timer, CAPTURE_SILENT_MS, 0);
	}
	cb(status, status ? NULL : &batch, c->read_arg);
}

static void on_timer(uv_timer_t *t)
{
	struct capture *c = t->data;

	if (c->read_cb) {
		take(c);
		answer(c, 0);
		return;
	}
	switch_off(c->ctl);
	c->over_cb(c->over_arg);
}

static void on_ready(uv_poll_t *h, int status, int events)
{
	struct capture *c = h->data;

	(void)events;
	if (!c->read_cb)
		return;
	take(c);
	if (c->count || status < 0)
		answer(c, status < 0 ? status : 0);
}

int capture_read(struct capture *c, capture_cb cb, void *arg)
{
	int rc;

	if (c->read_cb)
		return -EBUSY;
	c->read_cb = cb;
	c->read_arg = arg;
	take(c);
	if (c->count) {
		answer(c, 0);
		return 0;
	}
	rc = uv_poll_start(&c->poll, UV_READABLE, on_ready);
	if (rc) {
		c->read_cb = NULL;
		return rc;
	}
	return uv_timer_start(&c->timer, on_timer, CAPTURE_WAIT_MS,
			      0); /* not closing: can't fail */
}

/* ---- open and close */

static void on_closed(uv_handle_t *h)
{
	struct capture *c = h->data;
	void (*cb)(void *arg) = c->close_cb;
	void *arg = c->close_arg;

	if (--c->open_handles)
		return;
	ring_buffer__free(c->ring);
	free(c);
	if (cb)
		cb(arg);
}

void capture_close(struct capture *c, void (*cb)(void *arg), void *arg)
{
	switch_off(c->ctl);
	c->close_cb = cb;
	c->close_arg = arg;
	uv_close((uv_handle_t *)&c->poll, on_closed);
	uv_close((uv_handle_t *)&c->timer, on_closed);
	if (c->read_cb)
		answer(c, -ECANCELED);
}

int capture_open(uv_loop_t *uv, const struct dp_fds *fds, struct dp_ctl *ctl,
		 const struct capture_config *cfg, void (*over_cb)(void *arg), void *arg,
		 struct capture **ret_capture, struct err *e)
{
	struct capture *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return err_set(e, -ENOMEM, "out of memory");
	c->fds = *fds;
	c->ctl = ctl;
	c->over_cb = over_cb;
	c->over_arg = arg;
	c->ring = ring_buffer__new(fds->capture, on_record, c, NULL);
	if (!c->ring) {
		rc = err_set(e, -errno, "dp_capture: %s", strerror(errno));
		free(c);
		return rc;
	}
	rc = read_lost(fds, &c->lost_before);
	if (!rc)
		rc = uv_poll_init(uv, &c->poll, ring_buffer__epoll_fd(c->ring));
	if (rc) {
		ring_buffer__free(c->ring);
		free(c);
		return err_set(e, rc, "dp_capture: %s", strerror(-rc));
	}
	(void)uv_timer_init(uv, &c->timer); /* never fails */
	c->poll.data = c->timer.data = c;
	c->open_handles = 2;
	do /* what an earlier capture left */
		take(c);
	while (c->count);
	switch_on(ctl, cfg);
	uv_timer_start(&c->timer, on_timer, CAPTURE_SILENT_MS, 0);
	*ret_capture = c;
	return 0;
}

/* ---- link types */

static uint32_t be16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

/* The mesh device may have no link header, and programs add and remove one on their way. So the packet is asked: does it
 * begin with an IP header that gives its own length? Where a malformed one leaves that open, the ethertype, then the hook
 * decide. */
bool capture_is_raw_ip(const struct dp_captured *rec)
{
	const uint8_t *p = rec->data;

	if (rec->bytes >= 20 && p[0] >> 4 == 4 && (p[0] & 15) >= 5 &&
	    be16(p + 2) == rec->frame_bytes)
		return true;
	if (rec->bytes >= 40 && p[0] >> 4 == 6 && be16(p + 4) + 40 == rec->frame_bytes)
		return true;
	if (rec->hook != DP_HOOK_MESH_IN && rec->hook != DP_HOOK_MESH_OUT)
		return false;
	if (rec->bytes >= 34 && be16(p + 12) == 0x0800 && p[14] >> 4 == 4)
		return false;
	if (rec->bytes >= 54 && be16(p + 12) == 0x86dd && p[14] >> 4 == 6)
		return false;
	return rec->bytes && (p[0] >> 4 == 4 || p[0] >> 4 == 6);
}
