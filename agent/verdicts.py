"""What the owner hears of the gateway's verdicts: each goes into the log, and the grave ones are told.

- Once each: a verdict comes with every receipt until it is old, and the journal knows which were heard.
- Of refused proofs (§5.1) only what is said of one of ours is ours, and only what is said of our key: anyone
  can send junk to our topic, and a thief of an older key gets such answers too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from agent import papers
from agent.keeper import Keeper
from agent.receipts import Outcome
from agent.sealer import Sealer
from proof.reasons import Reason
from proof.receipt import Receipt

OUTDATED_KEY = (
    "The network holds a later key of this device in force: this one was put back by an older backup or "
    "card, and nothing it signs is taken. Restore the newest backup in a new state_dir; without one, ask the "
    "operator to revoke this device, and join as a new one."
)
# The owner must hear of these; the others stand in the journal and the log.
_TOLD = {
    reason.value: reason
    for reason in (
        Reason.EQUIVOCATION,
        Reason.SUSPENDED,
        Reason.REVOKED,
        Reason.TWO_BOARDS,
        Reason.KEY_CLASS_CHANGED,
    )
}
_log = structlog.get_logger()


class Verdicts:
    """`on_news` is told a sentence, `on_receipt` all that a receipt did."""

    def __init__(
        self,
        keeper: Keeper,
        sealer: Sealer,
        on_news: Callable[[str], None],
        on_receipt: Callable[[Outcome], None],
    ) -> None:
        self._keeper, self._sealer, self._on_news, self._on_receipt = keeper, sealer, on_news, on_receipt

    def heard(self, outcome: Outcome) -> None:
        for verdict in outcome.verdicts:
            if not verdict.code.startswith("quality_"):
                _log.warning("the gateway says", seq=verdict.seq, code=verdict.code, detail=verdict.detail)
            if (reason := _TOLD.get(verdict.code)) is not None:
                self._on_news(f"{reason.sentence} {reason.remedy}")
        self._on_receipt(outcome)

    def refused(self, received: Receipt, head: int) -> None:
        """§5.1; of an enrolment it is provisioning's business. `head`: the newest receipted number."""
        key = self._sealer.settled_key
        for verdict in received.verdicts:
            about = verdict.detail.partition("proof ")[0]
            if verdict.code == Reason.BAD_KEY and key and key in about:
                self._on_news(OUTDATED_KEY)
            found = self._keeper.read(partial(papers.refused_proof, verdict=verdict))
            if found is not None and (new := self._keeper.call(partial(papers.note_refused, verdict=found))):
                self.heard(Outcome(head, verdicts=new))
