"""Evidence bundle (§11): everything a stranger needs to judge one device, in one file.

- A CBOR sequence (RFC 8742) of byte strings. The first holds the header map {1: version, 2: device id,
  3: network}; each other one a signed object: the membership, beacons, proofs in chain order, receipts,
  calibration certificates, and before the first proof the rotations that lie before it (§8.4).
- Judged with nothing but the gateways' public keys. One bad object spoils the bundle: it is named.
- To which key the first one committed, only the gateway was told: a turn is confirmed where a receipt covers
  what the new key signed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from proof import beacon, calibration, cbor, chain, cose, joining, receipt, rotation, sealing
from proof.beacon import Beacon
from proof.calibration import SignedCertificate
from proof.chain import Head
from proof.claims import Gap, Predecessor
from proof.cose import Typ
from proof.descriptor import InstrumentDescriptor
from proof.fields import Fields
from proof.joining import Membership
from proof.keys import public_key_of
from proof.reasons import QUALITY_REASONS, Reason, Refused
from proof.receipt import Receipt
from proof.rotation import DeviceKey, Rotation
from proof.sealing import Proof

VERSION = 1


@dataclass(frozen=True, slots=True)
class Turn:
    """A change of the device's key, from `seq` of `log` on."""

    log: bytes
    seq: int
    new_key: bytes
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """What a bundle shows. `signed_after_s` and `signed_before_s` are None where nothing bounds the time;
    `certificates` are (instrument, certificate) for those that the last descriptor names; `turns` lead from
    the device's first key to that of the last proof. `elsewhere` are logs that a later one names as the one
    before it and that are not in the bundle there: another board's, or another card's."""

    device: str
    network: str
    key_class: str
    simulated: bool
    proofs: int
    readings: int
    first_seq: int
    last_seq: int
    signed_after_s: int | None
    signed_before_s: int | None
    receipted_seq: int
    instruments: tuple[InstrumentDescriptor, ...]
    gaps: tuple[Gap, ...]
    lost: int
    flags: tuple[tuple[str, int], ...]
    certificates: tuple[tuple[str, SignedCertificate], ...] = ()
    turns: tuple[Turn, ...] = ()
    elsewhere: tuple[Predecessor, ...] = ()


def write(device: str, network: str, objects: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a bundle file; `objects` are signed objects, the membership first."""
    yield cbor.bstr(cbor.encode({1: VERSION, 2: device, 3: network}))
    yield from map(cbor.bstr, objects)


def examine(data: bytes, gateway_keys: Collection[bytes]) -> Finding:
    """Judge a whole bundle; raises `Refused` naming the object that is wrong."""
    items = _items(data)
    fields = Fields(cbor.decode(next(items, b""), 256, "the header"), "the bundle's header")
    if fields.integer(1) != VERSION:
        raise Refused(Reason.MALFORMED, f"this verifier reads bundle version {VERSION}")
    examiner = _Examiner(fields.text(2), fields.text(3, 32), gateway_keys)
    fields.end()
    for number, item in enumerate(items, start=1):
        try:
            examiner.take(number, item)
        except Refused as refused:
            raise Refused(refused.verdict.reason, f"object {number}: {refused.verdict.detail}") from None
    examiner.require_chain()
    return examiner.finding()


def proofs(data: bytes) -> Iterator[Proof]:
    """The proofs of a bundle in its order; call `examine` first. Raises `Refused`."""
    for item in list(_items(data))[1:]:
        if cose.typ_of(item) is Typ.PROOF:
            yield sealing.parse(item)


def _items(data: bytes) -> Iterator[bytes]:
    rest = memoryview(data)
    while rest:
        item, rest = cbor.take_bstr(rest)
        yield item


class _Examiner:
    def __init__(self, device: str, network: str, gateway_keys: Collection[bytes]) -> None:
        self._device, self._network, self._gateway_keys = device, network, gateway_keys
        self._key = DeviceKey(public_key_of(device))
        self._turns: list[tuple[int, Rotation]] = []  # each with the number of proofs before it
        self._membership: Membership | None = None
        self._proofs: list[Proof] = []
        self._numbers: list[int] = []
        self._receipts: list[Receipt] = []
        self._beacons: dict[bytes, Beacon] = {}
        self._certificates: list[SignedCertificate] = []

    def take(self, number: int, item: bytes) -> None:
        match cose.typ_of(item):
            case Typ.MEMBERSHIP:
                membership = joining.open_membership(item, self._gateway_keys, self._device)
                if membership.network != self._network:
                    raise Refused(Reason.WRONG_NETWORK, f"a membership of network {membership.network!r}")
                self._membership = membership
            case Typ.BEACON:
                opened = beacon.open_beacon(item, self._trusted(), self._network)
                self._beacons[opened.hash] = opened
            case Typ.RECEIPT:
                self._receipts.append(receipt.open_receipt(item, self._trusted(), self._device))
            case Typ.PROOF:
                self._proof(sealing.parse(item))
                self._numbers.append(number)
            case Typ.ROTATION:
                self._trusted()
                if self._proofs:
                    raise Refused(Reason.MALFORMED, "a rotation outside a proof must come before the proofs")
                self._turn(rotation.parse(item))
            case Typ.CALIBRATION:
                self._trusted()
                self._certificates.append(calibration.open_certificate(item))
            case typ:
                raise Refused(Reason.WRONG_TYP, f"{typ!r} does not belong in a bundle")

    def _trusted(self) -> Collection[bytes]:
        if self._membership is None:
            raise Refused(Reason.MALFORMED, "the membership must come first")
        return self._membership.gateway_keys

    def _proof(self, proof: Proof) -> None:
        self._trusted()
        claims = proof.claims
        if turn := rotation.of_proof(claims):
            self._turn(turn)
        proof.signed.require_signature([self._key.public_key])
        if claims.device != self._device:
            raise Refused(Reason.UNKNOWN_DEVICE, "a proof of another device")
        if claims.network != self._network:
            raise Refused(Reason.WRONG_NETWORK, f"sealed for {claims.network!r}")
        proof.readings()
        self._proofs.append(proof)

    def _turn(self, turn: Rotation) -> None:
        if turn.device != self._device:
            raise Refused(Reason.UNKNOWN_DEVICE, "a rotation of another device")
        key = rotation.succeed(turn, self._key)
        if key.number > self._key.number:
            self._turns.append((len(self._proofs), turn))
        self._key = key

    def require_chain(self) -> None:
        """§4.7, when all is read: the proofs after a gap may come before the one that declares it."""
        gaps: dict[bytes, list[Gap]] = {}
        for proof in self._proofs:
            gaps.setdefault(proof.claims.log, []).extend(proof.claims.gaps)
        for number, (before, proof) in zip(self._numbers[1:], pairwise(self._proofs), strict=True):
            log, claims = before.claims.log, proof.claims
            if _leads_elsewhere(before, proof):
                continue
            head = Head(log, before.claims.seq, before.hash)
            verdict = chain.place(claims, proof.hash, head, before.claims.bootcount, None, gaps[log])
            if verdict.reason is not Reason.ACCEPTED:
                raise Refused(Reason.BROKEN_CHAIN, f"object {number}: seq {claims.seq}: {verdict}")

    def finding(self) -> Finding:
        if not self._proofs:
            raise Refused(Reason.MALFORMED, "the bundle holds no proof")
        first, last = self._proofs[0], self._proofs[-1]
        hashes = {(p.claims.log, p.claims.seq): p.hash for p in self._proofs}
        places = {place: number for number, place in enumerate(hashes)}
        covering = [
            r for r in self._receipts if r.head_seq and hashes.get((r.log, r.head_seq)) == r.head_hash
        ]
        whole = [
            r.received_at_s for r in covering if (r.log, r.head_seq) == (last.claims.log, last.claims.seq)
        ]
        after = [
            self._beacons[p.claims.freshness[0]].issued_at_s
            for p in self._proofs
            if p.claims.freshness and p.claims.freshness[0] in self._beacons
        ]
        readings = [reading for proof in self._proofs for reading in proof.readings()]
        counts = Counter(bit for reading in readings for bit in QUALITY_REASONS if reading.flags & bit)
        descriptors = [p.claims.descriptor for p in self._proofs if p.claims.descriptor]
        instruments = descriptors[-1].instruments if descriptors else ()
        covered = max((places[r.log, r.head_seq] for r in covering), default=-1)
        return Finding(
            device=self._device,
            network=self._network,
            key_class=descriptors[-1].key_class if descriptors else "not stated",
            simulated=any(descriptor.simulated for descriptor in descriptors),
            proofs=len(self._proofs),
            readings=len(readings),
            first_seq=first.claims.seq,
            last_seq=last.claims.seq,
            signed_after_s=min(after) if after else None,
            signed_before_s=min(whole) if whole else None,
            receipted_seq=max((r.head_seq for r in covering if r.log == last.claims.log), default=0),
            instruments=instruments,
            gaps=tuple(gap for proof in self._proofs for gap in proof.claims.gaps),
            lost=sum(lost.count for proof in self._proofs for lost in proof.claims.lost),
            flags=tuple((QUALITY_REASONS[bit].value, count) for bit, count in sorted(counts.items())),
            turns=tuple(
                Turn(turn.log, turn.seq, turn.public_key, covered >= before) for before, turn in self._turns
            ),
            elsewhere=tuple(
                after.claims.prev
                for before, after in pairwise(self._proofs)
                if isinstance(after.claims.prev, Predecessor) and _leads_elsewhere(before, after)
            ),
            certificates=tuple(
                (i.name, signed) for i in instruments for signed in calibration.named(i, self._certificates)
            ),
        )


def _leads_elsewhere(before: Proof, proof: Proof) -> bool:
    """Whether `proof` begins a log that does not follow the one before it in the bundle (§11.2)."""
    log, prev = before.claims.log, proof.claims.prev
    if proof.claims.log == log or not isinstance(prev, Predecessor):
        return False
    return prev.log != log or prev.reason == chain.SUPERSEDED
