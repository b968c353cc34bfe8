"""What a device says of itself: in it is who has said who he is, as he said so the last time."""

from __future__ import annotations

import threading

from agent.buses import PaperBuses
from agent.descriptor import Description
from agent.instruments import build_instrument
from agent.sealer import Sealer
from agent.settings import InstrumentSettings
from drivers.contract import Identity
from proof.calibration import SignedCertificate
from tests.agent_parts import FakeClock, make_sealer

NAMES = "inside", "outside"


class SlowOnce(dict[str, tuple[SignedCertificate, ...]]):
    """Certificates of which the first to ask gets his when he may go on."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(NAMES, ()))
        self.begun, self.go = threading.Event(), threading.Event()

    def __getitem__(self, name: str) -> tuple[SignedCertificate, ...]:
        if not self.begun.is_set():
            self.begun.set()
            assert self.go.wait(20)
        return super().__getitem__(name)


def described(certificates: dict[str, tuple[SignedCertificate, ...]]) -> tuple[Description, Sealer]:
    clock = FakeClock()
    settings = [InstrumentSettings(name, "bme280", "i2c:1") for name in NAMES]
    instruments = {i.name: build_instrument(i, PaperBuses(), clock) for i in settings}
    sealer = make_sealer(clock)
    return Description(sealer, "sim", settings, instruments, certificates), sealer


def said(sealer: Sealer) -> list[tuple[str, str]]:
    assert sealer.descriptor is not None
    return [(one.name, one.serial) for one in sealer.descriptor.instruments]


def test_an_instrument_is_in_it_once_it_has_said_who_it_is():
    description, sealer = described(dict.fromkeys(NAMES, ()))
    description.tell()
    assert said(sealer) == []
    description.identified("outside", Identity("BME280", "1", "serial"))
    assert said(sealer) == [("outside", "1")]
    description.identified("inside", Identity("BME280", "2", "serial"))
    description.identified("outside", Identity("BME280", "3", "serial"))
    assert said(sealer) == [("inside", "2"), ("outside", "3")]


def test_who_was_identified_last_stands_in_it_where_two_are_at_once():
    certificates = SlowOnce()
    description, sealer = described(certificates)
    threads = [
        threading.Thread(target=description.identified, args=("inside", Identity("BME280", serial, "serial")))
        for serial in ("first", "second")
    ]
    threads[0].start()
    assert certificates.begun.wait(20)
    threads[1].start()
    threads[1].join(0.3)  # it waits for the first, or has overtaken it
    certificates.go.set()
    for thread in threads:
        thread.join(20)
    assert said(sealer) == [("inside", "second")]
