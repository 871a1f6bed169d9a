/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/signal.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PULSE_BYTES (DP_LOCAL_MAX * sizeof(struct dp_pulse))

struct signals {
	struct ring_buffer *ring;
	const struct dp_pulse *pulse;
	uv_poll_t poll;
	signal_cb cb;
	void *arg;
	size_t taken;
	bool is_closing;
	void (*close_cb)(void *arg);
	void *close_arg;
};

/* ---- refusals */

/* Negative ends the consuming, with this record taken. */
static int on_record(void *arg, void *data, size_t len)
{
	struct signals *s = arg;
	struct dp_signal record;

	if (len < sizeof(record) || s->is_closing)
		return 0;
	memcpy(&record, data, sizeof(record));
	if (s->cb)
		s->cb(&record, s->arg);
	return ++s->taken == SIGNAL_BATCH_MAX ? -ENOBUFS : 0;
}

static void on_ready(uv_poll_t *h, int status, int events)
{
	struct signals *s = h->data;

	(void)status;
	(void)events;
	s->taken = 0;
	(void)ring_buffer__consume(s->ring); /* on_record() alone fails, when the batch is full */
}

const char *signal_kind_text(uint8_t kind)
{
	switch (kind) {
	case DP_SIGNAL_PORT:
		return "port unreachable";
	case DP_SIGNAL_HOST:
		return "host unreachable";
	case DP_SIGNAL_RESET:
		return "connection refused";
	}
	return "unknown signal";
}

/* ---- silence */

struct dp_pulse signals_pulse(const struct signals *s, uint32_t slot)
{
	struct dp_pulse p = {0};

	if (slot < DP_LOCAL_MAX) {
		p.asked = __atomic_load_n(&s->pulse[slot].asked, __ATOMIC_RELAXED);
		p.heard = __atomic_load_n(&s->pulse[slot].heard, __ATOMIC_RELAXED);
		p.held = __atomic_load_n(&s->pulse[slot].held, __ATOMIC_RELAXED);
		p.lost = __atomic_load_n(&s->pulse[slot].lost, __ATOMIC_RELAXED);
	}
	return p;
}

bool silence_look(struct silence *s, const struct dp_pulse *now)
{
	bool is_asked = s->is_begun && now->asked != s->asked;
	bool is_heard = s->is_begun && now->heard != s->heard;

	s->is_begun = true;
	s->asked = now->asked;
	s->heard = now->heard;
	if (is_heard) {
		s->silent = 0;
		if (s->steady < SIGNAL_STEADY_LOOKS)
			s->steady++;
		return false;
	}
	if (!is_asked || s->steady < SIGNAL_STEADY_LOOKS)
		return false;
	if (++s->silent < SIGNAL_SILENT_LOOKS)
		return false;
	s->steady = s->silent = 0;
	return true;
}

/* ---- open and close */

static void free_all(struct signals *s)
{
	if (s->pulse)
		munmap((void *)s->pulse, PULSE_BYTES);
	ring_buffer__free(s->ring);
	free(s);
}

static void on_closed(uv_handle_t *h)
{
	struct signals *s = h->data;
	void (*cb)(void *arg) = s->close_cb;
	void *arg = s->close_arg;

	free_all(s);
	if (cb)
		cb(arg);
}

void signals_close(struct signals *s, void (*cb)(void *arg), void *arg)
{
	s->is_closing = true;
	s->close_cb = cb;
	s->close_arg = arg;
	uv_close((uv_handle_t *)&s->poll, on_closed);
}

int signals_open(uv_loop_t *uv, const struct dp_fds *fds, signal_cb cb, void *arg,
		 struct signals **ret_signals, struct err *e)
{
	struct signals *s = calloc(1, sizeof(*s));
	void *pulse;
	int rc = 0;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	pulse = mmap(NULL, PULSE_BYTES, PROT_READ, MAP_SHARED, fds->pulse, 0);
	if (pulse == MAP_FAILED) {
		rc = err_set(e, -errno, "dp_pulse: %s", strerror(errno));
		free(s);
		return rc;
	}
	s->pulse = pulse;
	s->ring = ring_buffer__new(fds->signal, on_record, s, NULL);
	if (!s->ring)
		rc = -errno;
	while (!rc) { /* what nobody took, before cb is set */
		s->taken = 0;
		(void)ring_buffer__consume(s->ring);
		if (s->taken < SIGNAL_BATCH_MAX)
			break;
	}
	if (!rc)
		rc = uv_poll_init(uv, &s->poll, ring_buffer__epoll_fd(s->ring));
	if (rc) {
		free_all(s);
		return err_set(e, rc, "dp_signal: %s", strerror(-rc));
	}
	s->cb = cb;
	s->arg = arg;
	s->poll.data = s;
	rc = uv_poll_start(&s->poll, UV_READABLE, on_ready);
	if (rc) {
		signals_close(s, NULL, NULL);
		return err_set(e, rc, "dp_signal: %s", strerror(-rc));
	}
	*ret_signals = s;
	return 0;
}
