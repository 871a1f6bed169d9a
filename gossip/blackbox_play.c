/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A box played back: the same inputs to the very core, what it gives out compared. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gossip/blackbox_file.h"
#include "gossip/core.h"
#include "gossip/region.h"

struct play {
	const uint8_t *file;
	size_t len;
	const struct box_head *head;
	const uint8_t *p, *end; /* of the half that is played */
	const struct gossip_signer *pure;
	struct arena *arena;
	struct gossip_core *core;
	struct blackbox_report report;
	void (*step_cb)(const struct gossip_core *c, const struct blackbox_step *s, void *arg);
	void *arg;
	bool is_over; /* the end came in the middle of an input */
	struct err *e;
};

uint64_t box_layout(void)
{
	const size_t sizes[] = {sizeof(struct gossip_core),   sizeof(struct gossip_config),
				sizeof(struct member),	      sizeof(struct rec),
				sizeof(struct rblob),	      sizeof(struct origin),
				sizeof(struct probe),	      sizeof(struct record),
				sizeof(struct gossip_member), sizeof(struct gossip_origin),
				sizeof(struct wire_card),     sizeof(struct out),
				sizeof(struct queued_event),  sizeof(struct region),
				sizeof(struct regions),	      offsetof(struct gossip_core, out)};

	return box_hash(box_hash(0xcbf29ce484222325ull, sizes, sizeof(sizes)), EDGE_VERSION,
			sizeof(EDGE_VERSION));
}

/* ---- entries */

struct entry {
	struct box_entry e;
	uint64_t at;
	const uint8_t *what, *addr, *key, *buf;
};

static int read_number(const uint8_t **p, const uint8_t *end, uint64_t *ret_v)
{
	uint64_t v = 0;

	for (unsigned int shift = 0; shift < 7 * BOX_NUMBER_MAX && *p < end; shift += 7) {
		uint8_t b = *(*p)++;

		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80)) {
			*ret_v = v;
			return 0;
		}
	}
	return -EBADMSG;
}

/* 1 | 0 at the end | -EBADMSG */
static int peek(const struct play *p, struct entry *ret_entry, const uint8_t **ret_next)
{
	struct entry x = {.at = (uint64_t)(p->p - p->file)};
	const uint8_t *at = p->p;
	uint64_t what = 0, key = 0, buf = 0;
	size_t addr, left;
	int rc = 0;

	if (at == p->end)
		return 0;
	if (p->end - at < 2)
		return -EBADMSG;
	x.e.op = *at++;
	x.e.flags = *at++;
	if (x.e.flags & BOX_NOW)
		rc |= read_number(&at, p->end, &x.e.now_ms);
	if (x.e.flags & BOX_NUMBER)
		rc |= read_number(&at, p->end, &x.e.number);
	if (x.e.flags & BOX_WHAT)
		rc |= read_number(&at, p->end, &what);
	if (x.e.flags & BOX_KEY)
		rc |= read_number(&at, p->end, &key);
	if (x.e.flags & BOX_BUF)
		rc |= read_number(&at, p->end, &buf);
	addr = x.e.flags & BOX_ADDR ? sizeof(struct gossip_addr) : 0;
	left = (size_t)(p->end - at);
	if (rc || what > left || key > left || buf > left || what + addr + key + buf > left)
		return -EBADMSG;
	x.e.what_len = (uint32_t)what;
	x.e.key_len = (uint32_t)key;
	x.e.buf_len = (uint32_t)buf;
	x.what = at;
	x.addr = x.what + what;
	x.key = x.addr + addr;
	x.buf = x.key + key;
	*ret_next = x.buf + buf;
	*ret_entry = x;
	return 1;
}

static unsigned int op_of(const struct entry *x)
{
	return x->e.op;
}

static int other(struct play *p, const struct entry *x, const char *what)
{
	return err_set(p->e, -EILSEQ, "byte %llu: %s", (unsigned long long)x->at, what);
}

/* ---- signatures */

static int play_sign(void *arg, const uint8_t *msg, size_t len, uint8_t sig[NODE_SIG_BYTES])
{
	struct play *p = arg;
	const uint8_t *next;
	struct entry x;

	(void)msg;
	(void)len;
	if (peek(p, &x, &next) <= 0 || op_of(&x) != BOX_SIGNED) {
		p->is_over |= p->p == p->end;
		return -EIO;
	}
	p->p = next;
	if (x.e.buf_len == NODE_SIG_BYTES)
		memcpy(sig, x.buf, NODE_SIG_BYTES);
	return -(int)x.e.number;
}

static int play_verify(void *arg, const uint8_t pub[NODE_PUB_BYTES], const uint8_t *msg, size_t len,
		       const uint8_t sig[NODE_SIG_BYTES])
{
	struct play *p = arg;
	const uint8_t *next;
	struct entry x;

	(void)pub;
	(void)msg;
	(void)len;
	(void)sig;
	if (peek(p, &x, &next) <= 0 || op_of(&x) != BOX_VERIFIED) {
		p->is_over |= p->p == p->end;
		return -EIO;
	}
	p->p = next;
	return -(int)x.e.number;
}

static void play_id_of(void *arg, const uint8_t pub[NODE_PUB_BYTES], struct node_id *ret_id)
{
	const struct play *p = arg;

	p->pure->id_of(p->pure->arg, pub, ret_id);
}

static void play_hash(void *arg, const uint8_t *msg, size_t len, uint8_t ret[16])
{
	const struct play *p = arg;

	p->pure->hash(p->pure->arg, msg, len, ret);
}

static struct gossip_signer signer(struct play *p)
{
	return (struct gossip_signer){.arg = p,
				      .sign = play_sign,
				      .verify = play_verify,
				      .id_of = play_id_of,
				      .hash = play_hash};
}

/* ---- one input */

static int play_new(struct play *p, const struct entry *x)
{
	struct gossip_config cfg;

	memcpy(&cfg, x->what, sizeof(cfg));
	cfg.signer = signer(p);
	memset(&cfg.tap, 0, sizeof(cfg.tap));
	cfg.arena = p->arena;
	gossip_core_free(p->core);
	p->core = NULL;
	if (gossip_core_new(&cfg, x->e.now_ms, &p->core, p->e) && !p->is_over)
		return other(p, x, "the core can't be made");
	return 0;
}

static int play_packet(struct play *p, const struct entry *x)
{
	bool was_there = x->e.flags & BOX_BUF;
	struct gossip_packet packet;

	if (gossip_core_next_packet(p->core, &packet) != was_there)
		return other(p, x, was_there ? "a packet is missing" : "a packet too many");
	if (was_there && box_packet_hash(&packet) != x->e.number)
		return other(p, x, "another packet");
	p->report.packets += was_there;
	return 0;
}

static int play_event(struct play *p, const struct entry *x)
{
	bool was_there = x->e.flags & BOX_BUF;
	struct gossip_event ev;

	if (gossip_core_next_event(p->core, &ev) != was_there)
		return other(p, x, was_there ? "an event is missing" : "an event too many");
	if (was_there && (uint64_t)ev.kind != x->e.number)
		return other(p, x, "another event");
	p->report.events += was_there;
	return 0;
}

static int play_digest(struct play *p, const struct entry *x)
{
	uint8_t digest[16];

	gossip_core_digest(p->core, digest);
	if (x->e.buf_len != sizeof(digest) || memcmp(digest, x->buf, sizeof(digest)) != 0)
		return other(p, x, "another digest");
	p->report.digests++;
	return 0;
}

static size_t what_bytes(enum gossip_input_kind kind, uint64_t number)
{
	switch (kind) {
	case GOSSIP_IN_NEW:
		return sizeof(struct gossip_config);
	case GOSSIP_IN_RECV:
		return sizeof(struct gossip_sender);
	case GOSSIP_IN_JOIN:
		return (size_t)number * sizeof(struct gossip_addr);
	case GOSSIP_IN_LOAD_RECORD:
		return sizeof(struct record);
	case GOSSIP_IN_LOAD_ORIGIN:
		return sizeof(struct gossip_origin);
	case GOSSIP_IN_LOAD_MEMBER:
		return sizeof(struct gossip_member);
	case GOSSIP_IN_LOAD_SUMMARY:
		return sizeof(struct gossip_summary);
	default:
		return 0;
	}
}

/* What is read below and by whom it is shown to is there, whoever wrote the file. What structs hold is taken as it is. */
static bool is_shaped(const struct entry *x)
{
	enum gossip_input_kind kind = (enum gossip_input_kind)op_of(x);
	bool has_what = x->e.flags & BOX_WHAT;
	struct record r;

	if (kind > GOSSIP_IN_LOAD_SUMMARY || x->e.key_len > RECORD_KEY_MAX + 1)
		return false;
	if (kind == GOSSIP_IN_JOIN && x->e.number > CORE_SEEDS_MAX)
		return false;
	if (x->e.what_len != what_bytes(kind, x->e.number) &&
	    !(kind == GOSSIP_IN_RECV && !has_what))
		return false;
	if ((kind == GOSSIP_IN_RECV || kind == GOSSIP_IN_SEND_FAILED) &&
	    (x->e.number > GOSSIP_PING || !(x->e.flags & BOX_ADDR)))
		return false;
	if ((kind == GOSSIP_IN_PUT || kind == GOSSIP_IN_DEL) && x->e.number > UINT8_MAX)
		return false;
	if (kind == GOSSIP_IN_LOAD_RECORD) {
		memcpy(&r, x->what, sizeof(r));
		return r.key_len == x->e.key_len && r.value_len == x->e.buf_len;
	}
	return true;
}

static void fill_input(const struct entry *x, struct gossip_input *ret_in, struct gossip_addr *addr,
		       char key[RECORD_KEY_MAX + 2])
{
	memcpy(key, x->key, x->e.key_len);
	key[x->e.key_len] = 0;
	if (x->e.flags & BOX_ADDR)
		memcpy(addr, x->addr, sizeof(*addr));
	*ret_in = (struct gossip_input){.kind = (enum gossip_input_kind)op_of(x),
					.now_ms = x->e.now_ms,
					.number = x->e.number,
					.is_urgent = x->e.flags & BOX_URGENT,
					.what = x->e.flags & BOX_WHAT ? x->what : NULL,
					.addr = x->e.flags & BOX_ADDR ? addr : NULL,
					.key = x->e.flags & BOX_KEY ? key : NULL,
					.buf = x->e.flags & BOX_BUF ? x->buf : NULL,
					.len = x->e.buf_len};
}

/* A copy, for entries lie anywhere: of is_shaped()'s size. NULL: none was given. */
static void *what_of(const struct entry *x, void *to)
{
	return x->e.flags & BOX_WHAT ? memcpy(to, x->what, x->e.what_len) : NULL;
}

static int feed(struct play *p, const struct entry *x, const struct gossip_input *in)
{
	struct gossip_addr seeds[CORE_SEEDS_MAX];
	struct gossip_sender sender;
	struct gossip_origin origin;
	struct gossip_member member;
	struct gossip_summary summary;
	struct record r;

	switch (in->kind) {
	case GOSSIP_IN_NEW:
		return play_new(p, x);
	case GOSSIP_IN_RECV:
		(void)gossip_core_recv(p->core, in->now_ms, (enum gossip_via)in->number,
				       what_of(x, &sender), in->addr, in->buf, in->len);
		return 0;
	case GOSSIP_IN_SEND_FAILED:
		gossip_core_send_failed(p->core, in->now_ms, (enum gossip_via)in->number, in->addr,
					0);
		return 0;
	case GOSSIP_IN_TICK:
		gossip_core_tick(p->core, in->now_ms);
		return 0;
	case GOSSIP_IN_JOIN:
		(void)gossip_core_join(p->core, in->now_ms, what_of(x, seeds), in->number);
		return 0;
	case GOSSIP_IN_LEAVE:
		gossip_core_leave(p->core, in->now_ms);
		return 0;
	case GOSSIP_IN_PUT:
		(void)gossip_core_put(p->core, in->now_ms, (uint8_t)in->number, in->key, in->buf,
				      in->len, in->is_urgent);
		return 0;
	case GOSSIP_IN_DEL:
		(void)gossip_core_del(p->core, in->now_ms, (uint8_t)in->number, in->key,
				      in->is_urgent);
		return 0;
	case GOSSIP_IN_LOAD_RECORD:
		(void)what_of(x, &r);
		r.key = x->key;
		r.value = x->buf;
		(void)gossip_core_load_record(p->core, &r);
		return 0;
	case GOSSIP_IN_LOAD_ORIGIN:
		(void)gossip_core_load_origin(p->core, what_of(x, &origin));
		return 0;
	case GOSSIP_IN_LOAD_MEMBER:
		(void)gossip_core_load_member(p->core, what_of(x, &member));
		return 0;
	case GOSSIP_IN_SET_GENERATION:
		gossip_core_set_generation(p->core, in->now_ms, in->number);
		return 0;
	case GOSSIP_IN_PUT_SUMMARY:
		(void)gossip_core_put_summary(p->core, in->now_ms, in->buf, in->len);
		return 0;
	case GOSSIP_IN_LOAD_SUMMARY:
		(void)what_of(x, &summary);
		summary.value = x->buf;
		summary.len = x->e.buf_len;
		(void)gossip_core_load_summary(p->core, &summary);
		return 0;
	case GOSSIP_IN_PACKET:
		return play_packet(p, x);
	case GOSSIP_IN_EVENT:
		return play_event(p, x);
	}
	return 0;
}

static bool is_complete(const struct gossip_input *in)
{
	return (in->kind != GOSSIP_IN_PUT && in->kind != GOSSIP_IN_DEL) || in->key;
}

static int step(struct play *p, const struct entry *x)
{
	struct blackbox_step s = {.at = x->at, .has_core = p->report.is_played};
	char key[RECORD_KEY_MAX + 2];
	struct gossip_addr addr;
	int rc = 0;

	if (op_of(x) == BOX_DIGEST)
		return p->core ? play_digest(p, x) : 0;
	if (op_of(x) == BOX_SIGNED || op_of(x) == BOX_VERIFIED)
		return p->report.is_played ? other(p, x, "a signature that nobody asked for") : 0;
	if (!is_shaped(x))
		return err_set(p->e, -EBADMSG,
			       "byte %llu: no input of kind %u is like this, want 0 to %d",
			       (unsigned long long)x->at, op_of(x), GOSSIP_IN_LOAD_SUMMARY);
	fill_input(x, &s.in, &addr, key);
	if (p->report.is_played && (!p->core && s.in.kind != GOSSIP_IN_NEW))
		return err_set(p->e, -EBADMSG, "byte %llu: no core yet", (unsigned long long)x->at);
	if (p->report.is_played && is_complete(&s.in))
		rc = feed(p, x, &s.in);
	if (rc || p->is_over)
		return rc;
	p->report.steps++;
	if (s.in.now_ms) {
		p->report.first_ms = p->report.first_ms ? p->report.first_ms : s.in.now_ms;
		p->report.last_ms = s.in.now_ms;
	}
	if (p->step_cb)
		p->step_cb(p->core, &s, p->arg);
	return 0;
}

/* ---- halves */

static int restore(struct play *p, const struct box_half *h, const uint8_t *at)
{
	struct gossip_core *core = (struct gossip_core *)(uintptr_t)h->core;

	if (arena_restore(p->arena, at, h->copy_len) || h->core < (uintptr_t)p->arena ||
	    h->core + sizeof(*core) > (uintptr_t)p->arena + h->copy_len)
		return err_set(p->e, -EBADMSG, "the copy of the core is damaged");
	p->core = core;
	core->cfg.signer = signer(p);
	memset(&core->cfg.tap, 0, sizeof(core->cfg.tap));
	core->cfg.arena = p->arena;
	p->report.copies++;
	return 0;
}

static int play_half(struct play *p, unsigned int i, bool is_next)
{
	const struct box_half *h = &p->head->half[i];
	const uint8_t *at = p->file + BOX_HEAD_BYTES + (size_t)i * p->head->half_bytes, *next;
	struct entry x;
	int rc = 0;

	if (h->used > p->head->half_bytes || h->copy_len > h->used)
		return err_set(p->e, -EBADMSG,
			       "half %u says that it holds %llu bytes, %llu of them a copy, "
			       "want at most %u",
			       i, (unsigned long long)h->used, (unsigned long long)h->copy_len,
			       p->head->half_bytes);
	if (!is_next) {
		p->report.is_played = h->start == BOX_BIRTH || h->start == BOX_COPY;
		if (h->start == BOX_COPY)
			rc = restore(p, h, at);
	}
	p->p = at + h->copy_len;
	p->end = at + h->used;
	while (!rc && !p->is_over && (rc = peek(p, &x, &next)) > 0) {
		p->p = next;
		rc = step(p, &x);
	}
	if (rc == -EBADMSG && !p->e->text[0])
		return err_set(p->e, rc, "byte %llu: an entry is cut or longer than its half",
			       (unsigned long long)(p->p - p->file));
	return rc;
}

static int play_file(struct play *p)
{
	const struct box_head *h = p->head;
	unsigned int first = h->half[0].number < h->half[1].number ? 0 : 1;
	const struct box_half *a = &h->half[first], *b = &h->half[1 - first];
	bool is_row = a->number && b->number == a->number + 1;
	int rc = 0;

	/* A half that can't be played is no use before one that can. */
	if (is_row && (a->start == BOX_BIRTH || a->start == BOX_COPY || b->start == BOX_NOTHING))
		rc = play_half(p, first, false);
	else
		is_row = false;
	if (rc)
		return rc;
	if (!is_row || a->is_cut || !p->report.is_played) {
		if (p->core && b->start == BOX_COPY)
			p->core = NULL; /* what it was made of is written over */
		return play_half(p, 1 - first, false);
	}
	p->is_over = false;
	return play_half(p, 1 - first, true);
}

int blackbox_play(const char *path, const struct gossip_signer *pure,
		  void (*step_cb)(const struct gossip_core *c, const struct blackbox_step *s,
				  void *arg),
		  void *arg, struct blackbox_report *ret_report, struct err *e)
{
	struct play p = {.pure = pure, .step_cb = step_cb, .arg = arg, .e = e};
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc;
	struct stat st;
	void *at;

	e->text[0] = 0;
	if (fd < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	rc = fstat(fd, &st) ? -errno : 0;
	at = rc ? MAP_FAILED : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (at == MAP_FAILED)
		return err_set(e, -EBADMSG, "%s: can't be read", path);
	p.file = at;
	p.len = (size_t)st.st_size;
	p.head = at;
	if (p.len < BOX_HEAD_BYTES || p.head->magic != BOX_MAGIC ||
	    p.len < BOX_HEAD_BYTES + 2 * (size_t)p.head->half_bytes)
		rc = err_set(e, -EBADMSG, "%s: no black box", path);
	else if (p.head->layout != box_layout())
		rc = err_set(e, -EPROTONOSUPPORT, "%s: made by another build", path);
	else
		rc = arena_open(&p.arena);
	if (!rc)
		rc = play_file(&p);
	else if (!e->text[0])
		err_set(e, rc, "there is no place for a core: %s", strerror(-rc));
	arena_close(p.arena);
	munmap(at, p.len);
	if (!rc)
		*ret_report = p.report;
	return rc;
}
