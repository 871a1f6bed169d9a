/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* cmd/ctl_args.h - what the methods take, once: edgectl packs by this table, edged decodes by it, both check by it. PURE.
 *
 * Errors    -EINVAL with "METHOD: PARAM: got 'X', want Y" in e, and nothing else written
 * Memory    fixed-size struct, copied; no allocation but in the sbuffer of ctl_args_pack()
 */
#ifndef CMD_CTL_ARGS_H
#define CMD_CTL_ARGS_H

#include <msgpack.h>
#include <sys/types.h>

#include "edge/model.h"

#define CTL_METHOD_MAX 32
#define CTL_REASONS_MAX MODEL_PORTS_MAX /* named in one capture */
#define CTL_SPEC_MAX 192		/* NODE/SERVICE/ADDR:PORT */

/* X(name, kind, bytes, largest number (from 1), or items): a field of struct ctl_args and a key of the params map. */
#define CTL_ARGS(X)                                                                                \
	X(name, TEXT, 64)                                                                          \
	X(service, TEXT, 64)                                                                       \
	X(addr, TEXT, 80)                                                                          \
	X(spec, TEXT, CTL_SPEC_MAX)                                                                \
	X(check, TEXT, MODEL_CHECK_TEXT_MAX)                                                       \
	X(watched, TEXT, MODEL_WATCH_MAX)                                                          \
	X(quic_id, TEXT, 16)                                                                       \
	X(verb, TEXT, 16)                                                                          \
	X(prefix, TEXT, IP_TEXT_MAX)                                                               \
	X(author, TEXT, MODEL_NAME_MAX)                                                            \
	X(reason, TEXT, 64)                                                                        \
	X(weight, NUMBER, MODEL_WEIGHT_MAX)                                                        \
	X(policy, TEXTS, MODEL_POLICIES_MAX)                                                       \
	X(vips, TEXTS, MODEL_VIPS_MAX)                                                             \
	X(ports, TEXTS, MODEL_PORTS_MAX)                                                           \
	X(proto, TEXT, 8)                                                                          \
	X(src, TEXT, 80)                                                                           \
	X(dst, TEXT, 80)                                                                           \
	X(cid, TEXT, 41)                                                                           \
	X(node, TEXT, MODEL_NAME_MAX)                                                              \
	X(every, NUMBER, 1000000000)                                                               \
	X(reasons, TEXTS, CTL_REASONS_MAX)                                                         \
	X(count, NUMBER, 1000000000)                                                               \
	X(seconds, NUMBER, 86400)                                                                  \
	X(after, NUMBER, 1000000000000)                                                            \
	X(kill, TEXTS, MODEL_PORTS_MAX)                                                            \
	X(load, NUMBER, 10000)                                                                     \
	X(watch, NUMBER, 3600)                                                                     \
	X(file, TEXT, 256)

/* clang-format off */
enum ctl_arg {
#define CTL_ARG_BIT(name, kind, max) CTL_A_##name,
	CTL_ARGS(CTL_ARG_BIT)
#undef CTL_ARG_BIT
	CTL_ARG_COUNT
};
/* clang-format on */
#define CTL_BIT(name) (1u << CTL_A_##name)

#define CTL_TEXT_BYTES 80 /* of one text in a list */
struct ctl_texts {
	char text[MODEL_POLICIES_MAX][CTL_TEXT_BYTES];
	size_t count;
};
struct ctl_args {
	uint32_t has; /* CTL_BIT() of what is given */
	char name[64], service[64], addr[80], spec[CTL_SPEC_MAX], check[MODEL_CHECK_TEXT_MAX];
	char watched[MODEL_WATCH_MAX], quic_id[16], verb[16], prefix[IP_TEXT_MAX];
	char author[MODEL_NAME_MAX], reason[64];
	char proto[8], src[80], dst[80], cid[41], node[MODEL_NAME_MAX], file[256];
	uint64_t weight, every, count, seconds, after, watch, load;
	struct ctl_texts policy, vips, ports, reasons, kill;
};

struct ctl_signature {
	const char *method;
	uint32_t takes, needs; /* CTL_BIT()s */
};
extern const struct ctl_signature ctl_signatures[];
extern const size_t ctl_signature_count;
const struct ctl_signature *ctl_signature_find(const char *method); /* NULL = no such method */

/* Set one argument; again adds to a list. For edgectl. */
int ctl_args_set(struct ctl_args *a, enum ctl_arg which, const char *text,
		 const struct ctl_signature *s, struct err *e);
/* The params map: pack what is given, read what came. */
void ctl_args_pack(const struct ctl_args *a, msgpack_sbuffer *out);
int ctl_args_read(const uint8_t *params, size_t len, const struct ctl_signature *s,
		  struct ctl_args *ret_args, struct err *e);

/* What they are about, for the log: printable, without quotes. */
#define CTL_OBJECT_TEXT (CTL_SPEC_MAX + 160)
const char *ctl_args_object(const struct ctl_args *a, char buf[CTL_OBJECT_TEXT]);
/* Whose change it is: "NAME (uid N)"; the name is the client's word, the number the kernel's. */
void ctl_args_author(struct ctl_args *a, const struct ctl_signature *s, uid_t uid);

/* What the arguments mean. */
int ctl_args_service(const struct ctl_args *a, struct model_service *ret_service, struct err *e);
int ctl_args_backend(const struct ctl_args *a, struct model_backend *ret_backend, struct err *e);
/* Only whether each policy is one by itself: what they are to change is the daemon's. */
int ctl_args_policy(const struct ctl_args *a, struct err *e);
/* Verb too if there is one; "*" is every service. */
int ctl_args_filter(const struct ctl_args *a, struct model_filter *ret_filter, struct err *e);
/* "udp/53", "tcp/5000-5999"; and back, 24 bytes. */
int ctl_port_parse(const char *text, struct model_port *ret_port);
const char *ctl_port_text(const struct model_port *p, char buf[24]);
const char *ctl_hash_text(uint8_t hash);

#endif
