/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* sealflood ADDR PORT COUNT KEY-FILE CLUSTER - datagrams as a node of another cluster would send them: each is sealed anew,
 * by one of many senders, with the key of KEY-FILE, or a random one for "-". IPv4. */
#include <arpa/inet.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gossip/seal.h"

#define SENDERS 64
#define MESSAGE_BYTES 300
#define PACE 64 /* datagrams between two pauses */
#define PAUSE_US 1000

static int die(const char *what)
{
	fprintf(stderr, "sealflood: %s\n", what);
	exit(1);
}

static struct seal *make(const char *path, const char *cluster, uint8_t sender)
{
	uint8_t seed[SEAL_KEY_BYTES] = {sender, 0xf1}, key[SEAL_KEY_BYTES];
	struct node_key *self;
	struct seal *s;
	struct err e = {0};
	int r;

	randombytes_buf(key, sizeof(key));
	if (node_key_from_seed(seed, &self) < 0)
		die("no node key");
	r = strcmp(path, "-") ? seal_open_file(path, cluster, self, 1, &s, &e)
			      : seal_new(key, cluster, self, 1, &s);
	node_key_free(self);
	if (r < 0)
		die(e.text[0] ? e.text : "no seal");
	return s;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	uint8_t msg[MESSAGE_BYTES], box[SEAL_DGRAM_MAX];
	struct seal *seal[SENDERS];

	if (argc != 6) {
		fprintf(stderr, "usage: sealflood ADDR PORT COUNT KEY-FILE|- CLUSTER\n");
		return 2;
	}
	to.sin_port = htons((uint16_t)atoi(argv[2]));
	if (sodium_init() < 0 || fd < 0 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die(argv[1]);
	for (size_t i = 0; i < SENDERS; i++)
		seal[i] = make(argv[4], argv[5], (uint8_t)i);
	randombytes_buf(msg, sizeof(msg));
	for (long i = 0; i < atol(argv[3]); i++) {
		int len = seal_message(seal[i % SENDERS], GOSSIP_DGRAM, msg, sizeof(msg), box,
				       sizeof(box));

		if (len < 0)
			die("can't seal");
		(void)!send(fd, box, (size_t)len, 0); /* refused or not: the next one */
		if (i % PACE == PACE - 1)
			usleep(PAUSE_US);
	}
	for (size_t i = 0; i < SENDERS; i++)
		seal_free(seal[i]);
	close(fd);
	printf("sent %s\n", argv[3]);
	return 0;
}
