-- SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
-- Records as they were signed, members as last seen, settings by name.
-- To look: SELECT hex(owner), kind, CAST(key AS TEXT), generation, seq, is_tombstone FROM record;

-- Identity: own kinds (writer, kind, key); shared kinds (kind, key), and owner is empty.
CREATE TABLE record (
	owner        BLOB    NOT NULL CHECK (length(owner) IN (0, 16)),
	kind         INTEGER NOT NULL,
	key          BLOB    NOT NULL,
	writer       BLOB    NOT NULL CHECK (length(writer) = 16),
	pub          BLOB    NOT NULL CHECK (length(pub) = 32),
	generation   INTEGER NOT NULL,
	seq          INTEGER NOT NULL,
	is_tombstone INTEGER NOT NULL,
	value        BLOB    NOT NULL,
	sig          BLOB    NOT NULL CHECK (length(sig) = 64),
	PRIMARY KEY (owner, kind, key)
) STRICT, WITHOUT ROWID;

-- state: as gossip numbers them; port in host order; ip: 16 bytes, IPv4 mapped.
CREATE TABLE member (
	id            BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
	pub           BLOB    NOT NULL CHECK (length(pub) = 32),
	name          TEXT    NOT NULL,
	region        TEXT    NOT NULL,
	ip            BLOB    NOT NULL CHECK (length(ip) = 16),
	port          INTEGER NOT NULL,
	has_forwarder INTEGER NOT NULL,
	state         INTEGER NOT NULL,
	generation    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- value: 64 bits, read as unsigned. 'generation' is this node's own and only goes up.
CREATE TABLE setting (
	name  TEXT    NOT NULL PRIMARY KEY,
	value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
