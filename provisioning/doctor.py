"""`fieldproof-provision doctor`: everything a node needs, examined in the order in which it is needed.

- It changes nothing and disturbs nobody: a running agent is asked, not imitated.
- It comes to its end within a minute whatever fails, and says of each check what was found, what was
  expected, and what to do. Exit code 0: every line passed or was skipped; 1: a warning; 2: a failure.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console

from agent.answers import STATUS_S
from agent.buses import Buses, HardwareBuses
from agent.clock import Clock, SystemClock
from agent.errors import AgentError
from agent.keystore import Board
from agent.settings import Settings, load
from provisioning import become, report
from provisioning import checks_broker as broker
from provisioning import checks_instruments as instruments
from provisioning import checks_machine as machine
from provisioning import checks_session as session
from provisioning import checks_state as state
from provisioning.checks import BUDGET_S, EXIT_CODES, SKIPPED, Check, Examination, Line, worst
from provisioning.checks_machine import Machine

JOURNAL_S = 10.0  # a full one on a slow card may take longer: it is then said to be not examined


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
    """Examine, print, and say the exit code. Root acts as the service's user."""
    with contextlib.suppress(AgentError, OSError):  # their lines will say it
        unit = machine.service(Machine()).value or {}
        become.owner_of(load(config).state_dir, unit.get("SupplementaryGroups", "").split())
    lines = examine(Case(config, board))
    if as_json:
        sys.stdout.write(report.to_json(lines) + "\n")
    else:
        console = Console(highlight=False)
        console.print(report.to_text(lines, min(console.width, report.WIDTH)))
    return EXIT_CODES[worst(lines)]


def examine(case: Case, budget_s: float = BUDGET_S) -> list[Line]:
    """Never raises."""
    exam, where = Examination(budget_s), case.machine
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
                lambda settings: state.agent(settings, where.locks),
                ("configuration",),
                deadline_s=STATUS_S + 2,
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
                deadline_s=JOURNAL_S,
                late=SKIPPED,
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
                "broker name", "has an address", broker.name, ("membership", "configuration"), deadline_s=6.0
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
    simulated = settings.key.startswith("sim:")
    return [
        Check(f"bus {bus}", "there, and open to this user", partial(machine.bus, bus, where, simulated))
        for bus in machine.buses_of(settings)
    ]


def _instrument_checks(settings: Settings | None, buses: Buses, clock: Clock) -> list[Check]:
    if settings is None:
        return [_unknown("instruments", "each answers with a value")]
    return [
        Check(
            one.name,
            "answers with a value",
            lambda report, bus, one=one: instruments.instrument(one, bus, buses, clock, report),
            ("agent",),
            (f"bus {one.bus}",),
            deadline_s=instruments.deadline_s(one),
        )
        for one in settings.instrument
    ]


def _unknown(name: str, expected: str) -> Check:
    return Check(name, expected, lambda _: NotImplemented, ("configuration",))
