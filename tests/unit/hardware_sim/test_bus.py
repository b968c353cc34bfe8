from __future__ import annotations

import errno

import pytest

from hardware_sim.bus import BitFlip, Hang, Nack, ShortRead, VirtualI2C
from hardware_sim.clock import PacedClock


class Echo:
    """Gives back what was last written, then zeros."""

    powered = True
    held = b""

    def write(self, data):
        self.held = data

    def read(self, length):
        return self.held.ljust(length, b"\0")[:length]


@pytest.fixture
def bus():
    bus = VirtualI2C({0x10: Echo()}, PacedClock(0, 0))
    assert bus.try_lock()
    return bus


def _exchange(bus, address=0x10):
    data = bytearray(2)
    bus.writeto_then_readfrom(address, b"\x01\x02", data)
    return bytes(data)


def test_windows_of_buffers_are_honoured(bus):
    data = bytearray(6)
    bus.writeto(0x10, b"abcdef", start=1, end=4)
    bus.readfrom_into(0x10, data, start=2, end=5)
    assert data == b"\0\0bcd\0"
    bus.writeto_then_readfrom(0x10, b"xyz", data, out_start=1, out_end=2, in_start=5)
    assert data == b"\0\0bcdy"


def test_nobody_at_the_address_and_no_power_are_the_same_nack(bus):
    for address in (0x11, 0x10):
        bus._parts[0x10].powered = False
        with pytest.raises(OSError, match="Remote I/O") as caught:
            _exchange(bus, address)
        assert caught.value.errno == errno.EREMOTEIO
    assert bus.scan() == []


def test_the_lock_is_required(bus):
    assert not bus.try_lock()
    bus.unlock()
    with pytest.raises(RuntimeError, match="requires lock"):
        _exchange(bus)


def test_each_fault_does_what_it_says_at_its_index_only(bus):
    plan = {1: Nack(), 2: Hang(3.0), 3: Hang(2.0, then_done=True), 4: ShortRead(), 5: BitFlip(9)}
    bus.fault = lambda index, operation, address: plan.get(index)
    assert _exchange(bus) == b"\x01\x02"
    with pytest.raises(OSError, match="Remote I/O"):
        _exchange(bus)
    with pytest.raises(OSError, match="timed out") as caught:
        _exchange(bus)
    assert caught.value.errno == errno.ETIMEDOUT
    assert bus._clock.boottime_ns() == 3 * 10**9
    assert _exchange(bus) == b"\x01\x02"
    assert bus._clock.boottime_ns() == 5 * 10**9
    with pytest.raises(IndexError):
        _exchange(bus)
    assert _exchange(bus) == b"\x01\x00"
    assert _exchange(bus) == b"\x01\x02"


def test_a_flipped_bit_of_a_write_reaches_the_part(bus):
    bus.fault = lambda index, operation, address: BitFlip(0) if operation == "write" else None
    bus.writeto(0x10, b"\x01\x02")
    data = bytearray(2)
    bus.readfrom_into(0x10, data)
    assert data == b"\x00\x02"
