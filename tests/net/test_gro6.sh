#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The same with tunnels of IPv6.
OUTER=6 exec tests/net/test_gro.sh
