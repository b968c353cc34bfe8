"""Every line the daemons can log, read in their source: one manner, and nothing that must not be logged."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("agent", "gateway") for path in (ROOT / folder).glob("**/*.py"))
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
# What a line may tell, besides its event. A new name is a decision: is it short, and no secret?
FIELDS = set(
    "broker bytes callback claim code detail device file instrument kept last mqtt owner problem protocol "
    "readings reason sentence seq serial size thread topic topics".split()
)


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="_log"), attr=level)) if level in LEVELS:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


CALLS = list(calls())


def test_all_log_calls_are_found_here():
    written = sum(len(re.findall(r"\b_log\.(?:" + "|".join(LEVELS) + r")\(", p.read_text())) for p in SOURCES)
    assert len(CALLS) == written > 25


@pytest.mark.parametrize(("place", "call"), CALLS, ids=[place for place, _ in CALLS])
def test_an_event_is_a_few_fixed_words_and_what_varies_stands_in_known_fields(place, call):
    (event,) = call.args
    assert isinstance(event, ast.Constant), "an event that varies cannot be counted or searched for"
    assert isinstance(event.value, str)
    assert re.fullmatch(r"[A-Za-z]+( [A-Za-z_]+){0,6}", event.value)
    assert len(event.value) <= 40
    named = {keyword.arg for keyword in call.keywords}
    assert named - {None} <= FIELDS
