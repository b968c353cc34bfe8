"""Every committed vector, read through the public functions, gives the verdict its index promises.

Nothing here comes from the builders: only the files, as a verifier in another language would have them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proof import beacon, bundle, cose, joining, receipt, rotation, sealing, verify, wire
from proof.reasons import Reason, Refused
from proof.receipt import Standing
from tests.proof_samples import FIRST_KEY, World

VECTORS = Path(__file__).parents[2] / "vectors"
INDEX = {folder: json.loads((VECTORS / folder / "index.json").read_text()) for folder in ("good", "bad")}
ENTRIES = [(folder, entry) for folder, index in INDEX.items() for entry in index["vectors"]]
GOOD = {entry["name"]: entry for entry in INDEX["good"]["vectors"]}
NOW_S, NETWORK, DEVICE = (INDEX["good"][name] for name in ("now_s", "network", "device"))
GATEWAY_KEYS = [bytes.fromhex(INDEX["good"]["gateway_key"])]


def name(entry: dict[str, Any]) -> str:
    return str(entry["name"])


def content(folder: str, entry: dict[str, Any]) -> bytes:
    return (VECTORS / folder / entry["file"]).read_bytes()


def world(entry: dict[str, Any]) -> World:
    """What the verifier knows when `entry` arrives."""
    opened = beacon.open_beacon(content("good", GOOD["beacon"]), GATEWAY_KEYS, NETWORK)
    known = World(NETWORK, entry.get("network_kind", "test"), beacons={opened.hash: opened})
    for earlier in entry.get("after", ()):
        before = content("good", GOOD[earlier])
        assert verify.verify(before, NOW_S, known).verdict.reason is Reason.ACCEPTED
        known.accept(before)
    if "good_until" in entry:
        log, seq = entry["good_until"]
        known.change(good_until=(bytes.fromhex(log), seq))
    return known.change(suspended=entry.get("suspended", False))


def judge_proof(data: bytes, entry: dict[str, Any]) -> None:
    judgement = verify.verify(data, NOW_S, world(entry))
    if judgement.verdict.reason is not Reason.ACCEPTED:
        raise Refused(judgement.verdict.reason, judgement.verdict.detail)
    assert [note.reason for note in judgement.notes] == entry.get("notes", [])


def judge_receipt(data: bytes, entry: dict[str, Any]) -> None:
    opened = receipt.open_receipt(data, GATEWAY_KEYS, DEVICE)
    if "own_log" in entry:
        own = {int(seq): bytes.fromhex(value) for seq, value in entry["own_hashes"].items()}
        if receipt.standing(opened, bytes.fromhex(entry["own_log"]), own.get) is Standing.ROLLED_BACK:
            raise Refused(Reason.ROLLED_BACK)


def judge_enrolment(data: bytes, entry: dict[str, Any]) -> None:
    if not joining.knows_secret(joining.open_enrolment(data), bytes.fromhex(INDEX["good"]["claim_secret"])):
        raise Refused(Reason.CLAIM_REFUSED)


def judge_claim(data: bytes, entry: dict[str, Any]) -> None:
    if joining.parse_claim(data.decode()).expires_s < NOW_S:
        raise Refused(Reason.CLAIM_REFUSED)


def judge_new_key(data: bytes, entry: dict[str, Any]) -> None:
    cose.parse(data, cose.Typ.NEW_KEY).require_signature([bytes.fromhex(entry["signer"])])


JUDGES: dict[str, Callable[[bytes, dict[str, Any]], object]] = {
    "proof": judge_proof,
    "receipt": judge_receipt,
    "enrolment": judge_enrolment,
    "claim": judge_claim,
    "beacon": lambda data, entry: beacon.open_beacon(data, GATEWAY_KEYS, NETWORK),
    "challenge": lambda data, entry: beacon.open_challenge(data, GATEWAY_KEYS, DEVICE),
    "membership": lambda data, entry: joining.open_membership(data, GATEWAY_KEYS, DEVICE),
    "rotation": lambda data, entry: rotation.succeed(rotation.parse(data), FIRST_KEY),
    "new-key": judge_new_key,
    "bundle": lambda data, entry: bundle.examine(data, GATEWAY_KEYS),
}


@pytest.mark.parametrize(("folder", "entry"), ENTRIES, ids=[f"{f}-{name(entry)}" for f, entry in ENTRIES])
def test_each_vector_gives_the_verdict_its_index_promises(folder, entry):
    data = content(folder, entry)
    judge = JUDGES[entry["kind"]]
    if entry["expected"] == "accepted":
        judge(data, entry)
        return
    with pytest.raises(Refused) as refused:
        judge(data, entry)
    assert refused.value.verdict.reason == entry["expected"]
    if "object" in entry:
        assert refused.value.verdict.detail.startswith(f"object {entry['object']} (")


@pytest.mark.parametrize("entry", [e for e in GOOD.values() if "readings" in e], ids=name)
def test_each_good_proof_holds_what_its_index_says(entry):
    opened = sealing.parse(content("good", entry))
    assert opened.hash.hex() == entry["hash"]
    assert (opened.claims.log.hex(), opened.claims.seq) == (entry["log"], entry["seq"])
    found = [
        (
            r.instrument,
            r.time_ms,
            {m.quantity: [str(m.value), m.unit] for m in r.values},
            r.flags,
            r.raw.hex(),
        )
        for r in opened.readings()
    ]
    assert found == [
        (e["instrument"], e["time_ms"], e["values"], e.get("flags", 0), e.get("raw", ""))
        for e in entry["readings"]
    ]


@pytest.mark.parametrize("entry", [e for e in GOOD.values() if "inflates_to" in e], ids=name)
def test_each_packed_form_inflates_to_the_bytes_that_were_signed(entry):
    assert wire.inflate(content("good", entry)) == content("good", GOOD[entry["inflates_to"]])


def test_the_zoo_has_every_kind_of_object_and_its_names_are_used_once():
    names = [entry["name"] for _, entry in ENTRIES]
    assert len(set(names)) == len(names)
    kinds = {typ.value.removeprefix("application/fieldproof-").removesuffix("+cose") for typ in cose.Typ}
    written = {entry["kind"] for entry in GOOD.values()}
    assert kinds - written == {"calibration"}, "kinds of the protocol that have no object yet"
    assert written - kinds == {"claim", "bundle"}
