/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A configuration file. A fault must come with a sentence and leave the result alone. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cmd/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct conf c, was;
	struct err e = {0};
	char path[64];
	int fd = memfd_create("conf", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	memset(&c, 0x5a, sizeof(c));
	was = c;
	if (conf_load(path, &c, &e) && (!e.text[0] || memcmp(&c, &was, sizeof(c))))
		abort();
	close(fd);
	return 0;
}
