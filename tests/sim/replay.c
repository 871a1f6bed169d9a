/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* replay [-v] FILE - play a black box of edged back through the very core and compare what comes out.
 *
 * Says "the same" or where it first was not; with -v a line for each input, packet and event: milliseconds since the first, what
 * it was, from or to whom, and how much. Exit code 0 the same, 1 not, 2 usage or no such file.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gossip/blackbox.h"
#include "gossip/seal.h"
#include "gossip/wire.h"

static uint64_t first_ms, now_ms;

static const char *addr_text(const struct gossip_addr *a, char buf[INET6_ADDRSTRLEN + 8])
{
	static const uint8_t v4[12] = {[10] = 0xff, [11] = 0xff};
	char ip[INET6_ADDRSTRLEN] = "?";

	if (!a)
		return "-";
	if (memcmp(a->ip, v4, sizeof(v4)) == 0)
		inet_ntop(AF_INET, a->ip + 12, ip, sizeof(ip));
	else
		inet_ntop(AF_INET6, a->ip, ip, sizeof(ip));
	snprintf(buf, INET6_ADDRSTRLEN + 8, "%s:%u", ip, a->port);
	return buf;
}

static const char *type_text(const uint8_t *buf, size_t len)
{
	static const char *const name[] = {"?",	   "probe", "ack",   "ask",
					   "news", "sync",  "delta", "keys"};
	struct wire_msg msg;

	if (!buf || wire_decode(buf, len, &msg))
		return "unreadable";
	return msg.type < sizeof(name) / sizeof(name[0]) ? name[msg.type] : "of a later kind";
}

static void print_recv(const struct gossip_input *in)
{
	char addr[INET6_ADDRSTRLEN + 8], node[9] = "-";
	struct gossip_sender s;

	if (in->what) {
		memcpy(&s, in->what, sizeof(s));
		snprintf(node, sizeof(node), "%02x%02x%02x%02x", s.id.b[0], s.id.b[1], s.id.b[2],
			 s.id.b[3]);
	}
	if (in->number == GOSSIP_PING)
		printf("heard a data-path pong from %s\n", addr_text(in->addr, addr));
	else
		printf("heard %s from %s at %s, %zu bytes\n", type_text(in->buf, in->len), node,
		       addr_text(in->addr, addr), in->len);
}

static void print_record(const char *verb, const struct gossip_input *in)
{
	struct record r;

	memcpy(&r, in->what, sizeof(r));
	printf("%s a record of kind %u, key %.*s, generation %llu, seq %llu\n", verb, r.kind,
	       (int)r.key_len, in->key ? in->key : "", (unsigned long long)r.generation,
	       (unsigned long long)r.seq);
}

static void print_step(const struct gossip_core *c, const struct blackbox_step *s, void *arg)
{
	static const char *const event[] = {"member",	"record", "record gone", "generation",
					    "conflict", "origin", "summary",	 "region"};
	const struct gossip_input *in = &s->in;
	struct gossip_config cfg;
	char addr[INET6_ADDRSTRLEN + 8];

	(void)c;
	(void)arg;
	if (in->now_ms) {
		now_ms = in->now_ms;
		first_ms = first_ms ? first_ms : now_ms;
	}
	if ((in->kind == GOSSIP_IN_PACKET || in->kind == GOSSIP_IN_EVENT) && !in->buf)
		return;
	printf("%10llu  ", (unsigned long long)(now_ms - first_ms));
	switch (in->kind) {
	case GOSSIP_IN_NEW:
		memcpy(&cfg, in->what, sizeof(cfg));
		printf("born as %.31s (%.31s) at %s, generation %llu, seed %016llx\n", cfg.name,
		       cfg.region, addr_text(&cfg.addr, addr), (unsigned long long)cfg.generation,
		       (unsigned long long)cfg.seed);
		return;
	case GOSSIP_IN_RECV:
		print_recv(in);
		return;
	case GOSSIP_IN_SEND_FAILED:
		printf("could not send to %s\n", addr_text(in->addr, addr));
		return;
	case GOSSIP_IN_TICK:
		puts("tick");
		return;
	case GOSSIP_IN_JOIN:
		printf("joins by %llu seeds\n", (unsigned long long)in->number);
		return;
	case GOSSIP_IN_LEAVE:
		puts("leaves");
		return;
	case GOSSIP_IN_PUT:
		printf("writes kind %llu, key %s, %zu bytes%s\n", (unsigned long long)in->number,
		       in->key ? in->key : "?", in->len, in->is_urgent ? ", urgent" : "");
		return;
	case GOSSIP_IN_DEL:
		printf("deletes kind %llu, key %s\n", (unsigned long long)in->number,
		       in->key ? in->key : "?");
		return;
	case GOSSIP_IN_LOAD_RECORD:
		print_record("loads", in);
		return;
	case GOSSIP_IN_LOAD_ORIGIN:
		puts("loads how far a writer is known");
		return;
	case GOSSIP_IN_LOAD_MEMBER:
		puts("loads a member");
		return;
	case GOSSIP_IN_SET_GENERATION:
		printf("takes generation %llu\n", (unsigned long long)in->number);
		return;
	case GOSSIP_IN_PUT_SUMMARY:
		printf("makes its region's summary, %zu bytes\n", in->len);
		return;
	case GOSSIP_IN_LOAD_SUMMARY:
		puts("loads another region's summary");
		return;
	case GOSSIP_IN_PACKET:
		printf("sends a packet, hash %016llx\n", (unsigned long long)in->number);
		return;
	case GOSSIP_IN_EVENT:
		printf("event: %s\n", in->number < sizeof(event) / sizeof(event[0])
					      ? event[in->number]
					      : "of a later kind");
		return;
	}
}

int main(int argc, char **argv)
{
	/* Whoever signed: what it gave stands in the box. */
	struct gossip_signer pure = node_key_signer(NULL);
	bool is_verbose = argc == 3 && strcmp(argv[1], "-v") == 0;
	struct blackbox_report r;
	struct err e = {0};
	int rc;

	if (argc != 2 + is_verbose) {
		fputs("usage: replay [-v] FILE\n", stderr);
		return 2;
	}
	rc = blackbox_play(argv[argc - 1], &pure, is_verbose ? print_step : NULL, NULL, &r, &e);
	if (rc) {
		fprintf(stderr, "replay: %s\n", e.text);
		return rc == -EILSEQ ? 1 : 2;
	}
	printf("%s: %llu inputs over %.1f s, %llu packets, %llu events, %llu digests, from %s\n",
	       r.is_played ? "the same" : "only read, for there is no copy to begin with",
	       (unsigned long long)r.steps, (double)(r.last_ms - r.first_ms) / 1000.0,
	       (unsigned long long)r.packets, (unsigned long long)r.events,
	       (unsigned long long)r.digests, r.copies ? "a copy" : "the birth");
	return r.is_played ? 0 : 1;
}
