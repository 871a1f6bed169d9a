/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Replays every file of the folder in argument 1 through LLVMFuzzerTestOneInput; no libFuzzer needed.
 * A missing or empty folder is a failure: it would be a test that tests nothing. */
#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SEED_BYTES_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct stat st;
	uint8_t *data;
	size_t len;

	if (!f || fstat(fileno(f), &st)) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		if (f)
			fclose(f);
		return -1;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > SEED_BYTES_MAX) {
		fprintf(stderr, "%s: not a file of at most %u bytes\n", path, SEED_BYTES_MAX);
		fclose(f);
		return -1;
	}
	/* The exact size, so that a sanitizer sees a read past the end. */
	data = malloc(st.st_size ? (size_t)st.st_size : 1);
	if (!data) {
		fclose(f);
		return -1;
	}
	len = fread(data, 1, (size_t)st.st_size, f);
	fclose(f);
	(void)LLVMFuzzerTestOneInput(data, len); /* always 0; a finding aborts */
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	size_t count = 0, failed = 0;
	struct dirent *d;
	char path[4096];
	DIR *dir;

	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	dir = opendir(argv[1]);
	if (!dir) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	while ((d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", argv[1], d->d_name) >=
			    (int)sizeof(path) ||
		    replay(path))
			failed++;
		count++;
	}
	closedir(dir);
	printf("%zu inputs of %s replayed\n", count, argv[1]);
	if (count == 0)
		fprintf(stderr, "%s: no inputs\n", argv[1]);
	return count == 0 || failed ? 1 : 0;
}
