/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a DNS server answers to a check: the first byte chooses the question, the rest is the reply. */
#include <stdlib.h>
#include <string.h>

#include "edge/check/check_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const question[] = {
		"dns:name=example.org", "dns:name=.,type=SOA,rcode=REFUSED",
		"dns:name=a.example.,type=AAAA,answer=2001:db8::1", "dns:name=a,answer=192.0.2.1"};
	uint8_t query[CHECK_DNS_QUERY_MAX], *reply;
	struct model_check spec;
	char why[96] = "";
	size_t len;

	if (size < 1 || model_check_parse(question[data[0] % 4], &spec, NULL))
		return 0;
	len = check_dns_query(&spec, 0x1234, query);
	if (len > sizeof(query))
		abort();
	reply = malloc(size); /* of its size, so that ASan sees its end */
	if (!reply)
		return 0;
	memcpy(reply, data + 1, size - 1);
	if (check_dns_judge(&spec, 0x1234, reply, size - 1, why) == CHECK_NO_RESULT || !why[0])
		abort();
	free(reply);
	return 0;
}
