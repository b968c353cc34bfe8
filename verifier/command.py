"""What `verify` does: judge the whole file first, then say it, then unpack.

- The file is read piece by piece, twice where its readings are unpacked; the second time each proof must be
  the one that was judged.
- An unpacked file is whole or not there, and never takes the place of another.
- Whatever cannot be done is one sentence, on stderr or as {"error": …} with `--json`, and exit code 2.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import typer

from proof import bundle
from proof.finding import Finding
from proof.reasons import Refused
from proof.sealing import Proof
from proof.sequence import Spoiled
from verifier import shape, unpack, words


class Unusable(Exception):
    """One sentence: what happened, where, what to do. `facts` are for machines."""

    def __init__(self, sentence: str, facts: dict[str, Any] | None = None) -> None:
        self.sentence, self.facts = sentence, facts or {}
        super().__init__(sentence)


@dataclass(frozen=True, slots=True)
class Job:
    file: Path
    gateway_keys: list[bytes]
    as_json: bool = False
    csv: Path | None = None
    senml: Path | None = None


def run(job: Job, program: str) -> int:
    """The exit code."""
    try:
        if job.csv and job.senml and job.csv.resolve() == job.senml.resolve():
            raise Unusable(f"{job.csv} cannot be both: give --csv and --senml two names.")
        for wanted in filter(None, (job.csv, job.senml)):
            if wanted.exists():
                raise _there(wanted)
        with _opened(job.file) as file:
            finding = _judged(job, file)
            for path, pieces in ((job.csv, unpack.csv), (job.senml, unpack.senml)):
                if path:
                    _write(path, pieces(_same_proofs(file, finding), finding))
    except Unusable as error:
        return fail(error, job.as_json, program)
    if job.as_json:
        typer.echo(json.dumps(shape.of(finding), indent=2))
    else:
        for sentence in words.of(finding):
            typer.echo(sentence)
        for path in filter(None, (job.csv, job.senml)):
            typer.echo(f"The readings are in {path}.")
    return 0


def fail(error: Unusable, as_json: bool, program: str) -> int:
    sentence = "".join(char if char.isprintable() else "?" for char in error.sentence)
    if as_json:
        typer.echo(json.dumps({"error": sentence, **error.facts}, indent=2))
    else:
        typer.echo(f"{program}: {sentence}", err=True)
    return 2


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise Unusable(f"Cannot read {path}: {error.strerror}.") from None


def _judged(job: Job, file: BinaryIO) -> Finding:
    try:
        return bundle.examine(file.read, job.gateway_keys)
    except Spoiled as spoiled:
        raise Unusable(
            f"{job.file} is not valid evidence. {words.spoiled(spoiled)}", shape.spoiled(spoiled)
        ) from None


def _same_proofs(file: BinaryIO, finding: Finding) -> Iterator[Proof]:
    file.seek(0)
    try:
        for proof, judged in zip(bundle.proofs(file.read), finding.proof_hashes, strict=True):
            if proof.hash != judged:
                raise ValueError("another proof")
            yield proof
    except (Refused, ValueError):
        raise Unusable("The bundle changed while it was read: nothing was unpacked; try again.") from None


def _write(path: Path, pieces: Iterable[str]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("x", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
        _name(draft, path)
    except FileExistsError:
        raise _there(path) from None
    except OSError as error:
        raise Unusable(f"Cannot write {path}: {error.strerror}.") from None
    finally:
        draft.unlink(missing_ok=True)


def _name(draft: Path, path: Path) -> None:
    """Give the whole file its name, which must be free."""
    try:
        os.link(draft, path)
    except PermissionError:  # a file system without links, like a USB stick's: take the name, then fill it
        path.touch(exist_ok=False)
        draft.replace(path)


def _there(path: Path) -> Unusable:
    return Unusable(f"{path} is already there and stays as it is: give another name.")
