"""`fieldproof-provision doctor`: everything a node needs, examined in the order in which it is needed.

- It changes nothing and disturbs nobody: a running agent is asked, not imitated.
- It comes to its end within a minute whatever fails, and says of each check what was found, what was
  expected, and what to do. Exit code 0: every line passed or was skipped; 1: a warning; 2: a failure.
"""

from __future__ import annotations

import contextlib
import json
import textwrap
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.text import Text

from agent.buses import Buses, HardwareBuses
from agent.clock import Clock, SystemClock
from agent.keystore import Board
from agent.settings import Settings
from provisioning import checks_broker as broker
from provisioning import checks_instruments as instruments
from provisioning import checks_machine as machine
from provisioning import checks_session as session
from provisioning import checks_state as state
from provisioning.checks import (
    EXIT_CODES,
    FAIL,
    PASS,
    SKIPPED,
    WARN,
    Check,
    Examination,
    Line,
    Verdict,
    worst,
)
from provisioning.checks_machine import Machine
from provisioning.doorway import printable

WIDTH = 80
_STYLES = {PASS: "green", WARN: "yellow", FAIL: "bold red", SKIPPED: "dim"}


@dataclass(frozen=True, slots=True)
class Case:
    """What is examined. The buses are not closed: one that hangs would hold us, and the end of the program
    closes them."""

    config: Path
    board: Board = field(default_factory=Board)
    clock: Clock = field(default_factory=SystemClock)
    buses: Buses | None = None
    machine: Machine = field(default_factory=Machine)


def command(config: Path, board: Board, as_json: bool) -> int:
    """Examine, print, and say the exit code."""
    lines = examine(Case(config, board))
    if as_json:
        Console(soft_wrap=True, highlight=False).print(to_json(lines), markup=False)
    else:
        console = Console(highlight=False)
        console.print(to_text(lines, min(console.width, WIDTH)))
    return EXIT_CODES[worst(lines)]


def examine(case: Case) -> list[Line]:
    """Never raises."""
    exam, where = Examination(), case.machine
    with contextlib.ExitStack() as closing:
        exam.row(
            Check("configuration", "a file the agent can run with", partial(state.configuration, case.config))
        )
        settings: Settings | None = exam.value("configuration")
        buses = case.buses or HardwareBuses(case.clock)

        exam.row(Check("service", "installed, enabled and active", partial(machine.service, where)))
        exam.row(
            Check(
                "user",
                "in the groups of the buses, and so the service",
                machine.user,
                ("configuration",),
                ("service",),
            ),
            Check("state folder", "this user's, for nobody else", state.state_folder, ("configuration",)),
            Check(
                "disk",
                "writable, with room for the journal",
                lambda settings: machine.disk(settings, where),
                ("configuration",),
            ),
        )
        exam.row(
            Check(
                "agent",
                "none, or one that answers and is healthy",
                lambda folder, settings: state.agent(folder, settings, where.locks),
                ("state folder", "configuration"),
                deadline_s=8.0,
            )
        )
        exam.row(
            Check(
                "clock",
                "synchronised, 2026 or later",
                lambda report: machine.clock(case.clock, report),
                uses=("agent",),
            )
        )

        exam.row(*_bus_checks(settings, where))
        exam.row(*_instrument_checks(settings, buses, case.clock))

        exam.row(
            Check(
                "key",
                "opens, signs, verifies; the next key is there",
                lambda settings: state.key(settings, case.board),
                ("configuration",),
            )
        )
        exam.row(
            Check(
                "journal",
                "sound, and of this device",
                state.journal,
                ("state folder", "key", "agent", "configuration"),
                deadline_s=10.0,
                late=WARN,
            ),
            Check(
                "membership",
                "signed by a gateway of the claim, not about to end",
                lambda folder, signer, settings: state.membership(folder, signer, settings, case.clock),
                ("state folder", "key", "configuration"),
            ),
        )
        exam.row(
            Check(
                "receipt",
                "younger than three hours",
                lambda books, report: state.receipt(books, report, case.clock),
                ("journal", "agent"),
            )
        )

        exam.row(
            Check(
                "broker name",
                "has an address",
                broker.name,
                ("membership", "configuration"),
                deadline_s=6.0,
            )
        )
        exam.row(Check("broker port", "takes connections", broker.port, ("broker name",), deadline_s=6.0))
        exam.row(
            Check(
                "broker TLS",
                "a trusted chain, for 14 days or more",
                lambda found: broker.tls(found, case.clock),
                ("broker port",),
                deadline_s=6.0,
            )
        )
        exam.row(
            Check(
                "MQTT",
                "the broker lets this device in",
                lambda found, signer, report: session.mqtt(found, signer, report, closing),
                ("broker TLS", "key", "agent"),
                deadline_s=session.CONNECT_S + 1,
            )
        )
        talks = ("MQTT", "key", "membership", "agent")
        exam.row(Check("may read", "its topics (§7.4)", session.subscribe, talks))
        exam.row(Check("may write", "its topics (§7.4)", session.publish, talks))
        exam.row(
            Check(
                "gateway",
                "answers, signed",
                lambda talk, signer, joined, report, _read, _write, books: session.gateway(
                    talk, signer, joined, report, books, case.clock
                ),
                (*talks, "may read", "may write"),
                ("journal",),
                deadline_s=session.GATEWAY_S + 1,
            )
        )
    return exam.lines


def _bus_checks(settings: Settings | None, where: Machine) -> list[Check]:
    if settings is None:
        return [_unknown("buses", "there, and open to this user")]
    return [
        Check(f"bus {bus}", "there, and open to this user", partial(machine.bus, bus, where))
        for bus in machine.buses_of(settings)
    ]


def _instrument_checks(settings: Settings | None, buses: Buses, clock: Clock) -> list[Check]:
    if settings is None:
        return [_unknown("instruments", "each answers with a value")]
    return [
        Check(
            one.name,
            "answers with a value",
            lambda report, _bus, one=one: instruments.instrument(one, buses, clock, report),
            ("agent", f"bus {one.bus}"),
            deadline_s=instruments.deadline_s(one),
        )
        for one in settings.instrument
    ]


def _unknown(name: str, expected: str) -> Check:
    return Check(name, expected, lambda _: NotImplemented, ("configuration",))


def to_json(lines: list[Line]) -> str:
    return json.dumps({"verdict": worst(lines), "checks": [line.facts() for line in lines]}, indent=2)


def to_text(lines: list[Line], width: int = WIDTH) -> Text:
    """For people: what was expected, and what to do, only where something is wrong."""
    verdicts, names = max(map(len, Verdict)) + 2, max(len(line.name) for line in lines) + 2
    text = Text()
    for line in lines:
        said = [line.found]
        if line.verdict in (WARN, FAIL):
            said += [f"expected: {line.expected}", f"to do: {line.to_do}"][: 2 if line.to_do else 1]
        text.append(f"{line.verdict:<{verdicts}}", _STYLES[line.verdict])
        wrapped = [row for part in said for row in _wrapped(part, max(20, width - verdicts - names))]
        text.append(f"{line.name:<{names}}" + f"\n{'':<{verdicts + names}}".join(wrapped) + "\n")
    counts = {verdict: sum(line.verdict is verdict for line in lines) for verdict in Verdict}
    return text.append(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(printable(text), width, break_on_hyphens=False)
