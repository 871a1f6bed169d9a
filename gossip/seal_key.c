/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Key files and the node's Ed25519 pair; sealing itself is in seal.c. */
#include "gossip/seal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEX_CHARS (2 * SEAL_KEY_BYTES)
#define KEY_FILE_MAX 128 /* more than 64 digits and a line end: enough to say that it is too long */

_Static_assert(crypto_sign_PUBLICKEYBYTES == NODE_PUB_BYTES, "record.h has another key size");
_Static_assert(crypto_sign_BYTES == NODE_SIG_BYTES, "record.h has another signature size");
_Static_assert(crypto_sign_SEEDBYTES == SEAL_KEY_BYTES, "one file format for both kinds of key");

struct node_key {
	uint8_t pub[NODE_PUB_BYTES];
	uint8_t secret[crypto_sign_SECRETKEYBYTES];
};

/* Which permission bits a kind of key file must not have, and what to do about it. */
struct key_rule {
	const char *name;
	mode_t forbidden;
	const char *mend;
};
static const struct key_rule node_rule = {"node key", 0077, "chmod 600"};
static const struct key_rule ring_rule = {"key ring", 0077, "chmod 600"};
static const struct key_rule cluster_rule = {"cluster key", 0037, "chmod 640 (or 600)"};

static int check_file(int fd, const char *path, const struct key_rule *rule, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(e, -errno, "%s %s: %s", rule->name, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "%s %s: not a regular file", rule->name, path);
	if (st.st_mode & rule->forbidden)
		return err_set(e, -EPERM, "%s %s: mode %04o lets others at it; want: %s %s",
			       rule->name, path, (unsigned)(st.st_mode & 07777), rule->mend, path);
	return 0;
}

/* Up to cap bytes: what is as long as that is too long, and the caller says so. */
static int read_text(const char *path, const struct key_rule *rule, char *text, size_t cap,
		     size_t *ret_len, struct err *e)
{
	size_t len = 0;
	int fd, r;

	/* O_NONBLOCK: a FIFO in its place must not hang the start */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_set(e, -errno, "%s %s: %s", rule->name, path, strerror(errno));
	r = check_file(fd, path, rule, e);
	while (r == 0 && len < cap) {
		ssize_t n = read(fd, text + len, cap - len);

		if (n == 0)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			r = err_set(e, -errno, "%s %s: %s", rule->name, path, strerror(errno));
		else
			len += (size_t)n;
	}
	close(fd);
	*ret_len = len;
	return r;
}

/* -ENOENT is returned without a text that blames anyone: the caller knows whether that is an error. */
static int read_key(const char *path, const struct key_rule *rule, uint8_t ret_key[SEAL_KEY_BYTES],
		    struct err *e)
{
	char text[KEY_FILE_MAX];
	size_t len = 0, digits = 0, key_len;
	int r = read_text(path, rule, text, sizeof(text), &len, e);

	if (r < 0)
		goto out;
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	while (digits < len && isxdigit((unsigned char)text[digits]))
		digits++;
	if (len != HEX_CHARS)
		r = err_set(e, -EINVAL,
			    "%s %s: got %s%zu characters, want %d hex digits on one line",
			    rule->name, path, len == sizeof(text) ? "over " : "", len, HEX_CHARS);
	else if (digits != HEX_CHARS)
		r = err_set(e, -EINVAL, "%s %s: character %zu is no hex digit, want %d of them",
			    rule->name, path, digits + 1, HEX_CHARS);
	else if (sodium_hex2bin(ret_key, SEAL_KEY_BYTES, text, len, NULL, &key_len, NULL) < 0 ||
		 key_len != SEAL_KEY_BYTES)
		r = err_set(e, -EINVAL, "%s %s: not %d hex digits", rule->name, path, HEX_CHARS);
out:
	if (r < 0)
		sodium_memzero(ret_key, SEAL_KEY_BYTES);
	sodium_memzero(text, sizeof(text));
	return r;
}

static int sync_dir_of(const char *path)
{
	char copy[PATH_MAX];
	int fd, r = 0;

	if ((size_t)snprintf(copy, sizeof(copy), "%s", path) >= sizeof(copy))
		return -ENAMETOOLONG;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		r = -errno;
	close(fd);
	return r;
}

static int write_whole(int fd, const char *text, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(fd, text + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* A new seed at `path`, whole on disk or not there. -EEXIST: someone else was first. */
static int write_new_key(const char *path, const uint8_t seed[SEAL_KEY_BYTES])
{
	char hex[HEX_CHARS + 1], tmp[PATH_MAX];
	int fd, r;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.%ld.new", path, (long)getpid()) >= sizeof(tmp))
		return -ENAMETOOLONG;
	unlink(tmp); /* of an earlier process with our pid that died here; no one else writes this name */
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	sodium_bin2hex(hex, sizeof(hex), seed, SEAL_KEY_BYTES);
	hex[HEX_CHARS] = '\n';
	r = write_whole(fd, hex, sizeof(hex));
	sodium_memzero(hex, sizeof(hex));
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0 && renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_NOREPLACE) < 0) {
		r = -errno;
		/* a file system that knows no NOREPLACE: the state directory's lock keeps others out anyway */
		if (r == -EINVAL)
			r = rename(tmp, path) < 0 ? -errno : 0;
	}
	if (r < 0) {
		unlink(tmp);
		return r;
	}
	return sync_dir_of(path);
}

int key_file_write(const char *path, const char *text, size_t len)
{
	char tmp[PATH_MAX];
	int fd, r;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.new", path) >= sizeof(tmp))
		return -ENAMETOOLONG;
	unlink(tmp); /* of a process that died here */
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = write_whole(fd, text, len);
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(tmp);
		return r;
	}
	return sync_dir_of(path);
}

int key_file_read(const char *path, char *buf, size_t cap, struct err *e)
{
	size_t len;
	int r = read_text(path, &ring_rule, buf, cap, &len, e);

	if (r == 0 && len == cap)
		r = err_set(e, -EFBIG, "%s %s: longer than any ring", ring_rule.name, path);
	if (r < 0) {
		sodium_memzero(buf, cap);
		return r;
	}
	buf[len] = 0;
	return (int)len;
}

int node_box(const uint8_t pub[NODE_PUB_BYTES], const uint8_t *msg, size_t len, uint8_t *ret_box)
{
	uint8_t x[crypto_box_PUBLICKEYBYTES];

	_Static_assert(crypto_box_SEALBYTES == NODE_BOX_BYTES, "box");
	if (crypto_sign_ed25519_pk_to_curve25519(x, pub) != 0 ||
	    crypto_box_seal(ret_box, msg, len, x) != 0)
		return -EBADMSG;
	return 0;
}

int node_box_open(const struct node_key *k, const uint8_t *box, size_t len, uint8_t *ret_msg)
{
	uint8_t x[crypto_box_PUBLICKEYBYTES], secret[crypto_box_SECRETKEYBYTES];
	int r = -EBADMSG;

	if (len >= NODE_BOX_BYTES && crypto_sign_ed25519_pk_to_curve25519(x, k->pub) == 0 &&
	    crypto_sign_ed25519_sk_to_curve25519(secret, k->secret) == 0 &&
	    crypto_box_seal_open(ret_msg, box, len, x, secret) == 0)
		r = 0;
	sodium_memzero(secret, sizeof(secret));
	return r;
}

int node_key_from_seed(const uint8_t seed[SEAL_KEY_BYTES], struct node_key **ret_key)
{
	struct node_key *k;

	if (sodium_init() < 0)
		return -EIO;
	k = sodium_malloc(sizeof(*k));
	if (!k)
		return -ENOMEM;
	crypto_sign_seed_keypair(k->pub, k->secret, seed);
	*ret_key = k;
	return 0;
}

int node_key_open(const char *path, struct node_key **ret_key, struct err *e)
{
	uint8_t seed[SEAL_KEY_BYTES];
	int r;

	if (sodium_init() < 0)
		return err_set(e, -EIO, "libsodium does not start: no source of random numbers?");
	r = read_key(path, &node_rule, seed, e);
	if (r == -ENOENT) {
		randombytes_buf(seed, sizeof(seed));
		r = write_new_key(path, seed);
		if (r == -EEXIST) /* made by another process since we looked: that one counts */
			r = read_key(path, &node_rule, seed, e);
		else if (r < 0)
			err_set(e, r, "node key %s: can't make it: %s", path, strerror(-r));
	}
	if (r == 0) {
		r = node_key_from_seed(seed, ret_key);
		if (r < 0)
			err_set(e, r, "node key %s: %s", path, strerror(-r));
	}
	sodium_memzero(seed, sizeof(seed));
	return r;
}

void node_key_free(struct node_key *k)
{
	sodium_free(k); /* wipes */
}

void node_key_pub(const struct node_key *k, uint8_t ret_pub[NODE_PUB_BYTES])
{
	memcpy(ret_pub, k->pub, NODE_PUB_BYTES);
}

void node_id_of_pub(const uint8_t pub[NODE_PUB_BYTES], struct node_id *ret_id)
{
	crypto_generichash(ret_id->b, sizeof(ret_id->b), pub, NODE_PUB_BYTES, NULL, 0);
}

static int signer_sign(void *arg, const uint8_t *msg, size_t len, uint8_t sig[NODE_SIG_BYTES])
{
	const struct node_key *k = arg;

	return crypto_sign_detached(sig, NULL, msg, len, k->secret) == 0 ? 0 : -EIO;
}

static int signer_verify(void *arg, const uint8_t pub[NODE_PUB_BYTES], const uint8_t *msg,
			 size_t len, const uint8_t sig[NODE_SIG_BYTES])
{
	(void)arg;
	return crypto_sign_verify_detached(sig, msg, len, pub) == 0 ? 0 : -EBADMSG;
}

static void signer_id_of(void *arg, const uint8_t pub[NODE_PUB_BYTES], struct node_id *ret_id)
{
	(void)arg;
	node_id_of_pub(pub, ret_id);
}

static void signer_hash(void *arg, const uint8_t *msg, size_t len, uint8_t ret[16])
{
	(void)arg;
	crypto_generichash(ret, 16, msg, len, NULL, 0);
}

struct gossip_signer node_key_signer(struct node_key *k)
{
	return (struct gossip_signer){
		.arg = k,
		.sign = signer_sign,
		.verify = signer_verify,
		.id_of = signer_id_of,
		.hash = signer_hash,
	};
}

int seal_open_file(const char *path, const char *cluster, const struct node_key *self,
		   uint64_t boot_nonce, struct seal **ret_seal, struct err *e)
{
	uint8_t key[SEAL_KEY_BYTES];
	int r;

	if (sodium_init() < 0)
		return err_set(e, -EIO, "libsodium does not start: no source of random numbers?");
	r = read_key(path, &cluster_rule, key, e);
	if (r < 0)
		return r;
	r = seal_new(key, cluster, self, boot_nonce, ret_seal);
	sodium_memzero(key, sizeof(key));
	if (r < 0)
		return err_set(e, r, "cluster key %s, cluster '%s': %s", path, cluster,
			       strerror(-r));
	return 0;
}
