/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Looking at the data path: traces through edgefwd, the histogram, one capture at a time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "edge/agent_int.h"

#define TRACE_MS 3000 /* edgefwd answers in microseconds unless it is stuck */

/* ---- dp_ctl */

static size_t ctl_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

void agent_see_maps(struct agent *a)
{
	void *p = mmap(NULL, ctl_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, a->fds.ctl, 0);

	if (p == MAP_FAILED) {
		agent_log("error", "see_unavailable", "error=\"%s\"", strerror(errno));
		return;
	}
	a->ctl = p;
	/* What an edged that died was looking at, nobody looks at now. */
	__atomic_store_n(&a->ctl->capture_every, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&a->ctl->hist_every, 0, __ATOMIC_RELAXED);
}

static void on_capture_closed(void *arg)
{
	agent_handle_closed(arg);
}

static void end_capture(struct agent *a)
{
	struct capture *c = a->capture;

	a->capture = NULL;
	a->capture_owner = NULL;
	if (c)
		capture_close(c, on_capture_closed, a);
}

void agent_see_no_maps(struct agent *a)
{
	end_capture(a);
	if (a->ctl) {
		__atomic_store_n(&a->ctl->hist_every, 0, __ATOMIC_RELAXED);
		munmap(a->ctl, ctl_bytes());
	}
	a->ctl = NULL;
}

static int need_maps(const struct agent *a, struct err *e)
{
	if (a->ctl)
		return 0;
	return err_set(e, -ENOTCONN, "no forwarder: %s",
		       a->is_fwd_up ? "its switches are not at hand" : a->fwd_text);
}

/* ---- histogram */

int agent_hist_set(struct agent *a, uint32_t every, struct err *e)
{
	int rc = need_maps(a, e);

	if (rc)
		return rc;
	if (every && !a->ctl->hist_every)
		rc = hist_clear(&a->fds);
	if (rc)
		return err_set(e, rc, "dp_hist: %s", strerror(-rc));
	__atomic_store_n(&a->ctl->hist_every, every, __ATOMIC_RELEASE);
	return 0;
}

int agent_hist_get(struct agent *a, uint32_t *ret_every, struct hist ret_hist[DP_HOOK_COUNT],
		   struct err *e)
{
	int rc = need_maps(a, e);

	if (!rc)
		rc = hist_read(&a->fds, ret_hist);
	if (rc && a->ctl)
		return err_set(e, rc, "dp_hist: %s", strerror(-rc));
	if (!rc)
		*ret_every = a->ctl->hist_every;
	return rc;
}

/* ---- capture */

static void on_capture_over(void *arg)
{
	struct agent *a = arg;

	agent_log("warn", "capture_over", "why=\"nobody read it for %d ms\"", CAPTURE_SILENT_MS);
	end_capture(a);
}

int agent_capture_start(struct agent *a, const void *owner, const struct capture_config *cfg,
			struct err *e)
{
	int rc = need_maps(a, e);

	if (rc)
		return rc;
	if (a->capture)
		return err_set(e, -EBUSY, "a capture is going on already, since %llu s",
			       (unsigned long long)(agent_now_ms(a) - a->capture_ms) / 1000);
	rc = capture_open(a->uv, &a->fds, a->ctl, cfg, on_capture_over, a, &a->capture, e);
	if (rc)
		return rc;
	a->open_handles++;
	a->capture_owner = owner;
	a->capture_ms = agent_now_ms(a);
	agent_log("info", "capture", "state=on every=%u", cfg->every);
	return 0;
}

int agent_capture_read(struct agent *a, const void *owner, capture_cb cb, void *arg, struct err *e)
{
	int rc;

	if (!a->capture || a->capture_owner != owner)
		return err_set(e, -ENOENT,
			       "no capture of yours is going on: it was not begun, or it ended");
	rc = capture_read(a->capture, cb, arg);
	return rc ? err_set(e, rc, "capture: %s", strerror(-rc)) : 0;
}

void agent_capture_stop(struct agent *a, const void *owner)
{
	if (!a->capture || a->capture_owner != owner)
		return;
	agent_log("info", "capture", "state=off");
	end_capture(a);
}

/* ---- traces */

static void answer_trace(struct agent_trace *t, int status, const char *text,
			 const struct dp_trace *found)
{
	agent_trace_cb cb = t->cb;

	t->cb = NULL; /* free for another one */
	cb(status, text, found, t->arg);
}

void agent_trace(struct agent *a, const uint8_t *frame, size_t bytes, agent_trace_cb cb, void *arg)
{
	struct fwd_msg msg = {.kind = FWD_TRACE, .data_bytes = (uint16_t)bytes};
	struct agent_trace *t = NULL;
	int rc;

	for (size_t i = 0; i < AGENT_TRACES_MAX && !t; i++)
		if (!a->trace[i].cb)
			t = &a->trace[i];
	if (!a->fwd || !a->is_fwd_up || bytes > sizeof(msg.data) || !t) {
		rc = !t ? -EBUSY : bytes > sizeof(msg.data) ? -EMSGSIZE : -ENOTCONN;
		cb(rc, rc == -ENOTCONN ? a->fwd_text : strerror(-rc), NULL, arg);
		return;
	}
	*t = (struct agent_trace){.cb = cb, .arg = arg, .until_ms = agent_now_ms(a) + TRACE_MS};
	t->seq = msg.seq = ++a->last_trace;
	memcpy(msg.data, frame, bytes);
	rc = fwd_send(a->fwd, &msg);
	if (rc)
		answer_trace(t, rc, strerror(-rc), NULL);
}

void agent_trace_reply(struct agent *a, const struct fwd_msg *request, const struct fwd_msg *reply)
{
	struct dp_trace found;

	for (size_t i = 0; i < AGENT_TRACES_MAX; i++) {
		struct agent_trace *t = &a->trace[i];

		if (!t->cb || t->seq != request->seq)
			continue;
		if (reply->status) {
			answer_trace(t, reply->status, reply->text, NULL);
		} else if (reply->data_bytes != sizeof(found)) {
			answer_trace(t, -EPROTONOSUPPORT, "edgefwd's answer has another size",
				     NULL);
		} else {
			memcpy(&found, reply->data, sizeof(found));
			answer_trace(t, 0, "", &found);
		}
		return;
	}
}

/* now_ms UINT64_MAX: all of them. */
void agent_traces_fail(struct agent *a, uint64_t now_ms, const char *text)
{
	for (size_t i = 0; i < AGENT_TRACES_MAX; i++)
		if (a->trace[i].cb && a->trace[i].until_ms <= now_ms)
			answer_trace(&a->trace[i], -ETIMEDOUT, text, NULL);
}

void agent_see_close(struct agent *a)
{
	agent_traces_fail(a, UINT64_MAX, "edged is stopping");
	end_capture(a);
}
