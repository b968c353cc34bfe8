"""From a fresh machine to the first receipt, in steps that may be interrupted anywhere and run again.

    instruments -> claim -> configuration (written) -> key -> membership -> agent runs -> first receipt

- Each step looks first whether it was done: the configuration, the key, the membership and the running agent
  are all the memory there is. The configuration names the key, so it is written before the key is made.
- A configuration that is there is used; it is replaced only when a person says so or `--replace-config` does,
  and never while its agent runs.
- The claim is not kept: who is a member already is not asked for one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agent import membership
from agent.broker import parse_broker_url
from agent.errors import AgentError, FixConfig, HardStop, JoinFirst
from agent.keystore import Board, key_exists, open_key
from agent.membership import FixMembership, Joined
from agent.settings import InstrumentSettings, MqttSettings, Settings
from agent.settings import load as load_settings
from proof.joining import MAX_CLAIM_CHARS, JoinClaim
from provisioning import (
    configuring,
    enrolling,
    identity,
    instruments,
    joining,
    keychoice,
    starting,
    wholefile,
)
from provisioning.asking import DEADLINE_S
from provisioning.become import owning
from provisioning.person import Person
from provisioning.starting import Started


@dataclass(frozen=True, slots=True)
class Answers:
    """What options answer; empty ones are asked, or take their default."""

    config: Path
    state_dir: Path
    claim: str = ""
    instruments: str = ""
    key: str = ""
    interval_s: float = 0.0
    serial: tuple[Path, ...] = ()
    ask_lines: bool | None = None
    allow_plain: bool | None = None
    run_here: bool | None = None
    replace_config: bool | None = None
    wait_s: float = 120.0
    devices_root: Path | None = None


@dataclass(slots=True)
class Setup:
    """`run` gives the facts for a machine; sentences go to the person on the way."""

    answers: Answers
    person: Person
    board: Board
    now_s: Callable[[], int]
    _claim: JoinClaim | None = field(default=None)

    def run(self) -> dict[str, Any]:
        """Raises `AgentError`; what was done until then stays, and the next run goes on there."""
        self._claim = self._given_claim()
        settings = self._configured()
        facts = {**self._member(settings), "config": str(self.answers.config)}
        report = self._receipted(settings)
        if report is None:
            words = " ".join(starting.command(self.answers.config.absolute()))
            return {
                **facts,
                "receipt_seq": None,
                "to_do": [f"Start the agent: {words}", "Then run setup again."],
            }
        return {**facts, **_shown(report), "to_do": []}

    # 1. the configuration

    def _configured(self) -> Settings:
        path = self.answers.config
        self._step(1, "Instruments and configuration")
        if path.exists() and not self._replaces(path):
            settings = load_settings(path)
            names = ", ".join(one.name for one in settings.instrument)
            self.person.tell(f"{path} is there and is used: {names}.")
            return settings
        chosen = self._instruments()
        state_dir = self.answers.state_dir.absolute()
        with owning(state_dir):
            key = self.answers.key or keychoice.best(
                state_dir, self.board, self.answers.devices_root, self.person
            )
            is_member = self._is_member(state_dir, key)
        if self._claim is None and not is_member:
            self._claim = self._asked_claim()
        text = configuring.text(state_dir, key, chosen, self._plain_allowed())
        if path.exists():
            wholefile.set_aside(path)
            wholefile.replace(path, text.encode())
        elif not wholefile.write_new(path, text.encode()):
            raise FixConfig(f"{path} has just been made by somebody else: run setup again.")
        self.person.tell(f"{path} is written.")
        return load_settings(path)

    def _replaces(self, path: Path) -> bool:
        wanted = self.answers.replace_config
        if wanted is None:
            wanted = not self.person.agrees(f"There is a configuration {path}. Use it?", True)
        if wanted and _runs(path):
            raise HardStop("The agent is running and reads its instruments: stop it first.")
        return wanted

    def _instruments(self) -> tuple[InstrumentSettings, ...]:
        ask = self.answers.ask_lines
        where = instruments.places(self.answers.devices_root, self.answers.serial)
        if ask is None:
            lines = any(place.startswith("serial:") for place in where)
            ask = lines and self.person.agrees(
                "May serial lines that say nothing be asked who is there? (questions only, no settings)", True
            )
        self.person.tell(f"Searching {', '.join(where) or 'nothing'}: up to a minute.")
        found = instruments.find(where, ask)
        chosen = instruments.choose(found, self.answers.instruments, self._interval_s(), self.person)
        self.person.tell("Each is read once:")
        return instruments.read_each(chosen, self.person)[0]

    def _interval_s(self) -> float:
        if self.answers.interval_s:
            return self.answers.interval_s
        while True:
            text = self.person.says("Seconds between two readings", "60", "--interval-s")
            try:
                if 1 <= (interval_s := float(text)) <= 86_400:
                    return interval_s
            except ValueError:
                pass
            self.person.tell(f"{text!r} is no number from 1 to 86400.")

    # 2. the network

    def _member(self, settings: Settings) -> dict[str, Any]:
        """Who this device is and where it belongs. A running agent is asked, whoever it runs as: the key is
        that user's only."""
        self._step(2, "Key and network")
        report = starting.running(settings)
        if report is None:
            with owning(settings.state_dir):
                joined = self._joined(settings).membership
                known = asdict(identity.describe(settings, open_key(settings.key, self.board)))
            return {**known, "network": joined.network, "kind": joined.kind}
        if self._claim is not None:
            joining.require_good_for(self._claim, self.now_s(), report["network"])
        self.person.tell(
            f"{report['device']} is a member of {report['network']} already, and its agent runs."
        )
        told = {name: report[name] for name in ("device", "key_class", "network", "kind")}
        return {**told, "key": settings.key, "state_dir": str(settings.state_dir)}

    def _joined(self, settings: Settings) -> Joined:
        found = self._membership(settings)
        if found is not None and self._claim is None:
            device = open_key(settings.key, self.board).device
            self.person.tell(f"{device} is a member of {found.membership.network} already.")
            return found
        claim = self._claim or self._asked_claim()
        self.person.tell(f"Asking {claim.network} at {claim.broker_url}: up to {DEADLINE_S:g} s.")
        done = enrolling.enrol(settings, claim, self.board, self.now_s, DEADLINE_S)
        for sentence in (f"This device is {done.identity.device}.", *done.news):
            self.person.tell(sentence)
        return done.joined

    def _given_claim(self) -> JoinClaim | None:
        text = self.answers.claim
        if text == "-":
            text = sys.stdin.buffer.read(MAX_CLAIM_CHARS + 1).decode(errors="replace")
        return joining.read_claim(text) if text else None

    def _asked_claim(self) -> JoinClaim:
        """Asked again until it is one that can be used."""
        while True:
            text = self.person.says("The claim of your network's operator (paste it)", None, "--claim TEXT")
            try:
                claim = joining.read_claim(text)
                joining.require_good_for(claim, self.now_s(), None)
                return claim
            except joining.ClaimRefused as refused:
                self.person.tell(refused.sentence)

    def _plain_allowed(self) -> bool:
        """Raises `FixConfig` for a claim whose broker could not be used."""
        allowed = bool(self.answers.allow_plain)
        if self._claim is not None:
            url = self._claim.broker_url
            if url.startswith("mqtt://") and self.answers.allow_plain is None:
                allowed = self.person.agrees(
                    f"The broker {url} is without TLS: everyone on the way may read and drop what this "
                    "device sends. Allow that?",
                    False,
                )
            parse_broker_url(url, MqttSettings(allow_plain=allowed))
        return allowed

    def _is_member(self, state_dir: Path, key: str) -> bool:
        """Of whatever network, from an earlier run whose configuration is gone."""
        return self._membership_of(state_dir / "membership.json", key) is not None

    def _membership(self, settings: Settings) -> Joined | None:
        return self._membership_of(settings.membership_path, settings.key)

    def _membership_of(self, path: Path, key: str) -> Joined | None:
        if not key_exists(key, self.board):
            return None
        try:
            return membership.load(path, open_key(key, self.board).device, self.now_s())
        except (JoinFirst, FixMembership):
            return None

    # 3. the agent

    def _receipted(self, settings: Settings) -> dict[str, Any] | None:
        self._step(3, "The agent, and the first receipt")
        started = self._started(settings)
        if started is None:
            return None
        self.person.tell(f"{started.how} Waiting for a receipt: up to {self.answers.wait_s:g} s.")
        return starting.first_receipt(settings, started, self.answers.wait_s)

    def _started(self, settings: Settings) -> Started | None:
        if starting.running(settings):
            return Started("The agent runs.")
        run_here = self.answers.run_here
        if not run_here and self.answers.devices_root is None and starting.unit_is_installed():
            return starting.enable(settings)
        if run_here is None:
            run_here = self.person.agrees("No service is installed. Start the agent here?", False)
        return starting.run_here(self.answers.config, settings) if run_here else None

    def _step(self, number: int, name: str) -> None:
        self.person.tell("")
        self.person.tell(f"{number}. {name}")


def _runs(path: Path) -> bool:
    try:
        return starting.running(load_settings(path)) is not None
    except AgentError:
        return False


def _shown(report: dict[str, Any]) -> dict[str, Any]:
    """The first readings and their receipt, out of the agent's report."""
    proofs = report["proofs"]
    return {
        "readings": [
            f"{one['name']}: {_values(one['latest']) or one['problem'] or 'nothing yet'}"
            for one in report["instruments"]
        ],
        "receipt_seq": proofs["receipted_seq"],
        "receipt_time": joining.date(proofs["receipted_at_s"] or 0),
    }


def _values(latest: dict[str, tuple[float, str]]) -> str:
    return ", ".join(f"{name} {value:g} {unit}" for name, (value, unit) in latest.items())
