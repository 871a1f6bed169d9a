/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Loads the forwarder's object and prints what each program costs. Built and run by stats.sh; nothing stays loaded. */
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

static int no_print(enum libbpf_print_level level, const char *fmt, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, fmt, args) : 0;
}

int main(int argc, char **argv)
{
	struct bpf_object *obj;
	struct bpf_program *p;

	if (argc != 2) {
		fprintf(stderr, "usage: %s dp.bpf.o\n", argv[0]);
		return 2;
	}
	libbpf_set_print(no_print);
	obj = bpf_object__open_file(argv[1], NULL);
	if (!obj || bpf_object__load(obj)) {
		fprintf(stderr, "%s: can't be loaded\n", argv[1]);
		bpf_object__close(obj);
		return 1;
	}
	printf("%-16s %8s %8s %10s\n", "program", "insns", "jited", "verified");
	bpf_object__for_each_program(p, obj)
	{
		struct bpf_prog_info info = {};
		__u32 len = sizeof(info);

		if (bpf_obj_get_info_by_fd(bpf_program__fd(p), &info, &len))
			continue;
		printf("%-16s %8u %8u %10u\n", info.name, info.xlated_prog_len / 8,
		       info.jited_prog_len, info.verified_insns);
	}
	bpf_object__close(obj);
	return 0;
}
