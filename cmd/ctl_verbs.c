/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Methods that change something. Each result is {text: what was done, or a warning like "accepted, not durable"}. */
#include <errno.h>
#include <string.h>

#include "cmd/ctl_int.h"

struct done {
	agent_cb cb;
	void *arg;
};

static int service_add(struct agent *agent, const struct ctl_args *a, const struct done *d,
		       struct err *e)
{
	struct model_service s;
	int rc = ctl_args_service(a, &s, e);

	if (!rc)
		agent_service_add(agent, &s, d->cb, d->arg);
	return rc;
}

static int service_set(struct agent *agent, const struct ctl_args *a, const struct done *d,
		       struct err *e)
{
	const char *policy[MODEL_POLICIES_MAX];
	int rc = ctl_args_policy(a, e);

	if (rc)
		return rc;
	for (size_t i = 0; i < a->policy.count; i++)
		policy[i] = a->policy.text[i];
	agent_service_set(agent, a->name, policy, a->policy.count, d->cb, d->arg);
	return 0;
}

static int filter_add(struct agent *agent, const struct ctl_args *a, const struct done *d,
		      struct err *e)
{
	struct model_filter f;
	int rc = ctl_args_filter(a, &f, e);

	if (!rc)
		agent_filter_add(agent, &f, d->cb, d->arg);
	return rc;
}

static int filter_rm(struct agent *agent, const struct ctl_args *a, const struct done *d,
		     struct err *e)
{
	struct model_filter f;
	int rc = ctl_args_filter(a, &f, e);

	if (!rc)
		agent_filter_rm(agent, f.service, &f.prefix, d->cb, d->arg);
	return rc;
}

static int service_rm(struct agent *agent, const struct ctl_args *a, const struct done *d,
		      struct err *e)
{
	(void)e;
	agent_service_rm(agent, a->name, d->cb, d->arg);
	return 0;
}

static int backend_add(struct agent *agent, const struct ctl_args *a, const struct done *d,
		       struct err *e)
{
	struct model_backend b;
	int rc = ctl_args_backend(a, &b, e);

	if (!rc)
		agent_backend_add(agent, &b, d->cb, d->arg);
	return rc;
}

static int backend_rm(struct agent *agent, const struct ctl_args *a, const struct done *d,
		      struct err *e)
{
	(void)e;
	agent_backend_rm(agent, a->spec, d->cb, d->arg);
	return 0;
}

static int backend_set(struct agent *agent, const struct ctl_args *a, const struct done *d,
		       struct err *e)
{
	(void)e;
	agent_backend_weight(agent, a->spec, (uint32_t)a->weight, d->cb, d->arg);
	return 0;
}

static int backend_drain(struct agent *agent, const struct ctl_args *a, const struct done *d,
			 struct err *e)
{
	(void)e;
	agent_backend_drain(agent, a->spec, true, a->author, a->reason, d->cb, d->arg);
	return 0;
}

static int backend_undrain(struct agent *agent, const struct ctl_args *a, const struct done *d,
			   struct err *e)
{
	(void)e;
	agent_backend_drain(agent, a->spec, false, a->author, a->reason, d->cb, d->arg);
	return 0;
}

static void drain(struct agent *agent, enum agent_drain_scope scope, bool is_drained,
		  const struct ctl_args *a, const struct done *d)
{
	struct agent_order order = {
		.author = a->author, .reason = a->reason, .seconds = a->seconds};

	agent_drain(agent, scope, a->name, is_drained, &order, d->cb, d->arg);
}

static int node_drain(struct agent *agent, const struct ctl_args *a, const struct done *d,
		      struct err *e)
{
	(void)e;
	drain(agent, AGENT_DRAIN_NODE, true, a, d);
	return 0;
}

static int node_undrain(struct agent *agent, const struct ctl_args *a, const struct done *d,
			struct err *e)
{
	(void)e;
	drain(agent, AGENT_DRAIN_NODE, false, a, d);
	return 0;
}

static int node_rm(struct agent *agent, const struct ctl_args *a, const struct done *d,
		   struct err *e)
{
	struct agent_order order = {.author = a->author, .reason = a->reason};

	(void)e;
	agent_node_rm(agent, a->name, &order, d->cb, d->arg);
	return 0;
}

static int node_restore(struct agent *agent, const struct ctl_args *a, const struct done *d,
			struct err *e)
{
	(void)e;
	agent_node_restore(agent, a->name, d->cb, d->arg);
	return 0;
}

static int region_drain(struct agent *agent, const struct ctl_args *a, const struct done *d,
			struct err *e)
{
	(void)e;
	drain(agent, AGENT_DRAIN_REGION, true, a, d);
	return 0;
}

static int region_undrain(struct agent *agent, const struct ctl_args *a, const struct done *d,
			  struct err *e)
{
	(void)e;
	drain(agent, AGENT_DRAIN_REGION, false, a, d);
	return 0;
}

static int quarantine_release(struct agent *agent, const struct ctl_args *a, const struct done *d,
			      struct err *e)
{
	int rc = agent_quarantine_release(agent, a->spec, e);

	if (!rc)
		d->cb(0, "released: it is applied again", d->arg);
	return rc;
}

static const struct verb {
	const char *method;
	int (*fn)(struct agent *agent, const struct ctl_args *a, const struct done *d,
		  struct err *e);
} verbs[] = {
	{"service.add", service_add},
	{"service.rm", service_rm},
	{"service.set", service_set},
	{"filter.add", filter_add},
	{"filter.rm", filter_rm},
	{"backend.add", backend_add},
	{"backend.rm", backend_rm},
	{"backend.set", backend_set},
	{"backend.drain", backend_drain},
	{"backend.undrain", backend_undrain},
	{"node.drain", node_drain},
	{"node.undrain", node_undrain},
	{"node.rm", node_rm},
	{"node.restore", node_restore},
	{"region.drain", region_drain},
	{"region.undrain", region_undrain},
	{"quarantine.release", quarantine_release},
};

static const struct verb *find(const char *method)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(verbs[i].method, method) == 0)
			return &verbs[i];
	return NULL;
}

bool ctl_is_verb(const char *method)
{
	return find(method) != NULL;
}

int ctl_verb(struct agent *agent, const char *method, const struct ctl_args *a, agent_cb cb,
	     void *arg, struct err *e)
{
	const struct verb *v = find(method);
	const struct done d = {.cb = cb, .arg = arg};

	return v ? v->fn(agent, a, &d, e) : err_set(e, -ENOSYS, "%s changes nothing", method);
}
