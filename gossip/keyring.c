/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/keyring.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/keyring_priv.h"
#include "gossip/mp.h"

#include <msgpack.h>

#define TOLD_KEY "keys"
#define USE_KEY "use"
#define NAMED_PREFIX "k/"
#define DEAF_MS 1500	  /* nothing opened for so long: our keys may be out of use */
#define READY_MS 500	  /* how long a start waits for an answer, when there may be one */
#define MEANWHILE_MS 5000 /* anti-entropy needs two */
#define VALUE_MAX 128

enum { V_HERE = 1, V_GONE = 2 };

const char *keyring_id_text(const struct seal_key_id *id, char buf[KEYRING_ID_TEXT])
{
	return sodium_bin2hex(buf, KEYRING_ID_TEXT, id->b, sizeof(id->b));
}

void keyring_say(struct keyring *k, const char *level, const char *event, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (k->cfg.say)
		k->cfg.say(k->cfg.arg, level, event, text);
}

static bool is_same(const struct seal_key_id *a, const struct seal_key_id *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* ---- values of records */

static void named_key(const struct seal_key_id *id, char buf[KEYRING_RECORD_KEY_MAX])
{
	char text[KEYRING_ID_TEXT];

	snprintf(buf, KEYRING_RECORD_KEY_MAX, NAMED_PREFIX "%s", keyring_id_text(id, text));
}

/* {s: state} of a key's record, {k: id} of "use". */
static int value_decode(const uint8_t *value, size_t len, uint64_t *ret_state,
			struct seal_key_id *ret_id)
{
	struct mp_reader r;
	size_t pairs, key_len;
	const char *key;
	bool had_state = false, had_id = false;

	mp_reader_init(&r, value, len);
	if (mp_read_map(&r, 16, &pairs))
		return -EBADMSG;
	while (pairs-- > 0) {
		if (mp_read_str(&r, 16, &key, &key_len))
			return -EBADMSG;
		if (ret_state && key_len == 1 && key[0] == 's' && !had_state) {
			had_state = true;
			if (mp_read_uint(&r, UINT32_MAX, ret_state))
				return -EBADMSG;
		} else if (ret_id && key_len == 1 && key[0] == 'k' && !had_id) {
			had_id = true;
			if (mp_read_bytes(&r, ret_id->b, sizeof(ret_id->b)))
				return -EBADMSG;
		} else if (mp_skip(&r)) {
			return -EBADMSG;
		}
	}
	return mp_at_end(&r) && (ret_state ? had_state : had_id) ? 0 : -EBADMSG;
}

int keyring_named(const struct keyring *k, const struct seal_key_id *id)
{
	char key[KEYRING_RECORD_KEY_MAX];
	uint64_t state;
	struct record r;

	named_key(id, key);
	if (!gossip_core_get_record(k->cfg.core, NULL, KEYRING_KIND, key, &r) ||
	    value_decode(r.value, r.value_len, &state, NULL) < 0)
		return 0;
	return state == V_GONE ? -1 : state == V_HERE;
}

static int put_named(struct keyring *k, uint64_t now_ms, const struct seal_key_id *id,
		     unsigned int state)
{
	char key[KEYRING_RECORD_KEY_MAX];
	uint8_t value[4] = {0x81, 0xa1, 's', (uint8_t)state};

	named_key(id, key);
	return gossip_core_put(k->cfg.core, now_ms, KEYRING_KIND, key, value, sizeof(value), true);
}

int keyring_told_decode(const uint8_t *value, size_t len, struct keyring_told *ret_told)
{
	struct keyring_told t = {0};
	struct mp_reader r;
	const uint8_t *ids;
	size_t pairs, key_len, bytes;
	unsigned int had = 0;
	const char *key;

	mp_reader_init(&r, value, len);
	if (mp_read_map(&r, 16, &pairs))
		return -EBADMSG;
	while (pairs-- > 0) {
		unsigned int bit;

		if (mp_read_str(&r, 16, &key, &key_len))
			return -EBADMSG;
		bit = key_len != 1    ? 0
		      : key[0] == 'h' ? 1
		      : key[0] == 's' ? 2
		      : key[0] == 'w' ? 4
				      : 0;
		if (bit & had)
			return -EBADMSG;
		had |= bit;
		if (bit == 1) {
			if (mp_read_bin(&r, sizeof(t.holds), &ids, &bytes) ||
			    bytes % SEAL_KEY_ID_BYTES)
				return -EBADMSG;
			memcpy(t.holds, ids, bytes);
			t.count = bytes / SEAL_KEY_ID_BYTES;
		} else if (bit == 2   ? mp_read_bytes(&r, t.seals.b, sizeof(t.seals.b))
			   : bit == 4 ? mp_read_bytes(&r, t.writers_sum, sizeof(t.writers_sum))
				      : mp_skip(&r)) {
			return -EBADMSG;
		}
	}
	if (!mp_at_end(&r) || (had & 3) != 3)
		return -EBADMSG;
	*ret_told = t;
	return 0;
}

bool keyring_told_of(const struct gossip_core *c, const struct node_id *id,
		     struct keyring_told *ret_told)
{
	struct record r;

	return gossip_core_get_record(c, id, KEYRING_KIND_TOLD, TOLD_KEY, &r) &&
	       keyring_told_decode(r.value, r.value_len, ret_told) == 0;
}

bool keyring_holds(const struct keyring_told *t, const struct seal_key_id *id)
{
	for (size_t i = 0; i < t->count; i++)
		if (is_same(&t->holds[i], id))
			return true;
	return false;
}

static void told_now(const struct keyring *k, struct keyring_told *ret_told)
{
	struct seal_key_id id;

	memset(ret_told, 0, sizeof(*ret_told));
	for (size_t i = 0; i < seal_key_count(k->cfg.seal); i++) {
		seal_key_at(k->cfg.seal, i, &id);
		if (!keyring_is_gone(k, &id))
			ret_told->holds[ret_told->count++] = id;
	}
	seal_key_used(k->cfg.seal, &ret_told->seals);
	if (k->cfg.writers_sum)
		memcpy(ret_told->writers_sum, k->cfg.writers_sum, sizeof(ret_told->writers_sum));
}

static void tell(struct keyring *k, uint64_t now_ms)
{
	struct keyring_told t;
	uint8_t value[VALUE_MAX];
	struct mp_buf b = {.p = value, .cap = sizeof(value)};
	msgpack_packer pk;

	told_now(k, &t);
	if (!k->is_started || (k->has_told && memcmp(&t, &k->told, sizeof(t)) == 0))
		return;
	msgpack_packer_init(&pk, &b, mp_buf_write);
	msgpack_pack_map(&pk, 3);
	msgpack_pack_str_with_body(&pk, "h", 1);
	msgpack_pack_bin_with_body(&pk, t.holds, t.count * SEAL_KEY_ID_BYTES);
	msgpack_pack_str_with_body(&pk, "s", 1);
	msgpack_pack_bin_with_body(&pk, t.seals.b, sizeof(t.seals.b));
	msgpack_pack_str_with_body(&pk, "w", 1);
	msgpack_pack_bin_with_body(&pk, t.writers_sum, sizeof(t.writers_sum));
	k->has_told = gossip_core_put(k->cfg.core, now_ms, KEYRING_KIND_TOLD, TOLD_KEY, value,
				      b.len, true) == 0;
	k->told = t;
}

/* ---- what is gone, what is held */

static size_t gone_find(const struct keyring *k, const struct seal_key_id *id)
{
	size_t i = 0;

	while (i < k->gone_count && !is_same(&k->gone[i], id))
		i++;
	return i;
}

bool keyring_is_gone(const struct keyring *k, const struct seal_key_id *id)
{
	return gone_find(k, id) < k->gone_count;
}

void keyring_note_gone(struct keyring *k, const struct seal_key_id *id, uint64_t drop_ms)
{
	if (keyring_is_gone(k, id))
		return;
	if (k->gone_count == KEYRING_GONE_MAX) {
		memmove(k->gone, k->gone + 1, (KEYRING_GONE_MAX - 1) * sizeof(k->gone[0]));
		memmove(k->drop_ms, k->drop_ms + 1, (KEYRING_GONE_MAX - 1) * sizeof(k->drop_ms[0]));
		k->gone_count--;
	}
	k->gone[k->gone_count] = *id;
	k->drop_ms[k->gone_count++] = drop_ms;
}

int keyring_take(struct keyring *k, const uint8_t key[SEAL_KEY_BYTES])
{
	char text[KEYRING_ID_TEXT];
	struct seal_key_id id;
	int r = seal_key_add(k->cfg.seal, key);

	seal_key_id_of(key, &id);
	if (r == 0) {
		k->n.learned++;
		keyring_say(k, "info", "key_learned", "key=%s", keyring_id_text(&id, text));
	} else if (r != -EEXIST) {
		keyring_say(k, "warn", "key_refused", "key=%s why=\"there are %d already\"",
			    keyring_id_text(&id, text), SEAL_KEYS_MAX);
	}
	return r;
}

static void seal_with(struct keyring *k, const struct seal_key_id *id)
{
	char text[KEYRING_ID_TEXT];

	if (seal_key_use(k->cfg.seal, id) == 0)
		keyring_say(k, "info", "key_used", "key=%s", keyring_id_text(id, text));
}

void keyring_seal_meanwhile(struct keyring *k, uint64_t now_ms, const struct seal_key_id *id)
{
	struct seal_key_id used;

	seal_key_used(k->cfg.seal, &used);
	if (is_same(&used, id))
		return;
	if (!k->meanwhile_ms)
		k->before = used;
	k->meanwhile_ms = now_ms;
	seal_with(k, id);
}

static void want(struct keyring *k, uint64_t now_ms, const struct seal_key_id *id)
{
	if (seal_key_has(k->cfg.seal, id) || keyring_is_gone(k, id))
		return;
	for (size_t i = 0; i < k->want_count; i++)
		if (is_same(&k->want[i], id))
			return;
	if (k->want_count == KEYRING_WANT_MAX)
		memmove(k->want, k->want + 1, --k->want_count * sizeof(k->want[0]));
	k->want[k->want_count++] = *id;
	k->ask_wait_ms = 0;
	k->ask_ms = now_ms;
}

/* ---- what records say */

/* Somebody told us what seals, and we hear again: records must have come by now, and one member's word counts no more. */
static bool is_meanwhile_over(const struct keyring *k, uint64_t now_ms)
{
	return k->meanwhile_ms && !keyring_is_deaf(k, now_ms) &&
	       now_ms >= k->meanwhile_ms + MEANWHILE_MS;
}

/* The record that names the key to seal with. */
static void follow_use(struct keyring *k, uint64_t now_ms)
{
	bool is_over = is_meanwhile_over(k, now_ms);
	struct seal_key_id id, used;
	struct record r;

	seal_key_used(k->cfg.seal, &used);
	if (!gossip_core_get_record(k->cfg.core, NULL, KEYRING_KIND, USE_KEY, &r) ||
	    value_decode(r.value, r.value_len, NULL, &id) < 0 || keyring_is_gone(k, &id)) {
		if (!is_over || !seal_key_has(k->cfg.seal, &k->before))
			return;
		id = k->before;
		r.seq = k->use_seq;
	} else if (!seal_key_has(k->cfg.seal, &id)) {
		want(k, now_ms, &id);
		return;
	} else if (k->meanwhile_ms ? r.seq <= k->use_seq && !is_over
				   : r.seq == k->use_seq && is_same(&used, &id)) {
		return;
	}
	k->meanwhile_ms = 0;
	k->use_seq = r.seq;
	if (!is_same(&used, &id))
		seal_with(k, &id);
	(void)keyring_write(k); /* said there */
}

static void follow_gone(struct keyring *k, uint64_t now_ms)
{
	uint32_t grace_ms = k->cfg.grace_ms ? k->cfg.grace_ms : KEYRING_GRACE_MS;
	struct seal_key_id id, used;
	char text[KEYRING_ID_TEXT];
	bool is_new = false;

	seal_key_used(k->cfg.seal, &used);
	for (size_t i = 0; i < seal_key_count(k->cfg.seal); i++) {
		seal_key_at(k->cfg.seal, i, &id);
		/* While it seals, it stays: what another says must not make this node deaf and dumb. */
		if (is_same(&id, &used) || keyring_is_gone(k, &id) || keyring_named(k, &id) != -1)
			continue;
		keyring_note_gone(k, &id, now_ms + grace_ms);
		keyring_say(k, "info", "key_removed", "key=%s opens_ms=%u",
			    keyring_id_text(&id, text), grace_ms);
		is_new = true;
	}
	if (is_new)
		(void)keyring_write(k);
	for (size_t i = 0; i < k->gone_count; i++)
		if (k->drop_ms[i] && now_ms >= k->drop_ms[i] &&
		    seal_key_rm(k->cfg.seal, &k->gone[i]) != -EBUSY)
			k->drop_ms[i] = 0;
}

static bool id_of_record(const struct record *r, struct seal_key_id *ret_id)
{
	size_t prefix = sizeof(NAMED_PREFIX) - 1, got;

	return r->key_len == prefix + 2 * SEAL_KEY_ID_BYTES &&
	       memcmp(r->key, NAMED_PREFIX, prefix) == 0 &&
	       sodium_hex2bin(ret_id->b, sizeof(ret_id->b), (const char *)r->key + prefix,
			      r->key_len - prefix, NULL, &got, NULL) == 0 &&
	       got == sizeof(ret_id->b);
}

void keyring_record(struct keyring *k, uint64_t now_ms, const struct record *r)
{
	struct seal_key_id id;
	uint64_t state;

	if (r->kind != KEYRING_KIND || r->is_tombstone)
		return;
	if (id_of_record(r, &id) && value_decode(r->value, r->value_len, &state, NULL) == 0 &&
	    state == V_HERE)
		want(k, now_ms, &id);
	keyring_tick(k, now_ms);
}

bool keyring_is_deaf(const struct keyring *k, uint64_t now_ms)
{
	return now_ms >= k->opened_ms + DEAF_MS;
}

void keyring_tick(struct keyring *k, uint64_t now_ms)
{
	size_t kept = 0;

	if (!k->is_started)
		return;
	if (seal_opened(k->cfg.seal) != k->opened) {
		if (keyring_is_deaf(k, now_ms))
			k->ask_wait_ms = 0;
		k->opened = seal_opened(k->cfg.seal);
		k->opened_ms = now_ms;
	}
	follow_use(k, now_ms);
	follow_gone(k, now_ms);
	for (size_t i = 0; i < k->want_count; i++) {
		struct seal_key_id used = k->want[i];

		if (!seal_key_has(k->cfg.seal, &used) && keyring_named(k, &used) != -1)
			k->want[kept++] = used;
	}
	k->want_count = kept;
	if (now_ms >= k->ready_ms)
		k->is_starting = false;
	if (k->is_starting || k->want_count > 0 || keyring_is_deaf(k, now_ms))
		keyring_ask(k, now_ms);
	tell(k, now_ms);
}

/* ---- life */

static int drop_removed(struct keyring *k, struct err *e)
{
	struct seal_key_id used;
	int r;

	seal_key_used(k->cfg.seal, &used);
	for (size_t i = 0; keyring_is_gone(k, &used) && i < seal_key_count(k->cfg.seal); i++) {
		struct seal_key_id id;

		seal_key_at(k->cfg.seal, i, &id);
		if (keyring_is_gone(k, &id))
			continue;
		(void)seal_key_use(k->cfg.seal, &id); /* it is there */
		used = id;
	}
	if (keyring_is_gone(k, &used))
		return err_set(e, -ENOKEY,
			       "key ring %s: the key of the key file was removed from the "
			       "cluster, and there is no other",
			       k->cfg.path);
	for (size_t i = 0; i < k->gone_count; i++) {
		r = seal_key_rm(k->cfg.seal, &k->gone[i]);
		if (r < 0 && r != -ENOENT)
			return err_set(e, r, "key ring: %s", strerror(-r));
	}
	return 0;
}

int keyring_open(const struct keyring_config *cfg, struct keyring **ret_ring, struct err *e)
{
	struct keyring *k = calloc(1, sizeof(*k));
	uint8_t pub[NODE_PUB_BYTES];
	int r;

	if (!k)
		return err_set(e, -ENOMEM, "key ring: out of memory");
	k->cfg = *cfg;
	if (strlen(cfg->cluster) >= sizeof(k->cluster)) {
		free(k);
		return err_set(e, -EINVAL, "cluster name %s: too long", cfg->cluster);
	}
	memcpy(k->cluster, cfg->cluster, strlen(cfg->cluster) + 1);
	node_key_pub(cfg->self, pub);
	node_id_of_pub(pub, &k->self);
	r = keyring_read(k, e);
	if (r == 0)
		r = drop_removed(k, e);
	if (r < 0 && r != -ENOENT) {
		free(k);
		return r;
	}
	*ret_ring = k;
	return 0;
}

void keyring_close(struct keyring *k)
{
	free(k);
}

void keyring_start(struct keyring *k, uint64_t now_ms)
{
	struct seal_key_id id;
	struct record r;
	size_t cursor = 0;
	uint64_t state;

	k->is_started = k->is_starting = true;
	k->opened_ms = now_ms;
	k->ready_ms = now_ms + READY_MS;
	k->ask_ms = now_ms;
	while (gossip_core_next_record(k->cfg.core, &cursor, &r))
		if (r.kind == KEYRING_KIND && id_of_record(&r, &id) &&
		    value_decode(r.value, r.value_len, &state, NULL) == 0) {
			if (state == V_HERE)
				want(k, now_ms, &id);
		}
	keyring_tick(k, now_ms);
}

bool keyring_is_ready(const struct keyring *k, uint64_t now_ms)
{
	return !k->is_starting || now_ms >= k->ready_ms ||
	       (gossip_core_member_count(k->cfg.core) < 2 && k->cfg.seed_count == 0);
}

/* ---- verbs */

static bool is_live(enum gossip_state s)
{
	return s == GOSSIP_ALIVE || s == GOSSIP_HEADLESS || s == GOSSIP_SUSPECT;
}

int keyring_add(struct keyring *k, uint64_t now_ms, struct seal_key_id *ret_id, struct err *e)
{
	uint8_t key[SEAL_KEY_BYTES];
	struct seal_key_id id;
	int r;

	randombytes_buf(key, sizeof(key));
	seal_key_id_of(key, &id);
	r = seal_key_add(k->cfg.seal, key);
	sodium_memzero(key, sizeof(key));
	if (r < 0)
		return err_set(e, r, "there are %d keys already: remove one first", SEAL_KEYS_MAX);
	r = keyring_write(k);
	if (r == 0)
		r = put_named(k, now_ms, &id, V_HERE);
	if (r < 0) {
		(void)seal_key_rm(k->cfg.seal, &id); /* nobody knows of it */
		(void)keyring_write(k);
		return err_set(e, r, "no key was added: %s", strerror(-r));
	}
	tell(k, now_ms);
	*ret_id = id;
	return 0;
}

static int find_key(struct keyring *k, const char *text, struct seal_key_id *ret_id, struct err *e)
{
	size_t len = strlen(text), hits = 0;
	char id_text[KEYRING_ID_TEXT];
	struct seal_key_id id;

	for (size_t i = 0; i < seal_key_count(k->cfg.seal); i++) {
		seal_key_at(k->cfg.seal, i, &id);
		if (len == 0 || keyring_is_gone(k, &id) ||
		    strncmp(keyring_id_text(&id, id_text), text, len) != 0)
			continue;
		*ret_id = id;
		hits++;
	}
	if (hits != 1)
		return err_set(e, hits ? -EINVAL : -ENOENT,
			       hits ? "more than one key begins with %.16s"
				    : "this node holds no key %.16s",
			       text);
	return 0;
}

/* Which live nodes stand in the way: judged by `is_bad`; names into text. */
static size_t in_the_way(const struct keyring *k, const struct seal_key_id *id, bool is_rm,
			 size_t *ret_silent, char *text, size_t cap)
{
	size_t bad = 0, len = 0;

	text[0] = 0;
	*ret_silent = 0;
	for (size_t i = 0; i < gossip_core_member_count(k->cfg.core); i++) {
		struct keyring_told t;
		struct gossip_member m;
		bool is_silent;

		gossip_core_member_at(k->cfg.core, i, &m);
		if (m.is_self || !is_live(m.state))
			continue;
		is_silent = !keyring_told_of(k->cfg.core, &m.id, &t);
		if (!is_silent && (is_rm ? !is_same(&t.seals, id) : keyring_holds(&t, id)))
			continue;
		*ret_silent += is_silent;
		if (bad++ < 4 && len < cap)
			len += (size_t)snprintf(text + len, cap - len, "%s%s", len ? ", " : "",
						m.name);
	}
	if (bad > 4 && len < cap)
		snprintf(text + len, cap - len, " and %zu more", bad - 4);
	return bad;
}

int keyring_use(struct keyring *k, uint64_t now_ms, const char *text, bool is_forced, struct err *e)
{
	uint8_t value[4 + 1 + SEAL_KEY_ID_BYTES] = {0x81, 0xa1, 'k', 0xc4, SEAL_KEY_ID_BYTES};
	char names[120];
	struct seal_key_id id;
	size_t bad, silent;
	int r = find_key(k, text, &id, e);

	if (r < 0)
		return r;
	bad = in_the_way(k, &id, false, &silent, names, sizeof(names));
	if (bad > 0 && !is_forced)
		return err_set(e, -EBUSY, "not held yet by %zu live nodes: %s", bad, names);
	memcpy(value + 5, id.b, sizeof(id.b));
	r = gossip_core_put(k->cfg.core, now_ms, KEYRING_KIND, USE_KEY, value, sizeof(value), true);
	if (r < 0)
		return err_set(e, r, "%s", strerror(-r));
	keyring_tick(k, now_ms);
	return 0;
}

int keyring_rm(struct keyring *k, uint64_t now_ms, const char *text, bool is_forced, struct err *e)
{
	struct seal_key_id id, used;
	size_t bad, silent;
	char names[120];
	int r = find_key(k, text, &id, e);

	if (r < 0)
		return r;
	seal_key_used(k->cfg.seal, &used);
	if (is_same(&id, &used))
		return err_set(e, -EBUSY, "this node seals with it: use another first");
	bad = in_the_way(k, &id, true, &silent, names, sizeof(names));
	if (bad > 0 && !(is_forced && bad == silent))
		return err_set(e, -EBUSY, "%s seal%s with it%s: %s",
			       bad == 1 ? "a live node" : "live nodes", bad == 1 ? "s" : "",
			       silent ? ", or may" : "", names);
	r = put_named(k, now_ms, &id, V_GONE);
	if (r < 0)
		return err_set(e, r, "%s", strerror(-r));
	keyring_tick(k, now_ms);
	return 0;
}

/* ---- looking */

bool keyring_at(struct keyring *k, uint64_t now_ms, size_t i, struct keyring_key *ret_key)
{
	size_t held = seal_key_count(k->cfg.seal), gone;
	struct seal_key_id used;

	if (i >= held + k->want_count)
		return false;
	memset(ret_key, 0, sizeof(*ret_key));
	seal_key_used(k->cfg.seal, &used);
	if (i < held) {
		seal_key_at(k->cfg.seal, i, &ret_key->id);
		gone = gone_find(k, &ret_key->id);
		ret_key->state = is_same(&used, &ret_key->id) ? KEYRING_SEALS
				 : gone < k->gone_count	      ? KEYRING_GOING
							      : KEYRING_OPENS;
		if (gone < k->gone_count && k->drop_ms[gone] > now_ms)
			ret_key->left_ms = k->drop_ms[gone] - now_ms;
	} else {
		ret_key->id = k->want[i - held];
		ret_key->state = KEYRING_COMING;
	}
	for (size_t n = 0; n < gossip_core_member_count(k->cfg.core); n++) {
		struct keyring_told t;
		struct gossip_member m;

		gossip_core_member_at(k->cfg.core, n, &m);
		if (!is_live(m.state))
			continue;
		ret_key->live++;
		if (m.is_self)
			told_now(k, &t);
		else if (!keyring_told_of(k->cfg.core, &m.id, &t))
			continue;
		ret_key->holders += keyring_holds(&t, &ret_key->id);
		ret_key->sealers += is_same(&t.seals, &ret_key->id);
	}
	return true;
}

void keyring_counters(const struct keyring *k, struct keyring_counters *ret_counters)
{
	*ret_counters = k->n;
}
