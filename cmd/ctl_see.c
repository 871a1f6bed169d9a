/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Looking at the data path while it works: the histogram of run times, captured packets.
 *
 * hist.on | hist.off  {text}
 * hist.show      {is_on, every: one packet in so many is timed,
 *   hooks: [{hook, runs: timed ones, mean_ns, p50_below_ns, p99_below_ns, slots: [{below_ns, runs}]}]}
 * capture.start  {every}                        one at a time; ends with the client's connection, or when it reads no more
 * capture.read   {lost: since it began, interfaces: [{ifindex, name}],
 *   frames: [[unix_ns, hook, reason, action, ifindex, is_raw_ip, frame_bytes, bytes: bin]]}    after half a second at most
 * capture.stop   {text}
 */
#include <errno.h>
#include <net/if.h>
#include <string.h>

#include "cmd/ctl_int.h"
#include "edge/reason.h"

#define EVERY_DEFAULT 1000 /* of the histogram: costs an average packet a tenth of a nanosecond */
#define INTERFACES_MAX 64  /* named in one batch */

static void text_result(struct ctl_ask *ask, const char *text)
{
	struct ctl_out *o = ctl_ask_begin(ask);
	struct ctl_block m;

	ctl_map(o, &m);
	ctl_key_text(o, &m, "text", text);
	ctl_end(o, &m);
	ctl_ask_end(ask);
}

/* ---- histogram */

static int hist_on(const struct ctl_args *a, struct ctl_ask *ask, struct err *e)
{
	uint32_t every = a->has & CTL_BIT(every) ? (uint32_t)a->every : EVERY_DEFAULT;
	char text[96];
	int rc = agent_hist_set(ctl_ask_config(ask)->agent, every, e);

	if (rc)
		return rc;
	snprintf(text, sizeof(text), "one packet in %u is timed", every);
	text_result(ask, every == 1 ? "every packet is timed" : text);
	return 0;
}

static int hist_off(const struct ctl_args *a, struct ctl_ask *ask, struct err *e)
{
	int rc = agent_hist_set(ctl_ask_config(ask)->agent, 0, e);

	(void)a;
	if (rc)
		return rc;
	text_result(ask,
		    "no packet is timed; what was counted stands until it is switched on again");
	return 0;
}

static void put_hist(const struct hist *h, struct ctl_out *o, struct ctl_block *list)
{
	struct ctl_block one, slots, slot;

	ctl_item(list);
	ctl_map(o, &one);
	ctl_key_text(o, &one, "hook", h->name);
	ctl_key_uint(o, &one, "runs", h->runs);
	ctl_key_uint(o, &one, "mean_ns", h->runs ? h->sum_ns / h->runs : 0);
	ctl_key_uint(o, &one, "p50_below_ns", hist_below_ns(h, 50));
	ctl_key_uint(o, &one, "p99_below_ns", hist_below_ns(h, 99));
	ctl_key(o, &one, "slots");
	ctl_array(o, &slots);
	for (uint32_t i = 0; i < DP_HIST_SUM; i++) {
		if (!h->slot[i])
			continue;
		ctl_item(&slots);
		ctl_map(o, &slot);
		ctl_key_uint(o, &slot, "below_ns", 2ull << i);
		ctl_key_uint(o, &slot, "runs", h->slot[i]);
		ctl_end(o, &slot);
	}
	ctl_end(o, &slots);
	ctl_end(o, &one);
}

static int hist_show(const struct ctl_args *a, struct ctl_ask *ask, struct err *e)
{
	struct hist h[DP_HOOK_COUNT];
	struct ctl_block m, list;
	struct ctl_out *o;
	uint32_t every;
	int rc = agent_hist_get(ctl_ask_config(ask)->agent, &every, h, e);

	(void)a;
	if (rc)
		return rc;
	o = ctl_ask_begin(ask);
	ctl_map(o, &m);
	ctl_key_bool(o, &m, "is_on", every > 0);
	ctl_key_uint(o, &m, "every", every);
	ctl_key(o, &m, "hooks");
	ctl_array(o, &list);
	for (size_t i = 0; i < DP_HOOK_COUNT; i++)
		if (h[i].runs)
			put_hist(&h[i], o, &list);
	ctl_end(o, &list);
	ctl_end(o, &m);
	ctl_ask_end(ask);
	return 0;
}

/* ---- capture */

static int reason_bits(const struct ctl_texts *names, uint64_t ret_bits[2], struct err *e)
{
	ret_bits[0] = ret_bits[1] = 0;
	for (size_t i = 0; i < names->count; i++) {
		uint32_t r;

		if (reason_find(names->text[i], &r))
			return err_set(
				e, -EINVAL,
				"capture: reason: got '%.60s', want one that `edgectl stats` "
				"shows",
				names->text[i]);
		ret_bits[r / 64] |= 1ull << r % 64;
	}
	return 0;
}

static int capture_start(const struct ctl_args *a, struct ctl_ask *ask, struct err *e)
{
	struct capture_config c = {.every = a->has & CTL_BIT(every) ? (uint32_t)a->every : 1};
	struct ctl_block m;
	struct ctl_out *o;
	int rc = reason_bits(&a->reasons, c.reasons, e);

	if (!rc)
		rc = agent_capture_start(ctl_ask_config(ask)->agent, ctl_ask_client(ask), &c, e);
	if (rc)
		return rc;
	o = ctl_ask_begin(ask);
	ctl_map(o, &m);
	ctl_key_uint(o, &m, "every", c.every);
	ctl_end(o, &m);
	ctl_ask_end(ask);
	return 0;
}

static void put_frame(const struct capture_frame *f, struct ctl_out *o)
{
	const struct dp_captured *rec = &f->rec;

	msgpack_pack_array(&o->pk, 8);
	msgpack_pack_uint64(&o->pk, f->unix_ns);
	msgpack_pack_uint8(&o->pk, rec->hook);
	msgpack_pack_uint32(&o->pk, rec->reason);
	msgpack_pack_uint8(&o->pk, rec->action);
	msgpack_pack_uint32(&o->pk, rec->ifindex);
	if (capture_is_raw_ip(rec))
		msgpack_pack_true(&o->pk);
	else
		msgpack_pack_false(&o->pk);
	msgpack_pack_uint32(&o->pk, rec->frame_bytes);
	msgpack_pack_bin(&o->pk, rec->bytes);
	msgpack_pack_bin_body(&o->pk, rec->data, rec->bytes);
}

/* Names as they are now; an interface that is gone has none. */
static void put_interfaces(const struct capture_batch *b, struct ctl_out *o, struct ctl_block *m)
{
	uint32_t seen[INTERFACES_MAX];
	struct ctl_block list, one;
	size_t count = 0, k;

	ctl_key(o, m, "interfaces");
	ctl_array(o, &list);
	for (size_t i = 0; i < b->count && count < INTERFACES_MAX; i++) {
		uint32_t ifindex = b->frame[i].rec.ifindex;
		char name[IF_NAMESIZE];

		for (k = 0; k < count && seen[k] != ifindex; k++)
			;
		if (k < count)
			continue;
		seen[count++] = ifindex;
		ctl_item(&list);
		ctl_map(o, &one);
		ctl_key_uint(o, &one, "ifindex", ifindex);
		ctl_key_text(o, &one, "name", if_indextoname(ifindex, name) ? name : "");
		ctl_end(o, &one);
	}
	ctl_end(o, &list);
}

static void on_batch(int status, const struct capture_batch *b, void *arg)
{
	struct ctl_ask *ask = arg;
	struct ctl_block m, list;
	struct ctl_out *o;

	if (status) {
		ctl_ask_refuse(ask, status, "the capture has ended");
		return;
	}
	o = ctl_ask_begin(ask);
	if (o) {
		ctl_map(o, &m);
		ctl_key_uint(o, &m, "lost", b->lost);
		put_interfaces(b, o, &m);
		ctl_key(o, &m, "frames");
		ctl_array(o, &list);
		for (size_t i = 0; i < b->count; i++) {
			ctl_item(&list);
			put_frame(&b->frame[i], o);
		}
		ctl_end(o, &list);
		ctl_end(o, &m);
	}
	ctl_ask_end(ask);
}

static int capture_next(const struct ctl_args *a, struct ctl_ask *ask, struct err *e)
{
	(void)a;
	return agent_capture_read(ctl_ask_config(ask)->agent, ctl_ask_client(ask), on_batch, ask,
				  e);
}

static int capture_stop(const struct ctl_args *a, struct ctl_ask *ask, struct err *e)
{
	(void)a;
	(void)e;
	agent_capture_stop(ctl_ask_config(ask)->agent, ctl_ask_client(ask));
	text_result(ask, "capture is off");
	return 0;
}

/* ---- methods */

static const struct see {
	const char *method;
	int (*fn)(const struct ctl_args *a, struct ctl_ask *ask, struct err *e);
} sees[] = {
	{"hist.on", hist_on},		{"hist.off", hist_off},
	{"hist.show", hist_show},	{"capture.start", capture_start},
	{"capture.read", capture_next}, {"capture.stop", capture_stop},
	{"trace", ctl_trace},
};

static const struct see *find(const char *method)
{
	for (size_t i = 0; i < sizeof(sees) / sizeof(sees[0]); i++)
		if (strcmp(sees[i].method, method) == 0)
			return &sees[i];
	return NULL;
}

bool ctl_is_see(const char *method)
{
	return find(method) != NULL;
}

int ctl_see(const char *method, const struct ctl_args *a, struct ctl_ask *ask, struct err *e)
{
	const struct see *s = find(method);

	return s ? s->fn(a, ask, e) : err_set(e, -ENOSYS, "%s looks at nothing", method);
}

void ctl_see_gone(const struct ctl_config *cfg, const void *client)
{
	agent_capture_stop(cfg->agent, client);
}
