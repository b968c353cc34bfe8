"""What is wrong with a node, told apart: the one place where that is judged, for every view there is.

- Pure: a `Situation` in, conditions out, worst first. What it holds is cheap to know: the line for systemd
  asks again and again.
- Each condition has a stable code, a sentence that says what is the case, a remedy that says what to do, and
  a severity: `error` where nothing reaches the network or readings are lost until somebody acts, `warning`
  where it may pass by itself.
- A cause stands before its consequence: offline before receipts that are old.
- Healthy is the age of the last receipted reading and nothing else; a node that is not has a condition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.clock import SOURCE_NONE, Wall
from agent.linkstate import BROKER_REFUSES, NO_GATEWAY, OFFLINE, LinkState
from agent.papers import Stored
from agent.sampler import InstrumentState
from agent.settings import JournalSettings
from agent.succession import SENTENCES
from proof.chain import SUPERSEDED
from proof.reasons import Reason

HEALTHY_S = 3 * 3600.0
CLOCK_BEHIND_S = 60.0
UNRECEIPTED_S = 300.0  # so long a proof was delivered, several times, and nobody said a word
GATEWAY_ALIVE_S = 200.0  # three beacons
_NEARLY_FULL = 0.9
_NEAR_THE_FLOOR = 1.25
_STOPPED_FOR = (Reason.REVOKED, Reason.SUSPENDED)
Severity = Literal["error", "warning"]
# Every code there is, for views that also say what does not hold.
CODES = (
    "disk_failing", "not_sealing", "journal_nearly_full", "disk_nearly_full", "superseded", "refused",
    "proof_refused", BROKER_REFUSES, OFFLINE, NO_GATEWAY, "not_publishing", "not_receipted",
    "instrument_stopped", "instrument_gone", "instrument_hangs", "instrument_troubled", "clock_behind",
    "clock_unsure", "no_receipt_yet", "receipts_old",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Condition:
    """`subject` is the instrument, where it is of one."""

    code: str
    sentence: str
    remedy: str
    severity: Severity
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """`stored` is what the journal says, `problem` the sentence of one that cannot be written now, else "";
    `free_bytes` is what its file system has left, `unsealed` why no proof can be sealed, else ""."""

    stored: Stored
    link: LinkState
    instruments: Sequence[InstrumentState]
    wall: Wall
    journal: JournalSettings
    problem: str = ""
    free_bytes: int | None = None
    unsealed: str = ""

    @property
    def clock_behind(self) -> bool:
        """The wall clock stands before the newest receipted reading."""
        last_s = self.stored.last_receipted_s
        return last_s is not None and self.wall.ns / 1e9 - last_s < -CLOCK_BEHIND_S

    @property
    def age_s(self) -> float | None:
        """Of the last receipted reading; None where there is none, or it cannot be told."""
        last_s = self.stored.last_receipted_s
        return None if last_s is None or self.clock_behind else max(0.0, self.wall.ns / 1e9 - last_s)

    @property
    def healthy(self) -> bool:
        return self.age_s is not None and self.age_s <= HEALTHY_S


def conditions(now: Situation) -> list[Condition]:
    found = [*_journal(now), *_network(now), *_instruments(now), *_clock(now), *_receipts(now)]
    return sorted(found, key=lambda condition: condition.severity != "error")


def _journal(now: Situation) -> Iterator[Condition]:
    if now.problem:
        yield Condition(
            "disk_failing",
            now.problem,
            "Readings are lost until it can be written again. Look at the disk (`df`, `dmesg`); a card that "
            "fails is to be replaced.",
            "error",
        )
    if now.unsealed:
        yield Condition(
            "not_sealing",
            now.unsealed,
            "Readings are kept in the journal meanwhile. Restart the agent "
            "(`sudo systemctl restart fieldproof-agent`); if it stays so, its log says more.",
            "error",
        )
    unreceipted = now.stored.bytes_used * now.stored.unreceipted_share
    if unreceipted > _NEARLY_FULL * now.journal.max_bytes:
        yield Condition(
            "journal_nearly_full",
            f"The journal is almost full of proofs without a receipt ({_mb(unreceipted)} of "
            f"{_mb(now.journal.max_bytes)}): the oldest will be given up.",
            "See why they have no receipt, or allow it more (journal.max_bytes).",
            "error",
        )
    floor = now.journal.free_floor_bytes
    if now.free_bytes is not None and now.free_bytes < _NEAR_THE_FLOOR * floor:
        yield Condition(
            "disk_nearly_full",
            f"The journal's disk has {_mb(now.free_bytes)} left; below {_mb(floor)} old proofs are given up.",
            "Make room on it (`df`), or lower journal.free_floor_bytes.",
            "error" if now.free_bytes < floor else "warning",
        )


def _network(now: Situation) -> Iterator[Condition]:
    if now.stored.superseded:
        yield Condition("superseded", SENTENCES[SUPERSEDED], "", "error")
    if (refused := now.stored.refused) is not None:
        reason = _reason(refused.code)
        sentence, remedy = (reason.sentence, reason.remedy) if reason else (f"It says {refused.code}.", "")
        if reason in _STOPPED_FOR:
            yield Condition(
                "refused", f"The network takes no proofs of this device. {sentence}", remedy, "error"
            )
        else:
            detail = f" ({refused.detail})" if refused.detail else ""
            said = f"The gateway refuses proof {refused.seq}, and waits with what follows. {sentence}{detail}"
            more = f" `fieldproof-agent explain {refused.seq}` tells more."
            yield Condition("proof_refused", said, remedy + more, "error")
    if not now.stored.superseded:  # it leaves the broker to the other board
        yield from _link(now)


def _link(now: Situation) -> Iterator[Condition]:
    link = now.link
    severity: Severity = "warning" if now.healthy else "error"
    kept = "Nothing is lost: readings are kept and delivered when"
    if link.trouble == BROKER_REFUSES:
        yield Condition(
            BROKER_REFUSES,
            link.problem,
            f"Ask the network's operator whether the broker lets this device in. {kept} it does.",
            "error",
        )
    elif not link.connected:
        said = link.problem or "connecting."
        yield Condition(OFFLINE, f"Offline: {said}", f"{kept} the broker is back.", severity)
    elif link.trouble == NO_GATEWAY:
        yield Condition(NO_GATEWAY, link.problem, f"{kept} one answers; ask its operator.", severity)
    elif link.problem:
        yield Condition("not_publishing", link.problem, f"{kept} that is over.", "warning")
    elif link.unreceipted_s is not None and link.unreceipted_s >= UNRECEIPTED_S:
        yield _not_receipted(link, link.unreceipted_s, kept)


def _not_receipted(link: LinkState, since_s: float, kept: str) -> Condition:
    for_long = f"for {since_s / 60:.0f} min"
    if link.heard_s is not None and link.heard_s < GATEWAY_ALIVE_S:
        return Condition(
            "not_receipted",
            f"The gateway is there, and {for_long} it has receipted nothing of what is delivered to it.",
            "Ask its operator what its log says of this device; readings are kept.",
            "error",
        )
    return Condition(
        NO_GATEWAY,
        f"Proofs are delivered to the broker, and {for_long} no gateway has receipted one.",
        f"{kept} one answers; ask its operator.",
        "error",
    )


def _instruments(now: Situation) -> Iterator[Condition]:
    for instrument in now.instruments:
        problem = instrument.problem
        if not problem or problem == now.problem:
            continue
        sentence = f"Instrument {instrument.name}: {problem}"
        if instrument.ended:
            todo = "Mend that, then restart the agent (`sudo systemctl restart fieldproof-agent`)."
            yield Condition("instrument_stopped", sentence, todo, "error", instrument.name)
        elif instrument.hangs:
            todo = (
                "That does not end by itself: cut the instrument's power or pull its plug, and restart the "
                "agent (`sudo systemctl restart fieldproof-agent`); if it stays so, the device."
            )
            yield Condition("instrument_hangs", sentence, todo, "error", instrument.name)
        elif not instrument.is_open:
            todo = "Check its power and its wires; it is opened again by itself."
            yield Condition("instrument_gone", sentence, todo, "error", instrument.name)
        else:
            todo = "It is read again by itself."
            yield Condition("instrument_troubled", sentence, todo, "warning", instrument.name)


def _clock(now: Situation) -> Iterator[Condition]:
    todo = "Let the network through to a time server (UDP 123): `timedatectl timesync-status`."
    if now.clock_behind:
        said = "The clock is behind the last receipted reading: how old that is cannot be told."
        yield Condition("clock_behind", said, todo, "error")
    elif now.wall.source == SOURCE_NONE:
        said = "The clock is not synchronised: times are dated by the gateway later."
        yield Condition("clock_unsure", said, todo, "warning")


def _receipts(now: Situation) -> Iterator[Condition]:
    if now.healthy or now.clock_behind:
        return
    if now.age_s is None:
        said = "No reading has been receipted yet."
        yield Condition("no_receipt_yet", said, "Shortly after the first start that is so.", "warning")
    else:
        said = f"The last receipted reading is {now.age_s / 3600:.1f} h old."
        yield Condition("receipts_old", said, "See what else stands here.", "error")


def _reason(code: str) -> Reason | None:
    """None for one that a newer gateway has and we have not."""
    return Reason.__members__.get(code.upper())


def _mb(count: float) -> str:
    return f"{count / 1e6:.1f} MB"
