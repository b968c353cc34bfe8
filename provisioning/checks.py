"""The examination's frame: checks in rows, each on its own.

- A check is given the values of what it needs, in order, and gives a `Finding`. Whatever it raises becomes a
  finding; one that hangs is left behind at its deadline. So an examination always comes to its end.
- A check that needs one without a value is skipped and names the check at the root of it. What it only `uses`
  is None where there is none.
- The checks of a row run at the same time, rows one after the other. When the budget is used up, what is left
  is skipped.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from agent.errors import AgentError
from drivers.errors import DriverError

BUDGET_S = 50.0
_TWO_SENTENCES = re.compile(r"(.+?[.?!]) (?=[A-Z])(.+)", re.DOTALL)


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105 a verdict, no password
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


PASS, WARN, FAIL, SKIPPED = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.SKIPPED
EXIT_CODES = {SKIPPED: 0, PASS: 0, WARN: 1, FAIL: 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `value` is for the checks after it, and counts only with a pass or a warning."""

    verdict: Verdict
    found: str
    to_do: str = ""
    value: Any = None


@dataclass(frozen=True, slots=True)
class Check:
    """`late`, fail or skipped, is the verdict where it does not answer within `deadline_s`."""

    name: str
    expected: str
    run: Callable[..., Finding]
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    deadline_s: float = 5.0
    late: Verdict = FAIL


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the report."""

    name: str
    verdict: Verdict
    found: str
    expected: str
    to_do: str

    def facts(self) -> dict[str, str]:
        return {key: str(value) for key, value in asdict(self).items()}


class Examination:
    """Runs rows of checks; `lines` is the report so far."""

    def __init__(self, budget_s: float = BUDGET_S) -> None:
        self.lines: list[Line] = []
        self._values: dict[str, Any] = {}
        self._roots: dict[str, str] = {}
        self._end_s = time.monotonic() + budget_s

    def value(self, name: str) -> Any:
        """The value of a check that passed or warned, else None."""
        return self._values.get(name)

    def row(self, *checks: Check) -> None:
        answers = [self._begin(check) for check in checks]
        begun_s = time.monotonic()
        for check, answer in zip(checks, answers, strict=True):
            self._end(check, self._awaited(check, answer, begun_s))

    def _begin(self, check: Check) -> queue.SimpleQueue[Finding]:
        answer: queue.SimpleQueue[Finding] = queue.SimpleQueue()
        if roots := [self._roots[name] for name in check.needs if name in self._roots]:
            self._roots[check.name] = roots[0]
            answer.put(Finding(SKIPPED, f"It needs what `{roots[0]}` did not give."))
        elif time.monotonic() >= self._end_s:
            answer.put(Finding(SKIPPED, "The time for the whole examination is used up."))
        else:
            values = [self._values.get(name) for name in (*check.needs, *check.uses)]
            work = threading.Thread(
                target=lambda: answer.put(_found(check, values)), name=check.name, daemon=True
            )
            work.start()
        return answer

    def _awaited(self, check: Check, answer: queue.SimpleQueue[Finding], begun_s: float) -> Finding:
        until_s = min(begun_s + check.deadline_s, self._end_s)
        try:
            return answer.get(timeout=max(0.0, until_s - time.monotonic()))
        except queue.Empty:
            found = f"There was no answer within {until_s - begun_s:.0f} s."
            return Finding(check.late, found, "Something there hangs: examine it again, then restart it.")

    def _end(self, check: Check, finding: Finding) -> None:
        if finding.verdict in (PASS, WARN):
            self._values[check.name] = finding.value
        else:
            self._roots.setdefault(check.name, check.name)
        self.lines.append(Line(check.name, finding.verdict, finding.found, check.expected, finding.to_do))


def worst(lines: list[Line]) -> Verdict:
    """A skipped line is no worse than a pass: what it needs has its own line."""
    return max((line.verdict for line in lines), key=EXIT_CODES.__getitem__, default=PASS)


def failed(sentence: str) -> Finding:
    """An error's sentence as a finding: what happened, and from its second sentence on what to do."""
    parts = _TWO_SENTENCES.fullmatch(sentence)
    return Finding(FAIL, *parts.groups()) if parts else Finding(FAIL, sentence)


def _found(check: Check, values: list[Any]) -> Finding:
    try:
        return check.run(*values)
    except (AgentError, DriverError) as error:
        return failed(error.sentence)
    except PermissionError as error:
        to_do = "Run this as the owner: sudo fieldproof-provision doctor"
        return Finding(FAIL, f"{error.filename}: {error.strerror}.", to_do)
    except Exception as error:  # noqa: BLE001 a defect of one check must not hide what the others find
        return Finding(FAIL, f"The check itself failed: {error!r}.", "Please report this.")
