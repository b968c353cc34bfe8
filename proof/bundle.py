"""Evidence bundle (§11): everything a stranger needs to judge one device, in one file.

- `proof.sequence` is its form. After the header come the membership, beacons, proofs in chain order,
  receipts, calibration certificates, descriptors that proofs name by their hash, and before the first proof
  the rotations that lie before it (§8.4).
- Judged with nothing but the gateways' public keys. One bad object spoils the bundle: it is named. The header
  is nobody's word: where it does not fit the membership, the header is what is wrong.
- Judged in one pass: of a proof stay its place, its hashes and the times of its readings.
- To which key the first one committed, only the gateway was told: a turn is confirmed where a receipt covers
  what the new key signed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace

from proof import beacon, calibration, cbor, cose, joining, parts, receipt, rotation, sealing, sequence
from proof import descriptor as descriptors
from proof.calibration import SignedCertificate
from proof.claims import Gap, Lost
from proof.cose import Typ
from proof.coverage import Watcher
from proof.descriptor import Descriptor, InstrumentDescriptor
from proof.finding import Finding, Turn
from proof.joining import Membership
from proof.keys import device_id, key_id, public_key_of
from proof.parts import Link
from proof.reasons import QUALITY_REASONS, Reason, Refused
from proof.receipt import Receipt
from proof.rotation import DeviceKey, Rotation
from proof.sealing import Proof
from proof.sequence import Item, Place, Read, Spoiled

write = sequence.write
_DESCRIPTOR_START = 0xA6  # a map of six; every signed object starts with tag 18
_DESCRIPTOR = "descriptor"


def examine(data: bytes | Read, gateway_keys: Collection[bytes]) -> Finding:
    """Judge a whole bundle; raises `Spoiled` naming the object that is wrong."""
    items = sequence.items(sequence.reader(data) if isinstance(data, bytes) else data)
    first = next(items, None)
    if first is None:
        raise Spoiled(Place(0, 0, 0, "header"), Reason.MALFORMED, "the file is empty")
    examiner = _Examiner(first, gateway_keys)
    for item in items:
        examiner.take(item)
    return examiner.finding()


def proofs(data: bytes | Read) -> Iterator[Proof]:
    """The proofs of a bundle in its order; call `examine` first. Raises `Refused`."""
    for item in sequence.items(sequence.reader(data) if isinstance(data, bytes) else data):
        if item.place.number and item.data[:1] == b"\xd2" and cose.typ_of(item.data) is Typ.PROOF:
            yield sealing.parse(item.data)


class _Examiner:
    def __init__(self, header: Item, gateway_keys: Collection[bytes]) -> None:
        self._header, self._gateway_keys = header.place, gateway_keys
        self._device, self._network = sequence.header(header)
        try:
            self._key = DeviceKey(public_key_of(self._device))
        except Refused as refused:
            raise Spoiled(header.place, refused.verdict.reason, refused.verdict.detail) from None
        self._turns: list[tuple[int, Rotation]] = []  # each with the number of proofs before it
        self._joined: tuple[Membership, str] | None = None  # and the gateway that signed it
        self._links: list[Link] = []
        self._gaps: dict[bytes, list[Gap]] = {}
        self._losses: list[Lost] = []
        self._receipts: list[Receipt] = []
        self._beacons: dict[bytes, int] = {}  # hash -> issued at
        self._certificates: list[SignedCertificate] = []
        self._descriptors: dict[bytes, Descriptor] = {}
        self._apart: dict[bytes, Place] = {}  # descriptors that stand in the bundle by themselves
        self._described: dict[bytes, int] = {}  # descriptor's hash -> proofs that name it, the newest last
        self._counted: Counter[int] = Counter()
        self._readings = 0
        self._unreadable: Counter[str] = Counter()
        self._watcher = Watcher()

    def take(self, item: Item) -> None:
        place = item.place
        try:
            if item.data[:1] == bytes([_DESCRIPTOR_START]):
                place = replace(place, kind=_DESCRIPTOR)
                self._take_descriptor(item.data, place)
                return
            typ = cose.typ_of(item.data)
            place = replace(place, kind=typ.word)
            if typ is Typ.PROOF:
                proof = sealing.parse(item.data)
                place = replace(place, seq=proof.claims.seq)
                self._take_proof(proof, place)
            else:
                self._take(typ, item.data)
        except Spoiled:
            raise
        except Refused as refused:
            raise Spoiled(place, refused.verdict.reason, refused.verdict.detail) from None

    def _take(self, typ: Typ, data: bytes) -> None:
        match typ:
            case Typ.MEMBERSHIP:
                self._take_membership(data)
            case Typ.BEACON:
                opened = beacon.open_beacon(data, self._trusted(), self._network)
                self._beacons[opened.hash] = opened.issued_at_s
            case Typ.RECEIPT:
                self._receipts.append(receipt.open_receipt(data, self._trusted(), self._device))
            case Typ.ROTATION:
                self._trusted()
                if self._links:
                    raise Refused(Reason.MALFORMED, "a rotation outside a proof must come before the proofs")
                self._turn(rotation.parse(data))
            case Typ.CALIBRATION:
                self._trusted()
                self._certificates.append(calibration.open_certificate(data))
            case _:
                raise Refused(Reason.WRONG_TYP, f"a {typ.word} does not belong in a bundle")

    def _take_membership(self, data: bytes) -> None:
        signed = cose.parse(data, Typ.MEMBERSHIP, joining.MAX_BYTES)
        if signed.kid not in map(key_id, self._gateway_keys):
            raise Refused(
                Reason.BAD_KEY,
                f"the gateway key that signed it is not among those given: its id is {signed.kid.hex()}",
            )
        key = signed.require_signature(self._gateway_keys)
        membership = joining.open_membership(data, [key], str(signed.claims.get(cose.SUB)))
        if membership.device != self._device:
            raise Spoiled(self._header, Reason.UNKNOWN_DEVICE, "the membership is of another device")
        if membership.network != self._network:
            raise Spoiled(
                self._header, Reason.WRONG_NETWORK, f"the membership is of network {membership.network!r}"
            )
        self._joined = membership, device_id(key)

    def _take_descriptor(self, data: bytes, place: Place) -> None:
        self._trusted()
        described = descriptors.from_map(cbor.decode(data, cose.MAX_BYTES, "the descriptor"))
        self._descriptors[described.hash()] = described
        self._apart[described.hash()] = place

    def _trusted(self) -> Collection[bytes]:
        if self._joined is None:
            raise Refused(Reason.MALFORMED, "the membership must come first")
        return self._joined[0].gateway_keys

    def _take_proof(self, proof: Proof, place: Place) -> None:
        self._trusted()
        claims = proof.claims
        if turn := rotation.of_proof(claims):
            self._turn(turn)
        proof.signed.require_signature([self._key.public_key])
        if claims.device != self._device:
            raise Refused(Reason.UNKNOWN_DEVICE, "a proof of another device")
        if claims.network != self._network:
            raise Refused(Reason.WRONG_NETWORK, f"sealed for {claims.network!r}")
        try:
            readings = proof.readings()
        except Refused as refused:  # it keeps its place in the chain (§4.12)
            self._unreadable[refused.verdict.reason.value] += 1
            readings = None
        before = self._links[-1] if self._links else None
        log = before.log if before and before.log == claims.log else claims.log  # one object for many
        prev = before.hash if before and before.hash == claims.prev else claims.prev
        named = claims.freshness[0] if claims.freshness else None
        self._links.append(Link(place, log, claims.seq, prev, proof.hash, claims.bootcount, named))
        self._gaps.setdefault(log, []).extend(claims.gaps)
        self._losses += claims.lost
        if claims.descriptor:
            self._descriptors[claims.descriptor_hash] = claims.descriptor
        self._described[claims.descriptor_hash] = self._described.pop(claims.descriptor_hash, 0) + 1
        self._readings += len(readings or ())
        for flags in (reading.flags for reading in readings or () if reading.flags):
            self._counted.update(bit for bit in QUALITY_REASONS if flags & bit)
        self._watcher.take(claims, readings)

    def _turn(self, turn: Rotation) -> None:
        if turn.device != self._device:
            raise Refused(Reason.UNKNOWN_DEVICE, "a rotation of another device")
        key = rotation.succeed(turn, self._key)
        if key.number > self._key.number:
            self._turns.append((len(self._links), turn))
        self._key = key

    def finding(self) -> Finding:
        """When all is read: the proofs after a gap may come before the one that declares it."""
        if self._joined is None or not self._links:
            raise Spoiled(self._header, Reason.MALFORMED, "the bundle holds no proof")
        elsewhere, begins = parts.require_chain(self._links, self._gaps)
        for found, place in self._apart.items():
            if found not in self._described:
                raise Spoiled(place, Reason.MALFORMED, "a descriptor that no proof of the bundle names")
        (membership, gateway), first, last = self._joined, self._links[0], self._links[-1]
        numbers = {(link.log, link.seq): number for number, link in enumerate(self._links)}
        covering = []
        for known in self._receipts:
            number = numbers.get((known.log, known.head_seq))
            if number is not None and self._links[number].hash == known.head_hash:
                covering.append((number, known))
        covered = max((number for number, _ in covering), default=-1)
        received: dict[int, int] = {}
        for number, known in covering:
            received[number] = min(known.received_at_s, received.get(number, known.received_at_s))
        found_parts = tuple(parts.dated(self._links, begins, self._beacons, received))
        after_s, before_s = parts.bounds(found_parts)
        described = [self._descriptors[known] for known in self._described if known in self._descriptors]
        instruments = described[-1].instruments if described else ()
        undescribed = sum(count for of, count in self._described.items() if of not in self._descriptors)
        classes = [*sorted({one.key_class for one in described}), *(["not stated"] if undescribed else [])]
        return Finding(
            device=self._device,
            network=self._network,
            network_kind=membership.kind,
            gateway=gateway,
            key_class=", ".join(classes),
            simulated=any(one.simulated for one in described) or (None if undescribed else False),
            proofs=len(self._links),
            readings=self._readings,
            unreadable=tuple(sorted(self._unreadable.items())),
            first_seq=first.seq,
            last_seq=last.seq,
            logs=tuple(parts.logs(self._links)),
            parts=found_parts,
            signed_after_s=after_s,
            signed_before_s=before_s,
            receipted_seq=max((known.head_seq for _, known in covering if known.log == last.log), default=0),
            instruments=instruments,
            former=tuple(_former(described, instruments)),
            undescribed=undescribed,
            coverage=tuple(self._watcher.coverage()),
            gaps=tuple(gap for declared in self._gaps.values() for gap in declared),
            losses=tuple(self._losses),
            lost=sum(lost.count for lost in self._losses),
            flags=tuple((QUALITY_REASONS[bit].value, count) for bit, count in sorted(self._counted.items())),
            certificates=tuple(
                (i.name, signed) for i in instruments for signed in calibration.named(i, self._certificates)
            ),
            turns=tuple(
                Turn(turn.log, turn.seq, turn.public_key, covered >= before) for before, turn in self._turns
            ),
            elsewhere=tuple(elsewhere),
            descriptors=tuple(self._descriptors.items()),
            proof_hashes=tuple(link.hash for link in self._links),
        )


def _former(
    described: list[Descriptor], now: tuple[InstrumentDescriptor, ...]
) -> Iterator[InstrumentDescriptor]:
    said = set(now)
    for instrument in (i for descriptor in described for i in descriptor.instruments):
        if instrument not in said:
            said.add(instrument)
            yield instrument
