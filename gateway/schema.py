"""The ledger's tables. `gateway.ledger`, `register` and `daily` say what they mean."""

SCHEMA_VERSION = 3
FIRST_VERSION = 2  # the first one whose ledgers are brought up to this one
SCHEMA_2 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE claim (
    id BLOB PRIMARY KEY, secret BLOB NOT NULL, expires_s INTEGER NOT NULL, owner TEXT NOT NULL,
    used_by TEXT
) STRICT;
CREATE TABLE device (
    id INTEGER PRIMARY KEY, did TEXT NOT NULL UNIQUE, key INTEGER NOT NULL, owner TEXT NOT NULL,
    enrolled_s INTEGER NOT NULL, enrolment BLOB NOT NULL, membership BLOB NOT NULL,
    log BLOB, head_seq INTEGER NOT NULL DEFAULT 0, head_hash BLOB, bootcount INTEGER NOT NULL DEFAULT 0,
    descriptor_hash BLOB, suspended INTEGER NOT NULL DEFAULT 0, good_log BLOB, good_seq INTEGER,
    proofs INTEGER NOT NULL DEFAULT 0, readings INTEGER NOT NULL DEFAULT 0, received_s REAL
) STRICT;
-- log: the logs a device has opened, and the key in force before their first proof.
CREATE TABLE log (
    device INTEGER NOT NULL REFERENCES device, log BLOB NOT NULL, key INTEGER NOT NULL REFERENCES key,
    PRIMARY KEY (device, log)
) STRICT, WITHOUT ROWID;
-- bypassed: signed and held, then a declared gap or a new log went past it. position: place among all
-- accepted proofs of the device, whatever their log. carries: others depend on its gaps or its rotation.
CREATE TABLE proof (
    id INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES device,
    log BLOB NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('accepted', 'held', 'bypassed')),
    position INTEGER, carries INTEGER NOT NULL, received_s REAL NOT NULL, data BLOB NOT NULL,
    UNIQUE (device, log, seq)
) STRICT;
CREATE INDEX held ON proof (device, log, seq) WHERE state = 'held';
CREATE INDEX birth ON proof (device, position) WHERE seq = 1 AND state = 'accepted';
CREATE UNIQUE INDEX chain ON proof (device, position) WHERE state = 'accepted';
-- key: in force from (log, seq) on, where a proof carries the rotation to it, and gone when that proof is;
-- the first one from the enrolment on, without a log. device.key is in force at the head.
CREATE TABLE key (
    id INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES device, log BLOB, seq INTEGER NOT NULL,
    public_key BLOB NOT NULL, next_hash BLOB NOT NULL, number INTEGER NOT NULL, before BLOB,
    UNIQUE (device, log, seq),
    FOREIGN KEY (device, log, seq) REFERENCES proof (device, log, seq) ON DELETE CASCADE
) STRICT;
CREATE TABLE gap (
    device INTEGER NOT NULL REFERENCES device, log BLOB NOT NULL, first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL, first_hash BLOB NOT NULL, last_hash BLOB NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (device, log, last_seq, first_seq, last_hash)
) STRICT, WITHOUT ROWID;
CREATE TABLE descriptor (
    device INTEGER NOT NULL REFERENCES device, hash BLOB NOT NULL, map BLOB NOT NULL,
    PRIMARY KEY (device, hash)
) STRICT;
CREATE TABLE verdict (
    id INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES device, seq INTEGER NOT NULL,
    code TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
CREATE INDEX verdict_of ON verdict (device, id);
CREATE TABLE verdict_count (
    device INTEGER NOT NULL REFERENCES device, code TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (device, code)
) STRICT, WITHOUT ROWID;
CREATE TABLE evidence (
    id INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES device,
    log BLOB NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL,
    code TEXT NOT NULL, weight INTEGER NOT NULL, received_s REAL NOT NULL, data BLOB NOT NULL,
    UNIQUE (device, hash)
) STRICT;
CREATE TABLE challenge (
    nonce BLOB PRIMARY KEY, device INTEGER NOT NULL REFERENCES device, deadline_s INTEGER NOT NULL,
    sent_s REAL, answered_s REAL
) STRICT;
CREATE TABLE beacon (
    number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, issued_s INTEGER NOT NULL, nonce BLOB NOT NULL,
    data BLOB NOT NULL
) STRICT;
"""
# What each version added to the one before, statement by statement: a new ledger gets them, too.
ADDED = {
    3: (
        # A UTC day, counted from 1970, of the gateway's clock; `gateway.daily`.
        """CREATE TABLE day (
            day INTEGER NOT NULL, device INTEGER NOT NULL REFERENCES device, proofs INTEGER NOT NULL,
            readings INTEGER NOT NULL, PRIMARY KEY (day, device)
        ) STRICT, WITHOUT ROWID""",
        # code: a reason code, or empty for all readings of the instrument.
        """CREATE TABLE quality (
            day INTEGER NOT NULL, device INTEGER NOT NULL REFERENCES device, instrument TEXT NOT NULL,
            code TEXT NOT NULL, readings INTEGER NOT NULL, PRIMARY KEY (day, device, instrument, code)
        ) STRICT, WITHOUT ROWID""",
        # What became of messages, those of strangers too; written with the beacons.
        "CREATE TABLE message_count (code TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID",
        "ALTER TABLE verdict ADD COLUMN received_s REAL",
        "CREATE INDEX equivocation ON evidence (id) WHERE code = 'equivocation'",
    ),
}
