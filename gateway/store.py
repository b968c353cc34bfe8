"""The SQLite file under the ledger, and the one doorway for what can go wrong with it.

- WAL, `synchronous=FULL`, one connection: what a transaction committed survives a power cut.
- The file says which schema it has and whose it is (network, kind, gateway); any other is refused.
- A missing, damaged or newer file is a hard stop with a sentence, never replaced by a new one.
- An older file is brought up to this schema when it is opened to be written; what is there stays as it is.
- Opened to be read (`read_only`) it cannot be written, whatever is asked. A `snapshot` stops no writer, but
  while it lasts the log that writers append to cannot begin anew: a page's is short, a bundle's may be long.
"""

from __future__ import annotations

import sqlite3
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.errors import FixFolder, GatewayError, TryAgain
from gateway.schema import ADDED, FIRST_VERSION, SCHEMA_2, SCHEMA_VERSION

_BUSY_TIMEOUT_S = 10.0
_MAGIC = b"SQLite format 3\0"
_META = ("network", "kind", "gateway")


class Store:
    """One open ledger file. Every error of SQLite leaves it as a `GatewayError`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def create(cls, path: Path, network: str, kind: str, gateway: str) -> Store:
        """A new file; raises FixFolder where there is one."""
        try:
            path.touch(mode=0o600, exist_ok=False)
        except OSError as error:
            raise FixFolder(f"Cannot create the ledger {path}: {error.strerror}.") from None
        store = cls(path, _connect(path))
        with store.doorway():
            store._connection.executescript(f"BEGIN;{SCHEMA_2}")
            rows = zip(("schema", *_META), (str(FIRST_VERSION), network, kind, gateway), strict=True)
            store._connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
            store._add(FIRST_VERSION)
            store._connection.execute("COMMIT")
        return store

    @classmethod
    def open(cls, path: Path, network: str, kind: str, gateway: str) -> Store:
        if not path.is_file():
            raise FixFolder(
                f"The ledger {path} is missing: restore it from your copy; a new one would forget."
            )
        try:
            with path.open("rb") as file:
                first = file.read(len(_MAGIC))
        except OSError as error:
            raise FixFolder(f"Cannot read the ledger {path}: {error.strerror}.") from None
        if first != _MAGIC:  # SQLite would turn an empty file into a new database
            raise FixFolder(f"{path} is not a ledger: restore it from your copy; nothing was changed.")
        store = cls(path, _connect(path))
        try:
            store._require(network, kind, gateway)
            store._upgrade()
        except GatewayError:
            store.close()
            raise
        return store

    @classmethod
    def read_only(cls, path: Path, network: str, kind: str) -> Store:
        """For looking on while another process writes; it is not asked whose key the ledger belongs to."""
        if not path.is_file():
            raise FixFolder(f"The ledger {path} is missing: is {path.parent} a gateway's folder?")
        # No look into the file by other means: closing it would drop the locks of our other connections.
        name = f"file:{urllib.parse.quote(str(path.absolute()))}?mode=ro"
        store = cls(path, _opened(path, name))
        try:
            store.run("PRAGMA query_only = ON")
            if store._require(network, kind) < SCHEMA_VERSION:
                raise FixFolder(
                    f"The ledger {path} is of an earlier version: start `fieldproof-gateway listen` of this "
                    "version, which brings it up to date."
                )
        except GatewayError:
            store.close()
            raise
        return store

    def _require(self, *owner: str) -> int:
        """The schema of the file, which belongs to `owner`: network, kind and, where given, gateway."""
        known = self.row("SELECT 1 FROM sqlite_master WHERE name = 'meta'")
        meta = dict(self.rows("SELECT key, value FROM meta")) if known else {}
        schema = meta.get("schema", "")
        if not schema.isdigit() or int(schema) > SCHEMA_VERSION:
            raise FixFolder(
                f"The ledger {self._path} has schema {schema or 'none'}, this program knows up to "
                f"{SCHEMA_VERSION}: update fieldproof; nothing was changed."
            )
        if int(schema) < FIRST_VERSION:
            raise FixFolder(
                f"The ledger {self._path} has schema {schema}, from before the first release. This program "
                f"needs {FIRST_VERSION} or later: make a new gateway with `fieldproof-gateway init`."
            )
        for name, ours in zip(_META, owner, strict=False):
            if meta.get(name) != ours:
                raise FixFolder(
                    f"The ledger {self._path} belongs to {name} {meta.get(name)!r}, not to {ours!r}: "
                    "are key, settings and ledger of one gateway?"
                )
        return int(schema)

    def _upgrade(self) -> None:
        sql = "SELECT value FROM meta WHERE key = 'schema'"
        if int(self.row(sql)[0]) < SCHEMA_VERSION:
            with self.transaction():
                self._add(int(self.row(sql)[0]))  # another process may have been faster

    def _add(self, version: int) -> None:
        """What came after schema `version`; inside a transaction."""
        for later in range(version + 1, SCHEMA_VERSION + 1):
            for statement in ADDED[later]:
                self.run(statement)
        self.run("UPDATE meta SET value = ? WHERE key = 'schema'", (str(SCHEMA_VERSION),))

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; returns from the block only when the commit is durable."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:  # whatever it is: tidy up and raise it again
            if self._connection.in_transaction:
                self._connection.rollback()
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """One state of the ledger for all that is read inside."""
        self.run("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.rollback()

    def run(self, sql: str, values: Iterable[Any] = ()) -> int:
        """Rows changed."""
        with self.doorway():
            return self._connection.execute(sql, tuple(values)).rowcount

    def rows(self, sql: str, values: Iterable[Any] = ()) -> list[Any]:
        with self.doorway():
            return self._connection.execute(sql, tuple(values)).fetchall()

    def row(self, sql: str, values: Iterable[Any] = ()) -> Any:
        """The first row, None if there is none."""
        with self.doorway():
            return self._connection.execute(sql, tuple(values)).fetchone()

    def each(self, sql: str, values: Iterable[Any] = ()) -> Iterator[Any]:
        """Rows one by one, for what does not fit into memory."""
        with self.doorway():
            yield from self._connection.execute(sql, tuple(values))

    def version(self) -> int:
        """Changes when another process has written."""
        return int(self.row("PRAGMA data_version")[0])

    @contextmanager
    def doorway(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise TryAgain(f"The ledger {self._path} cannot be used now: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise FixFolder(
                f"The ledger {self._path} is damaged or not a ledger ({error}): restore it from your copy; "
                "nothing was changed."
            ) from error


def _opened(path: Path, name: str) -> sqlite3.Connection:
    """The ledger at `path`, which SQLite knows by the URI `name`."""
    try:
        return sqlite3.connect(
            name, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise FixFolder(
            f"Cannot open the ledger {path}: may this user read and write it and its folder? ({error})"
        ) from None


def _connect(path: Path) -> sqlite3.Connection:
    connection = _opened(path, f"file:{urllib.parse.quote(str(path.absolute()))}")
    store = Store(path, connection)
    try:
        store.run("PRAGMA journal_mode = WAL")
        store.run("PRAGMA synchronous = FULL")
        store.run("PRAGMA foreign_keys = ON")
    except GatewayError:
        connection.close()
        raise
    return connection
