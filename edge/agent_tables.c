/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What this node's tables look like, told to the others, so that any node can say who differs (verify), and whether all
 * are through with what all know (wait). Volatile; said when it changed, by all nodes together at most TABLES_PER_S times a
 * second. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/agent_int.h"
#include "edge/model_map.h"

#define TABLES_KEY "tables"
#define TABLES_PER_S 5
#define TABLES_MIN_MS 900 /* the tick's pace */

/* Volatile records are in no digest, so what is lost is not missed: said once more after this, when all is quiet. */
#define AGAIN_MS 3000

/* ---- the record: {d: digest of records, w: written, n: how often said, o, p: sums of the columns, little-endian} */

static void pack_sums(struct model_packer *p, const char *key, const uint32_t sum[PLAN_SUMS])
{
	uint8_t b[PLAN_SUMS * 4];

	for (size_t i = 0; i < PLAN_SUMS; i++)
		for (size_t k = 0; k < 4; k++)
			b[i * 4 + k] = (uint8_t)(sum[i] >> (8 * k));
	model_pack_text(p, key);
	model_pack_bin(p, b, sizeof(b));
}

static int read_sums(struct mp_reader *r, uint32_t ret_sum[PLAN_SUMS])
{
	uint8_t b[PLAN_SUMS * 4];
	int rc = mp_read_bytes(r, b, sizeof(b));

	for (size_t i = 0; !rc && i < PLAN_SUMS; i++)
		ret_sum[i] = (uint32_t)b[i * 4] | (uint32_t)b[i * 4 + 1] << 8 |
			     (uint32_t)b[i * 4 + 2] << 16 | (uint32_t)b[i * 4 + 3] << 24;
	return rc;
}

int agent_tables_encode(const struct agent_tables *t, uint8_t *buf, size_t cap)
{
	struct model_packer p;

	model_pack_begin(&p, buf, cap, t->has_sums ? 5 : 3);
	model_pack_text(&p, "d");
	model_pack_bin(&p, t->digest, sizeof(t->digest));
	model_pack_key_uint(&p, "w", t->is_written);
	model_pack_key_uint(&p, "n", t->times);
	if (t->has_sums) {
		pack_sums(&p, "o", t->sums.owners);
		pack_sums(&p, "p", t->sums.prevs);
	}
	return model_pack_end(&p);
}

int agent_tables_decode(const uint8_t *buf, size_t len, struct agent_tables *ret_tables)
{
	struct agent_tables t = {0};
	bool has_digest = false, has_owners = false, has_prevs = false;
	struct mp_reader r;
	struct model_map m;
	uint64_t n;
	int rc;

	mp_reader_init(&r, buf, len);
	if (model_map_open(&m, &r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		if (model_map_is(&m, "d")) {
			rc = mp_read_bytes(&r, t.digest, sizeof(t.digest));
			has_digest = true;
		} else if (model_map_is(&m, "w")) {
			rc = mp_read_uint(&r, 1, &n);
			t.is_written = !rc && n;
		} else if (model_map_is(&m, "n")) {
			rc = mp_read_uint(&r, UINT32_MAX, &n);
			t.times = rc ? 0 : (uint32_t)n;
		} else if (model_map_is(&m, "o")) {
			rc = read_sums(&r, t.sums.owners);
			has_owners = true;
		} else if (model_map_is(&m, "p")) {
			rc = read_sums(&r, t.sums.prevs);
			has_prevs = true;
		} else {
			rc = mp_skip(&r);
		}
		if (rc)
			return -EBADMSG;
	}
	if (rc || !mp_at_end(&r) || !has_digest || has_owners != has_prevs)
		return -EBADMSG;
	t.has_sums = has_owners;
	*ret_tables = t;
	return 0;
}

/* ---- ours and others' */

static bool is_written(const struct agent *a)
{
	if (a->is_dirty || a->is_compute_armed)
		return false;
	return !a->cfg.fwd_socket || (a->is_fwd_up && a->is_ready && !a->map_text[0]);
}

void agent_tables_self(const struct agent *a, struct agent_tables *ret_tables)
{
	struct agent_tables t;

	memset(&t, 0, sizeof(t)); /* padding too: compared as bytes */
	t.is_written = is_written(a);
	gossip_core_digest(a->core, t.digest);
	*ret_tables = t;
}

void agent_tables_self_sums(const struct agent *a, struct agent_tables *ret_tables)
{
	agent_tables_self(a, ret_tables);
	ret_tables->has_sums = a->is_ready && a->plan && !plan_sums(a->plan, &ret_tables->sums);
}

bool agent_tables_of(const struct agent *a, const struct node_id *id,
		     struct agent_tables *ret_tables)
{
	struct record r;

	return gossip_core_get_record(a->core, id, AGENT_KIND_TABLES, TABLES_KEY, &r) &&
	       !agent_tables_decode(r.value, r.value_len, ret_tables);
}

static void say_tables(struct agent *a, const struct agent_tables *t)
{
	uint8_t buf[RECORD_VALUE_MAX];
	int len = agent_tables_encode(t, buf, sizeof(buf));

	/* What is said again is for those whom it did not reach: that need not be at once, and to all. */
	if (len < 0 || gossip_core_put(a->core, agent_now_ms(a), AGENT_KIND_TABLES, TABLES_KEY, buf,
				       (size_t)len, t->times <= 1))
		return; /* no room for records: status says so elsewhere, others see no word of ours */
	a->tables_said = *t;
	a->tables_ms = agent_now_ms(a);
	agent_pump(a);
}

static void say_again(struct agent *a)
{
	struct agent_tables t = a->tables_said;

	if (t.times != 1 || agent_now_ms(a) < a->tables_ms + AGAIN_MS)
		return;
	t.times++;
	say_tables(a, &t);
}

void agent_tables_newcomer(struct agent *a, const struct gossip_member *m)
{
	if (m->state == GOSSIP_ALIVE && a->tables_said.times > 1)
		a->tables_said.times = 1;
}

/* ---- sums, in a thread of libuv's pool: millions of rows are no matter for the loop */

struct tables_work {
	uv_work_t req;
	struct agent *agent; /* NULL: closed meanwhile */
	struct agent_tables tables;
	struct plan_summing *summing;
};

static void on_work(uv_work_t *req)
{
	struct tables_work *w = req->data;

	plan_summing_run(w->summing);
}

static void say_if_new(struct agent *a, struct agent_tables *t)
{
	t->times = a->tables_said.times;
	if (!memcmp(t, &a->tables_said, sizeof(*t)))
		return;
	t->times = 1;
	say_tables(a, t);
}

static void on_work_done(uv_work_t *req, int status)
{
	struct tables_work *w = req->data;
	struct agent *a = w->agent;

	plan_summing_free(w->summing, &w->tables.sums);
	if (a) {
		a->tables_work = NULL;
		w->tables.has_sums = !status;
		if (!a->is_closing)
			say_if_new(a, &w->tables);
	}
	free(w);
}

static int begin_work(struct agent *a, const struct agent_tables *t)
{
	struct tables_work *w = calloc(1, sizeof(*w));

	if (w)
		w->summing = plan_summing_new(a->plan);
	if (!w || !w->summing) {
		free(w);
		return -ENOMEM;
	}
	w->agent = a;
	w->tables = *t;
	w->req.data = w;
	(void)uv_queue_work(a->uv, &w->req, on_work, on_work_done); /* fails without on_work only */
	a->tables_work = w;
	return 0;
}

void agent_tables_close(struct agent *a)
{
	if (a->tables_work)
		a->tables_work->agent = NULL;
	a->tables_work = NULL;
}

void agent_tables_tick(struct agent *a)
{
	uint64_t now = agent_now_ms(a), every;
	uint8_t digest[16];
	struct agent_tables t;

	every = gossip_core_member_count(a->core) * 1000 / TABLES_PER_S;
	if (a->tables_work || now < a->tables_ms + (every > TABLES_MIN_MS ? every : TABLES_MIN_MS))
		return;
	gossip_core_digest(a->core, digest);
	/* Sums cost a walk through all rows: only when something may have changed. */
	if (!memcmp(digest, a->tables_said.digest, sizeof(digest)) &&
	    a->tables_said.is_written == is_written(a) && a->tables_computed_ms == a->computed_ms) {
		say_again(a);
		return;
	}
	agent_tables_self(a, &t);
	a->tables_computed_ms = a->computed_ms;
	/* Without memory: the digest at least. */
	if (!a->is_ready || !a->plan || begin_work(a, &t))
		say_if_new(a, &t);
}

/* ---- the maps */

struct verify {
	struct agent *a;
	plan_differs_cb cb;
	void *arg;
};

static void on_differs(const char *text, void *arg)
{
	const struct verify *v = arg;

	v->cb(text, v->arg);
}

static int lookup(enum plan_verify_hash which, const void *key, uint32_t *ret_idx, void *arg)
{
	const struct verify *v = arg;
	const struct dp_fds *f = &v->a->fds;
	int fd = which == PLAN_HASH_KNOWN ? f->known : which == PLAN_HASH_NUM ? f->num : f->vipmap;

	return bpf_map_lookup_elem(fd, key, ret_idx) ? -errno : 0;
}

static size_t verify_self(struct verify *v)
{
	struct dp_self map;
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(v->a->fds.self, &zero, &map)) {
		v->cb("dp_self can't be read", v->arg);
		return 1;
	}
	if (!memcmp(&map, &v->a->self_written, sizeof(map)))
		return 0;
	v->cb("dp_self: other than in memory", v->arg);
	return 1;
}

uint64_t agent_map_writes(const struct agent *a)
{
	return a->map_writes;
}

int agent_verify(struct agent *a, plan_differs_cb cb, void *arg, struct plan_verified *ret_verified,
		 struct err *e)
{
	struct verify v = {.a = a, .cb = cb, .arg = arg};
	struct plan_verify_ops ops = {.arg = &v, .differs_cb = on_differs, .lookup = lookup};
	struct plan_verified done;
	struct plan_image image;
	int err;

	if (!a->mapw || !a->plan)
		return err_set(e, -ENOTCONN, "%s",
			       !a->cfg.fwd_socket ? "this node has no forwarder"
			       : a->map_text[0]	  ? a->map_text
						  : "edgefwd's maps are not at hand");
	err = mapw_image(a->mapw, &image, e);
	if (err)
		return err;
	err = plan_verify(a->plan, &image, &a->world->view, a->world->routes, &ops, &done);
	if (err)
		return err_set(e, err, "maps can't be compared: %s", strerror(-err));
	done.differences += verify_self(&v);
	*ret_verified = done;
	return 0;
}
