"""What the node says of itself: one report, for every view there is. What is wrong in it is judged in
`agent.conditions` and nowhere else; `state` is the worst of that, or "healthy"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from agent.conditions import Condition, Situation, conditions
from agent.lifetimes import NONE, Lifetimes
from agent.papers import Counts
from proof.joining import Membership

HEALTHY = "healthy"


def report(
    device: str,
    membership: Membership,
    key_class: str,
    now: Situation,
    counts: Counts,
    held: int,
    news: Sequence[str],
    lifetimes: Lifetimes = NONE,
    reboots: int = 0,
    *,
    answered: bool = True,
    answered_at_s: float | None = None,
) -> dict[str, object]:
    """`held` are samples within the loss window, not on disk yet. Where the journal has not `answered`, this
    is what it said last, at `answered_at_s`; before the first time nothing of it is known."""
    found, link, journal = conditions(now), now.link, now.journal
    return {
        "device": device,
        "network": membership.network,
        "kind": membership.kind,
        "key_class": key_class,
        "healthy": now.healthy,
        "state": state(found),
        "answered": answered,
        "answered_at_s": answered_at_s,
        "conditions": [asdict(condition) for condition in found],
        "superseded": now.stored.superseded,
        "why": [f"{condition.sentence} {condition.remedy}".rstrip() for condition in found],
        "last_receipted_reading_age_s": now.age_s,
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
        "clock": {"source": now.wall.source, "maxerror_s": now.wall.maxerror_us / 1e6},
        "journal": {
            "bytes": counts.bytes_used,
            "max_bytes": journal.max_bytes,
            "loss_window_s": journal.loss_window_s,
            "free_bytes": now.free_bytes,
            "free_floor_bytes": journal.free_floor_bytes,
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
            for i in now.instruments
        ],
        "recovery": {
            "reconnected": max(0, link.connections - 1),
            "reopened": sum(i.reopened for i in now.instruments),
            "restarted": lifetimes.restarts,
            "rebooted": reboots,
            "power_cuts": lifetimes.power_cuts,
        },
        "news": list(news),
    }


def state(found: Sequence[Condition]) -> str:
    return found[0].code if found else HEALTHY


def line(now: Situation, waiting: int | None) -> str:
    """For `systemctl status`: the state and what else is wrong, then what is cheap to know. `waiting` is not
    known where the journal does not answer."""
    codes = dict.fromkeys(condition.code for condition in conditions(now))
    well = sum(not i.problem for i in now.instruments)
    some = f"{well} of {len(now.instruments)}" if well < len(now.instruments) else f"{well}"
    words = "instrument" if len(now.instruments) == 1 else "instruments"
    newest = "none yet" if now.age_s is None else f"{now.age_s:.0f} s old"
    queue = "not known how many" if waiting is None else waiting
    said = ", ".join(codes).replace("_", " ") or HEALTHY
    return f"{said}: {some} {words}, newest receipted reading {newest}, {queue} waiting"
