"""Which log a store goes on with when a receipt contradicts it (§1.3, §5.3; decision 0008).

- Nothing receipted of its own, and the gateway holds another log: the store was lost. A new log names that.
- Its own log, with a head it never signed: rolled back. A new log, once: contradicted again in that log, it
  is superseded. So of two boards with one key one goes on and the other stops.
- Receipts of its own, and a newer one for a log it never had: superseded. Another board has taken over, or
  this store is an old copy.
- A superseded store's log says so in its first proof, the only one that is published: it is evidence for the
  gateway. The store samples, seals and keeps; only its owner's word (`resume`) opens a log that takes over.
- A log opened by the owner's word follows what the gateway holds until something in it is receipted.
- A receipt that is not newer than all that is known is old news.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace

from agent.journal import Journal, OpenLog
from agent.sealer import Sealer
from proof.chain import SUPERSEDED
from proof.claims import LOG_BYTES, Predecessor
from proof.receipt import Receipt

STORE_LOST, ROLLED_BACK, RESUMED, RESTORED = "store lost", "rolled back", "resumed", "restored"
SENTENCES = {
    STORE_LOST: (
        "This store has lost what it delivered before: a new log was opened that names the gateway's head; "
        "nothing to do."
    ),
    ROLLED_BACK: (
        "This store is older than what the gateway holds, so a new log was opened: if you have not restored "
        "a copy of this card, look for a second board with this device's key."
    ),
    SUPERSEDED: (
        "Another board with this device's key has taken over, or this card is an old copy: this board keeps "
        "all it samples and publishes nothing; switch one of them off, or make this board the one with "
        "`fieldproof-provision resume`."
    ),
    RESUMED: "This board takes over: its new log names the newest head the gateway holds.",
    RESTORED: "This restored board takes over: its new log names the newest head the gateway holds.",
}
_BY_OWNER = (RESUMED, RESTORED)
Random = Callable[[int], bytes]


def superseded(journal: Journal) -> bool:
    """Whether this store has stopped publishing until its owner resumes."""
    return gives_way(journal.open_log())


def gives_way(log: OpenLog | None) -> bool:
    return _reason(log) == SUPERSEDED


def reason_to_leave(
    journal: Journal, log: OpenLog, receipt: Receipt, contradicted: bool, offered: bool
) -> str:
    """Why the open `log` must be left, "" if it need not. `contradicted`: the receipt speaks of this log and
    of what it never signed; `offered`: proofs of it may be on their way."""
    reason, named = _reason(log), log.predecessor
    if reason == SUPERSEDED:
        return ""
    if contradicted:
        return SUPERSEDED if reason == ROLLED_BACK else ROLLED_BACK
    newest_s = journal.receipted_at_s()
    if not receipt.head_seq or receipt.received_at_s <= newest_s:
        return ""
    if reason in _BY_OWNER and not journal.receipted_seq(log.id):
        same = named is not None and named.log == receipt.log
        exact = named is not None and named.head_hash == receipt.head_hash
        return "" if same and (exact or offered) else reason
    if newest_s < 0 and reason != ROLLED_BACK:
        return "" if named is not None and named.log == receipt.log else STORE_LOST
    return "" if journal.knows_log(receipt.log) else SUPERSEDED


def leave(
    journal: Journal, old: OpenLog, receipt: Receipt, reason: str, sealer: Sealer, random: Random
) -> None:
    """Open a log that names the gateway's head, and seal again in it what has no receipt."""
    journal.start_log(random(LOG_BYTES), Predecessor(receipt.log, receipt.head_hash, reason))
    if not sealer.reseal(journal, old.id) and reason == SUPERSEDED:
        sealer.seal(journal)  # the one proof that tells the gateway


def resume(journal: Journal, random: Random = secrets.token_bytes) -> OpenLog | None:
    """The owner's word: this board is the one. The log that gave way, whose proofs are to be sealed again;
    None, and nothing done, where the store is not superseded."""
    log = journal.open_log()
    if log is None or log.predecessor is None or not gives_way(log):
        return None
    journal.start_log(random(LOG_BYTES), replace(log.predecessor, reason=RESUMED))
    return log


def _reason(log: OpenLog | None) -> str:
    return log.predecessor.reason if log and log.predecessor else ""
