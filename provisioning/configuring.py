"""The configuration that `setup` writes: short, commented, checked before it is written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from agent import settings
from agent.settings import InstrumentSettings, Settings

_DEFAULTS = InstrumentSettings("x", "x", "w1:")


def text(state_dir: Path, key: str, instruments: Sequence[InstrumentSettings], allow_plain: bool) -> str:
    """The file; raises `FixConfig` where it would not be a good one."""
    made = "\n".join(_lines(state_dir, key, instruments, allow_plain)) + "\n"
    _checked(made)
    return made


def _checked(made: str) -> Settings:
    return settings.parse(tomllib.loads(made, parse_float=Decimal), "that would be written")


def _lines(
    state_dir: Path, key: str, instruments: Sequence[InstrumentSettings], allow_plain: bool
) -> Iterator[str]:
    yield "# Fieldproof: the configuration of this sensor node, written by `fieldproof-provision setup`."
    yield "# What else can stand here: `fieldproof-agent check-config --schema`."
    yield ""
    yield "# The journal and the membership lie here."
    yield f"state_dir = {_string(str(state_dir))}"
    yield ""
    yield "# Where the device's key is. Another key is another device."
    yield f"key = {_string(key)}"
    for one in instruments:
        yield ""
        yield "[[instrument]]"
        yield f"name = {_string(one.name)}"
        yield f"driver = {_string(one.driver)}"
        yield f"bus = {_string(one.bus)}"
        if one.address:
            yield f"address = {_string(one.address)}"
        yield f"interval_s = {one.interval_s:g}"
        if one.deadline_s != _DEFAULTS.deadline_s:
            yield f"deadline_s = {one.deadline_s:g}"
    if allow_plain:
        yield ""
        yield "[mqtt]"
        yield "# Without TLS everyone on the way may read and drop what this device sends."
        yield "allow_plain = true"


def _string(words: str) -> str:
    return json.dumps(words, ensure_ascii=False)
