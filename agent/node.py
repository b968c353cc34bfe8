"""The node: the one page that composes the agent.

    instrument -> Sampler (a thread each) -> Keeper (the journal's thread: append, seal)
                                             |            ^
                                             v            | receipts, beacons, challenges
                                             Publisher <-> gateway

- Everything it needs of the outside comes in as an argument: clock, buses, schedules, keys, membership.
- A receipt may end a rotation (`agent.rotation`); before any other use the keystore is as the journal says.
- Start: every instrument is opened once; if each of them needs a person, the node does not start.
- Stop: samplers first, then what is open is sealed, then published within two seconds.
- What is asked of it while it runs, `answers` says (`agent.answers`).
- The watchdog is fed by progress: journal and publisher went round since the last look, and not every
  instrument is overdue (`progress`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from agent import __version__, lifetimes, succession
from agent.answers import Answers, News
from agent.broker import broker_of, password, tls_context
from agent.buses import Buses
from agent.calibration import Calibrator, Humidities, certificates_of
from agent.clock import AidedClock, Clock, TellsTime
from agent.descriptor import Description
from agent.diary import Diary
from agent.errors import AgentError, HardStop
from agent.instruments import build_instrument
from agent.journal import Journal
from agent.keeper import Keeper
from agent.membership import Joined
from agent.mqtt import Link
from agent.publisher import Publisher
from agent.quality import Inspector, limits_of
from agent.receipts import Outcome
from agent.rotation import Keys, resume
from agent.sampler import Sampler
from agent.schedule import Every, Schedule
from agent.sealer import Sealer
from agent.settings import InstrumentSettings, Settings
from agent.store import BEHIND, open_journal
from drivers.contract import Quantity
from drivers.errors import DriverError, NeedsHuman
from proof.beacon import Challenge
from proof.chain import SUPERSEDED
from proof.keys import multibase_part

if TYPE_CHECKING:
    from agent.home_assistant import HomeAssistant

PUBLISH_AT_STOP_S = 2.0
_PROVE_NS = 15 * 10**9  # so long a proof that is asked for waits for instruments


def every_interval(instrument: InstrumentSettings) -> Schedule:
    return Every(instrument.interval_s)


class Node:
    """Raises `HardStop` from the constructor or `start` when it cannot run; nothing was changed then."""

    def __init__(
        self,
        settings: Settings,
        keys: Keys,
        joined: Joined,
        clock: Clock,
        buses: Buses,
        schedule: Callable[[InstrumentSettings], Schedule] = every_interval,
    ) -> None:
        clock = aided = AidedClock(clock)
        self._settings, self._keys, self._clock, self._buses = settings, keys, clock, buses
        signer = keys.current()
        self.device = signer.device
        self.joined = joined
        self.news, self.diary = News(), Diary(clock)
        self.tell = self.news.tell
        broker = broker_of(settings.mqtt, joined.broker_url, joined.broker_ca)
        self._instruments = {i.name: build_instrument(i, buses, clock) for i in settings.instrument}
        aided.tellers = tuple(i.utc for i in self._instruments.values() if isinstance(i, TellsTime))
        self._certificates = certificates_of(settings, self._instruments)
        humidities = Humidities()
        inspectors = {
            i.name: Inspector(quantities, limits_of(i.name, quantities, i.limits))
            for i in settings.instrument
            for quantities in (self._instruments[i.name].quantities,)
        }

        tls_context(broker), password(settings.mqtt)  # unusable files are said before anything is made
        opened = open_journal(settings.journal_path, self.device, clock.boot_id)
        if opened.quarantined:
            self.tell(f"The journal was corrupt and is kept as {opened.quarantined}; a new log is open.")
            self.diary.note("quarantined", f"Kept as {opened.quarantined}.")
        if opened.behind:
            self.tell(BEHIND)
            self.diary.note("new_log", BEHIND)
        try:
            self._signer, turn = resume(opened.journal, keys)
        except BaseException:  # whatever it is: tidy up and raise it again
            opened.journal.close()
            raise
        self.sealer = Sealer(
            self._signer, joined.membership.network, settings.proof, clock, settings.location, turn
        )
        self._description = Description(
            self.sealer, self._signer.key_class, settings.instrument, self._instruments, self._certificates
        )
        self.keeper = Keeper(
            opened.journal, self.sealer, settings.journal, clock, self._on_sealed, self.tell, self.diary
        )
        self.publisher = Publisher(
            self.device,
            joined,
            self.keeper,
            self.sealer,
            lambda on_event, will: Link(broker, multibase_part(self.device), on_event, will=will),
            settings.mqtt.in_flight,
            time.monotonic,
            self._on_challenge,
            self.tell,
            self._on_receipt,
        )
        self.samplers = [
            Sampler(
                i,
                self._instruments[i.name],
                Calibrator(self._instruments[i.name].quantities, self._certificates[i.name], humidities),
                inspectors[i.name],
                schedule(i),
                self.keeper,
                clock,
                self._description.identified,
            )
            for i in settings.instrument
        ]
        self.answers = Answers(
            settings,
            joined,
            self._signer.key_class,
            clock,
            self.keeper,
            self.sealer,
            self.publisher,
            self.samplers,
            self._certificates,
            self.diary,
            self.news,
        )
        self._progress: tuple[int, ...] = ()
        self._lifetimes_path = settings.state_dir / "lifetimes.json"
        self._started = False
        self._home = self._home_assistant()

    def start(self) -> None:
        before = lifetimes.read(self._lifetimes_path)
        self.answers.lifetimes = now = lifetimes.begin(self._lifetimes_path, self._clock.boot_id)
        self.diary.note(lifetimes.how_it_began(before, now), f"Version {__version__}.")
        self._open_instruments()
        self._description.tell()
        self._started = True
        self.keeper.start()
        if self.keeper.call(succession.superseded):
            self.tell(succession.SENTENCES[SUPERSEDED])
        self.publisher.start()
        for sampler in self.samplers:
            sampler.start()
        if self._home:
            self._home.start()

    def stop(self) -> None:
        """Also after a `start` that failed."""
        if self._started:
            for sampler in self.samplers:
                sampler.stop()
            for sampler in self.samplers:
                sampler.join(timeout_s=5.0)
            self.diary.note("stopped")
            self.diary.close()
            try:
                self.keeper.seal_open_window()
            except AgentError as error:  # the disk does not answer: the next start seals what is on it
                self.tell(error.sentence)
            self.publisher.stop(PUBLISH_AT_STOP_S)
            if self._home:
                self._home.stop()
        self.keeper.stop(timeout_s=10.0)
        self._buses.close()
        if self.answers.lifetimes.running:
            lifetimes.end(self._lifetimes_path, self.answers.lifetimes)

    def progress(self) -> bool:
        """Whether the journal's and the publisher's threads went round since the last call, and somebody
        samples. Instruments that need a person do not count: starting again cannot help them."""
        before, self._progress = self._progress, (self.keeper.turns, self.publisher.turns)
        moved = all(now != then for now, then in zip(self._progress, before, strict=False))
        sampling = [sampler for sampler in self.samplers if not sampler.state.ended]
        stuck = bool(sampling) and all(sampler.overdue() for sampler in sampling)
        return moved and not stuck and self.keeper.alive and self.publisher.alive

    def quantities(self, instrument: str) -> tuple[Quantity, ...]:
        """What it measures."""
        return self._instruments[instrument].quantities

    def rotate(self) -> dict[str, object]:
        """Change the device's key now; what was done. Raises `AgentError`."""
        done = asdict(self.keeper.rotate(self._keys))
        self.diary.note("key_changed", f"To {done['new_key']}, with proof {done['seq']}.")
        return done

    def resume(self) -> bool:
        """The owner's word that this board is the one; False where the store is not superseded."""

        def job(journal: Journal) -> bool:
            left = succession.resume(journal)
            if left is not None:
                self.sealer.reseal(journal, left.id)
            return left is not None

        if resumed := self.keeper.call(job):
            self.tell(succession.SENTENCES[succession.RESUMED])
            self.diary.note("resumed")
            self.publisher.resume()
        return resumed

    def _home_assistant(self) -> HomeAssistant | None:
        """Where it is on. What it cannot use switches it off, and nothing else."""
        if not self._settings.home_assistant.enabled:
            return None
        from agent import home_assistant

        try:
            return home_assistant.HomeAssistant(
                self._settings.home_assistant, self.device, self.samplers, self.answers.status, time.monotonic
            )
        except HardStop as error:
            self.tell(f"Home Assistant is told nothing. {error.sentence}")
            return None

    def _open_instruments(self) -> None:
        problems = []
        for sampler in self.samplers:
            try:
                sampler.open_once()
            except NeedsHuman as error:
                problems.append(error.sentence)
                self.tell(error.sentence)
            except DriverError as error:
                self.tell(error.sentence)  # it may come back: the sampler opens it again
        if len(problems) == len(self.samplers):
            raise HardStop(" ".join(problems))

    def _on_sealed(self) -> None:
        self.publisher.wake()

    def _on_receipt(self, outcome: Outcome) -> None:
        if outcome.new_log_because:
            self.diary.note("new_log", f"Because: {outcome.new_log_because}.", outcome.new_log_because)
        for verdict in outcome.verdicts:
            detail = f": {verdict.detail}" if verdict.detail else ""
            self.diary.note(verdict.code, f"Proof {verdict.seq}{detail}.")
        try:
            if self.keeper.settle_rotation(self._keys):
                self.tell("The network has this device's new key; the old one is gone from here.")
                self.diary.note("key_settled")
        except HardStop as error:
            self.tell(error.sentence)

    def prove_now(self) -> None:
        """Read every instrument outside its schedule and seal a proof: its owner wants to see one."""
        self.keeper.challenges.prove_now(self._clock.boottime_ns() + _PROVE_NS, self._running())
        self._read_now()

    def _on_challenge(self, challenge: Challenge) -> None:
        deadline_ns = self._clock.boottime_ns() + round(challenge.deadline_s * 0.8e9)
        self.keeper.challenges.hear(challenge.nonce, deadline_ns, self._running())
        self._read_now()

    def _running(self) -> set[str]:
        return {sampler.name for sampler in self.samplers if not sampler.state.ended}

    def _read_now(self) -> None:
        for sampler in self.samplers:
            sampler.read_now()
