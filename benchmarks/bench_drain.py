"""How fast a backlog drains: 100,000 readings, sealed offline at 60 per proof, over a real mosquitto.

Agent, broker and gateway are processes of this machine. From the agent's CONNACK to the moment the last
proof is receipted in its journal, the two seconds in which it waits for a retained receipt included. The
proofs name a beacon that the gateway never gave, so each gets a verdict: the costlier case.
"""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from datetime import datetime

from benchmarks import figures
from benchmarks.backlog import sealed
from benchmarks.field import Field, joined_field, until
from benchmarks.figures import Figure
from gateway.folder import LEDGER

_READINGS, _PER_PROOF = 100_000, 60
_DEADLINE_S = 180.0


def connected_at_s(field: Field) -> float | None:
    """Wall time of the agent's first connection, from its log."""
    text = (field.folder / "agent.log").read_text()
    found = re.search(r"timestamp=(\S+) level=info event=connected", text)
    return datetime.fromisoformat(found[1]).timestamp() if found else None


def measure() -> list[Figure]:
    """Readings per second from a backlog of 100,000."""
    proofs = -(-_READINGS // _PER_PROOF)
    with joined_field(interval_s=3600, readings=_PER_PROOF) as field:
        began_s = time.monotonic()
        sealed(field.settings.journal_path, field.signer, _READINGS, _PER_PROOF, beacon_hash=bytes(32))
        seal_s = time.monotonic() - began_s
        field.start_broker()
        field.start_gateway()
        field.start_agent()
        with closing(sqlite3.connect(f"file:{field.gateway / LEDGER}?mode=ro", uri=True)) as ledger:
            head = "SELECT head_seq FROM device"
            until(lambda: ledger.execute(head).fetchone()[0] >= proofs, _DEADLINE_S, "the last proof")
        until(lambda: field.receipted(proofs), 20, "the last receipt")
        ended_s, started_s = time.time(), connected_at_s(field)
    assert started_s is not None
    return [
        Figure("drained", _READINGS / (ended_s - started_s), "readings/s", least=5000),
        Figure("drained in", ended_s - started_s, "s"),
        Figure("sealed offline, one fsync per proof", _READINGS / seal_s, "readings/s"),
    ]


if __name__ == "__main__":
    figures.run(measure)
