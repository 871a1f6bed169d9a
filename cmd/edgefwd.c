/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* cmd/edgefwd.c - the privileged keeper of the forwarder: options, configuration, signals. */
#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "cmd/conf.h"
#include "cmd/watchdog.h"
#include "edge/keeper.h"

#define CONF_PATH "/etc/edge/edge.conf"

enum exit_code { EXIT_OK = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2 };

_Static_assert((int)CONF_XDP_AUTO == (int)DP_XDP_AUTO &&
		       (int)CONF_XDP_NATIVE == (int)DP_XDP_NATIVE &&
		       (int)CONF_XDP_GENERIC == (int)DP_XDP_GENERIC &&
		       (int)CONF_XDP_OFF == (int)DP_XDP_OFF,
	       "both enums count alike");
_Static_assert(sizeof(((struct conf *)0)->public_if[0]) == KEEPER_PATTERN_MAX, "pattern size");

struct options {
	const char *conf_path;
	bool is_detach, is_check;
};

struct stopper {
	uv_signal_t sig[2];
	struct keeper *keeper;
	bool is_stopping;
};

static void usage(FILE *out)
{
	fputs("usage: edgefwd [-c FILE] [--detach | --check]\n"
	      "  -c, --config FILE  configuration (" CONF_PATH ")\n"
	      "      --detach       remove programs, filters, routes and pins; traffic stops\n"
	      "      --check        look at the configuration and the interfaces, change nothing\n"
	      "      --version      print the version\n"
	      "      --help         print this\n"
	      "Without --detach and --check: load, attach, keep. Ends on SIGTERM and leaves "
	      "everything in place.\n",
	      out);
}

/* -1: go on; else the exit code. */
static int parse_args(int argc, char **argv, struct options *ret_opts)
{
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'}, {"detach", no_argument, NULL, 'd'},
		{"check", no_argument, NULL, 'k'},	  {"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},	  {NULL, 0, NULL, 0},
	};
	int c;

	*ret_opts = (struct options){.conf_path = CONF_PATH};
	while ((c = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
		if (c == 'c') {
			ret_opts->conf_path = optarg;
		} else if (c == 'd') {
			ret_opts->is_detach = true;
		} else if (c == 'k') {
			ret_opts->is_check = true;
		} else if (c == 'v') {
			printf("edgefwd %s\n", EDGE_VERSION);
			return EXIT_OK;
		} else {
			usage(c == 'h' ? stdout : stderr);
			return c == 'h' ? EXIT_OK : EXIT_USAGE;
		}
	}
	if (optind == argc && !(ret_opts->is_check && ret_opts->is_detach))
		return -1;
	if (optind < argc)
		fprintf(stderr, "edgefwd: unexpected argument '%s'\n", argv[optind]);
	usage(stderr);
	return EXIT_USAGE;
}

static int to_keeper(const struct conf *conf, struct keeper_config *ret_cfg, struct err *e)
{
	const struct passwd *user = getpwnam(conf->fwd_user);

	if (!user)
		return err_set(e, -EINVAL, "forwarder user: got '%s', want an existing user",
			       conf->fwd_user);
	*ret_cfg = (struct keeper_config){
		.pin_dir = conf->pin_dir,
		.sizes = conf->sizes,
		.xdp = (enum dp_xdp)conf->xdp_mode,
		.socket_path = conf->fwd_socket,
		.peer_uid = user->pw_uid,
		.peer_gid = user->pw_gid,
		.mesh_device = conf->mesh_device,
		.is_fabric = conf->mesh_fabric,
		.mesh_addr_count = conf->mesh_addr_count,
		.public_if = {conf->public_if, conf->public_count},
		.uplink = {conf->uplink, conf->uplink_count},
		.bridge = {conf->bridge, conf->bridge_count},
		.vip_prefix = conf->vip_prefix,
		.vip_prefix_count = conf->vip_prefix_count,
		.is_wireguard_managed = conf->wireguard_managed,
		.build = EDGE_VERSION,
	};
	memcpy(ret_cfg->mesh_addr, conf->mesh_addr, sizeof(ret_cfg->mesh_addr));
	return 0;
}

static void stop_cb(uv_signal_t *s, int signum)
{
	struct stopper *st = s->data;

	if (st->is_stopping)
		return;
	st->is_stopping = true;
	keeper_log("info", "stopping", "signal=%d text=\"programs, maps and routes stay\"", signum);
	keeper_close(st->keeper, NULL, NULL);
	for (size_t i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&st->sig[i], NULL);
}

static int run(const struct keeper_config *cfg, struct err *e)
{
	static const int signals[] = {SIGTERM, SIGINT};
	struct watchdog *dog = NULL;
	struct stopper st = {};
	struct err unwatched;
	uv_loop_t loop;
	int rc = uv_loop_init(&loop);

	if (rc < 0)
		return err_set(e, rc, "event loop: %s", uv_strerror(rc));
	rc = keeper_open(&loop, cfg, &st.keeper, e);
	for (size_t i = 0; rc == 0 && i < 2; i++) {
		(void)uv_signal_init(&loop, &st.sig[i]); /* fails only without file descriptors */
		st.sig[i].data = &st;
		(void)uv_signal_start(&st.sig[i], stop_cb, signals[i]);
	}
	if (rc == 0) {
		/* Without a thread to look, it runs all the same. */
		if (watchdog_start(&loop, "edgefwd", WATCHDOG_LIMIT_MS, &dog, &unwatched))
			keeper_log("warn", "unwatched", "text=\"%s\"", unwatched.text);
		watchdog_ready(dog);
		keeper_log("info", "ready", "socket=%s", cfg->socket_path);
	}
	uv_run(&loop, UV_RUN_DEFAULT); /* after a failure: closes what was open */
	watchdog_stop(dog);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	return rc;
}

int main(int argc, char **argv)
{
	static struct conf conf;
	struct keeper_config cfg;
	struct options opts;
	struct err e = {};
	int rc = parse_args(argc, argv, &opts);

	if (rc >= 0)
		return rc;
	/* Lines of the log appear whole and at once; a reader that went away doesn't end us. */
	setvbuf(stderr, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	if (conf_load(opts.conf_path, &conf, &e) < 0 || to_keeper(&conf, &cfg, &e) < 0) {
		fprintf(stderr, "edgefwd: %s\n", e.text);
		return EXIT_USAGE;
	}
	if (opts.is_detach)
		rc = keeper_detach(&cfg, &e);
	else if (opts.is_check)
		rc = keeper_check(&cfg, &e);
	else
		rc = run(&cfg, &e);
	if (rc < 0) {
		keeper_log("error", "failed", "text=\"%s\"", e.text);
		return EXIT_REFUSED;
	}
	if (opts.is_check)
		printf("%s: fine\n", opts.conf_path);
	return EXIT_OK;
}
