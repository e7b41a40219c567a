"""The tables of the ledger."""

APPLICATION = 0x4175544D
"""Application id in the header of the file: "AuTM"."""

SCHEMA = 1
"""Raised whenever the tables change."""

TABLES = """
CREATE TABLE contents (
    sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, path TEXT NOT NULL, seen_at REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    status TEXT, confidence REAL, formula TEXT, reason TEXT NOT NULL, folder TEXT, seconds REAL,
    round INTEGER NOT NULL, attempt INTEGER NOT NULL, run_id TEXT, started_at REAL, finished_at REAL,
    options TEXT NOT NULL, progress TEXT, progress_at REAL
);
CREATE INDEX contents_by_state ON contents (state, seen_at);
CREATE TABLE files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, seen_at REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('settling', 'known', 'refused', 'ignored', 'gone')),
    sha256 TEXT REFERENCES contents (sha256), reason TEXT NOT NULL,
    CHECK (state != 'known' OR sha256 IS NOT NULL)
);
CREATE INDEX files_by_content ON files (sha256);
CREATE TABLE look (
    one INTEGER PRIMARY KEY CHECK (one = 1), root TEXT NOT NULL, at REAL NOT NULL,
    trouble TEXT NOT NULL, warnings TEXT NOT NULL
);
"""
