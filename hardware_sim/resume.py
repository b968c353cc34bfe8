"""How far a simulated node has lived, so that its next process goes on right there.

- Read from the journal before the node opens it: the newest sample or loss of each instrument in this boot.
- A journal that cannot be read says nothing: the node itself will quarantine or refuse it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from agent.errors import AgentError
from agent.journal import Journal
from agent.sealer import bootseed
from proof import sealing
from proof.claims import MAX_LOST, Lost


def lived_ns(path: Path, device: str, boot_id: bytes, instruments: Iterable[str]) -> dict[str, int]:
    """Boot time of the newest instant that each instrument has behind it; those with none are left out."""
    if not path.exists():
        return {}
    try:
        with contextlib.closing(Journal(path, device)) as journal:
            found = [
                (name, newest_ns)
                for name in instruments
                if (newest_ns := journal.newest_ns(name, boot_id)) is not None
            ]
            found += [(lost.instrument, lost.to_boottime_ns) for lost in _losses(journal, boot_id)]
    except (sqlite3.Error, AgentError):
        return {}
    lived: dict[str, int] = {}
    for name, newest_ns in found:
        lived[name] = max(newest_ns, lived.get(name, newest_ns))
    return lived


def _losses(journal: Journal, boot_id: bytes) -> Iterable[Lost]:
    """Those that wait for a proof, and those the newest proof tells."""
    journal.begin()
    yield from journal.take_losses(boot_id, MAX_LOST)
    journal.rollback()  # only looked at
    log = journal.open_log()
    newest = journal.proof_at(log.id, log.seq) if log else None
    if newest is not None and (claims := sealing.parse(newest.data).claims).bootseed == bootseed(boot_id):
        yield from claims.lost
