-- SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
-- How far each other writer's own records are known; written with them. `sum` is of those records: a row that they don't
-- add up to (an older build wrote them since) is not believed. A record that is not here leaves its writer's count at 0.

-- flags: 1 whole, 2 closed, 4 disputed.
CREATE TABLE origin (
	id               BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
	generation       INTEGER NOT NULL,
	watermark        INTEGER NOT NULL,
	verified         INTEGER NOT NULL,
	gc               INTEGER NOT NULL,
	gc_told          INTEGER NOT NULL,
	former           INTEGER NOT NULL,
	former_watermark INTEGER NOT NULL,
	flags            INTEGER NOT NULL,
	sum              BLOB    NOT NULL CHECK (length(sum) = 16)
) STRICT, WITHOUT ROWID;
