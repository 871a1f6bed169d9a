/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The ring on disk: lines "use SEQ ID", "key HEX", "gone ID". */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/keyring_priv.h"

#define FILE_MAX 4096 /* head, 8 keys of 69 bytes, 64 names of 22: below 2300 */

static bool from_hex(const char *text, size_t len, uint8_t *ret, size_t bytes)
{
	size_t got;

	return len == 2 * bytes && sodium_hex2bin(ret, bytes, text, len, NULL, &got, NULL) == 0 &&
	       got == bytes;
}

static int read_line(struct keyring *k, const char *line, size_t len)
{
	uint8_t key[SEAL_KEY_BYTES];
	struct seal_key_id id;
	char *end;
	int r;

	if (len == 0 || line[0] == '#')
		return 0;
	if (len > 4 && strncmp(line, "key ", 4) == 0) {
		if (!from_hex(line + 4, len - 4, key, sizeof(key)))
			return -EINVAL;
		r = seal_key_add(k->cfg.seal, key);
		sodium_memzero(key, sizeof(key));
		return r == -EEXIST ? 0 : r;
	}
	if (len > 5 && strncmp(line, "gone ", 5) == 0) {
		if (!from_hex(line + 5, len - 5, id.b, sizeof(id.b)))
			return -EINVAL;
		keyring_note_gone(k, &id, 0);
		return 0;
	}
	if (len > 4 && strncmp(line, "use ", 4) == 0) {
		unsigned long long seq = strtoull(line + 4, &end, 10);

		if (*end != ' ' || seq > RECORD_SEQ_MAX ||
		    !from_hex(end + 1, len - (size_t)(end + 1 - line), id.b, sizeof(id.b)) ||
		    seal_key_use(k->cfg.seal, &id) < 0)
			return -EINVAL;
		k->use_seq = seq;
		return 0;
	}
	return -EINVAL;
}

int keyring_read(struct keyring *k, struct err *e)
{
	char text[FILE_MAX], *p, *end;
	int n, line = 0, r = 0;

	if (!k->cfg.path)
		return -ENOENT;
	n = key_file_read(k->cfg.path, text, sizeof(text), e);
	if (n < 0)
		return n;
	for (p = text; r == 0 && p < text + n; p = end + 1) {
		line++;
		end = memchr(p, '\n', (size_t)(text + n - p));
		if (!end)
			end = text + n;
		*end = 0;
		r = read_line(k, p, (size_t)(end - p));
		/* not what it says: it may be a key */
		if (r < 0)
			err_set(e, -EINVAL, "key ring %s:%d: want 'key', 'use' or 'gone' lines%s",
				k->cfg.path, line,
				r == -ENOSPC ? ", and fewer keys" : ", 'use' behind its key");
	}
	sodium_memzero(text, sizeof(text));
	return r < 0 ? -EINVAL : 0;
}

int keyring_write(struct keyring *k)
{
	char text[FILE_MAX], hex[2 * SEAL_KEY_BYTES + 1], id_text[KEYRING_ID_TEXT];
	struct seal_key_id id;
	size_t len = 0;
	int r;

	if (!k->cfg.path)
		return 0;
	len += (size_t)snprintf(text, sizeof(text), "# edge: the keys of cluster %s\n", k->cluster);
	for (size_t i = 0; i < seal_key_count(k->cfg.seal); i++) {
		seal_key_at(k->cfg.seal, i, &id);
		if (keyring_is_gone(k, &id))
			continue;
		sodium_bin2hex(hex, sizeof(hex), seal_key_secret(k->cfg.seal, i), SEAL_KEY_BYTES);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "key %s\n", hex);
	}
	seal_key_used(k->cfg.seal, &id);
	if (!keyring_is_gone(k, &id))
		len += (size_t)snprintf(text + len, sizeof(text) - len, "use %llu %s\n",
					(unsigned long long)k->use_seq,
					keyring_id_text(&id, id_text));
	for (size_t i = 0; i < k->gone_count; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "gone %s\n",
					keyring_id_text(&k->gone[i], id_text));
	r = key_file_write(k->cfg.path, text, len);
	sodium_memzero(text, sizeof(text));
	sodium_memzero(hex, sizeof(hex));
	if (r < 0 && !k->is_file_bad)
		keyring_say(k, "error", "keyring_not_durable", "file=%s error=\"%s\"", k->cfg.path,
			    strerror(-r));
	k->is_file_bad = r < 0;
	return r;
}
