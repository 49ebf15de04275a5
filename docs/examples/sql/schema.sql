-- Run at each start, so each statement must allow for what is there already.

-- Readers and the writer do not wait for each other. Kept in the file.
PRAGMA journal_mode = WAL;

CREATE TABLE IF NOT EXISTS notes (
    id      INTEGER PRIMARY KEY,
    title   TEXT NOT NULL UNIQUE CHECK (length(title) BETWEEN 1 AND 200),
    body    TEXT NOT NULL DEFAULT '',
    created TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE IF NOT EXISTS tags (
    note INTEGER NOT NULL REFERENCES notes (id) ON DELETE CASCADE,
    tag  TEXT NOT NULL,
    PRIMARY KEY (note, tag)
) WITHOUT ROWID;
