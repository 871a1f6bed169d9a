/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Record values: the first byte chooses the noun. What is decoded must encode, and decode to the same bytes again. */
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/model.h"
#include "edge/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

union noun {
	struct model_node node;
	struct model_backend backend;
	struct model_health health;
	struct model_service service;
	struct model_override override;
	struct model_seed seed;
	struct model_filter filter;
	struct report_msg report;
};

static int decode(uint8_t kind, const uint8_t *buf, size_t len, union noun *n)
{
	switch (kind) {
	case 0:
		return model_node_decode(buf, len, &n->node);
	case 1:
		return model_backend_decode(buf, len, &n->backend);
	case 2:
		return model_health_decode(buf, len, &n->health);
	case 3:
		return model_service_decode(buf, len, &n->service);
	case 4:
		return model_override_decode(buf, len, &n->override);
	case 7:
		return model_filter_decode(buf, len, &n->filter);
	case 9:
		return report_decode(buf, len, &n->report);
	}
	return model_seed_decode(buf, len, &n->seed);
}

static int encode(uint8_t kind, const union noun *n, uint8_t *buf, size_t cap)
{
	switch (kind) {
	case 0:
		return model_node_encode(&n->node, buf, cap);
	case 1:
		return model_backend_encode(&n->backend, buf, cap);
	case 2:
		return model_health_encode(&n->health, buf, cap);
	case 3:
		return model_service_encode(&n->service, buf, cap);
	case 4:
		return model_override_encode(&n->override, buf, cap);
	case 7:
		return model_filter_encode(&n->filter, buf, cap);
	case 9:
		return report_encode(&n->report, buf, cap);
	}
	return model_seed_encode(&n->seed, buf, cap);
}

static void check_texts(const union noun *n)
{
	char key[MODEL_KEY_MAX], text[MODEL_CHECK_TEXT_MAX], again[MODEL_CHECK_TEXT_MAX];
	struct model_backend b;
	struct model_check c;
	regex_t re;

	model_backend_key(&n->backend, key);
	if (model_backend_key_parse(key, &b) || b.port != n->backend.port ||
	    !ip_equal(&b.addr, &n->backend.addr))
		abort();
	/* Records are not compiled: a pattern that is none is found when its check starts. */
	if (regcomp(&re, n->backend.check.match, REG_EXTENDED | REG_NOSUB))
		return;
	regfree(&re);
	model_check_text(&n->backend.check, text);
	if (model_check_parse(text, &c, NULL) || strcmp(model_check_text(&c, again), text) != 0)
		abort();
}

/* What is shown of a service's policies can be typed. */
static void check_policies(const struct model_service *s)
{
	struct model_service again = {.hash = 0};
	struct model_policy_item item;
	size_t cursor = 0;
	struct err e;

	while (model_policy_next(s, &cursor, &item)) {
		char text[64];

		if (item.word)
			snprintf(text, sizeof(text), "%s=%s", item.name, item.word);
		else
			snprintf(text, sizeof(text), "%s=%u", item.name, item.number);
		if (model_policy_set(&again, text, &e))
			abort();
	}
	if (again.hash != s->hash || memcmp(&again.policy, &s->policy, sizeof(s->policy)) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t buf[RECORD_VALUE_MAX], again[RECORD_VALUE_MAX], kind;
	union noun n, m;
	int len, len2;

	if (size == 0)
		return 0;
	kind = data[0] % 10;
	if (kind == 6 || kind == 8) { /* the text form of a check, of a policy */
		char text[MODEL_CHECK_TEXT_MAX + 1];
		struct model_service service = {.hash = 0};
		struct model_check c;
		struct err e;

		if (size > sizeof(text))
			size = sizeof(text);
		memcpy(text, data + 1, size - 1);
		text[size - 1] = 0;
		/* Either way; only memory matters. */
		if (kind == 8)
			(void)model_policy_set(&service, text, &e);
		else
			(void)model_check_parse(text, &c, &e);
		return 0;
	}
	memset(&n, 0, sizeof(n));
	if (decode(kind, data + 1, size - 1, &n))
		return 0;
	if (kind == 1)
		check_texts(&n);
	if (kind == 3)
		check_policies(&n.service);
	len = encode(kind, &n, buf, sizeof(buf));
	if (len < 0 || decode(kind, buf, (size_t)len, &m))
		abort();
	len2 = encode(kind, &m, again, sizeof(again));
	if (len2 != len || memcmp(buf, again, (size_t)len) != 0)
		abort();
	return 0;
}
