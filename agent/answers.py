"""What is asked of a running node, and what it says.

- It only reads. The one thing it writes is the diary's: what is wrong now (`watch`).
- Each question has its patience: a journal that does not answer is said, with how it stood the last time.
- Any thread may ask; `watch` is for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import structlog

from agent import explain, export, lifetimes, papers, reserve, status
from agent.clock import Clock
from agent.conditions import Situation
from agent.diary import Diary
from agent.errors import TryAgain
from agent.journal import Journal
from agent.keeper import Keeper
from agent.membership import Joined
from agent.publisher import Publisher
from agent.sampler import Sampler
from agent.sealer import Sealer
from agent.settings import Settings
from agent.watch import LOOK_S, Watch
from proof.calibration import SignedCertificate

T = TypeVar("T")
_LINE_S, STATUS_S = 5.0, 8.0  # so long a line and a report may take; who asks waits for longer
_MOST_NEWS = 20
_log = structlog.get_logger()


class News:
    """What the owner should know: logged, and kept for `status`, the newest last."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def tell(self, sentence: str) -> None:
        _log.warning("news", sentence=sentence)
        others = [known for known in self.sentences if known != sentence]
        self.sentences = [*others[1 - _MOST_NEWS :], sentence]


class Answers:
    """`certificates` are those in force, by instrument; `key_class` is how the device keeps its key."""

    def __init__(
        self,
        settings: Settings,
        joined: Joined,
        key_class: str,
        clock: Clock,
        keeper: Keeper,
        sealer: Sealer,
        publisher: Publisher,
        samplers: Sequence[Sampler],
        certificates: dict[str, tuple[SignedCertificate, ...]],
        diary: Diary,
        news: News,
    ) -> None:
        self._settings, self._joined, self._key_class, self._clock = settings, joined, key_class, clock
        self._keeper, self._sealer, self._publisher, self._samplers = keeper, sealer, publisher, samplers
        self._certificates, self._diary, self._news = certificates, diary, news
        self._watch, self._looked_ns = Watch(diary), clock.boottime_ns()
        self._stored, self._counted = papers.NOTHING_STORED, (papers.NOTHING_COUNTED, 0)
        self._counted_at_s: float | None = None
        self.lifetimes = lifetimes.NONE

    @property
    def now_s(self) -> float:
        return self._clock.wall().ns / 1e9

    def status(self) -> dict[str, object]:
        """What `status`, and every other view, says: one source."""
        counted, problem = self._ask(lambda j: (papers.counts(j), self._keeper.held), STATUS_S)
        if counted is not None:
            self._counted, self._counted_at_s = counted, self.now_s
        counts, held = self._counted
        return status.report(
            self._joined.membership.device,
            self._joined.membership,
            self._key_class,
            self._situation(problem),
            counts,
            held,
            self._news.sentences,
            self.lifetimes,
            lifetimes.reboots(),
            answered=counted is not None,
            answered_at_s=self._counted_at_s,
        )

    def status_line(self) -> str:
        """The short form, for `systemctl status`."""
        waiting, problem = self._ask(papers.waiting, _LINE_S)
        return status.line(self._situation(problem), waiting)

    def watch(self) -> None:
        """To be called every few seconds: what goes wrong, and when that ends, goes into the diary."""
        now_ns = self._clock.boottime_ns()
        if now_ns - self._looked_ns < LOOK_S * 1e9:
            return
        self._looked_ns = now_ns
        _, problem = self._ask(lambda _journal: None, _LINE_S)
        self._watch.look(self._situation(problem), now_ns)

    def log(self, limit: int) -> list[dict[str, Any]]:
        """The diary, newest first. Raises `TryAgain`."""
        return self._keeper.read(lambda journal: self._diary.entries(journal, limit), STATUS_S)

    def explain(self, seq: int | None) -> dict[str, Any]:
        """What became of proof `seq`; without one, what was rejected or flagged lately. Raises `TryAgain`."""
        if seq is None:
            return self._keeper.read(explain.lately, STATUS_S)
        return self._keeper.read(lambda journal: explain.proof(journal, seq, self.sent_s), STATUS_S)

    def sent_s(self, log_id: int, seq: int) -> float | None:
        """When the broker had that proof the last time, by the wall clock; None where that is not known."""
        ago_s = self._publisher.sent_ago_s(log_id, seq)
        return None if ago_s is None else self.now_s - ago_s

    def export(self, since_s: int, until_s: int) -> Iterator[bytes]:
        """An evidence bundle of what the journal keeps of that time."""
        certificates = [signed.data for found in self._certificates.values() for signed in found]
        return export.pieces(
            self._keeper.read, self._joined, since_s, until_s, certificates, self._sealer.descriptor
        )

    def calibrations(self) -> dict[str, list[tuple[str, int | None]]]:
        """By instrument, of each certificate in force: its quantity, and when it expires."""
        return {
            name: [(s.certificate.quantity, s.certificate.expires_s) for s in signed]
            for name, signed in self._certificates.items()
        }

    def _ask(self, job: Callable[[Journal], T], timeout_s: float) -> tuple[T | None, str]:
        """What the journal answers, or why it does not. How it stood when it did the last time is kept."""
        try:
            stored, value = self._keeper.read(
                lambda journal: (papers.stored(journal), job(journal)), timeout_s
            )
        except TryAgain as error:
            return None, error.sentence
        self._stored = stored
        return value, ""

    def _situation(self, problem: str) -> Situation:
        free = None
        with suppress(OSError):
            free = reserve.free_bytes(self._settings.state_dir)
        return Situation(
            self._stored,
            self._publisher.state(),
            [sampler.state for sampler in self._samplers],
            self._clock.wall(),
            self._settings.journal,
            self._keeper.problem or problem,
            free,
            self._keeper.unsealed,
        )
