/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>

#include "edge/stats.h"

static int setup(void **state)
{
	struct dp_fds *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	memset(f, 0xff, sizeof(*f));
	f->reason =
		bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "t_reason", 4, 8, DP_REASON_SLOTS, NULL);
	f->svc_stat = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "t_svc", 4, sizeof(struct dp_stat),
				     8, NULL);
	f->be_stat = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "t_be", 4, sizeof(struct dp_stat), 8,
				    NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct dp_fds *f = *state;

	if (f->reason >= 0)
		close(f->reason);
	if (f->svc_stat >= 0)
		close(f->svc_stat);
	if (f->be_stat >= 0)
		close(f->be_stat);
	free(f);
	return 0;
}

static void need_maps(const struct dp_fds *f)
{
	if (f->reason >= 0 && f->svc_stat >= 0 && f->be_stat >= 0)
		return;
	print_message("# skipped: the kernel does not let us create BPF maps (needs CAP_BPF)\n");
	skip();
}

static void test_reasons_when_counted_on_all_cpus_then_summed_and_named(void **state)
{
	int cpus = libbpf_num_possible_cpus();
	struct stats_reason r[DP_REASON_COUNT];
	struct dp_fds *f = *state;
	uint64_t *value = calloc((size_t)cpus, sizeof(*value));

	need_maps(f);
	assert_non_null(value);
	for (uint32_t i = 0; i < DP_REASON_COUNT; i++) {
		for (int c = 0; c < cpus; c++)
			value[c] = i * 10 + (uint64_t)c;
		assert_int_equal(bpf_map_update_elem(f->reason, &i, value, BPF_ANY), 0);
	}
	assert_int_equal(stats_reasons(f, r), 0);
	for (uint32_t i = 0; i < DP_REASON_COUNT; i++)
		assert_int_equal(r[i].packets,
				 (uint64_t)cpus * i * 10 + (uint64_t)(cpus * (cpus - 1) / 2));
	assert_string_equal(r[DP_R_PASS_NOT_OURS].name, "pass_not_ours");
	assert_false(r[DP_R_PASS_NOT_OURS].is_drop);
	assert_string_equal(r[DP_R_NO_SERVICE].name, "no_service");
	assert_true(r[DP_R_NO_SERVICE].is_drop);
	assert_true(strlen(r[DP_R_NO_SERVICE].meaning) > 0);
	free(value);
}

static void test_stat_when_index_is_known_then_summed_else_enoent(void **state)
{
	struct dp_stat s = {.packets = 99}, *value;
	int cpus = libbpf_num_possible_cpus();
	struct dp_fds *f = *state;
	uint32_t idx = 7;

	need_maps(f);
	value = calloc((size_t)cpus, sizeof(*value));
	assert_non_null(value);
	for (int c = 0; c < cpus; c++)
		value[c] = (struct dp_stat){.packets = 2, .bytes = 100};
	assert_int_equal(bpf_map_update_elem(f->svc_stat, &idx, value, BPF_ANY), 0);
	assert_int_equal(stats_svc(f, 7, &s), 0);
	assert_int_equal(s.packets, 2 * cpus);
	assert_int_equal(s.bytes, 100 * cpus);
	assert_int_equal(stats_backend(f, 7, &s), 0);
	assert_int_equal(s.packets, 0);
	s.packets = 99;
	assert_int_equal(stats_svc(f, 8, &s), -ENOENT);
	assert_int_equal(s.packets, 99);
	free(value);
}

static void test_stats_when_fd_is_bad_then_error_and_untouched(void **state)
{
	struct stats_reason r[DP_REASON_COUNT], was[DP_REASON_COUNT];
	struct dp_fds f;
	struct dp_stat s = {.packets = 99};

	(void)state;
	memset(&f, 0xff, sizeof(f));
	memset(r, 0xaa, sizeof(r));
	memcpy(was, r, sizeof(r));
	assert_int_equal(stats_reasons(&f, r), -EBADF);
	assert_memory_equal(r, was, sizeof(r));
	assert_int_equal(stats_backend(&f, 1, &s), -EBADF);
	assert_int_equal(s.packets, 99);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_reasons_when_counted_on_all_cpus_then_summed_and_named, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			test_stat_when_index_is_known_then_summed_else_enoent, setup, teardown),
		cmocka_unit_test(test_stats_when_fd_is_bad_then_error_and_untouched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
