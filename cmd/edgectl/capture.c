/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* capture: asks for batch after batch and writes a pcapng file. An interface of the file is an interface of the node at one
 * hook, with one kind of link header. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "bpf/dp_see_abi.h"
#include "cmd/edgectl/edgectl.h"
#include "edge/pcapng.h"
#include "edge/reason.h"

#define SECONDS_DEFAULT 60
#define COUNT_DEFAULT 100000
#define INTERFACES_MAX 1024

static volatile sig_atomic_t is_interrupted;

struct interface {
	uint32_t ifindex, hook;
	enum pcapng_link link;
};
struct writer {
	FILE *f;
	struct interface known[INTERFACES_MAX];
	uint32_t known_count;
	uint64_t packets, lost, most;
};
struct frame { /* as it comes from the daemon, checked */
	uint64_t unix_ns;
	uint32_t hook, reason, action, ifindex, frame_bytes;
	bool is_raw_ip;
	const uint8_t *data;
	uint32_t bytes;
};

static const struct hook {
	const char *name;
	bool is_out, is_xdp;
} hooks[] = {
#define HOOK_ROW(id, text, out)                                                                    \
	{.name = text,                                                                             \
	 .is_out = out,                                                                            \
	 .is_xdp = DP_HOOK_##id == DP_HOOK_XDP || DP_HOOK_##id == DP_HOOK_XDP_MESH},
	DP_HOOKS(HOOK_ROW)
#undef HOOK_ROW
};

static void on_signal(int signum)
{
	(void)signum;
	is_interrupted = 1;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- writing */

static int put(struct writer *w, const uint8_t *block, size_t len, struct err *e)
{
	if (len && fwrite(block, 1, len, w->f) == len)
		return 0;
	(void)err_set(e, -EIO, "can't write the capture: %s", strerror(errno));
	return CTL_REFUSED; /* by the disk, not the daemon: exit 1 */
}

static int put_section(struct writer *w, struct err *e)
{
	uint8_t block[PCAPNG_BLOCK_MAX];
	struct utsname u;
	char os[PCAPNG_TEXT_MAX] = "";

	if (!uname(&u))
		snprintf(os, sizeof(os), "%.64s %.64s", u.sysname, u.release);
	return put(w, block, pcapng_section(block, sizeof(block), os, "edgectl " EDGE_VERSION), e);
}

static const char *interface_name(const msgpack_object *batch, uint32_t ifindex,
				  char buf[ECTL_TEXT_MAX])
{
	for (size_t i = 0; i < ectl_count(batch, "interfaces"); i++) {
		const msgpack_object *o = ectl_at(batch, "interfaces", i);

		if (ectl_uint(o, "ifindex") == ifindex && ectl_text(o, "name", buf)[0])
			return buf;
	}
	snprintf(buf, ECTL_TEXT_MAX, "if%u", ifindex);
	return buf;
}

static int find_interface(struct writer *w, const msgpack_object *batch, const struct frame *f,
			  uint32_t *ret_interface, struct err *e)
{
	enum pcapng_link link = f->is_raw_ip ? PCAPNG_RAW_IP : PCAPNG_ETHERNET;
	char name[ECTL_TEXT_MAX], description[64];
	uint8_t block[PCAPNG_BLOCK_MAX];
	uint32_t i = 0;

	while (i < w->known_count && (w->known[i].ifindex != f->ifindex ||
				      w->known[i].hook != f->hook || w->known[i].link != link))
		i++;
	*ret_interface = i;
	if (i < w->known_count)
		return 0;
	if (i == INTERFACES_MAX) {
		(void)err_set(e, -E2BIG, "more than %d interfaces", INTERFACES_MAX);
		return CTL_REFUSED;
	}
	w->known[w->known_count++] =
		(struct interface){.ifindex = f->ifindex, .hook = f->hook, .link = link};
	interface_name(batch, f->ifindex, name);
	snprintf(description, sizeof(description), "%s of %.32s, %s", hooks[f->hook].name, name,
		 link == PCAPNG_RAW_IP ? "IP" : "Ethernet");
	return put(
		w, block,
		pcapng_interface(block, sizeof(block), link, DP_CAPTURE_BYTES, name, description),
		e);
}

static int put_frame(struct writer *w, const msgpack_object *batch, const struct frame *f,
		     struct err *e)
{
	uint8_t block[PCAPNG_BLOCK_MAX + DP_CAPTURE_BYTES];
	const struct hook *h = &hooks[f->hook];
	char comment[PCAPNG_TEXT_MAX];
	uint32_t interface = 0;
	int rc = find_interface(w, batch, f, &interface, e);

	if (rc)
		return rc;
	snprintf(comment, sizeof(comment), "%s: %s%s (%s)", h->name,
		 reason_is_drop(f->reason) ? "dropped, " : "", reason_name(f->reason),
		 reason_meaning(f->reason));
	const struct pcapng_packet p = {.interface = interface,
					.unix_ns = f->unix_ns,
					.data = f->data,
					.bytes = f->bytes,
					.frame_bytes = f->frame_bytes,
					.is_out = h->is_out,
					.hook = h->is_xdp ? PCAPNG_HOOK_XDP : PCAPNG_HOOK_TC,
					.verdict = (uint64_t)(int64_t)(int8_t)f->action,
					.comment = comment};

	w->packets++;
	return put(w, block, pcapng_packet(block, sizeof(block), &p), e);
}

/* ---- reading */

static bool read_number(const msgpack_object *o, uint64_t max, uint64_t *ret)
{
	if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 > max)
		return false;
	*ret = o->via.u64;
	return true;
}

static bool read_frame(const msgpack_object *o, struct frame *ret)
{
	static const uint64_t max[7] = {
		UINT64_MAX, DP_HOOK_COUNT - 1, UINT32_MAX, UINT8_MAX, UINT32_MAX, 0, UINT32_MAX};
	const msgpack_object *v = o->via.array.ptr;
	uint64_t n[7] = {0};

	if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size != 8 ||
	    v[5].type != MSGPACK_OBJECT_BOOLEAN || v[7].type != MSGPACK_OBJECT_BIN ||
	    v[7].via.bin.size > DP_CAPTURE_BYTES)
		return false;
	for (size_t i = 0; i < 7; i++)
		if (i != 5 && !read_number(&v[i], max[i], &n[i]))
			return false;
	*ret = (struct frame){.unix_ns = n[0],
			      .hook = (uint32_t)n[1],
			      .reason = (uint32_t)n[2],
			      .action = (uint32_t)n[3],
			      .ifindex = (uint32_t)n[4],
			      .frame_bytes = (uint32_t)n[6],
			      .is_raw_ip = v[5].via.boolean,
			      .data = (const uint8_t *)v[7].via.bin.ptr,
			      .bytes = v[7].via.bin.size};
	return ret->frame_bytes >= ret->bytes;
}

static int take_batch(struct writer *w, const msgpack_object *batch, struct err *e)
{
	struct frame f;

	w->lost = ectl_uint(batch, "lost");
	for (size_t i = 0; i < ectl_count(batch, "frames") && w->packets < w->most; i++) {
		int rc = read_frame(ectl_at(batch, "frames", i), &f)
				 ? put_frame(w, batch, &f, e)
				 : err_set(e, -EBADMSG, "edged sent what is no frame");

		if (rc)
			return rc;
	}
	if (fflush(w->f)) {
		(void)err_set(e, -errno, "can't write the capture: %s", strerror(errno));
		return CTL_REFUSED;
	}
	return 0;
}

static int start(const struct ectl_line *l, struct ctl_client *c, struct err *e)
{
	msgpack_unpacked result;
	int rc = ectl_call(c, "capture.start", &l->args, &result, e);

	if (!rc)
		msgpack_unpacked_destroy(&result);
	return rc;
}

static int take_all(struct writer *w, const struct ectl_line *l, struct ctl_client *c,
		    struct err *e)
{
	uint64_t seconds = l->args.has & CTL_BIT(seconds) ? l->args.seconds : SECONDS_DEFAULT;
	uint64_t end_ms = now_ms() + seconds * 1000;
	msgpack_unpacked result;
	int rc = 0;

	fprintf(stderr, "capturing, until %llu packets or %llu s\n", (unsigned long long)w->most,
		(unsigned long long)seconds);
	while (!rc && !is_interrupted && w->packets < w->most && now_ms() < end_ms) {
		rc = ectl_call(c, "capture.read", &l->args, &result, e);
		if (rc)
			break;
		rc = take_batch(w, &result.data, e);
		msgpack_unpacked_destroy(&result);
	}
	return rc; /* going away ends it at the daemon */
}

static FILE *open_file(const char *path)
{
	/* Packets are private: for the owner alone. */
	mode_t was = umask(077);
	FILE *f = strcmp(path, "-") ? fopen(path, "wb") : stdout;

	umask(was);
	return f;
}

static int run(const struct ectl_line *l, struct ctl_client *c, enum ectl_exit *ret_exit,
	       struct err *e)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	struct writer *w = ectl_need(calloc(1, sizeof(*w)));
	uint64_t began_ms = now_ms();
	int rc;

	(void)ret_exit;
	w->most = l->args.has & CTL_BIT(count) ? l->args.count : COUNT_DEFAULT;
	/* The daemon first: a capture that is refused leaves an older file alone. */
	rc = start(l, c, e);
	if (!rc) {
		w->f = open_file(l->args.file);
		if (!w->f) {
			(void)err_set(e, -errno, "%.120s: %s", l->args.file, strerror(errno));
			rc = CTL_REFUSED;
		}
	}
	if (rc) {
		free(w);
		return rc;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	rc = put_section(w, e);
	if (!rc)
		rc = take_all(w, l, c, e);
	if (w->f != stdout && fclose(w->f) && !rc) {
		(void)err_set(e, -errno, "%.120s: %s", l->args.file, strerror(errno));
		rc = CTL_REFUSED;
	}
	if (!rc && l->is_json)
		ectl_print_json(json_pack("{s:I, s:I, s:I, s:s}", "packets", (json_int_t)w->packets,
					  "lost", (json_int_t)w->lost, "interfaces",
					  (json_int_t)w->known_count, "file", l->args.file));
	else
		fprintf(stderr, "%llu packets in %.1f s, %llu more found no room\n",
			(unsigned long long)w->packets, (double)(now_ms() - began_ms) / 1000.0,
			(unsigned long long)w->lost);
	free(w);
	return rc;
}

static int check(struct ctl_args *a, struct err *e)
{
	if (!strcmp(a->file, "-") && isatty(STDOUT_FILENO))
		return err_set(e, -EINVAL, "capture: FILE: got '-', and that is a terminal");
	return 0;
}

const struct ectl_command ectl_capture_commands[] = {
	{.noun = "capture",
	 .method = "capture.start",
	 .help = "Write packets, as they leave the forwarder's programs and with the verdict, to a "
		 "pcapng file; - is stdout.",
	 .positional = {{"FILE", CTL_A_file, false}},
	 .option = {{.name = "every",
		     .arg = CTL_A_every,
		     .value = "N",
		     .help = "one packet in N, by chance (1)"},
		    {.name = "reason",
		     .arg = CTL_A_reasons,
		     .value = "R",
		     .help = "only of this reason; may repeat",
		     .is_repeatable = true},
		    {.name = "count",
		     .arg = CTL_A_count,
		     .value = "N",
		     .help = "end after so many packets (100000)"},
		    {.name = "seconds",
		     .arg = CTL_A_seconds,
		     .value = "S",
		     .help = "end after so many seconds (60)"}},
	 .check = check,
	 .run = run},
	{0},
};
