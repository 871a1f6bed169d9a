/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* cmd/edged.c - the gossip process: wires store, keys, core, agent, loop and control socket together. Wiring only.
 *
 * Start  configuration, then privileges are dropped for good, then: store (lock), keys, generation (durable), core,
 *        agent, loop, control socket, join. The first packet leaves after the generation is on disk.
 * Stop   SIGTERM, SIGINT: tell everyone that this node leaves. SIGUSR1: stop and stay a member (a restart: the
 *        forwarder goes on, the node is headless meanwhile). Then everything is closed, newest first.
 */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cmd/conf.h"
#include "cmd/ctl.h"
#include "cmd/keys.h"
#include "cmd/watchdog.h"
#include "gossip/writers.h"
#include "gossip/blackbox.h"

#define CONF_PATH "/etc/edge/edge.conf"
#define LEAVE_MS 300 /* for the word that we leave to get out, and again with the next probes */
#define FILES_WANTED 4096

struct daemon {
	uv_loop_t uv;
	struct watchdog *dog;
	struct conf conf;
	struct node_key *key;
	struct seal *seal;
	struct store *store;
	struct blackbox *box;
	struct gossip_core *core;
	struct agent *agent;
	struct gossip_loop *loop;
	struct writers writers;
	uint8_t writers_sum[WRITERS_SUM_BYTES];
	struct keys *keys;
	struct ctl *ctl;
	uv_signal_t sig[3];
	uv_timer_t leave_timer;
	bool is_stopping;
	int status;
};

static void say(const char *level, const char *event, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void say(const char *level, const char *event, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s edged %s ", level, event);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* ---- privileges */

static int clear_capabilities(struct err *e)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	/* No ambient set on some kernels: nothing to clear then. */
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &head, none))
		return err_set(e, -errno, "can't give up capabilities: %s", strerror(errno));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_set(e, -errno, "can't set no_new_privs: %s", strerror(errno));
	return 0;
}

static int drop_privileges(const char *user, struct err *e)
{
	struct passwd *pw;

	if (getuid() == 0) {
		errno = 0;
		pw = getpwnam(user);
		if (!pw)
			return err_set(e, -ENOENT,
				       "user %s does not exist: create it, or set [forwarder] user",
				       user);
		if (initgroups(user, pw->pw_gid) || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) ||
		    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid))
			return err_set(e, -errno, "can't become user %s: %s", user,
				       strerror(errno));
		if (pw->pw_uid != 0 && setuid(0) == 0)
			return err_set(e, -EPERM, "still root after becoming user %s", user);
	}
	return clear_capabilities(e);
}

static int check_state_dir(const struct conf *c, struct err *e)
{
	struct stat st;

	if (stat(c->state_dir, &st))
		return err_set(e, -errno, "state_dir %s: %s", c->state_dir, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(e, -ENOTDIR, "state_dir %s is no directory", c->state_dir);
	if (access(c->state_dir, R_OK | W_OK | X_OK)) {
		int err = -errno; /* before getpwuid() changes it */
		struct passwd *pw = getpwuid(getuid());

		return err_set(e, err, "state_dir %s: user %s can't write there", c->state_dir,
			       pw ? pw->pw_name : "?");
	}
	return 0;
}

/* Sockets of checks, streams and clients; the soft limit is often 1024. */
static void raise_files(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) || rl.rlim_cur >= FILES_WANTED)
		return;
	rl.rlim_cur = rl.rlim_max < FILES_WANTED ? rl.rlim_max : FILES_WANTED;
	/* As many as there are then: what lacks one says so. */
	(void)setrlimit(RLIMIT_NOFILE, &rl);
}

/* ---- start */

/* A node that is neither edge nor worker needs none. */
static bool has_forwarder(const struct conf *c)
{
	return c->public_count || c->uplink_count || c->bridge_count;
}

static int open_store(struct daemon *d, struct err *e)
{
	bool was_reset = false;
	int err = store_open(d->conf.state_dir, &d->uv, &d->store, &was_reset, e);

	if (!err && was_reset)
		say("error", "store_reset",
		    "dir=%s why=\"the database was damaged and is set aside; peers refill it\"",
		    d->conf.state_dir);
	return err;
}

static int next_generation(struct daemon *d, uint64_t *ret_generation, struct err *e)
{
	uint64_t generation, now = (uint64_t)time(NULL);
	int err = store_get_generation(d->store, &generation);

	if (err)
		return err_set(e, err, "can't read this node's generation: %s", strerror(-err));
	generation = (generation > now ? generation : now) + 1;
	err = store_set_generation(d->store, generation);
	if (err) {
		struct store_status st;

		store_get_status(d->store, &st);
		if (!st.is_broken)
			return err_set(e, err, "can't store this node's generation in %s: %s",
				       d->conf.state_dir, strerror(-err));
		/* The disk is known to be bad: the clock keeps generations apart until it is mended. */
		say("error", "generation_not_durable", "dir=%s why=\"%s\"", d->conf.state_dir,
		    strerror(-err));
	}
	*ret_generation = generation;
	return 0;
}

/* A node without one is a node all the same. */
static void open_box(struct daemon *d)
{
	char path[CONF_TEXT_MAX + 16];
	struct err e = {0};

	snprintf(path, sizeof(path), "%s/blackbox", d->conf.state_dir);
	if (blackbox_open(path, 0, &d->box, &e))
		say("warn", "no_blackbox", "why=\"%s\"", e.text);
}

/* Kinds of shared records that not everybody may write: removal, service, override, filter, key ring. */
#define GUARDED_KINDS                                                                              \
	(1ull << (RECORD_KIND_REMOVAL - 64) | 1ull << (MODEL_KIND_SERVICE - 64) |                  \
	 1ull << (MODEL_KIND_OVERRIDE - 64) | 1ull << (MODEL_KIND_FILTER - 64) |                   \
	 1ull << (KEYRING_KIND - 64))

static void guard(struct daemon *d, struct gossip_config *g)
{
	struct node_id self;

	node_id_of_pub(g->pub, &self);
	d->writers.guarded = GUARDED_KINDS;
	d->writers.count = d->conf.writer_count;
	memcpy(d->writers.id, d->conf.writer, sizeof(d->writers.id));
	writers_guard(&d->writers, &self, &g->signer);
	writers_sum(&d->writers, d->writers_sum);
}

static int open_core(struct daemon *d, struct err *e)
{
	const struct conf *c = &d->conf;
	struct gossip_config g = {.has_forwarder = has_forwarder(c),
				  .has_regions = c->has_summaries};
	char path[CONF_TEXT_MAX + 16];
	int err;

	snprintf(path, sizeof(path), "%s/node.key", c->state_dir);
	err = node_key_open(path, &d->key, e);
	if (err)
		return err;
	randombytes_buf(&g.boot_nonce, sizeof(g.boot_nonce));
	randombytes_buf(&g.seed, sizeof(g.seed));
	err = seal_open_file(c->key_file, c->cluster, d->key, g.boot_nonce, &d->seal, e);
	if (!err)
		err = next_generation(d, &g.generation, e);
	if (err)
		return err;
	memcpy(g.name, c->name, sizeof(g.name));
	memcpy(g.region, c->region, sizeof(g.region));
	node_key_pub(d->key, g.pub);
	memcpy(g.addr.ip, c->mesh_addr[0].b, sizeof(g.addr.ip));
	g.addr.port = c->mesh_port;
	g.signer = node_key_signer(d->key);
	guard(d, &g);
	open_box(d);
	if (d->box)
		blackbox_attach(d->box, &g);
	return gossip_core_new(&g, uv_hrtime() / 1000000, &d->core, e);
}

static int open_agent(struct daemon *d, struct err *e)
{
	const struct conf *c = &d->conf;
	char check_dir[CHECK_DIR_MAX] = "";
	struct agent_config a = {.vip_prefix_count = c->vip_prefix_count,
				 .bridge_count = c->bridge_count,
				 .order_count = c->order_count,
				 .manage_wireguard = c->wireguard_managed,
				 .has_seeds = c->seed_count > 0,
				 .has_regions = c->has_summaries,
				 .fwd_socket = has_forwarder(c) ? c->fwd_socket : NULL,
				 .version = EDGE_VERSION,
				 .state_dir = c->state_dir,
				 .checks = {.program_dir = check_dir, .ca_file = c->check_ca}};

	snprintf(a.self.name, sizeof(a.self.name), "%s", c->name);
	snprintf(a.self.region, sizeof(a.self.region), "%s", c->region);
	snprintf(a.self.version, sizeof(a.self.version), "%s", EDGE_VERSION);
	a.self.mesh_addr = c->mesh_addr[0];
	a.self.is_edge = c->public_count > 0;
	a.self.is_worker = c->uplink_count > 0 || c->bridge_count > 0;
	if (c->wireguard_managed) {
		memcpy(a.self.wg_pub, c->wg_pub, sizeof(a.self.wg_pub));
		a.self.wg_addr = c->wg_endpoint;
		a.self.wg_port = c->wg_endpoint_port;
	}
	memcpy(a.order, c->order, sizeof(a.order));
	memcpy(a.vip_prefix, c->vip_prefix, sizeof(a.vip_prefix));
	memcpy(a.bridge, c->bridge, sizeof(a.bridge));
	if (c->check_dir[0] && check_dir_trust(c->check_dir, check_dir, e))
		return e->code;
	return agent_open(&d->uv, &a, d->core, d->store, &d->agent, e);
}

static void on_event(const struct gossip_event *ev, void *arg)
{
	struct daemon *d = arg;

	keys_event(d->keys, ev);
	agent_event(ev, d->agent);
}

/* The keys are known: now it may speak. */
static void on_keys(void *arg)
{
	struct daemon *d = arg;
	int err = gossip_core_join(d->core, gossip_loop_now_ms(d->loop), d->conf.seed,
				   d->conf.seed_count);

	if (err)
		say("error", "failed", "why=\"can't join: %s\"", strerror(-err));
	gossip_loop_hold(d->loop, false);
	gossip_loop_pump(d->loop);
}

static int open_keys(struct daemon *d, struct err *e)
{
	struct keys_config k = {.state_dir = d->conf.state_dir,
				.cluster = d->conf.cluster,
				.seeds = d->conf.seed,
				.seed_count = d->conf.seed_count,
				.writers_sum = d->writers_sum,
				.key = d->key,
				.seal = d->seal,
				.core = d->core,
				.ready_cb = on_keys,
				.arg = d};

	return keys_open(&d->uv, &k, &d->keys, e);
}

static int open_network(struct daemon *d, struct err *e)
{
	const struct conf *c = &d->conf;
	struct gossip_loop_config l = {.device = c->mesh_device[0] ? c->mesh_device : NULL,
				       .ping_port = DP_PING_PORT,
				       .core = d->core,
				       .seal = d->seal,
				       .event_cb = on_event,
				       .arg = d,
				       .clear_cb = keys_clear,
				       .clear_arg = d->keys};
	struct ctl_config ctl = {.path = c->control,
				 .group = c->group[0] ? c->group : NULL,
				 .cluster = c->cluster,
				 .agent = d->agent,
				 .core = d->core,
				 .store = d->store,
				 .keyring = keys_ring(d->keys),
				 .writers_sum = d->writers_sum,
				 .version = EDGE_VERSION};
	int err;

	memcpy(l.bind.ip, c->mesh_addr[0].b, sizeof(l.bind.ip));
	l.bind.port = c->mesh_port;
	err = gossip_loop_open(&d->uv, &l, &d->loop, e);
	if (err)
		return err;
	agent_set_loop(d->agent, d->loop);
	ctl.loop = d->loop;
	err = ctl_open(&d->uv, &ctl, &d->ctl, e);
	if (err)
		return err;
	gossip_loop_hold(d->loop, true);
	keys_start(d->keys, d->loop);
	return 0;
}

/* ---- stop: newest first, each when the one before it is closed */

static void on_handle_closed(uv_handle_t *h)
{
	(void)h;
}

static void on_store_closed(void *arg)
{
	struct daemon *d = arg;

	d->store = NULL;
	for (size_t i = 0; i < 3; i++)
		if (!uv_is_closing((uv_handle_t *)&d->sig[i]))
			uv_close((uv_handle_t *)&d->sig[i], on_handle_closed);
	keys_stop(d->keys);
	if (!uv_is_closing((uv_handle_t *)&d->leave_timer))
		uv_close((uv_handle_t *)&d->leave_timer, on_handle_closed);
}

static void on_loop_closed(void *arg)
{
	struct daemon *d = arg;

	d->loop = NULL;
	if (d->store)
		store_close(d->store, on_store_closed, d);
	else
		on_store_closed(d);
}

static void on_agent_closed(void *arg)
{
	struct daemon *d = arg;

	d->agent = NULL;
	keys_stop(d->keys); /* its timer sends through the loop */
	if (d->loop)
		gossip_loop_close(d->loop, on_loop_closed, d);
	else
		on_loop_closed(d);
}

static void on_ctl_closed(void *arg)
{
	struct daemon *d = arg;

	d->ctl = NULL;
	if (d->agent)
		agent_close(d->agent, on_agent_closed, d);
	else
		on_agent_closed(d);
}

static void close_all(struct daemon *d)
{
	if (d->ctl)
		ctl_close(d->ctl, on_ctl_closed, d);
	else
		on_ctl_closed(d);
}

static void on_leave_timer(uv_timer_t *t)
{
	close_all(t->data);
}

static void on_signal(uv_signal_t *s, int signum)
{
	struct daemon *d = s->data;
	bool is_leaving = signum != SIGUSR1;

	if (d->is_stopping)
		return;
	d->is_stopping = true;
	say("info", "stopping", "signal=%d leave=%d", signum, is_leaving);
	if (!is_leaving) {
		close_all(d);
		return;
	}
	gossip_core_leave(d->core, gossip_loop_now_ms(d->loop));
	gossip_loop_pump(d->loop);
	uv_timer_start(&d->leave_timer, on_leave_timer, LEAVE_MS, 0);
}

static int open_signals(struct daemon *d, struct err *e)
{
	static const int signum[3] = {SIGTERM, SIGINT, SIGUSR1};
	int err = 0;

	for (size_t i = 0; i < 3 && !err; i++)
		err = uv_signal_start(&d->sig[i], on_signal, signum[i]);
	return err ? err_set(e, err, "signals: %s", uv_strerror(err)) : 0;
}

/* ---- main */

static int start(struct daemon *d, struct err *e)
{
	int err = drop_privileges(d->conf.fwd_user, e);

	if (!err)
		err = check_state_dir(&d->conf, e);
	if (!err)
		err = open_store(d, e);
	if (!err)
		err = open_core(d, e);
	if (!err)
		err = open_agent(d, e);
	if (!err)
		err = open_keys(d, e);
	if (!err)
		err = open_network(d, e);
	if (!err)
		err = open_signals(d, e);
	return err;
}

static int run(struct daemon *d)
{
	struct err e = {0};
	int err;

	signal(SIGPIPE, SIG_IGN);
	umask(077);
	raise_files();
	if (sodium_init() < 0 || uv_loop_init(&d->uv)) {
		say("error", "failed", "why=\"libsodium or libuv can't start\"");
		return 1;
	}
	for (size_t i = 0; i < 3; i++) {
		uv_signal_init(&d->uv, &d->sig[i]);
		d->sig[i].data = d;
	}
	uv_timer_init(&d->uv, &d->leave_timer);
	d->leave_timer.data = d;
	if (start(d, &e)) {
		say("error", "failed", "why=\"%s\"", e.text);
		d->status = 1;
		d->is_stopping = true;
		close_all(d);
	} else {
		/* Without a thread to look, it runs all the same. */
		if (watchdog_start(&d->uv, "edged", WATCHDOG_LIMIT_MS, &d->dog, &e))
			say("warn", "unwatched", "why=\"%s\"", e.text);
		watchdog_ready(d->dog);
		say("info", "started", "node=%s region=%s version=%s", d->conf.name, d->conf.region,
		    EDGE_VERSION);
	}
	uv_run(&d->uv, UV_RUN_DEFAULT);
	watchdog_stop(d->dog);
	uv_run(&d->uv, UV_RUN_DEFAULT);
	err = uv_loop_close(&d->uv);
	if (err) {
		say("error", "unclean", "why=\"a handle is still open: %s\"", uv_strerror(err));
		d->status = 1;
	}
	keys_free(d->keys);
	if (d->core)
		gossip_core_free(d->core);
	blackbox_close(d->box);
	if (d->seal)
		seal_free(d->seal);
	if (d->key)
		node_key_free(d->key);
	if (!d->status)
		say("info", "stopped", "node=%s", d->conf.name);
	return d->status;
}

static void usage(FILE *f)
{
	fprintf(f,
		"usage: edged [-c FILE] [--check] [--version] [--help]\n"
		"  -c, --config FILE  configuration (%s)\n"
		"      --check        read the configuration, say whether it is good, and end\n",
		CONF_PATH);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
						{"check", no_argument, NULL, 'k'},
						{"version", no_argument, NULL, 'V'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	static struct daemon d;
	const char *path = CONF_PATH;
	bool is_check = false;
	struct err e = {0};
	int c;

	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			path = optarg;
			break;
		case 'k':
			is_check = true;
			break;
		case 'V':
			puts("edged " EDGE_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "edged: unexpected argument '%s'\n", argv[optind]);
		usage(stderr);
		return 2;
	}
	if (conf_load(path, &d.conf, &e)) {
		fprintf(stderr, "edged: %s\n", e.text);
		return 2;
	}
	if (is_check) {
		printf("%s is good\n", path);
		return 0;
	}
	return run(&d);
}
