/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What takes long is computed beside the loop, and whatever happens there, the loop goes on. */
#include "tests/unit/ctl_clients.h"

#define SERVICES 250
#define BACKENDS 64

/* A plan over this takes a second, more or less. */
static void make_big(void)
{
	struct model_service *s = calloc(SERVICES, sizeof(*s));
	struct route_backend *b = calloc((size_t)SERVICES * BACKENDS, sizeof(*b));

	for (size_t i = 0; i < SERVICES; i++) {
		s[i] = fake.service[1];
		snprintf(s[i].name, sizeof(s[i].name), "s%zu", i);
		s[i].created = i + 1;
		s[i].vip[0].b[14] = (uint8_t)(i / 250);
		s[i].vip[0].b[15] = (uint8_t)(i % 250 + 1);
		for (size_t k = 0; k < BACKENDS; k++) {
			struct route_backend *x = &b[i * BACKENDS + k];

			*x = fake.backend[2];
			memcpy(x->backend.service, s[i].name, sizeof(s[i].name));
			x->backend.addr.b[13] = (uint8_t)(i / 250);
			x->backend.addr.b[14] = (uint8_t)(i % 250);
			x->backend.addr.b[15] = (uint8_t)(k + 1);
			x->backend.port = 80;
		}
	}
	route_free(fake.routes);
	fake.view.service = s;
	fake.view.service_count = SERVICES;
	fake.view.backend = b;
	fake.view.backend_count = (size_t)SERVICES * BACKENDS;
	assert_int_equal(route_compute(&fake.view, &fake.routes), 0);
}

static void free_big(void)
{
	free((void *)fake.view.service);
	free((void *)fake.view.backend);
}

static void send_request(int fd, uint64_t id, const char *method, const struct ctl_args *a)
{
	msgpack_sbuffer sb, params;
	msgpack_packer pk;

	msgpack_sbuffer_init(&sb);
	msgpack_sbuffer_init(&params);
	ctl_args_pack(a, &params);
	msgpack_packer_init(&pk, &sb, msgpack_sbuffer_write);
	msgpack_pack_array(&pk, 4);
	msgpack_pack_uint64(&pk, 0);
	msgpack_pack_uint64(&pk, id);
	msgpack_pack_str_with_body(&pk, method, strlen(method));
	msgpack_sbuffer_write(&sb, params.data, params.size);
	assert_int_equal(send(fd, sb.data, sb.size, 0), sb.size);
	msgpack_sbuffer_destroy(&params);
	msgpack_sbuffer_destroy(&sb);
}

static bool has_answer(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static void test_plan_when_it_takes_long_then_others_are_served_meanwhile(void **state)
{
	static uint8_t buf[1 << 20];
	struct ctl_args kill = {0}, none = {0};
	int slow;

	(void)state;
	make_big();
	must_start();
	set(&kill, "plan", CTL_A_kill, "node:a1");
	slow = raw_connect();
	send_request(slow, 7, "plan", &kill);
	/* The loop has taken it when another one's question of later on is answered. */
	for (int i = 0; i < 3; i++) {
		must_have(ask("converged", &none), "is_converged");
		assert_false(has_answer(slow));
	}
	assert_true(raw_reply(slow, buf, sizeof(buf)) > 1000);
	close(slow);
	fake_stop();
	free_big();
}

static void test_verify_when_its_process_dies_then_it_is_said(void **state)
{
	struct ctl_args none = {0};

	(void)state;
	fake.verify = FAKE_VERIFY_DIES;
	must_start();
	must_refuse("verify", &none, -EIO, "the process that computed it ended without an answer");
	fake.verify = FAKE_VERIFY_ANSWERS;
	must_have(ask("verify", &none), "dp_backend 3: other");
}

static void test_verify_when_maps_are_written_meanwhile_then_no_difference_is_made_up(void **state)
{
	struct ctl_args none = {0};

	(void)state;
	fake.is_writing = true;
	must_start();
	must_refuse("verify", &none, -EAGAIN, "the maps are written all the time: try again");
	fake.is_writing = false;
	must_have(ask("verify", &none), "dp_backend 3: other");
}

static void wait_for_end(int fd)
{
	struct ctl_args none = {0};
	struct ctl_client *client;
	msgpack_unpacked result;
	struct err e = {0};
	time_t until = time(NULL) + WAIT_MS / 1000;

	close(fd);
	while (call("verify", &none, &result, &client, &e) && e.code == -EBUSY &&
	       time(NULL) < until)
		ctl_disconnect(client);
	assert_int_equal(e.code, -EIO);
	ctl_disconnect(client);
}

static void test_verify_when_the_client_goes_then_its_process_is_ended(void **state)
{
	struct ctl_args none = {0};
	int fd[2];

	(void)state;
	fake.verify = FAKE_VERIFY_HANGS;
	must_start();
	for (size_t i = 0; i < COUNT(fd); i++) {
		fd[i] = raw_connect();
		send_request(fd[i], i, "verify", &none);
	}
	must_have(ask("converged", &none), "is_converged");
	must_refuse("verify", &none, -EBUSY,
		    "2 questions of this kind are being worked on: try again");
	fake.verify = FAKE_VERIFY_DIES;
	wait_for_end(fd[0]); /* and at the end one is still at work */
}

int main(void)
{
#define LIVE(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)
	const struct CMUnitTest tests[] = {
		LIVE(test_plan_when_it_takes_long_then_others_are_served_meanwhile),
		LIVE(test_verify_when_its_process_dies_then_it_is_said),
		LIVE(test_verify_when_maps_are_written_meanwhile_then_no_difference_is_made_up),
		LIVE(test_verify_when_the_client_goes_then_its_process_is_ended),
	};
#undef LIVE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
