/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A real QUIC server and client (ngtcp2), for connections that move.
 *
 *   quicecho server PORT NAME SERVER-ID CERT KEY   one socket bound to every address; each stream is answered with NAME.
 *                       Connection ids: docs/DATAPATH.md; SERVER-ID "-": ids that name nobody
 *   quicecho client ADDRESS PORT MOVES [PAUSE_MS]  one connection; a stream, a move, a stream ...; prints each answer on
 *                       one line. Moves: another local port, in turn unknown to the client (as by a NAT) and of its own will
 *
 * Exit of the client: 0 all answered, 1 not, 2 usage.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>

#define CONNS_MAX 16
#define CID_BYTES 12
#define PACKET_MAX 1200
#define ANSWER_MS 2000
#define SETTLE_MS 50 /* paths are validated and ids retired before the next move */
#define PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3"

struct conn {
	ngtcp2_conn *quic;
	gnutls_session_t tls;
	ngtcp2_crypto_conn_ref ref;
	ngtcp2_cid first_dcid; /* what the client made up */
	struct sockaddr_storage local, remote;
	socklen_t local_len, remote_len;
	int64_t say_stream; /* -1 = nothing to say */
	char heard[64];
	size_t heard_len;
	bool is_heard, is_confirmed;
};

static struct conn conns[CONNS_MAX];
static int fd = -1;
static const char *say_text;
static uint32_t server_id;
static bool has_server_id, is_server;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "quicecho: %s: %s\n", what, why);
	return -1;
}

/* ---- what ngtcp2 asks for */

static ngtcp2_conn *conn_of(ngtcp2_crypto_conn_ref *ref)
{
	return ((struct conn *)ref->user_data)->quic;
}

static void make_random(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx)
{
	(void)ctx;
	gnutls_rnd(GNUTLS_RND_RANDOM, dest, len);
}

/* The plain form: configuration 0 and the length, server id, nonce. Else configuration 7, which names nobody. */
static void make_cid(ngtcp2_cid *cid, size_t len)
{
	uint8_t b[NGTCP2_MAX_CIDLEN];

	gnutls_rnd(GNUTLS_RND_RANDOM, b, len);
	b[0] = (uint8_t)(0xe0 | (len - 1));
	if (has_server_id) {
		b[0] = (uint8_t)(len - 1);
		b[1] = (uint8_t)(server_id >> 24);
		b[2] = (uint8_t)(server_id >> 16);
		b[3] = (uint8_t)(server_id >> 8);
		b[4] = (uint8_t)server_id;
	}
	ngtcp2_cid_init(cid, b, len);
}

static int on_new_cid(ngtcp2_conn *quic, ngtcp2_cid *cid, uint8_t *token, size_t len, void *user)
{
	(void)quic;
	(void)user;
	make_cid(cid, len);
	gnutls_rnd(GNUTLS_RND_RANDOM, token, NGTCP2_STATELESS_RESET_TOKENLEN);
	return 0;
}

static int on_stream_data(ngtcp2_conn *quic, uint32_t flags, int64_t stream, uint64_t offset,
			  const uint8_t *data, size_t len, void *user, void *stream_user)
{
	struct conn *c = user;
	size_t room = sizeof(c->heard) - 1 - c->heard_len;

	(void)quic;
	(void)offset;
	(void)stream_user;
	memcpy(c->heard + c->heard_len, data, len < room ? len : room);
	c->heard_len += len < room ? len : room;
	if (!(flags & NGTCP2_STREAM_DATA_FLAG_FIN))
		return 0;
	c->heard[c->heard_len] = '\0';
	c->heard_len = 0;
	c->is_heard = true;
	if (is_server)
		c->say_stream = stream;
	return 0;
}

static int on_confirmed(ngtcp2_conn *quic, void *user)
{
	(void)quic;
	((struct conn *)user)->is_confirmed = true;
	return 0;
}

static ngtcp2_callbacks callbacks(void)
{
	ngtcp2_callbacks cb = {
		.recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
		.encrypt = ngtcp2_crypto_encrypt_cb,
		.decrypt = ngtcp2_crypto_decrypt_cb,
		.hp_mask = ngtcp2_crypto_hp_mask_cb,
		.recv_stream_data = on_stream_data,
		.rand = make_random,
		.get_new_connection_id = on_new_cid,
		.update_key = ngtcp2_crypto_update_key_cb,
		.handshake_confirmed = on_confirmed,
		.delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
		.delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
		.get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb,
		.version_negotiation = ngtcp2_crypto_version_negotiation_cb,
	};

	if (is_server)
		cb.recv_client_initial = ngtcp2_crypto_recv_client_initial_cb;
	else
		cb.client_initial = ngtcp2_crypto_client_initial_cb;
	cb.recv_retry = is_server ? NULL : ngtcp2_crypto_recv_retry_cb;
	return cb;
}

/* ---- one connection */

static ngtcp2_path path_of(struct conn *c)
{
	return (ngtcp2_path){
		.local = {(ngtcp2_sockaddr *)&c->local, (ngtcp2_socklen)c->local_len},
		.remote = {(ngtcp2_sockaddr *)&c->remote, (ngtcp2_socklen)c->remote_len}};
}

static int start_tls(struct conn *c, gnutls_certificate_credentials_t cred)
{
	static const gnutls_datum_t alpn = {(unsigned char *)"edge", 4};

	c->ref = (ngtcp2_crypto_conn_ref){.get_conn = conn_of, .user_data = c};
	if (gnutls_init(&c->tls, is_server ? GNUTLS_SERVER : GNUTLS_CLIENT) ||
	    gnutls_priority_set_direct(c->tls, PRIORITY, NULL) ||
	    gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, cred) ||
	    gnutls_alpn_set_protocols(c->tls, &alpn, 1, GNUTLS_ALPN_MANDATORY) ||
	    (is_server ? ngtcp2_crypto_gnutls_configure_server_session(c->tls)
		       : ngtcp2_crypto_gnutls_configure_client_session(c->tls)))
		return fail("TLS", "can't be set up");
	gnutls_session_set_ptr(c->tls, &c->ref);
	ngtcp2_conn_set_tls_native_handle(c->quic, c->tls);
	return 0;
}

/* hd: the server's; dcid, scid: the client's to choose. */
static int start(struct conn *c, const ngtcp2_pkt_hd *hd, gnutls_certificate_credentials_t cred)
{
	ngtcp2_path path = path_of(c);
	ngtcp2_callbacks cb = callbacks();
	ngtcp2_transport_params params;
	ngtcp2_settings settings;
	ngtcp2_cid scid, dcid;
	int rc;

	ngtcp2_settings_default(&settings);
	settings.initial_ts = now_ns();
	settings.max_tx_udp_payload_size = PACKET_MAX;
	settings.no_pmtud = 1;
	ngtcp2_transport_params_default(&params);
	params.initial_max_data = params.initial_max_stream_data_bidi_remote =
		params.initial_max_stream_data_bidi_local = 65536;
	params.initial_max_streams_bidi = 100;
	params.active_connection_id_limit = 8;
	c->say_stream = -1;
	make_cid(&scid, CID_BYTES);
	if (hd) {
		c->first_dcid = hd->dcid;
		params.original_dcid = hd->dcid;
		rc = ngtcp2_conn_server_new(&c->quic, &hd->scid, &scid, &path, hd->version, &cb,
					    &settings, &params, NULL, c);
	} else {
		make_cid(&dcid, CID_BYTES);
		rc = ngtcp2_conn_client_new(&c->quic, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1, &cb,
					    &settings, &params, NULL, c);
	}
	return rc ? fail("connection", ngtcp2_strerror(rc)) : start_tls(c, cred);
}

static void stop(struct conn *c)
{
	ngtcp2_conn_del(c->quic);
	if (c->tls)
		gnutls_deinit(c->tls);
	memset(c, 0, sizeof(*c));
}

/* Everything that wants to leave. -1: the connection is over. */
static int flush(struct conn *c)
{
	uint8_t out[PACKET_MAX];
	ngtcp2_path_storage ps;
	ngtcp2_pkt_info info;

	for (;;) {
		ngtcp2_vec v = {(uint8_t *)say_text, strlen(say_text)};
		bool has_more = c->say_stream >= 0;
		ngtcp2_ssize n, taken = -1;

		ngtcp2_path_storage_zero(&ps);
		n = ngtcp2_conn_writev_stream(
			c->quic, &ps.path, &info, out, sizeof(out), &taken,
			has_more ? NGTCP2_WRITE_STREAM_FLAG_FIN : NGTCP2_WRITE_STREAM_FLAG_NONE,
			has_more ? c->say_stream : -1, has_more ? &v : NULL, has_more, now_ns());
		if (taken >= 0)
			c->say_stream = -1;
		if (n < 0)
			return fail("write", ngtcp2_strerror((int)n));
		if (n == 0)
			return 0;
		/* Lost is lost: QUIC sends again. */
		if (is_server)
			(void)sendto(fd, out, (size_t)n, 0,
				     (const struct sockaddr *)ps.path.remote.addr,
				     (socklen_t)ps.path.remote.addrlen);
		else
			(void)send(fd, out, (size_t)n, 0);
	}
}

static int wait_ms(struct conn *all, size_t count, uint64_t until_ns)
{
	uint64_t now = now_ns(), next = until_ns;

	for (size_t i = 0; i < count; i++)
		if (all[i].quic && ngtcp2_conn_get_expiry(all[i].quic) < next)
			next = ngtcp2_conn_get_expiry(all[i].quic);
	return next <= now ? 0 : (int)((next - now) / 1000000 + 1);
}

static int tick(struct conn *c)
{
	uint64_t now = now_ns();
	int rc = 0;

	if (ngtcp2_conn_get_expiry(c->quic) <= now)
		rc = ngtcp2_conn_handle_expiry(c->quic, now);
	return rc ? rc : flush(c);
}

/* ---- server */

static struct conn *find_conn(const ngtcp2_version_cid *vc)
{
	ngtcp2_cid dcid, scid[32];

	ngtcp2_cid_init(&dcid, vc->dcid, vc->dcidlen);
	for (size_t i = 0; i < CONNS_MAX; i++) {
		struct conn *c = &conns[i];
		size_t n;

		if (!c->quic)
			continue;
		if (ngtcp2_cid_eq(&c->first_dcid, &dcid))
			return c;
		n = ngtcp2_conn_get_num_scid(c->quic);
		if (n > 32)
			continue;
		ngtcp2_conn_get_scid(c->quic, scid);
		while (n-- > 0)
			if (ngtcp2_cid_eq(&scid[n], &dcid))
				return c;
	}
	return NULL;
}

static void serve_one(const struct sockaddr_in6 *me, gnutls_certificate_credentials_t cred)
{
	uint8_t buf[65536];
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &from_len);
	ngtcp2_version_cid vc;
	ngtcp2_pkt_info info = {0};
	ngtcp2_pkt_hd hd;
	struct conn *c;
	ngtcp2_path path;

	if (n <= 0 || ngtcp2_pkt_decode_version_cid(&vc, buf, (size_t)n, CID_BYTES) ||
	    vc.dcidlen > NGTCP2_MAX_CIDLEN)
		return;
	c = find_conn(&vc);
	if (!c) {
		if (ngtcp2_accept(&hd, buf, (size_t)n))
			return; /* of a connection that another server has, or noise */
		for (c = conns; c < conns + CONNS_MAX && c->quic; c++)
			;
		if (c == conns + CONNS_MAX)
			return;
		memcpy(&c->local, me, sizeof(*me));
		c->local_len = sizeof(*me);
		memcpy(&c->remote, &from, from_len);
		c->remote_len = from_len;
		if (start(c, &hd, cred)) {
			stop(c);
			return;
		}
	}
	path = path_of(c);
	path.remote = (ngtcp2_addr){(ngtcp2_sockaddr *)&from, (ngtcp2_socklen)from_len};
	if (ngtcp2_conn_read_pkt(c->quic, &path, &info, buf, (size_t)n, now_ns()) || flush(c))
		stop(c);
}

static int serve(uint16_t port, const char *cert, const char *key)
{
	struct sockaddr_in6 me = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	gnutls_certificate_credentials_t cred;
	int off = 0;

	gnutls_certificate_allocate_credentials(&cred);
	if (gnutls_certificate_set_x509_key_file(cred, cert, key, GNUTLS_X509_FMT_PEM) < 0)
		return fail(cert, "no certificate, or no key to it");
	fd = socket(AF_INET6, SOCK_DGRAM, 0);
	if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) ||
	    bind(fd, (struct sockaddr *)&me, sizeof(me)))
		return fail("socket", strerror(errno));
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (poll(&p, 1, wait_ms(conns, CONNS_MAX, now_ns() + 1000000000u)) > 0)
			serve_one(&me, cred);
		for (struct conn *c = conns; c < conns + CONNS_MAX; c++)
			if (c->quic && tick(c))
				stop(c);
	}
}

/* ---- client */

static int open_socket(struct conn *c, const char *address, const char *port, bool is_told)
{
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST}, *to;
	int old = fd;

	if (getaddrinfo(address, port, &hints, &to))
		return fail(address, "no address and port");
	fd = socket(to->ai_family, SOCK_DGRAM, 0); /* before the old one goes: another port */
	if (fd < 0 || connect(fd, to->ai_addr, to->ai_addrlen)) {
		freeaddrinfo(to);
		return fail("socket", strerror(errno));
	}
	memcpy(&c->remote, to->ai_addr, to->ai_addrlen);
	c->remote_len = to->ai_addrlen;
	freeaddrinfo(to);
	if (old >= 0)
		close(old);
	if (!is_told)
		return 0;
	c->local_len = sizeof(c->local);
	return getsockname(fd, (struct sockaddr *)&c->local, &c->local_len);
}

/* Turns the connection until it has happened; without a flag, for so long. */
static int turn_until(struct conn *c, const bool *flag, uint64_t limit_ms)
{
	uint64_t until = now_ns() + limit_ms * 1000000;
	ngtcp2_pkt_info info = {0};
	uint8_t buf[65536];

	while ((!flag || !*flag) && now_ns() < until) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ngtcp2_path path = path_of(c);
		ssize_t n;
		int rc;

		if (tick(c))
			return -1;
		if (poll(&p, 1, wait_ms(c, 1, until)) <= 0)
			continue;
		n = recv(fd, buf, sizeof(buf), 0);
		if (n <= 0)
			continue;
		rc = ngtcp2_conn_read_pkt(c->quic, &path, &info, buf, (size_t)n, now_ns());
		if (rc)
			return fail("read", ngtcp2_strerror(rc));
	}
	return !flag || *flag ? flush(c) : fail("answer", "none in 2 s");
}

static int move(struct conn *c, const char *address, const char *port, bool is_told)
{
	ngtcp2_path path;
	int rc;

	if (open_socket(c, address, port, is_told))
		return -1;
	if (!is_told)
		return 0;
	path = path_of(c);
	rc = ngtcp2_conn_initiate_immediate_migration(c->quic, &path, now_ns());
	return rc ? fail("migration", ngtcp2_strerror(rc)) : 0;
}

static int ask(const char *address, const char *port, int moves, uint64_t pause_ms)
{
	struct conn *c = &conns[0];
	gnutls_certificate_credentials_t cred;

	gnutls_certificate_allocate_credentials(&cred);
	if (open_socket(c, address, port, true) || start(c, NULL, cred) ||
	    turn_until(c, &c->is_confirmed, ANSWER_MS))
		return -1;
	for (int i = 0; i <= moves; i++) {
		if (i && move(c, address, port, i % 2 == 0))
			return -1;
		c->is_heard = false;
		if (ngtcp2_conn_open_bidi_stream(c->quic, &c->say_stream, NULL))
			return fail("stream", "none left");
		if (turn_until(c, &c->is_heard, ANSWER_MS))
			return -1;
		puts(c->heard);
		fflush(stdout);
		if (turn_until(c, NULL, pause_ms))
			return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 7 && !strcmp(argv[1], "server")) {
		say_text = argv[3];
		is_server = true;
		has_server_id = strcmp(argv[4], "-") != 0;
		server_id = (uint32_t)strtoul(argv[4], NULL, 16);
		return serve((uint16_t)atoi(argv[2]), argv[5], argv[6]) ? 1 : 0;
	}
	if ((argc == 5 || argc == 6) && !strcmp(argv[1], "client")) {
		say_text = "who?";
		return ask(argv[2], argv[3], atoi(argv[4]),
			   argc == 6 ? strtoul(argv[5], NULL, 10) : SETTLE_MS)
			       ? 1
			       : 0;
	}
	fprintf(stderr, "usage: quicecho server PORT NAME SERVER-ID CERT KEY\n"
			"       quicecho client ADDRESS PORT MOVES [PAUSE_MS]\n");
	return 2;
}
