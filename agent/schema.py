"""The journal's file: how SQLite is to keep it, and its tables. `agent.journal` says what they mean.

- A new file is made with the tables of the first version; any is brought up to this one when it is opened.
- A file keeps the words its tables were made with; one with other words is damaged. So what stands here is
  never changed, only added to.
- A large blob is the last column of its table: what stands behind it costs its overflow pages to read.
"""

import sqlite3
from contextlib import closing

# What a commit costs the disk are the 4 KiB blocks that its pages touch: small pages touch fewer.
PAGE_BYTES = 512
SCHEMA_VERSION = 4
# What each version added to the one before; a journal of an earlier version is brought up to this one.
# 3: all that `status` counts of a backlog stands in its index, so that the proofs themselves are not read.
ADDED = {
    2: """
CREATE TABLE rotations (
    id INTEGER PRIMARY KEY, public_key BLOB NOT NULL UNIQUE, log_id INTEGER NOT NULL, seq INTEGER NOT NULL,
    data BLOB NOT NULL);
""",
    3: """
DROP INDEX unreceipted;
CREATE INDEX unreceipted ON proofs (log_id, seq, readings, receipted_s) WHERE receipted_s IS NULL;
""",
    4: """
CREATE TABLE diary (
    id INTEGER PRIMARY KEY, at_s INTEGER NOT NULL, until_s INTEGER, clock_sure INTEGER NOT NULL,
    count INTEGER NOT NULL, code TEXT NOT NULL, detail TEXT NOT NULL);
""",
}
SCHEMA = """
CREATE TABLE meta (device TEXT NOT NULL, version INTEGER NOT NULL);
CREATE TABLE instruments (
    name TEXT PRIMARY KEY, boot_id BLOB NOT NULL, boottime_ns INTEGER NOT NULL, sealed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE boots (boot_id BLOB PRIMARY KEY, bootcount INTEGER NOT NULL UNIQUE);
CREATE TABLE logs (
    id INTEGER PRIMARY KEY, log BLOB NOT NULL UNIQUE, prev_log BLOB, prev_head BLOB, reason TEXT);
CREATE TABLE samples (
    id INTEGER PRIMARY KEY, instrument TEXT NOT NULL, boot_id BLOB NOT NULL, boottime_ns INTEGER NOT NULL,
    wall_ns INTEGER NOT NULL, source INTEGER NOT NULL, maxerror_us INTEGER NOT NULL, record BLOB NOT NULL);
CREATE TABLE losses (
    id INTEGER PRIMARY KEY, instrument TEXT NOT NULL, boot_id BLOB NOT NULL, from_ns INTEGER NOT NULL,
    to_ns INTEGER NOT NULL, count INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE proofs (
    log_id INTEGER NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL, readings INTEGER NOT NULL,
    first_s INTEGER NOT NULL, last_s INTEGER NOT NULL, receipted_s INTEGER, data BLOB,
    PRIMARY KEY (log_id, seq)
) WITHOUT ROWID;
CREATE INDEX unreceipted ON proofs (log_id, seq) WHERE receipted_s IS NULL;
CREATE INDEX receipted ON proofs (log_id, seq) WHERE receipted_s IS NOT NULL;
CREATE TABLE gaps (
    log_id INTEGER NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, first_hash BLOB NOT NULL,
    last_hash BLOB NOT NULL, reason TEXT NOT NULL, carrier_seq INTEGER, PRIMARY KEY (log_id, first_seq));
CREATE TABLE receipts (log_id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE beacons (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, data BLOB NOT NULL);
CREATE TABLE verdicts (
    log_id INTEGER NOT NULL, seq INTEGER NOT NULL, code TEXT NOT NULL, detail TEXT NOT NULL,
    PRIMARY KEY (log_id, seq, code)) WITHOUT ROWID;
"""


def set_up(db: sqlite3.Connection, device: str) -> None:
    """The file that was just opened, for `device` where it is a new one."""
    run = db.execute
    new = not run("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if new:
        run(f"PRAGMA page_size={PAGE_BYTES}")
        run("PRAGMA auto_vacuum=INCREMENTAL")
    run("PRAGMA journal_mode=WAL")
    run("PRAGMA synchronous=FULL")
    run("PRAGMA secure_delete=OFF")  # Debian's SQLite has it on, and writes zeros over what is freed
    run("PRAGMA wal_autocheckpoint=4000")
    run("PRAGMA journal_size_limit=4000000")
    run("PRAGMA cache_size=-1024")
    if new:
        run("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";\n"):
            run(statement)
        run("INSERT INTO meta (device, version) VALUES (?, ?)", (device, 1))
        run("COMMIT")
    _bring_up(db)


def _bring_up(db: sqlite3.Connection) -> None:
    """To this version of the tables, from any before."""
    run = db.execute
    (version,) = run("SELECT version FROM meta").fetchone()
    if version == SCHEMA_VERSION:
        return
    run("BEGIN IMMEDIATE")
    for number in range(version + 1, SCHEMA_VERSION + 1):
        for statement in ADDED[number].split(";\n"):
            run(statement)
    run("UPDATE meta SET version = ?", (SCHEMA_VERSION,))
    run("COMMIT")


def words(db: sqlite3.Connection) -> dict[str, str]:
    """With what each table and index was made; spaces and line ends do not count."""
    rows = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {str(name): " ".join(str(sql).split()) for name, sql in rows}


def words_of(version: int) -> dict[str, str]:
    """Those of a journal of `version`."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMA + "".join(ADDED[number] for number in range(2, version + 1)))
        return words(db)
