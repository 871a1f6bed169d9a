/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Requests on the control socket. First byte: how many bytes come at a time (0 = all). What the scan calls whole must be
 * well-formed to the cursor, and the other way round; arguments that are read must survive being packed again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/ctl_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const struct ctl_args *a, const struct ctl_signature *s)
{
	struct ctl_args again;
	msgpack_sbuffer sb;
	struct err e;

	msgpack_sbuffer_init(&sb);
	ctl_args_pack(a, &sb);
	if (ctl_args_read((const uint8_t *)sb.data, sb.size, s, &again, &e) ||
	    memcmp(a, &again, sizeof(again)))
		abort();
	msgpack_sbuffer_destroy(&sb);
}

static void read_one(const uint8_t *buf, size_t len)
{
	const struct ctl_signature *s;
	struct model_service service;
	struct model_backend backend;
	struct model_filter filter;
	struct ctl_request q;
	struct ctl_args a;
	struct err e = {0};

	if (ctl_request_read(buf, len, &q))
		return;
	s = ctl_signature_find(q.method);
	if (!s)
		return;
	if (ctl_args_read(q.params, q.params_len, s, &a, &e)) {
		if (!e.text[0])
			abort();
		return;
	}
	round_trip(&a, s);
	/* Each may be refused: with a sentence. */
	if (ctl_args_service(&a, &service, &e) && !e.text[0])
		abort();
	if (ctl_args_backend(&a, &backend, &e) && !e.text[0])
		abort();
	if (ctl_args_policy(&a, &e) && !e.text[0])
		abort();
	if (ctl_args_filter(&a, &filter, &e) && !e.text[0])
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ctl_scan scan = {0};
	size_t step, have = 0;
	int rc = 0;

	if (size < 1)
		return 0;
	step = data[0] ? data[0] : size;
	data++;
	size--;
	while (rc == 0 && have < size) {
		have = size - have < step ? size : have + step;
		rc = ctl_scan(&scan, data, have, CTL_REQUEST_MAX);
	}
	if (rc > 0) {
		if (scan.at > have || mp_check(data, scan.at))
			abort();
		read_one(data, scan.at);
	} else if (size && size < CTL_REQUEST_MAX && !mp_check(data, size)) {
		abort();
	}
	return 0;
}
