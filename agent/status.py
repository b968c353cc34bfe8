"""What the node says of itself: one report, for every view there is.

Healthy is the age of the last receipted reading and nothing else; what else is wrong stands in `why`.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.clock import SOURCE_NONE, Wall
from agent.lifetimes import NONE, Lifetimes
from agent.papers import Counts
from agent.publisher import LinkState
from agent.sampler import InstrumentState
from agent.settings import JournalSettings
from proof.joining import Membership
from proof.reasons import Reason

HEALTHY_S = 3 * 3600.0
CLOCK_BEHIND_S = 60.0


def report(
    device: str,
    membership: Membership,
    key_class: str,
    counts: Counts,
    last_receipted_s: int | None,
    link: LinkState,
    instruments: Sequence[InstrumentState],
    wall: Wall,
    journal: JournalSettings,
    held: int,
    news: Sequence[str],
    superseded: str = "",
    lifetimes: Lifetimes = NONE,
    reboots: int = 0,
) -> dict[str, object]:
    """`held` are samples within the loss window, not on disk yet; `superseded` is the sentence of a store
    that has stopped publishing, else ""."""
    age_s = None if last_receipted_s is None else wall.ns / 1e9 - last_receipted_s
    behind = age_s is not None and age_s < -CLOCK_BEHIND_S
    age_s = None if age_s is None or behind else max(0.0, age_s)
    return {
        "device": device,
        "network": membership.network,
        "kind": membership.kind,
        "key_class": key_class,
        "healthy": age_s is not None and age_s <= HEALTHY_S,
        "superseded": bool(superseded),
        "why": _why(age_s, behind, superseded, counts, link, instruments, wall, journal.max_bytes),
        "last_receipted_reading_age_s": age_s,
        "readings": {
            "captured": counts.captured + held,
            "unsealed": counts.unsealed + held,
            "not_on_disk": held,
            "unreceipted": counts.unreceipted_readings,
        },
        "proofs": {
            "sealed": counts.proofs,
            "unreceipted": counts.unreceipted,
            "in_flight": link.in_flight,
            "receipted_seq": counts.receipted_seq,
            "receipted_at_s": None if counts.receipted_at_s < 0 else counts.receipted_at_s,
        },
        "link": {"connected": link.connected, "protocol": link.protocol, "problem": link.problem},
        "clock": {"source": wall.source, "maxerror_s": wall.maxerror_us / 1e6},
        "journal": {
            "bytes": counts.bytes_used,
            "max_bytes": journal.max_bytes,
            "loss_window_s": journal.loss_window_s,
        },
        "instruments": [
            {
                "name": i.name,
                "model": i.model,
                "serial": i.serial,
                "samples": i.samples,
                "missed": i.missed,
                "problem": i.problem,
                "latest": {m.quantity: [float(m.value), m.unit] for m in i.latest},
                "ended": i.ended,
            }
            for i in instruments
        ],
        "recovery": {
            "reconnected": max(0, link.connections - 1),
            "reopened": sum(i.reopened for i in instruments),
            "restarted": lifetimes.restarts,
            "rebooted": reboots,
            "power_cuts": lifetimes.power_cuts,
        },
        "news": list(news),
    }


def line(
    instruments: Sequence[InstrumentState], link: LinkState, receipt_age_s: float | None, waiting: int
) -> str:
    """For `systemctl status`: what is cheap to know, since it is said again and again."""
    well = sum(not i.problem for i in instruments)
    some = f"{well} of {len(instruments)}" if well < len(instruments) else f"{well}"
    words = "instrument" if len(instruments) == 1 else "instruments"
    receipt = "no receipt yet" if receipt_age_s is None else f"last receipt {receipt_age_s:.0f} s ago"
    return f"{some} {words}, {receipt}, {waiting} waiting" + ("" if link.connected else ", offline")


def _why(
    age_s: float | None,
    behind: bool,
    superseded: str,
    counts: Counts,
    link: LinkState,
    instruments: Sequence[InstrumentState],
    wall: Wall,
    max_bytes: int,
) -> list[str]:
    """Sentences for the owner, worst first; none when all is well."""
    why = []
    if counts.refused:
        reason: Reason = Reason.__members__[counts.refused.upper()]
        why.append(f"The network takes no proofs of this device. {reason.sentence} {reason.remedy}")
    if behind:
        why.append("The clock is behind the last receipted reading: how old that is cannot be told.")
    elif age_s is None:
        why.append("No reading has been receipted yet.")
    elif age_s > HEALTHY_S:
        why.append(f"The last receipted reading is {age_s / 3600:.1f} h old.")
    if superseded:
        why.insert(0, superseded)
    elif not link.connected:
        why.append(f"Offline: {link.problem or 'connecting.'}")
    elif link.problem:
        why.append(link.problem)
    why += [f"Instrument {i.name}: {i.problem}" for i in instruments if i.problem]
    if wall.source == SOURCE_NONE:
        why.append("The clock is not synchronised: times are dated by the gateway later.")
    if counts.bytes_used > 0.9 * max_bytes:
        why.append("The journal is almost full: the oldest proofs will be given up.")
    return why
