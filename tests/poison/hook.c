/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Takes the place of edge/poison_hook.c in the program edged-poison (tests/net/test_poison.sh): a service called
 * poison-STEP with a limit of 666 packets a second crashes that step; with 667 it hangs until it is killed. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "edge/poison.h"

#define CRASH_PPS 666
#define HANG_PPS 667

void poison_hook(enum poison_step step, const struct model_service *service, size_t count)
{
	static const char *const name[POISON_STEPS] = {[POISON_DECODE] = "poison-decode",
						       [POISON_VIEW] = "poison-view",
						       [POISON_ROUTE] = "poison-route",
						       [POISON_PLAN] = "poison-plan",
						       [POISON_MAP] = "poison-map"};

	for (size_t i = 0; i < count; i++) {
		if (strcmp(service[i].name, name[step]) != 0)
			continue;
		if (service[i].policy.pps == CRASH_PPS)
			raise(SIGSEGV);
		while (service[i].policy.pps == HANG_PPS)
			pause();
	}
}
