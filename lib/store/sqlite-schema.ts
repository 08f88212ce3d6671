/**
 * The tables of the SQLite store, as migrations: the n-th takes a database from version n to n + 1. Never edit one that
 * was released; add the next. @pure
 */
export const migrations: readonly string[] = [
  `
  CREATE TABLE operation (
    rank INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    cluster TEXT NOT NULL,
    type TEXT NOT NULL,
    request TEXT NOT NULL,
    actor TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER,
    outcome TEXT
  );
  CREATE INDEX operation_cluster ON operation (cluster, created_at_ms);
  CREATE INDEX operation_unfinished ON operation (created_at_ms) WHERE ended_at_ms IS NULL;
  CREATE TABLE journal (
    operation TEXT NOT NULL REFERENCES operation (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    step TEXT NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (operation, seq)
  ) WITHOUT ROWID;
  CREATE TABLE instance (
    id TEXT PRIMARY KEY,
    cluster TEXT NOT NULL,
    node TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    operation TEXT NOT NULL,
    origin TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE backend (
    cluster TEXT NOT NULL,
    id TEXT NOT NULL,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    weight INTEGER NOT NULL,
    incarnation TEXT NOT NULL,
    PRIMARY KEY (cluster, id)
  ) WITHOUT ROWID;
  CREATE TABLE mark (
    cluster TEXT NOT NULL,
    backend TEXT NOT NULL,
    mark TEXT NOT NULL,
    PRIMARY KEY (cluster, backend)
  ) WITHOUT ROWID;
  CREATE TABLE history (
    rank INTEGER PRIMARY KEY AUTOINCREMENT,
    cluster TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    from_value TEXT NOT NULL,
    to_value TEXT NOT NULL,
    reason TEXT NOT NULL
  );
  CREATE INDEX history_cluster ON history (cluster, rank);
  CREATE TABLE value (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  `,
  // How and until when a marked backend is drained, as JSON.
  'ALTER TABLE mark ADD COLUMN drain TEXT',
  // The audit trail says what was asked and what came of it, and instances may have resources of their own and be protected.
  `
  ALTER TABLE history ADD COLUMN action TEXT;
  ALTER TABLE history ADD COLUMN outcome TEXT;
  ALTER TABLE history ADD COLUMN operation TEXT;
  ALTER TABLE history ADD COLUMN node TEXT;
  ALTER TABLE instance ADD COLUMN resources TEXT;
  ALTER TABLE instance ADD COLUMN protected INTEGER;
  `,
  // A backend of the API may say where it is.
  'ALTER TABLE backend ADD COLUMN zone TEXT',
  // Whose memory an instance began with, as JSON.
  'ALTER TABLE instance ADD COLUMN lineage TEXT',
  // Each record says in which format it is and has a checksum; each operation, how many entries its journal has.
  `
  ALTER TABLE operation ADD COLUMN format INTEGER;
  ALTER TABLE operation ADD COLUMN checksum INTEGER;
  ALTER TABLE operation ADD COLUMN entries INTEGER NOT NULL DEFAULT 0;
  UPDATE operation SET entries = (SELECT count(*) FROM journal WHERE journal.operation = operation.id);
  ALTER TABLE journal ADD COLUMN format INTEGER;
  ALTER TABLE journal ADD COLUMN checksum INTEGER;
  ALTER TABLE instance ADD COLUMN format INTEGER;
  ALTER TABLE instance ADD COLUMN checksum INTEGER;
  ALTER TABLE backend ADD COLUMN format INTEGER;
  ALTER TABLE backend ADD COLUMN checksum INTEGER;
  ALTER TABLE mark ADD COLUMN format INTEGER;
  ALTER TABLE mark ADD COLUMN checksum INTEGER;
  ALTER TABLE value ADD COLUMN format INTEGER;
  ALTER TABLE value ADD COLUMN checksum INTEGER;
  `,
  // Which backend a line of the audit trail is about.
  'ALTER TABLE history ADD COLUMN backend TEXT',
]
