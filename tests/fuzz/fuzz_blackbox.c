/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A black box whose entries are anybody's: it is read to its end or refused with a place, and what a reader is shown is there.
 * Memory copies and what is played from them are this machine's own and trusted: the halves here say that they hold none.
 * Input: flags (1: halves follow each other, 2: the first is cut, 4: one says it is too long, 8: the head's numbers are the first
 * HEAD_BYTES of what follows, to be xored in), length of the first half's entries as 2 bytes, the first's entries, the second's. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gossip/blackbox_file.h"
#include "gossip/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HALF_BYTES 65536u
#define HEAD_BYTES (4u + 2 * 3 * 8)

static volatile uint8_t sink;

static void touch(const void *p, size_t len)
{
	const uint8_t *b = p;

	for (size_t i = 0; p && i < len; i++)
		sink ^= b[i];
}

static void look(const struct gossip_core *c, const struct blackbox_step *s, void *arg)
{
	const struct gossip_input *in = &s->in;
	struct record r;

	(void)arg;
	if (c || s->has_core)
		abort();
	touch(in->buf, in->len);
	touch(in->addr, in->addr ? sizeof(*in->addr) : 0);
	if (in->key && strlen(in->key) > RECORD_KEY_MAX + 1)
		abort();
	switch (in->kind) {
	case GOSSIP_IN_NEW:
		touch(in->what, sizeof(struct gossip_config));
		break;
	case GOSSIP_IN_RECV:
		touch(in->what, sizeof(struct gossip_sender));
		if (!in->addr)
			abort();
		break;
	case GOSSIP_IN_SEND_FAILED:
		if (!in->addr)
			abort();
		break;
	case GOSSIP_IN_JOIN:
		touch(in->what, in->number * sizeof(struct gossip_addr));
		break;
	case GOSSIP_IN_LOAD_RECORD:
		memcpy(&r, in->what, sizeof(r));
		if (r.key_len > RECORD_KEY_MAX + 1 || r.value_len != in->len)
			abort();
		break;
	case GOSSIP_IN_LOAD_ORIGIN:
		touch(in->what, sizeof(struct gossip_origin));
		break;
	case GOSSIP_IN_LOAD_MEMBER:
		touch(in->what, sizeof(struct gossip_member));
		break;
	case GOSSIP_IN_LOAD_SUMMARY:
		touch(in->what, sizeof(struct gossip_summary));
		break;
	default:
		if (in->kind > GOSSIP_IN_LOAD_SUMMARY)
			abort();
	}
}

/* At the very end of its half, so that reading on leaves the file. */
static void fill(uint8_t *file, struct box_head *head, unsigned int i, const uint8_t *data,
		 size_t len)
{
	head->half[i].number = i + 1;
	head->half[i].start = BOX_NOTHING;
	head->half[i].used = HALF_BYTES;
	head->half[i].copy_len = HALF_BYTES - len;
	memcpy(file + BOX_HEAD_BYTES + (i + 1) * HALF_BYTES - len, data, len);
}

/* All but what says that a half is a copy of memory. */
static void damage(struct box_head *head, const uint8_t *data)
{
	uint64_t v[3];
	uint32_t bytes;

	memcpy(&bytes, data, sizeof(bytes));
	head->half_bytes ^= bytes;
	data += sizeof(bytes);
	for (int i = 0; i < 2; i++, data += sizeof(v)) {
		memcpy(v, data, sizeof(v));
		head->half[i].number ^= v[0];
		head->half[i].used ^= v[1];
		head->half[i].copy_len ^= v[2];
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct gossip_signer none;
	static uint8_t *file;
	static char path[64];
	struct blackbox_report report;
	struct box_head *head;
	struct err e = {0};
	const uint8_t *from;
	size_t first, left;
	int rc;

	if (!file) {
		int fd = memfd_create("box", MFD_CLOEXEC);

		if (fd < 0 || ftruncate(fd, BOX_HEAD_BYTES + 2 * HALF_BYTES))
			abort();
		file = mmap(NULL, BOX_HEAD_BYTES + 2 * HALF_BYTES, PROT_READ | PROT_WRITE,
			    MAP_SHARED, fd, 0);
		if (file == MAP_FAILED)
			abort();
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	if (size < 3 || size > HALF_BYTES)
		return 0;
	if ((data[0] & 8) && size < 3 + HEAD_BYTES)
		return 0;
	from = data + 3 + (data[0] & 8 ? HEAD_BYTES : 0);
	left = size - (size_t)(from - data);
	first = (size_t)data[1] | (size_t)data[2] << 8;
	if (first > left)
		first = left;
	memset(file, 0, sizeof(*head));
	head = (struct box_head *)file;
	head->magic = BOX_MAGIC;
	head->half_bytes = HALF_BYTES;
	head->layout = box_layout();
	fill(file, head, 0, from, first);
	fill(file, head, 1, from + first, left - first);
	if (!(data[0] & 1))
		head->half[1].number = 5;
	head->half[0].is_cut = (data[0] & 2) != 0;
	if (data[0] & 4)
		head->half[1].used++;
	if (data[0] & 8)
		damage(head, data + 3);
	rc = blackbox_play(path, &none, look, NULL, &report, &e);
	if (rc ? !e.text[0] : report.is_played)
		abort();
	return 0;
}
