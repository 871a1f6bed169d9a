/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/err.h - a failure an operator reads: code and one sentence. Header only.
 *
 * For functions that face the operator (config, open, load). Text names the thing, the value and what was
 * expected. `code` is a negative errno. A NULL `struct err *` is allowed everywhere: nothing is written.
 */
#ifndef GOSSIP_ERR_H
#define GOSSIP_ERR_H

#include <stdarg.h>
#include <stdio.h>

struct err {
	int code;
	char text[200];
};

/* Fill `e` and return `code`, so that callers can write: return err_set(e, -EINVAL, "...", ...); */
__attribute__((format(printf, 3, 4))) static inline int err_set(struct err *e, int code,
								const char *fmt, ...)
{
	if (e) {
		va_list ap;

		e->code = code;
		va_start(ap, fmt);
		vsnprintf(e->text, sizeof(e->text), fmt, ap);
		va_end(ap);
	}
	return code;
}

#endif
