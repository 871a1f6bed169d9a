/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/agent_int.h"

/* ---- policies of a service */

size_t agent_filters_count(const struct agent *a, const char *service, uint8_t verb)
{
	size_t n = 0;

	for (const struct fact *f = a->facts; f; f = f->hh.next)
		n += f->id.kind == MODEL_KIND_FILTER && (!verb || f->u.filter.verb == verb) &&
		     (!service || !strcmp(f->u.filter.service, service));
	return n;
}

void agent_service_set(struct agent *a, const char *name, const char *const *policy, size_t count,
		       agent_cb cb, void *arg)
{
	const union fact_value *v;
	char text[AGENT_TEXT_MAX], policies[MODEL_POLICY_TEXT_MAX];
	uint8_t buf[RECORD_VALUE_MAX];
	struct model_service s;
	struct err e = {0};
	int err = 0;

	agent_pump(a); /* a change made just now, whose answer is not out yet, is kept */
	v = agent_fact_find(a, NULL, MODEL_KIND_SERVICE, name);
	if (!v) {
		agent_ops_refuse(cb, arg, -ENOENT, "there is no service %s", name);
		return;
	}
	s = v->service;
	for (size_t i = 0; i < count && !err; i++)
		err = model_policy_set(&s, policy[i], &e);
	if (!err)
		err = model_policy_check(&s, &e);
	if (err) {
		agent_ops_refuse(cb, arg, err, "%s", e.text);
		return;
	}
	if (!memcmp(&s.policy, &v->service.policy, sizeof(s.policy)) && s.hash == v->service.hash) {
		agent_ops_refuse(cb, arg, 0, "service %s: nothing to change", name);
		return;
	}
	model_policy_text(&s, policies);
	if (s.policy.is_closed && !agent_filters_count(a, name, DP_FILTER_ALLOW))
		snprintf(text, sizeof(text),
			 "service %s has %.120s; it is closed, and no filter of its own allows a "
			 "source",
			 name, policies);
	else
		snprintf(text, sizeof(text), "service %s has %.190s", name, policies);
	(void)agent_ops_commit(a, MODEL_KIND_SERVICE, name, buf,
			       model_service_encode(&s, buf, sizeof(buf)), text, cb, arg);
}

/* ---- filters */

static const char *whose(const char *service, char buf[MODEL_NAME_MAX + 16])
{
	if (service[0])
		snprintf(buf, MODEL_NAME_MAX + 16, "service %.31s", service);
	else
		snprintf(buf, MODEL_NAME_MAX + 16, "every service");
	return buf;
}

void agent_filter_add(struct agent *a, const struct model_filter *f, agent_cb cb, void *arg)
{
	char key[MODEL_KEY_MAX], prefix[IP_TEXT_MAX], text[AGENT_TEXT_MAX],
		who[MODEL_NAME_MAX + 16];
	const char *verb = f->verb == DP_FILTER_DENY ? "denied" : "allowed";
	const union fact_value *v;
	uint8_t buf[RECORD_VALUE_MAX];
	size_t count;

	agent_pump(a);
	if (f->service[0] && !agent_fact_find(a, NULL, MODEL_KIND_SERVICE, f->service)) {
		agent_ops_refuse(cb, arg, -ENOENT, "there is no service %s", f->service);
		return;
	}
	v = agent_fact_find(a, NULL, MODEL_KIND_FILTER, model_filter_key(f, key));
	count = agent_filters_count(a, NULL, 0);
	if (!v && count >= DP_FILTER_MAX) {
		agent_ops_refuse(cb, arg, -ENOSPC, "there are %zu filters, and no more fit", count);
		return;
	}
	snprintf(text, sizeof(text), "%s is %s for %s%s", ip_prefix_text(&f->prefix, prefix), verb,
		 whose(f->service, who),
		 v && v->filter.verb != f->verb ? "; it was the other way round before" : "");
	(void)agent_ops_commit(a, MODEL_KIND_FILTER, key, buf,
			       model_filter_encode(f, buf, sizeof(buf)), text, cb, arg);
}

void agent_filter_rm(struct agent *a, const char *service, const struct ip_prefix *prefix,
		     agent_cb cb, void *arg)
{
	char key[MODEL_KEY_MAX], ip[IP_TEXT_MAX], text[AGENT_TEXT_MAX], who[MODEL_NAME_MAX + 16];
	struct model_filter f = {.prefix = *prefix};

	agent_pump(a);
	snprintf(f.service, sizeof(f.service), "%s", service);
	model_filter_key(&f, key);
	ip_prefix_text(prefix, ip);
	if (!agent_fact_find(a, NULL, MODEL_KIND_FILTER, key)) {
		agent_ops_refuse(cb, arg, -ENOENT, "%s is not on the list of %s", ip,
				 whose(service, who));
		return;
	}
	snprintf(text, sizeof(text), "%s is off the list of %s", ip, whose(service, who));
	(void)agent_ops_commit(a, MODEL_KIND_FILTER, key, NULL, 0, text, cb, arg);
}

const struct model_filter *agent_filter_next(const struct agent *a, const void **cursor)
{
	const struct fact *f = *cursor ? ((const struct fact *)*cursor)->hh.next : a->facts;

	while (f && f->id.kind != MODEL_KIND_FILTER)
		f = f->hh.next;
	if (f)
		*cursor = f;
	return f ? &f->u.filter : NULL;
}
