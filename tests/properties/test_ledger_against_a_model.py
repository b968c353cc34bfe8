"""The ledger against a model that only knows what was sent: random orders, copies, losses, restarts.

- Each sequence number is accepted at most once, and the bytes are the device's own.
- The head is the highest number up to which the device's proofs arrived or were declared lost.
- Whatever is not accepted and is sent again in the end is accepted in the end.
- A proof by a key whose rotation has not arrived is refused, and accepted when it is sent again after it.
- A second proof for one number suspends the device, and from then on nothing more is accepted.
"""

from __future__ import annotations

import shutil
import tempfile
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from proof.cose import object_hash
from tests.gateway_parts import Device, Gateway, receipt_in

COUNT = 12


@dataclass
class Model:
    """Numbers that arrived, and ranges declared as gaps by proofs that arrived. `turns` are the numbers of
    the proofs that carry rotations; `known` of them have arrived, each after the one before."""

    turns: list[int] = field(default_factory=list)
    known: int = 0
    arrived: set[int] = field(default_factory=set)
    gaps: dict[int, tuple[int, int]] = field(default_factory=dict)
    head: int = 0
    accepted: set[int] = field(default_factory=set)

    def take(self, seq: int) -> None:
        turns = bisect_right(self.turns, seq)
        if seq in self.turns and self.known == turns - 1:
            self.known = turns
        if self.known < turns:
            return
        self.arrived.add(seq)
        moved = True
        while moved:
            moved = False
            if self.head + 1 in self.arrived:
                moved, self.head = True, self.head + 1
                self.accepted.add(self.head)
                continue
            for carrier, (first, last) in self.gaps.items():
                beyond = last + 1
                if carrier in self.arrived and first <= self.head + 1 <= last and beyond in self.arrived:
                    moved, self.head = True, beyond
                    self.accepted.add(beyond)
                    break


def sealed(device: Device, gap: tuple[int, int, int] | None, turns: list[int]) -> list[bytes]:
    """Proofs 1 to COUNT; `gap` is (first, last, the number of the proof that declares it)."""
    for seq in range(1, COUNT + 1):
        seal = device.rotate if seq in turns else device.seal
        seal(gaps=(device.gap(*gap[:2]),) if gap and gap[2] == seq else ())
    return [device.proofs[device.log, seq] for seq in range(1, COUNT + 1)]


@st.composite
def gaps(draw: st.DrawFn) -> tuple[int, int, int] | None:
    if draw(st.booleans()):
        return None
    first = draw(st.integers(1, COUNT - 2))
    last = draw(st.integers(first, min(first + 4, COUNT - 2)))
    return first, last, draw(st.integers(last + 1, COUNT))


sequence = st.integers(1, COUNT)
step = st.one_of(
    st.lists(sequence, min_size=1, max_size=5),  # one batch
    st.just("restart"),
)


def check(gateway: Gateway, device: Device, model: Model) -> None:
    accepted = list(gateway.register.accepted(device.id))
    assert accepted == [device.proofs[device.log, seq] for seq in sorted(model.accepted)]
    receipt = gateway.receipt(device)
    assert receipt.head_seq == model.head
    if model.head:
        assert receipt.head_hash == object_hash(device.proofs[device.log, model.head])
    (line,) = gateway.register.devices()
    assert (line.proofs, line.readings) == (len(accepted), len(accepted))
    for first, last in receipt.missing:
        assert not model.arrived.intersection(range(first, last + 1))


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(step, max_size=12), gap=gaps(), turns=st.sets(sequence, max_size=3))
def test_random_arrivals_end_as_the_model_says(steps, gap, turns):
    folder = Path(tempfile.mkdtemp())
    gateway = Gateway(folder)
    try:
        device = gateway.member()
        lost = set(range(gap[0], gap[1] + 1)) if gap else set()
        model = Model(gaps={gap[2]: gap[:2]} if gap else {}, turns=sorted(turns - lost))
        proofs = sealed(device, gap, model.turns)
        for action in steps:
            if action == "restart":
                gateway.restart()
                continue
            batch = [seq for seq in action if seq not in lost]
            gateway.send(device, *(proofs[seq - 1] for seq in batch))
            for seq in batch:
                model.take(seq)
            check(gateway, device, model)
        kept = [seq for seq in range(1, COUNT + 1) if seq not in lost]
        # The carrier first: the device answers a request for a lost proof with the one that declares it.
        # Twice: what was signed by a key not known yet comes again.
        for seq in 2 * sorted(kept, key=lambda seq: gap is None or seq != gap[2]):
            gateway.send(device, proofs[seq - 1])
            model.take(seq)
        check(gateway, device, model)
        assert model.accepted == set(kept)
        assert gateway.receipt(device).missing == ()
        assert gateway.receipt(device).verdicts == ()
    finally:
        gateway.close()
        shutil.rmtree(folder)


@settings(max_examples=30, deadline=None)
@given(
    order=st.permutations(range(1, COUNT + 1)),
    forked=sequence,
    arrives=st.integers(0, COUNT),
    restart=st.booleans(),
)
def test_an_equivocation_suspends_wherever_it_arrives(order, forked, arrives, restart):
    folder = Path(tempfile.mkdtemp())
    gateway = Gateway(folder)
    try:
        device = gateway.member()
        for seq in range(1, COUNT + 1):
            if seq == forked:
                rival = device.other()
            device.seal()
        proofs = [device.proofs[device.log, seq] for seq in order]
        proofs.insert(arrives, rival)
        for proof in proofs:
            gateway.send(device, proof)
            if restart:
                gateway.restart()
        (line,) = gateway.register.devices()
        assert line.suspended
        stored = {data for code, data in gateway.register.evidence(device.id) if code == "equivocation"}
        assert stored == {rival, device.proofs[device.log, forked]}
        kept = list(gateway.register.accepted(device.id))
        assert len(kept) == len(set(kept)) == line.proofs
        head = gateway.receipt(device).head_seq
        assert receipt_in(gateway.send(device, device.seal()), device).head_seq == head
    finally:
        gateway.close()
        shutil.rmtree(folder)
