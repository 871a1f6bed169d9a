/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/ctl_int.h"
#include "cmd/edgectl/edgectl.h"

const msgpack_object *ectl_get(const msgpack_object *map, const char *key)
{
	size_t len = strlen(key);

	if (!map || map->type != MSGPACK_OBJECT_MAP)
		return NULL;
	for (uint32_t i = 0; i < map->via.map.size; i++) {
		const msgpack_object_kv *kv = &map->via.map.ptr[i];

		if (kv->key.type == MSGPACK_OBJECT_STR && kv->key.via.str.size == len &&
		    memcmp(kv->key.via.str.ptr, key, len) == 0)
			return &kv->val;
	}
	return NULL;
}

static void copy_text(const msgpack_object *o, char *buf, size_t cap)
{
	size_t len;

	buf[0] = 0;
	if (!o || o->type != MSGPACK_OBJECT_STR)
		return;
	len = o->via.str.size < cap ? o->via.str.size : cap - 1;
	memcpy(buf, o->via.str.ptr, len);
	buf[len] = 0;
}

const char *ectl_text(const msgpack_object *map, const char *key, char buf[ECTL_TEXT_MAX])
{
	copy_text(ectl_get(map, key), buf, ECTL_TEXT_MAX);
	return buf;
}

uint64_t ectl_uint(const msgpack_object *map, const char *key)
{
	const msgpack_object *o = ectl_get(map, key);

	return o && o->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? o->via.u64 : 0;
}

bool ectl_has(const msgpack_object *map, const char *key)
{
	const msgpack_object *o = ectl_get(map, key);

	return o && o->type != MSGPACK_OBJECT_NIL;
}

bool ectl_bool(const msgpack_object *map, const char *key)
{
	const msgpack_object *o = ectl_get(map, key);

	return o && o->type == MSGPACK_OBJECT_BOOLEAN && o->via.boolean;
}

size_t ectl_count(const msgpack_object *map, const char *key)
{
	const msgpack_object *o = ectl_get(map, key);

	return o && o->type == MSGPACK_OBJECT_ARRAY ? o->via.array.size : 0;
}

const msgpack_object *ectl_at(const msgpack_object *map, const char *key, size_t i)
{
	return i < ectl_count(map, key) ? &ectl_get(map, key)->via.array.ptr[i] : NULL;
}

const char *ectl_join(const msgpack_object *map, const char *key, char buf[ECTL_TEXT_MAX])
{
	char one[ECTL_TEXT_MAX];
	size_t len = 0;

	buf[0] = 0;
	for (size_t i = 0; i < ectl_count(map, key) && len < ECTL_TEXT_MAX; i++) {
		copy_text(ectl_at(map, key, i), one, sizeof(one));
		len += (size_t)snprintf(buf + len, ECTL_TEXT_MAX - len, "%s%s", i ? ", " : "", one);
	}
	return buf;
}

const char *ectl_span(const msgpack_object *map, const char *key, char buf[32])
{
	char span[24];

	snprintf(buf, 32, "%s",
		 ectl_has(map, key) ? ctl_span_text(ectl_uint(map, key), span) : "-");
	return buf;
}

const char *ectl_ago(const msgpack_object *map, const char *key, char buf[32])
{
	char span[24];

	if (ectl_has(map, key))
		snprintf(buf, 32, "%s ago", ctl_span_text(ectl_uint(map, key), span));
	else
		snprintf(buf, 32, "-");
	return buf;
}

bool ectl_is_wide;

const char *ectl_policy(const msgpack_object *service, char buf[ECTL_TEXT_MAX])
{
	const msgpack_object *p = ectl_get(service, "policy");
	char name[64], value[64];
	size_t len = 0;

	buf[0] = 0;
	for (uint32_t i = 0;
	     p && p->type == MSGPACK_OBJECT_MAP && i < p->via.map.size && len < ECTL_TEXT_MAX;
	     i++) {
		const msgpack_object_kv *kv = &p->via.map.ptr[i];

		copy_text(&kv->key, name, sizeof(name));
		copy_text(&kv->val, value, sizeof(value));
		if (kv->val.type == MSGPACK_OBJECT_POSITIVE_INTEGER)
			snprintf(value, sizeof(value), "%llu", (unsigned long long)kv->val.via.u64);
		len += (size_t)snprintf(buf + len, ECTL_TEXT_MAX - len, "%s%s=%s", i ? " " : "",
					name, value);
	}
	return buf;
}

/* ---- JSON */

static json_t *text_to_json(const char *p, size_t len)
{
	json_t *j = json_stringn(p, len);
	char *copy;

	if (j)
		return j;
	/* Not UTF-8: JSON can't hold it, but it can hold that there was something. */
	copy = malloc(len + 1);
	if (!copy)
		return NULL;
	for (size_t i = 0; i < len; i++)
		copy[i] = (unsigned char)p[i] < 0x80 ? p[i] : '?';
	j = json_stringn(copy, len);
	free(copy);
	return j;
}

static json_t *bytes_to_json(const char *p, size_t len)
{
	char *hex = malloc(2 * len + 1);
	json_t *j;

	if (!hex)
		return NULL;
	for (size_t i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", (unsigned char)p[i]);
	j = json_stringn(hex, 2 * len);
	free(hex);
	return j;
}

static json_t *map_to_json(const msgpack_object_map *m)
{
	json_t *j = json_object();
	char key[ECTL_TEXT_MAX];

	for (uint32_t i = 0; j && i < m->size; i++) {
		copy_text(&m->ptr[i].key, key, sizeof(key));
		for (char *c = key; *c; c++)
			if ((unsigned char)*c >= 0x80)
				*c = '?';
		if (json_object_set_new(j, key, ectl_to_json(&m->ptr[i].val))) {
			json_decref(j);
			j = NULL;
		}
	}
	return j;
}

static json_t *array_to_json(const msgpack_object_array *a)
{
	json_t *j = json_array();

	for (uint32_t i = 0; j && i < a->size; i++) {
		if (json_array_append_new(j, ectl_to_json(&a->ptr[i]))) {
			json_decref(j);
			j = NULL;
		}
	}
	return j;
}

/* Nested at most MP_DEPTH_MAX deep: ctl_call() has checked that. */
json_t *ectl_to_json(const msgpack_object *o)
{
	switch (o->type) {
	case MSGPACK_OBJECT_NIL:
		return json_null();
	case MSGPACK_OBJECT_BOOLEAN:
		return json_boolean(o->via.boolean);
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		return o->via.u64 <= INT64_MAX ? json_integer((json_int_t)o->via.u64)
					       : json_real((double)o->via.u64);
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		return json_integer(o->via.i64);
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		return json_real(o->via.f64) ?: json_null(); /* not a number: JSON has none */
	case MSGPACK_OBJECT_STR:
		return text_to_json(o->via.str.ptr, o->via.str.size);
	case MSGPACK_OBJECT_BIN:
		return bytes_to_json(o->via.bin.ptr, o->via.bin.size);
	case MSGPACK_OBJECT_EXT:
		return bytes_to_json(o->via.ext.ptr, o->via.ext.size);
	case MSGPACK_OBJECT_ARRAY:
		return array_to_json(&o->via.array);
	case MSGPACK_OBJECT_MAP:
		return map_to_json(&o->via.map);
	}
	return json_null();
}
