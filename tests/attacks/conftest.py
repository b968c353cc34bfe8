"""What attacks share: a real gateway, owners, and a stranger at the same broker."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from agent import backoff
from proof.joining import Kind
from tests.attack_parts import AttackedGateway, Attacker, Owner


@pytest.fixture
def gateway(tmp_path, mosquitto, until) -> Iterator[Callable[..., AttackedGateway]]:
    made: list[AttackedGateway] = []

    def make(name: str = "test-net", kind: Kind = "test") -> AttackedGateway:
        made.append(AttackedGateway(tmp_path / name, mosquitto.url, name, kind))
        made[-1].start(until)
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def owner(tmp_path, until, monkeypatch) -> Iterator[Callable[..., Owner]]:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # only the main thread may
    monkeypatch.setattr(backoff, "_FIRST_S", 0.5)
    monkeypatch.setattr(backoff, "LONGEST_S", 1.0)
    made: list[Owner] = []

    def make(name: str = "owner", **options: bool) -> Owner:
        made.append(Owner(tmp_path / name, until, **options))
        return made[-1]

    yield make
    for one in made:
        one.board.stop()


@pytest.fixture
def attacker(mosquitto, until) -> Iterator[Callable[..., Attacker]]:
    made: list[Attacker] = []

    def make(*topics: str) -> Attacker:
        made.append(Attacker(mosquitto.port, until, *topics))
        return made[-1]

    yield make
    for one in made:
        one.close()
