/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The judge of silence: what a history of looks at a pulse makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "edge/signal.h"

/* One letter a look: a asked and answered, q asked alone, r answered alone, - nothing. How often silence was found. */
static int found(struct silence *s, struct dp_pulse *p, const char *looks)
{
	int n = 0;

	for (; *looks; looks++) {
		p->asked += *looks == 'a' || *looks == 'q';
		p->heard += *looks == 'a' || *looks == 'r';
		n += silence_look(s, p);
	}
	return n;
}

static void test_silence_when_questions_go_on_without_answers_then_once(void **state)
{
	static const struct {
		const char *looks;
		int times;
	} row[] = {
		{"-aaaaaaaaaaqqqqq", 1},
		{"-aaaaaaaaaaqqqqqqqqqqqqqqqqqqqqqqq", 1},
		{"-aaaaaaaaaaqqqqqaaaaaaaaaaqqqqq", 2},
		{"-aaaaaaaaaaqqqqqaaaaaaaaaqqqqq", 1},	  /* steady again only after ten */
		{"-a-a-a-a--a-a-a-a-a--aq--q-q--q-q", 1}, /* seldom asked: counted in questions */
		{"-qrqrqrqrqrqrqrqrqrqrqrqqqqq", 1},	  /* answered at the next look */
		{"-aaaaaaaaaaqqqqaqqqqaqqqqa", 0},	  /* one answer in five looks */
		{"-aaaaaaaaaa--------------", 0},	  /* nobody asks */
		{"-aaaaaaaaaarrrrrrrrr", 0},
		{"-aaaaaaaaaqqqqqqqqqqq", 0},  /* no steady history */
		{"-qqqqqqqqqqqqqqqqqqqqq", 0}, /* never answers: that is its way */
		{"aaaaaaaaaaaqqqqq", 1},       /* the first look only begins */
		{"aaaaaaaaaaqqqqq", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct dp_pulse p = {.asked = 0xfffffff0, .heard = 7}; /* ticks wrap */
		struct silence s = {0};
		int got = found(&s, &p, row[i].looks);

		if (got != row[i].times)
			fail_msg("%s: %d times, want %d", row[i].looks, got, row[i].times);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_silence_when_questions_go_on_without_answers_then_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
