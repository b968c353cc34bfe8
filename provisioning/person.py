"""Who answers `setup`'s questions: a person at a terminal, or the options of an unattended run.

Every question has a default. Unattended, the default is the answer; a question without one is a `HardStop`
that names the option.
"""

from __future__ import annotations

from typing import Protocol

import typer

from agent.errors import HardStop
from provisioning.doorway import printable


class Person(Protocol):
    def tell(self, sentence: str) -> None: ...

    def agrees(self, question: str, default: bool) -> bool: ...

    def says(self, question: str, default: str | None, option: str) -> str:
        """A line of text; `option` is what gives it unattended. Raises `HardStop` where there is none."""


class AtTerminal:
    """Raises `typer.Abort` for the end of input and Ctrl-C."""

    def tell(self, sentence: str) -> None:
        typer.echo(printable(sentence))

    def agrees(self, question: str, default: bool) -> bool:
        return typer.confirm(printable(question), default=default)

    def says(self, question: str, default: str | None, option: str) -> str:
        answer: str = typer.prompt(printable(question), default=default)
        return answer.strip()


class Unattended:
    """Takes every default; `quiet` for machines."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def tell(self, sentence: str) -> None:
        if not self._quiet:
            typer.echo(printable(sentence))

    def agrees(self, question: str, default: bool) -> bool:
        self.tell(f"{question} {'yes' if default else 'no'}")
        return default

    def says(self, question: str, default: str | None, option: str) -> str:
        if default is None:
            raise HardStop(f"{question.rstrip(':?')} is not known: give {option}.")
        self.tell(f"{question}: {default}")
        return default
